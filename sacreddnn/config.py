"""The typed schema of a training. Every error names the key, the value, what is allowed and the nearest valid name."""

# ruff: noqa: RUF012  (pydantic copies mutable defaults)

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from sacreddnn.algorithm_config import AlgorithmConfig, SGDConfig
from sacreddnn.local_energy_config import LocalEnergyConfig
from sacreddnn.run_config import RunConfig, check_config
from sacreddnn.schema import Count, Fraction, NonNegative, Place, Positive, Section


class DatasetConfig(Section):
    """Which images, which of them, and how the network sees them."""

    name: str = "fashion_mnist"
    root: Place = "data"  # folder of the data sets
    download: bool = True  # fetch what is missing
    validation: Annotated[int | float, Field(ge=0)] = 0  # training images held out, or their fraction below 1
    stratified: bool = True  # hold out the same share of every class
    num_train: Count | None = None  # how many of the others to train on; None: all
    num_per_class: Count | None = None
    classes: list[int | str] | None = None  # only these, renumbered
    binary: list[int | str] | None = None  # these classes become 1, all others 0
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0  # fraction of the training labels replaced by another class
    normalization: Literal["pixel", "reference", "imagenet", "none"] = "pixel"  # statistics of the pixels
    augmentation: str | list[str | dict[str, Any]] = []  # in order, e.g. [crop, flip] or crop:4+flip
    num_workers: Annotated[int, Field(ge=0)] = 2  # processes that decode images of a data set too large for memory
    options: dict[str, Any] = {}  # the data set's own (shape of synthetic images ..)

    @model_validator(mode="after")
    def _one_kind_of_subset(self) -> DatasetConfig:
        if self.num_train is not None and self.num_per_class is not None:
            raise ValueError(f"num_per_class: {self.num_per_class} and num_train={self.num_train} exclude each other")
        return self


class ModelConfig(Section):
    """Which network. Its own options (stem, activation, dropout, init ..) stand beside the name."""

    model_config = ConfigDict(extra="allow")
    name: str = "lenet"

    @property
    def options(self) -> dict[str, Any]:
        """The network's own options; `models.build` knows which there are."""
        return self.model_extra or {}


class LrScheduleConfig(Section):
    """Factor on training.lr; milestones, every and warmup in epochs."""

    name: Literal["constant", "milestones", "step", "cosine"] = "cosine"
    milestones: list[NonNegative] = []
    every: Positive = 30
    decay: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup: NonNegative = 0
    warmup_start: Annotated[float, Field(ge=0, le=1)] = 0.1

    @model_validator(mode="after")
    def _milestones_are_given(self) -> LrScheduleConfig:
        if (self.name == "milestones") != bool(self.milestones):
            raise ValueError(f"milestones: {self.milestones} does not go with name={self.name}; give both or neither")
        return self


class TrainingConfig(Section):
    """How long, how fast, in which precision."""

    epochs: Count = 10  # passes over the data that one network would make with the same gradient evaluations
    batch_size: Count = 128  # per replica
    drop_last: bool = True  # of the partial batch at the end of a pass
    lr: Positive = 0.05  # per replica
    lr_schedule: LrScheduleConfig = LrScheduleConfig()
    weight_decay: NonNegative = 1e-4  # per replica
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    label_smoothing: Fraction = 0.0
    flood: NonNegative = 0.0  # the loss is not driven below this value; 0: no flooding
    accumulate: Count = 1  # parts in which a minibatch goes through the network: the same step in less memory
    clip_norm: Positive | None = None  # upper bound of the norm of each replica's gradient
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"  # cpu, cuda, cuda:1, mps
    num_threads: Count | None = None  # of the CPU; None: all cores. Sums are rounded otherwise with another number
    timeout: Positive = 60.0  # seconds after which another process of the run that does not answer counts as lost
    channels_last: bool = True
    compile: bool = False  # torch.compile the networks: minutes at the start, faster steps on most GPUs


class EvaluationConfig(Section):
    """What is measured along the way and at the end."""

    every: Count = 1  # epochs
    batch_size: Annotated[int, Field(ge=2)] = 1000
    num_train: Count | None = 10000  # clean training images looked at along the way, evenly spaced; at the end all
    replicas: bool = False  # evaluate each replica and their ensemble too
    batch_norm: Literal["running", "reestimated", "both"] = "running"  # statistics of the center's batch norm
    flatness: LocalEnergyConfig = LocalEnergyConfig()


class CheckpointConfig(Section):
    """How often the state is written, and how many states are kept."""

    every_epochs: Count = 1
    every_steps: Count | None = None
    keep: Count = 2


class Config(RunConfig):
    """A whole run."""

    free_on_resume: ClassVar[tuple[str, ...]] = (
        *RunConfig.free_on_resume, "checkpoint", "training.device", "training.num_threads", "training.timeout",
        "evaluation.flatness.draws_at_once",
    )  # fmt: skip

    dataset: DatasetConfig = DatasetConfig()
    model: ModelConfig = ModelConfig()
    algorithm: AlgorithmConfig = SGDConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="before")
    @classmethod
    def _sgd_is_the_default(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("algorithm"), dict):
            return {**values, "algorithm": {"name": "sgd", **values["algorithm"]}}
        return values

    @model_validator(mode="after")
    def _batch_fits_the_data(self) -> Config:
        if self.dataset.num_train is not None and self.training.batch_size > self.dataset.num_train:
            raise ValueError(
                f"training.batch_size: {self.training.batch_size} is larger than the training set, "
                f"{self.dataset.num_train} images (dataset.num_train)"
            )
        return self


def check(values: dict[str, Any]) -> Config:
    """The typed config of a nested dict.

    Raises:
        ConfigError: with one line per fault.
    """
    return check_config(Config, values)
