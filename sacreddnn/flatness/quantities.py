"""What is measured of each sample: (outputs, targets) -> values, shape (n,) or (n, m)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Measure = Callable[[Tensor, Tensor], Tensor]


def error(outputs: Tensor, targets: Tensor) -> Tensor:
    """0-1 error of each sample in percent, shape (n,); outputs that are not finite are wrong."""
    wrong = (outputs.argmax(1) != targets) | ~outputs.isfinite().all(1)
    return 100.0 * wrong.to(outputs.dtype)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each sample in nats, shape (n,)."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def error_and_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Both from one pass, shape (n, 2)."""
    return torch.stack([error(outputs, targets), loss(outputs, targets)], dim=1)
