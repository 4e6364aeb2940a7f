"""The typed schema of `scripts/landscape.py`."""

# ruff: noqa: RUF012  (pydantic copies mutable defaults)

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from sacreddnn.config import DatasetConfig
from sacreddnn.run_config import RunConfig
from sacreddnn.schema import Count, NonNegative, Positive


class LandscapeConfig(RunConfig):
    """Loss and error around one network, on the line between two, on the plane through three."""

    free_on_resume: ClassVar[tuple[str, ...]] = (*RunConfig.free_on_resume, "device", "num_threads")

    runs: list[int | str] = []  # ids or folders of one, two or three training runs of one network
    dataset: DatasetConfig | None = None  # None: that of the first run
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
        if not 1 <= len(self.runs) <= 3:
            raise ValueError(
                f"runs: {self.runs} is not allowed, give one (its surroundings), two (a line) or three (a plane)"
            )
        return self
