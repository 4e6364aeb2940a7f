"""The typed options of the local energy: `evaluation.flatness` of a training, `local_energy` of scripts/flatness.py."""

# ruff: noqa: RUF012  (pydantic copies mutable defaults)

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sacreddnn.schema import Count, NonNegative, Positive, Section


class LocalEnergyConfig(Section):
    """The local energy of the final center, and now and then on the way there."""

    sigmas: list[NonNegative] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    num_samples: Annotated[int, Field(ge=0)] = 10  # draws of the noise; 0: not measured
    standard_error: Positive | None = None  # draw on until no error bar, in percentage points, is larger
    max_samples: Count = 1000  # draws at most for that
    draws_at_once: Count = 1  # perturbed networks in one pass: for small networks on a GPU
    noise: Literal["multiplicative", "additive", "filter"] = "multiplicative"
    subset: Literal["all", "weights"] = "all"  # of the parameters; weights: neither biases nor those of norms
    # batch-norm statistics: those the network has, or estimated anew for every draw
    batch_norm: Literal["running", "reestimated", "both"] = "running"
    split: Literal["train", "test", "both"] = "train"
    num_examples: Count | None = 10000  # so many of the split, evenly spaced; None: all
    seed: int = 0  # of the noise: equal between runs, so that their differences are paired
    headline: NonNegative = 0.3  # the sigma whose value stands in the result
    every: Annotated[int, Field(ge=0)] = 0  # epochs between measurements during training, at the headline; 0: none

    @model_validator(mode="after")
    def _can_be_measured(self) -> LocalEnergyConfig:
        if self.num_samples == 1:
            raise ValueError("num_samples: 1 gives no standard error; use 2 or more, or 0 to leave it out")
        if self.num_samples and self.headline not in self.sigmas:
            raise ValueError(f"headline: {self.headline} is not among sigmas {self.sigmas}")
        if self.standard_error is not None and self.max_samples < self.num_samples:
            raise ValueError(f"max_samples: {self.max_samples} is less than num_samples, {self.num_samples}")
        if self.draws_at_once > 1 and self.batch_norm != "running":
            raise ValueError(f"draws_at_once: {self.draws_at_once} needs batch_norm=running, not {self.batch_norm}")
        if self.every and not self.num_samples:
            raise ValueError(f"every: {self.every} needs num_samples >= 2")
        return self
