"""What couples replicas: the center, distances, and the growth of the coupling gamma during training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCHEDULES = ("exponential", "linear", "cosine", "constant")


def distance(w: Tensor, center: Tensor) -> Tensor:
    """d(w, center) = 1/2 sum_i (w_i - center_i)^2, for each row of w (PAPER: the distance of the local entropy).

    Row by row, here as in `relax_`, so that a row gives the same bits whichever rows stand beside it.

    Args:
        w: shape (y, N) or (N,).
        center: shape (N,).

    Returns:
        Shape (y,) or ().
    """
    if w.ndim > 1:
        return torch.stack([distance(row, center) for row in w])
    return (w - center).square_().sum() / 2


def schedule(name: str, start: float, growth: float, progress: float, num_updates: int | None = None) -> float:
    """The coupling gamma at a progress in [0, 1].

    exponential: start * growth^progress (the reference's scoping: a factor 1 + gamma_1 = growth^(1/epochs) an epoch);
    linear: start * (1 + (growth - 1) progress); cosine: start * (1 + (growth - 1) (1 - cos(pi progress)) / 2).

    Args:
        name: one of SCHEDULES.
        start: gamma_0 >= 0.
        growth: total factor over the training, > 0.
        progress: in [0, 1].
        num_updates: how often gamma changes in all (once an epoch: the number of epochs); None: every step.

    >>> schedule("exponential", 0.1, 1e4, 0.5)
    10.0
    """
    if num_updates is not None:
        progress = math.floor(progress * num_updates + 1e-9) / num_updates
    if name == "constant":
        return start
    if name == "exponential":
        return start * growth**progress
    if name == "linear":
        return start * (1 + (growth - 1) * progress)
    if name == "cosine":
        return start * (1 + (growth - 1) * (1 - math.cos(math.pi * progress)) / 2)
    raise ValueError(f"coupling_schedule: {name!r} is unknown, allowed: {', '.join(SCHEDULES)}")


@torch.no_grad()
def relax_(W: Tensor, center: Tensor, rate: float) -> None:
    """Move every row of W exponentially toward the center, in place: w <- center + exp(-rate) (w - center).

    The exact solution of dw/dt = -(w - center) over a time `rate`, hence stable for every rate >= 0; the mean of
    the rows stays where it is when it is the center.
    """
    for w in W:
        w.lerp_(center, -math.expm1(-rate))


@torch.no_grad()
def relax_with_center_(W: Tensor, mean: Tensor, x: Tensor, num_replicas: int, rate: float) -> None:
    """Move every row of W toward x and x toward the rows, in place, for a time `rate`.

    The exact solution of dw/dt = -(w - x), dx/dt = -y (x - mean): distances to the mean shrink by exp(-rate), that of
    mean and x by exp(-(1 + y) rate), and y mean + x stays. Stable for every rate >= 0.

    Args:
        W: shape (rows of this process, N).
        mean: of all y rows, shape (N,).
        x: the free center, shape (N,).
        num_replicas: y.
        rate: time of the flow, >= 0.
    """
    together = (mean - x).mul_(math.expm1(-(1 + num_replicas) * rate) / (1 + num_replicas))  # shift of the mean
    for w in W:
        w.lerp_(mean, -math.expm1(-rate)).add_(together)
    x.sub_(together, alpha=num_replicas)
