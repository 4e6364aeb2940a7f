"""The typed schema of `scripts/landscape.py`."""

# ruff: noqa: RUF012  (pydantic copies mutable defaults)

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from sacreddnn.config import DatasetConfig, ModelConfig
from sacreddnn.run_config import RunConfig
from sacreddnn.schema import Count, NonNegative, Place, Positive


class LandscapeConfig(RunConfig):
    """Loss and error around one network, on the line between two, on the plane through three."""

    free_on_resume: ClassVar[tuple[str, ...]] = (*RunConfig.free_on_resume, "device", "num_threads")

    # one, two or three networks of one architecture, in this order:
    runs: list[int | Place] = []  # the centers of training runs, by id or folder
    checkpoints: list[Place] = []  # files in run folders: center.pt, or a state of the training
    weights: list[Place] = []  # state dicts (torch or safetensors) for `model`
    dataset: DatasetConfig | None = None  # None: that of the first network
    model: ModelConfig | None = None  # of `weights`; None: that of the first network
    split: Literal["train", "test"] = "train"
    num_examples: Count | None = 2000  # of it, evenly spaced; None: all
    batch_size: Annotated[int, Field(ge=2)] = 500
    num_points: Annotated[int, Field(ge=3)] = 21  # along each axis
    radius: Positive = 1.0  # around one network, in multiples of a direction as long as its weights
    border: NonNegative = 0.2  # how far a plane goes beyond its networks, relative to their extent
    dimensions: Literal[1, 2] = 2  # of the random cut around one network
    batch_norm: Literal["running", "reestimated"] = "reestimated"
    device: str = "auto"
    num_threads: Count | None = None

    @model_validator(mode="after")
    def _one_to_three(self) -> LandscapeConfig:
        sources = {name: getattr(self, name) for name in ("runs", "checkpoints", "weights")}
        number = sum(map(len, sources.values()))
        if not 1 <= number <= 3:
            given = ", ".join(f"{name}: {files}" for name, files in sources.items() if files) or "runs: []"
            raise ValueError(
                f"{given} is not allowed, give one network (its surroundings), two (a line) or three (a plane)"
            )
        if number == len(self.weights) and (self.model is None or self.dataset is None):
            missing = "model" if self.model is None else "dataset"
            raise ValueError(
                f"weights: {self.weights} needs a {missing}; for example: with lenet fashion_mnist 'weights=[..]'"
            )
        if not self.weights and self.model is not None:
            raise ValueError(f"model: {self.model.name!r} is that of weights; networks of runs have their own")
        return self
