r"""Averages of the weights along a trajectory of SGD; the network to keep is the average.

SWA (Izmailov et al. 2018, arXiv 1803.05407), equal weights:   average <- average + (w - average) / (n + 1)
EMA (Polyak averaging with memory):                            average <- decay average + (1 - decay) w

with w after the step, every `period` steps, from a fraction `start` of the training on; the first w is copied. These
are the formulas of torch.optim.swa_utils. The trajectory is that of SGD, bit for bit. Batch norm's running statistics
belong to w, not to the average: re-estimate them (evaluation.batch_norm=reestimated; torch.optim.swa_utils.update_bn).

name here       meaning
average         the averaged weights, the center
num_averaged    n, weights averaged so far
progress        of the training, in [0, 1); set by whoever trains before each step, compared with `start`
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from sacreddnn.algorithms.base import Closure
from sacreddnn.algorithms.checks import require
from sacreddnn.algorithms.coupling import distance
from sacreddnn.algorithms.sgd import SGD


class SWA(SGD):
    """Stochastic weight averaging. Cost: one gradient evaluation a step, one vector of memory.

    In a loop of your own set `progress` to step / num_steps before each step: it stays 0 otherwise, and with `start`
    above 0 nothing is averaged.

    Args:
        params: the network's parameters.
        lr: learning rate > 0; keep it high while averaging (a constant schedule).
        start: fraction of the training in [0, 1) from which on weights are averaged.
        period: steps >= 1 between averaged weights.
        optimizer: base optimizer by name, with its options.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        *,
        start: float = 0.75,
        period: int = 1,
        optimizer: str = "sgd",
        **options: Any,
    ) -> None:
        require("start", start, "in [0, 1)", lambda x: 0 <= x < 1)
        require("period", period, "an integer >= 1", lambda x: x >= 1 and x == int(x))
        super().__init__(params, lr, optimizer=optimizer, **options)
        self.start, self.period = start, period
        self.average = self.weights.values[0].clone()
        self.num_averaged = 0
        self.steps_since_start = 0

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """One step of the base optimizer; its end point joins the average when it is time."""
        losses = super().step(closure)
        if self.progress >= self.start:
            self.steps_since_start += 1
            if self.steps_since_start % self.period == 0:
                share = self.share() if self.num_averaged else 1.0
                self.average.lerp_(self.weights.values[0], share)
                self.num_averaged += 1
        return losses

    def steps_to_average(self, num_steps: int) -> int:
        """Of a training of so many steps, those from `start` on; every `period`-th of them joins the average."""
        return num_steps - bisect_left(range(num_steps), self.start, key=lambda step: step / num_steps)

    def share(self) -> float:
        """The share of the next weights in the average: 1 / (n + 1)."""
        return 1 / (self.num_averaged + 1)

    def center(self) -> Tensor:
        """The average; the network itself as long as nothing has been averaged."""
        return self.average if self.num_averaged else self.weights.values[0]

    def metrics(self) -> dict[str, float]:
        """How many weights were averaged, and the distance d of the network to their average."""
        live = self.weights.values[0]
        return {"num_averaged": self.num_averaged, "distance": distance(live, self.center()).item()}

    def extra_state(self) -> dict[str, Any]:
        """The average and its counters."""
        return {
            "average": self.average,
            "num_averaged": self.num_averaged,
            "steps_since_start": self.steps_since_start,
        }

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` returned."""
        self.average.copy_(state["average"])
        self.num_averaged, self.steps_since_start = state["num_averaged"], state["steps_since_start"]


class EMA(SWA):
    """Exponential moving average of the weights. Cost as SWA, and as there `progress` is yours to set.

    Args:
        params: the network's parameters.
        lr: learning rate > 0.
        decay: memory in [0, 1); the average looks back over about 1 / (1 - decay) periods.
        start: fraction of the training in [0, 1) from which on weights are averaged.
        period: steps >= 1 between averaged weights.
        optimizer: base optimizer by name, with its options.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        *,
        decay: float = 0.999,
        start: float = 0.0,
        period: int = 1,
        optimizer: str = "sgd",
        **options: Any,
    ) -> None:
        require("decay", decay, "in [0, 1)", lambda x: 0 <= x < 1)
        super().__init__(params, lr, start=start, period=period, optimizer=optimizer, **options)
        self.decay = decay

    def share(self) -> float:
        """The share of the next weights in the average: 1 - decay."""
        return 1 - self.decay
