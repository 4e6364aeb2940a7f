"""Loss and error at the points of a grid of directions, with batch-norm statistics that go along or are made anew."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sacreddnn.flatness.loss_surface import LossSurface, SampleLoss
from sacreddnn.flatness.passes import Batches, mean, require_repeatable
from sacreddnn.flatness.quantities import error

BATCH_NORM = ("running", "reestimated")


@dataclass(frozen=True)
class Landscape:
    """Loss and error on a grid. Everything is float64, on the CPU.

    Attributes:
        axes: one vector of coordinates a dimension. On a line through two networks t, 0 at the first and 1 at the
            second; on a plane through three, Euclidean lengths from the first; along random directions, multiples of a
            direction as long as the weights.
        loss: mean loss, shape (len(axes[0]),) or (len(axes[0]), len(axes[1])); infinite where it is not finite.
        error: in percent, same shape; samples whose outputs are not finite count as wrong.
        networks: coordinates of the networks that were given, shape (number, dimensions).
        batch_norm: "running" or "reestimated".
    """

    axes: tuple[Tensor, ...]
    loss: Tensor
    error: Tensor
    networks: Tensor
    batch_norm: str


class Grid:
    """What is common to lines and planes: networks of one architecture, and how to measure between them.

    Args:
        networks: the first one is the origin; none is written to.
        batches: (inputs, targets) to measure on.
        batch_norm: "running": statistics are the same combination of the networks' as the weights are, variances not
            below 0. "reestimated": those of `statistics` at each point.
        statistics: batches to re-estimate on; None: those to measure on.
        loss: (outputs, targets) -> loss of each sample, shape (n,).

    Attributes:
        surface: the copy of the first network that moves.
        weights: w of each network, shape (N,).
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        batches: Batches,
        batch_norm: str,
        statistics: Batches | None,
        loss: SampleLoss,
    ) -> None:
        if batch_norm not in BATCH_NORM:
            raise ValueError(f"batch_norm: {batch_norm!r} is unknown, allowed: {', '.join(BATCH_NORM)}")
        if statistics is not None:
            require_repeatable(statistics)
        self.surface = LossSurface(networks[0], batches, loss=loss)
        self.batch_norm = batch_norm
        self.statistics = batches if statistics is None else statistics
        shapes = [p.shape for p in networks[0].parameters()]
        for number, network in enumerate(networks[1:], start=2):
            if [p.shape for p in network.parameters()] != shapes:
                raise ValueError(f"networks: number {number} has other shapes than the first; give one architecture")
        self.weights = [self.surface.flatten(p.detach() for p in n.parameters()) for n in networks]
        for number, w in enumerate(self.weights, start=1):
            if not w.isfinite().all():
                raise ValueError(f"networks: the weights of number {number} are not all finite")
        self._buffers = [[b.detach().clone() for b in network.buffers()] for network in networks]
        self._norms = [
            m
            for m in self.surface.network.modules()
            if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
        ]

    def measure(
        self,
        directions: Sequence[Tensor],
        axes: Sequence[Sequence[float]],
        combination: Callable[[Sequence[float]], Sequence[float]],
        networks: Tensor,
    ) -> Landscape:
        """Loss and error at origin + sum_i x_i direction_i for all x on the grid.

        Args:
            directions: vectors of shape (N,).
            axes: coordinates along each.
            combination: x -> what part each network has in the point, for the running statistics.
            networks: their coordinates, shape (number, dimensions).
        """
        if not all(len(axis) for axis in axes):
            raise ValueError("positions: empty, give at least one")
        coordinates = tuple(torch.tensor(list(axis), dtype=torch.float64) for axis in axes)
        if not all(axis.isfinite().all() for axis in coordinates):
            raise ValueError("positions: they must be finite numbers")
        values = []
        for x in itertools.product(*(axis.tolist() for axis in coordinates)):
            w = self.weights[0].clone()
            for step, direction in zip(x, directions, strict=True):
                w.add_(direction, alpha=step)
            self.surface.move_to(w)
            self._statistics_at(combination(x))
            values.append(self._loss_and_error())
        shape = [len(axis) for axis in axes]
        losses, errors = torch.tensor(values, dtype=torch.float64).mT
        return Landscape(
            axes=coordinates,
            loss=torch.where(losses.isfinite(), losses, torch.inf).view(shape),
            error=errors.view(shape),
            networks=networks.double(),
            batch_norm=self.batch_norm,
        )

    def _loss_and_error(self) -> tuple[float, float]:
        loss, wrong = mean(
            torch.stack([self.surface.loss(outputs, targets), error(outputs, targets)], dim=1)
            for outputs, targets in self.surface.outputs()
        ).tolist()
        return loss, wrong

    @torch.no_grad()
    def _statistics_at(self, parts: Sequence[float]) -> None:
        for buffer, *of_networks in zip(self.surface.network.buffers(), *self._buffers, strict=True):
            if buffer.is_floating_point():
                buffer.copy_(sum(part * value for part, value in zip(parts, of_networks, strict=True)))
        for norm in self._norms:
            if norm.running_var is not None:
                norm.running_var.clamp_min_(0.0)
        if self.batch_norm == "reestimated" and self._norms:
            self._reestimate()

    def _reestimate(self) -> None:
        """Running statistics become their averages over the batches; everything but batch norm stays in eval mode."""
        for norm in self._norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average
            norm.train()
        size = None
        for inputs, _ in self.statistics:
            size = size or len(inputs)
            if len(inputs) == size:  # each minibatch counts the same, and batch norm cannot take a single sample
                self.surface.network(inputs.to(self.surface.origin.dtype) if inputs.is_floating_point() else inputs)
        for norm in self._norms:
            norm.eval()
        if size is None:
            raise ValueError("statistics: empty, batch norm has nothing to estimate its statistics on")
