"""The typed schema of a run. Every error names the key, the value, what is allowed and the nearest valid name."""

# ruff: noqa: RUF012  (pydantic copies mutable defaults)

from __future__ import annotations

import difflib
import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sacreddnn.algorithm_config import ALGORITHMS, AlgorithmConfig, SGDConfig
from sacreddnn.schema import ConfigError, Count, Fraction, NonNegative, Positive, Section


class DatasetConfig(Section):
    """Which images, which of them, and how the network sees them."""

    name: str = "fashion_mnist"
    root: str = "data"  # folder of the data sets
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
    num_threads: Count | None = None  # of the CPU; None: all cores
    timeout: Positive = 60.0  # seconds after which another process of the run that does not answer counts as lost
    channels_last: bool = True
    compile: bool = False  # torch.compile the networks: minutes at the start, faster steps on most GPUs


class FlatnessConfig(Section):
    """The local energy of the final center."""

    sigmas: list[NonNegative] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    num_samples: Annotated[int, Field(ge=0)] = 10  # draws of the noise; 0: not measured
    split: Literal["train", "test"] = "train"
    num_examples: Count | None = 10000  # so many of the split, evenly spaced; None: all
    seed: int = 0  # of the noise: equal between runs, so that their differences are paired
    headline: NonNegative = 0.3  # the sigma whose value stands in the result

    @model_validator(mode="after")
    def _can_be_measured(self) -> FlatnessConfig:
        if self.num_samples == 1:
            raise ValueError("num_samples: 1 gives no standard error; use 2 or more, or 0 to leave it out")
        if self.num_samples and self.headline not in self.sigmas:
            raise ValueError(f"headline: {self.headline} is not among sigmas {self.sigmas}")
        return self


class EvaluationConfig(Section):
    """What is measured along the way and at the end."""

    every: Count = 1  # epochs
    batch_size: Annotated[int, Field(ge=2)] = 1000
    num_train: Count | None = 10000  # clean training images looked at along the way, evenly spaced; at the end all
    replicas: bool = False  # evaluate each replica and their ensemble too
    batch_norm: Literal["running", "reestimated", "both"] = "running"  # statistics of the center's batch norm
    flatness: FlatnessConfig = FlatnessConfig()


class CheckpointConfig(Section):
    """How often the state is written, and how many states are kept."""

    every_epochs: Count = 1
    every_steps: Count | None = None
    keep: Count = 2


class TrackingConfig(Section):
    """Where runs are recorded: always on disk, and in a database."""

    root: str = "results/runs"  # one folder a run
    database: bool = True  # False: on disk only; `scripts/report.py replay` brings runs into a database later
    mongo_url: str | None = None  # None: the embedded server
    folder: str = "results/database"  # of the embedded server
    tags: list[str] = []  # to find runs that belong together

    @field_validator("mongo_url")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        if url and re.search(r"//[^/@]*:[^/@]*@", url):
            raise ValueError("holds a password; give it in the environment variable SACREDDNN_MONGO_PASSWORD instead")
        return url


class Config(Section):
    """A whole run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    dataset: DatasetConfig = DatasetConfig()
    model: ModelConfig = ModelConfig()
    algorithm: AlgorithmConfig = SGDConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()
    resume: int | str | None = None  # run id or folder

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


# What may differ between a run and its resumption: nothing of it changes the numbers.
FREE_ON_RESUME = ("resume", "tracking", "checkpoint", "training.device", "training.num_threads", "training.timeout")


def check(values: dict[str, Any]) -> Config:
    """The typed config of a nested dict.

    Raises:
        ConfigError: with one line per fault.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines: dict[str, str] = {}  # by key: of the alternatives of a union the last says most
        for e in error.errors(include_url=False):
            key, line = _explain(e, values)
            lines[key] = line
        raise ConfigError("\n".join(lines.values())) from None


def _explain(error: Any, values: dict[str, Any]) -> tuple[str, str]:
    """The key, and one line: key, value, what is allowed."""
    path: list[Any] = []
    here: Any = values
    for part in error["loc"]:
        # a discriminated union adds its tag, a plain union the type it tried: neither is a key of the config
        if isinstance(here, list) or (isinstance(here, dict) and part in here):
            path.append(part)
            here = here[part]
    key = ".".join(map(str, path)) or "config"
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return key, f"{key}: unknown key{_hint(str(path[-1]), _siblings(path, values))}"
    if kind.startswith("union_tag"):
        return (
            f"{key}.name",
            f"{key}.name: {here.get('name')!r} is not allowed{_hint(str(here.get('name')), ALGORITHMS)}",
        )
    if kind == "literal_error":
        names = [name.strip("'") for name in re.split(r", | or ", context["expected"])]
        number = "a number or " if "Literal" in str(error["loc"]) or error["loc"][-1] not in path else ""
        return key, f"{key}: {here!r} is not allowed{_hint(str(here), names, number)}"
    message = error["msg"]
    if kind == "value_error":
        message = message.removeprefix("Value error, ")
        return key, message if not path else f"{key}.{message}" if ": " in message else f"{key}: {message}"
    message = message[0].lower() + message[1:]
    return key, f"{key}: {here!r} is not allowed, {message.replace('input should', 'it should')}"


def _hint(name: str, allowed: list[str], besides: str = "") -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    return (f", did you mean {near[0]}?" if near else ",") + f" allowed: {besides}{', '.join(allowed)}"


def _siblings(path: list[Any], values: dict[str, Any]) -> list[str]:
    """The keys allowed where the last key of the path stands."""
    schema: type[BaseModel] = Config
    for part in path[:-1]:
        values = values[part]
        kinds = list(_classes(schema.model_fields[part].annotation))
        named = [k for k in kinds if "name" in k.model_fields and k.model_fields["name"].default == values.get("name")]
        schema = (named or kinds)[0]
    return list(schema.model_fields)


def _classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [cls for argument in getattr(annotation, "__args__", ()) for cls in _classes(argument)]


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys.

    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(old: Config, new: Config) -> list[str]:
    """The dotted keys whose values differ, those aside that do not change the numbers."""
    a, b = flatten(old.model_dump()), flatten(new.model_dump())
    keys = [k for k in {**a, **b} if a.get(k) != b.get(k)]
    return [k for k in keys if not any(k == free or k.startswith(free + ".") for free in FREE_ON_RESUME)]


def config_hash(config: Config) -> str:
    """Sixteen hexadecimal digits that change with everything that changes the numbers of a run, and only with that."""
    flat = flatten(config.model_dump())
    kept = {k: v for k, v in flat.items() if not any(k == free or k.startswith(free + ".") for free in FREE_ON_RESUME)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]
