"""The typed schema of `scripts/flatness.py`; what the measures mean is in docs/flatness.md and docs/curvature.md."""

# ruff: noqa: RUF012  (pydantic copies mutable defaults)

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from sacreddnn.config import DatasetConfig, ModelConfig
from sacreddnn.local_energy_config import LocalEnergyConfig
from sacreddnn.run_config import RunConfig
from sacreddnn.schema import Count, Place, Positive, Section

MeasureName = Literal[
    "local_energy", "hessian", "spectral_density", "sharpness", "pac_bayes", "local_entropy", "norms", "margins"
]


class HessianConfig(Section):
    """Largest eigenvalues and trace of the Hessian of the loss."""

    num_eigenvalues: Count = 1
    tolerance: Positive = 1e-2  # of an eigenvalue, relative to the largest
    num_products: Annotated[int, Field(ge=6)] = 60  # Hessian-vector products for the trace


class SpectralDensityConfig(Section):
    """Density of the Hessian's eigenvalues."""

    num_steps: Count = 40
    num_vectors: Count = 2


class SharpnessConfig(Section):
    """Worst rise of the loss within a radius; adaptive: relative to the weights."""

    rho: Positive = 0.05
    rho_adaptive: Positive = 0.5
    num_steps: Count = 20


class PacBayesConfig(Section):
    """Noise at which the loss has risen by the target."""

    target: Positive = 0.1  # nats
    num_samples: Annotated[int, Field(ge=2)] = 10
    epsilon: Positive = 1e-3  # noise that magnitude-aware noise keeps for weights at zero


class LocalEntropyConfig(Section):
    """Local-entropy loss by thermodynamic integration along Langevin chains."""

    gammas: list[Positive] = [1e4, 2e3, 5e2, 1e2]
    beta: Positive = 1e4
    num_steps: Annotated[int, Field(ge=4)] = 200  # of a chain at each coupling, each a gradient of one minibatch
    burn_in: Annotated[int, Field(ge=0)] = 50
    batch_size: Count = 100
    num_chains: Annotated[int, Field(ge=2)] = 2

    @field_validator("gammas")
    @classmethod
    def _several(cls, gammas: list[float]) -> list[float]:
        if len(set(gammas)) < max(len(gammas), 2):
            raise ValueError(f"{gammas} is not allowed, give two or more different couplings")
        return gammas


class FlatnessConfig(RunConfig):
    """Measure one network: that of a recorded run, of a checkpoint, or a named one with weights from a file."""

    free_on_resume: ClassVar[tuple[str, ...]] = (
        *RunConfig.free_on_resume, "device", "num_threads", "local_energy.draws_at_once",
    )  # fmt: skip

    run: int | Place | None = None  # id or folder of a training run, whose center is measured
    checkpoint: Place | None = None  # a file in the folder of a training run: center.pt, or a state of the training
    weights: Place | None = None  # a state dict (torch or safetensors) for `model`, on images of `dataset`
    dataset: DatasetConfig | None = None  # None: that of the run
    model: ModelConfig | None = None  # None: that of the run
    measures: list[MeasureName] = ["local_energy"]
    split: Literal["train", "test"] = "train"  # for all measures but the local energy, which has its own
    num_examples: Count | None = 2000  # of it, evenly spaced; None: all
    batch_size: Annotated[int, Field(ge=2)] = 500
    device: str = "auto"
    num_threads: Count | None = None
    local_energy: LocalEnergyConfig = LocalEnergyConfig()
    hessian: HessianConfig = HessianConfig()
    spectral_density: SpectralDensityConfig = SpectralDensityConfig()
    sharpness: SharpnessConfig = SharpnessConfig()
    pac_bayes: PacBayesConfig = PacBayesConfig()
    local_entropy: LocalEntropyConfig = LocalEntropyConfig()

    @model_validator(mode="after")
    def _one_network(self) -> FlatnessConfig:
        given = [name for name in ("run", "checkpoint", "weights") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: {getattr(self, given[1])!r} and {given[0]} exclude each other; give one")
        if not given:
            raise ValueError("run: None; give run=ID, checkpoint=FILE, or a network, a data set and weights=FILE")
        if self.weights is not None and (self.model is None or self.dataset is None):
            missing = "model" if self.model is None else "dataset"
            raise ValueError(
                f"weights: {self.weights!r} needs a {missing}; for example: with lenet fashion_mnist weights=.."
            )
        if self.weights is None and self.model is not None:
            raise ValueError(f"model: {self.model.name!r} does not go with {given[0]}, whose network is the run's own")
        if not self.measures:
            raise ValueError("measures: empty, name at least one")
        return self
