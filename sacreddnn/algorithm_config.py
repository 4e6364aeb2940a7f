"""The typed options of each algorithm, one class each; what they mean is in docs/algorithms.md.

A new class is a member of `AlgorithmConfig` at the end of this file; its `name` is the key in
`sacreddnn.algorithms.ALGORITHMS`, its other keys are arguments of the class registered there.
"""

# ruff: noqa: RUF012  (pydantic copies mutable defaults)

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from sacreddnn.schema import Count, Fraction, NonNegative, Positive, Scalar, Section


class SGDConfig(Section):
    """The baseline."""

    name: Literal["sgd"] = "sgd"
    optimizer: str = "sgd"  # any of torch.optim
    optimizer_options: dict[str, Scalar | list[float]] = {}  # beyond momentum and nesterov
    momentum: Fraction | None = None  # sgd: 0.9 by default; None where the optimizer has none
    nesterov: bool | None = None  # sgd: True by default

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_sgd(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("optimizer", "sgd") == "sgd":
            filled = {key: value for key, value in values.items() if value is not None}
            return {"momentum": 0.9, "nesterov": True, **filled}
        return values


class EntropySGDConfig(SGDConfig):
    """Entropy-SGD; momentum and nesterov are those of the outer step."""

    name: Literal["esgd"] = "esgd"  # type: ignore[assignment]
    inner_steps: Count = 5
    inner_lr: Positive = 0.1
    inner_momentum: Fraction = 0.9
    inner_weight_decay: NonNegative = 1e-4
    coupling: NonNegative | Literal["auto"] = 0.5
    coupling_auto: Literal["first_inner", "first_outer"] = "first_inner"  # when "auto" is taken
    coupling_growth: Annotated[float, Field(gt=-1)] = 1e-4
    coupling_max: Positive | None = None
    noise: NonNegative = 1e-4
    noise_convention: Literal["paper", "reference"] = "paper"
    averaging: Fraction = 0.75
    scale_by_coupling: bool = True


class ReplicatedSGDConfig(SGDConfig):
    """Replicated-SGD; the base optimizer moves each replica."""

    name: Literal["rsgd"] = "rsgd"  # type: ignore[assignment]
    replicas: Annotated[int, Field(ge=1, le=64)] = 3
    budget: Literal["shared", "per_replica"] = "shared"  # of gradient evaluations: rSGD, or rSGD x y
    coupling: NonNegative | Literal["auto"] = "auto"
    coupling_growth: Positive = 1e4  # over the whole training
    coupling_rate: NonNegative | Literal["auto"] = "auto"  # gamma_1, growth per epoch; auto: coupling_growth decides
    coupling_schedule: Literal["exponential", "linear", "cosine", "constant"] = "exponential"
    coupling_updates: Literal["epoch", "step"] = "epoch"
    coupling_period: Count = 1
    coupling_form: Literal["relaxation", "gradient"] = "relaxation"
    relaxation_momentum: bool = True  # the relaxation's rate counts the base optimizer's momentum
    use_center: bool = False  # a center with weights of its own, as in elastic averaging
    weight_decay_convention: Literal["replica", "reference"] = "replica"

    @model_validator(mode="after")
    def _coupling_needs_replicas(self) -> ReplicatedSGDConfig:
        if self.replicas < 2 and self.coupling != 0:
            raise ValueError("replicas: 1 has nothing to couple to; use 2 or more, or algorithm.coupling=0")
        if self.coupling_rate != "auto" and self.coupling_schedule != "exponential":
            raise ValueError(
                f"coupling_rate: {self.coupling_rate} is the rate of the exponential schedule; "
                f"with {self.coupling_schedule!r} set coupling_growth"
            )
        return self


class SAMConfig(SGDConfig):
    """Sharpness-aware minimization."""

    name: Literal["sam"] = "sam"  # type: ignore[assignment]
    rho: NonNegative = 0.05


class ASAMConfig(SGDConfig):
    """Adaptive sharpness-aware minimization."""

    name: Literal["asam"] = "asam"  # type: ignore[assignment]
    rho: NonNegative = 0.5
    eta: NonNegative = 0.01


class SWAConfig(SGDConfig):
    """Stochastic weight averaging."""

    name: Literal["swa"] = "swa"  # type: ignore[assignment]
    start: Fraction = 0.75  # of the training
    period: Count = 1  # steps


class EMAConfig(SGDConfig):
    """Exponential moving average of the weights."""

    name: Literal["ema"] = "ema"  # type: ignore[assignment]
    decay: Fraction = 0.999
    start: Fraction = 0.0
    period: Count = 1


class WeightNoiseConfig(SGDConfig):
    """LPF-SGD and training with weight noise."""

    name: Literal["weight_noise"] = "weight_noise"  # type: ignore[assignment]
    noise: NonNegative = 0.002
    noise_scale: Literal["filter", "tensor", "weight"] = "filter"
    num_draws: Count = 1


AlgorithmConfig = Annotated[
    SGDConfig | EntropySGDConfig | ReplicatedSGDConfig | SAMConfig | ASAMConfig | SWAConfig | EMAConfig
    | WeightNoiseConfig,
    Field(discriminator="name"),
]  # fmt: skip
ALGORITHMS: list[str] = [cls.model_fields["name"].default for cls in get_args(get_args(AlgorithmConfig)[0])]
