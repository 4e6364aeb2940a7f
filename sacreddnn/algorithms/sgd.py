"""Stochastic gradient descent (or any other base optimizer) on one network: the baseline.

w <- w - lr * g, with Nesterov momentum and weight decay as the base optimizer has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from sacreddnn.algorithms.base import Algorithm, Closure


class SGD(Algorithm):
    """The base optimizer alone. Cost: one gradient evaluation a step.

    Args:
        params: the network's parameters.
        lr: learning rate > 0.
        optimizer: name in torch.optim ("sgd" by default), with its options (momentum, nesterov, weight_decay ..).
    """

    def __init__(self, params: Iterable[Parameter], lr: float, *, optimizer: str = "sgd", **options: Any) -> None:
        super().__init__([params], lr, optimizer=optimizer, **options)

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """One step of the base optimizer."""
        losses = self.evaluate(closure)
        self.step_base()
        return losses

    def center(self) -> Tensor:
        """The network itself."""
        return self.weights.values[0]
