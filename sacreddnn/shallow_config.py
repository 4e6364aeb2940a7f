"""The typed schema of `scripts/shallow.py`."""

# ruff: noqa: RUF012  (pydantic copies mutable defaults)

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from sacreddnn.run_config import RunConfig
from sacreddnn.schema import Count, Fraction, NonNegative, Place, Positive, Section

Unit = Annotated[float, Field(gt=0, lt=1)]


class PatternsConfig(Section):
    """Two classes of images as +-1 patterns."""

    name: str = "fashion_mnist"  # any data set of ours
    root: Place = "data"
    classes: list[int | str] = ["Dress", "Coat"]  # label -1, label +1
    num_train: Count = 500
    num_validation: Annotated[int, Field(ge=0)] = 2000  # other training images, to choose schedules on

    @field_validator("classes")
    @classmethod
    def _two(cls, classes: list[int | str]) -> list[int | str]:
        if len(classes) != 2:
            raise ValueError(f"{classes} is not allowed, give two classes, that of label -1 and that of label +1")
        return classes


class GrowthConfig(Section):
    """A value that goes from first to last exponentially while training goes on."""

    first: NonNegative
    last: NonNegative

    @model_validator(mode="after")
    def _no_zero_on_one_side(self) -> GrowthConfig:
        if (self.first == 0) != (self.last == 0):
            raise ValueError(f"first: {self.first} with last={self.last}: an exponential has no 0 at one end only")
        return self


class SolverConfig(Section):
    """One algorithm with its schedule; see shallow/descent.py."""

    algorithm: Literal["sgd", "rsgd", "esgd"]
    epochs: Count
    batch_size: Count = 25
    lr: GrowthConfig
    beta: GrowthConfig  # slope of the tanh units
    omega: GrowthConfig  # hardness of the loss
    finish: Annotated[int, Field(ge=0)] = 200  # epochs at most for restarts with training errors after those
    coupling: GrowthConfig = GrowthConfig(first=0.0, last=0.0)
    replicas: Count = 1
    inner_steps: Count = 5
    averaging: Fraction = 0.75
    noise: NonNegative = 1e-4

    @model_validator(mode="after")
    def _replicas_replicate(self) -> SolverConfig:
        if (self.algorithm == "rsgd") != (self.replicas > 1):
            raise ValueError(
                f"replicas: {self.replicas} does not go with algorithm={self.algorithm}; rsgd takes 2 or more"
            )
        return self


class CurveConfig(Section):
    """Local-entropy curves; see shallow/curve.py and shallow/sampling.py."""

    restarts: Annotated[int, Field(ge=0)] = 10  # of each algorithm that get a curve by sampling
    amp_restarts: Annotated[int, Field(ge=0)] = 3  # and by message passing
    ts: Annotated[list[Unit], Field(min_length=1)] = [0.99, 0.98, 0.97, 0.95, 0.92, 0.89, 0.86, 0.82, 0.78, 0.74]
    num_chains: Annotated[int, Field(ge=3)] = 8
    num_sweeps: Annotated[int, Field(ge=4)] = 60
    burn_in: Annotated[int, Field(ge=4)] = 20
    num_direct: Annotated[int, Field(ge=100)] = 50_000

    @field_validator("ts")
    @classmethod
    def _falling(cls, ts: list[float]) -> list[float]:
        if sorted(set(ts), reverse=True) != ts:
            raise ValueError(f"{ts} is not allowed, give falling numbers between 0 and 1")
        return ts


class ShallowConfig(RunConfig):
    """Committee machines trained by several algorithms, and their flatness; `out` is where the figure goes besides."""

    free_on_resume: ClassVar[tuple[str, ...]] = (*RunConfig.free_on_resume, "out", "num_threads", "patterns.root")

    patterns: PatternsConfig = PatternsConfig()
    num_units: Count = 9  # odd
    restarts: Count = 50  # of each algorithm
    solvers: dict[str, SolverConfig] = {}  # by the name they have in the figure, see configs/shallow/
    curve: CurveConfig = CurveConfig()
    sigmas: Annotated[list[Positive], Field(min_length=1)] = [0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0]
    test: bool = True  # False: schedules are being chosen, on the validation patterns alone
    out: Place | None = None
    num_threads: Count | None = None

    @model_validator(mode="after")
    def _fits(self) -> ShallowConfig:
        if self.num_units % 2 == 0:
            raise ValueError(f"num_units: {self.num_units} is not allowed, K is odd, so that no vote is a tie")
        if self.curve.restarts > self.restarts or self.curve.amp_restarts > self.restarts:
            raise ValueError(
                f"curve.restarts: {self.curve.restarts} and curve.amp_restarts={self.curve.amp_restarts} cannot "
                f"exceed restarts={self.restarts}"
            )
        if not self.test and self.patterns.num_validation == 0:
            raise ValueError("test: false leaves nothing to measure on, with patterns.num_validation=0")
        return self
