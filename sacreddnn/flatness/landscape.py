"""Loss and error on lines and planes through networks, in the space of their weights.

A line w(t) = (1 - t) w_a + t w_b shows the barrier between two minima; a plane through three networks, orthonormalised,
what lies around them (Garipov et al. 2018, arXiv 1802.10026); random directions, each filter as long as the network's
own, the surroundings of one (Li et al. 2018, arXiv 1712.09913). A low-dimensional cut shows what lies in it only: in N
dimensions a random direction meets the few sharp ones hardly at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sacreddnn.flatness.landscape_grid import Grid, Landscape
from sacreddnn.flatness.loss_surface import LossSurface, SampleLoss
from sacreddnn.flatness.passes import Batches
from sacreddnn.flatness.quantities import loss as cross_entropy


@dataclass(frozen=True)
class Barrier:
    """How high the line between two networks rises above the straight line between their values.

    Attributes:
        loss: max_t L(w(t)) - (1 - t) L(w_a) - t L(w_b), >= 0.
        error: the same for the error, in points of percent.
        line: the landscape on the line.
    """

    loss: float
    error: float
    line: Landscape


def line(
    start: nn.Module,
    end: nn.Module,
    batches: Batches,
    *,
    positions: Sequence[float] | None = None,
    batch_norm: str = "reestimated",
    statistics: Batches | None = None,
    loss: SampleLoss = cross_entropy,
) -> Landscape:
    """Loss and error along w(t) = (1 - t) w_start + t w_end.

    Args:
        start: a network, measured in eval mode, never written to.
        end: another of the same architecture.
        batches: (inputs, targets); can be iterated over again and again.
        positions: values of t; by default 21 from 0 to 1.
        batch_norm: "reestimated": running statistics are those of the batches at each point; between networks, those
            in between are of no network. "running": interpolated like the weights. Of no effect without batch norm.
        statistics: batches to re-estimate on, by default the same. Each should be drawn from all classes, as those of
            `recorded.clean("train").in_random_order()` are; minibatches smaller than the first are left out.
        loss: (outputs, targets) -> loss of each sample, shape (n,).

    Raises:
        ValueError: networks of different shapes, an unknown policy, no positions, no batches, a network whose loss is
            not finite.

    Cost: one forward pass over the data a point, two with re-estimation; memory 6 vectors of N weights.
    """
    positions = torch.linspace(0, 1, 21).tolist() if positions is None else positions
    grid = Grid([start, end], batches, batch_norm, statistics, loss)
    direction = grid.weights[1] - grid.weights[0]
    return grid.measure([direction], [positions], lambda x: [1 - x[0], x[0]], torch.tensor([[0.0], [1.0]]))


def barrier(start: nn.Module, end: nn.Module, batches: Batches, **options: object) -> Barrier:
    """The barrier between two networks on the line between them (Frankle et al. 2020, arXiv 1912.05671).

    Args:
        start: a network.
        end: another of the same architecture. A permutation of hidden units counts as a distance.
        batches: (inputs, targets).
        options: those of `line`, whose positions must begin at 0 and end at 1.

    Error: a maximum over the positions, so a lower bound.
    """
    cut = line(start, end, batches, **options)  # type: ignore[arg-type]
    (t,) = cut.axes
    if len(t) < 3 or t[0] != 0 or t[-1] != 1:
        raise ValueError("positions: a barrier needs 0 first, 1 last and something in between")
    above = [(values - (1 - t) * values[0] - t * values[-1]).max().item() for values in (cut.loss, cut.error)]
    return Barrier(loss=above[0], error=above[1], line=cut)


def plane(
    networks: Sequence[nn.Module],
    batches: Batches,
    *,
    num_points: int = 21,
    border: float = 0.2,
    batch_norm: str = "reestimated",
    statistics: Batches | None = None,
    loss: SampleLoss = cross_entropy,
) -> Landscape:
    """Loss and error on the plane through three networks.

    With u = w_2 - w_1 and v = w_3 - w_1 the axes are u/|u| and what of v is orthogonal to it; coordinates are lengths.

    Args:
        networks: three of one architecture, e.g. two minima and a third network; not on one line.
        batches: (inputs, targets); can be iterated over again and again.
        num_points: >= 2 along each axis.
        border: >= 0, how far the grid goes beyond the networks, relative to their extent.
        batch_norm: as for `line`; "running" continues the statistics linearly, variances not below 0.
        statistics: as for `line`.
        loss: (outputs, targets) -> loss of each sample, shape (n,).

    Cost: num_points^2 points, each as for `line`; memory 8 vectors of N weights.
    """
    if len(networks) != 3:
        raise ValueError(f"networks: {len(networks)} were given, a plane goes through three")
    if num_points < 2:
        raise ValueError(f"num_points: {num_points} is not allowed, it must be >= 2")
    if not 0 <= border < math.inf:
        raise ValueError(f"border: {border} is not allowed, it must be finite and >= 0")
    grid = Grid(networks, batches, batch_norm, statistics, loss)
    first, second, third = grid.weights
    u, v = second - first, third - first
    width = u.norm().item()
    if width == 0:
        raise ValueError("networks: the first two are the same, they span no plane")
    u /= width
    along = (u @ v).item()
    v -= (u @ v) * u
    height = v.norm().item()
    if height <= 1e-6 * max(width, abs(along)):
        raise ValueError("networks: they lie on one line, they span no plane")
    v /= height
    low, high = min(0.0, along), max(width, along)
    axes = [
        torch.linspace(a - border * (b - a), b + border * (b - a), num_points, dtype=torch.float64).tolist()
        for a, b in ((low, high), (0.0, height))
    ]

    def barycentric(x: Sequence[float]) -> list[float]:
        c = x[1] / height
        b = (x[0] - c * along) / width
        return [1 - b - c, b, c]

    corners = torch.tensor([[0.0, 0.0], [width, 0.0], [along, height]], dtype=torch.float64)
    return grid.measure([u, v], axes, barycentric, corners)


def random_cut(
    network: nn.Module,
    batches: Batches,
    *,
    radius: float = 1.0,
    num_points: int = 21,
    dimensions: int = 2,
    seed: int = 0,
    batch_norm: str = "running",
    statistics: Batches | None = None,
    loss: SampleLoss = cross_entropy,
) -> Landscape:
    """Loss and error along one or two random, filter-normalised directions around a network.

    A direction is Gaussian, then each filter (row of a weight tensor) is made as long as the network's own; biases and
    normalisation parameters stay put (Li et al. 2018). The cut is then invariant under a rescaling of filters.

    Args:
        network: measured in eval mode, never written to.
        batches: (inputs, targets); can be iterated over again and again.
        radius: > 0, largest multiple of a direction.
        num_points: >= 2 along each axis, from -radius to radius.
        dimensions: 1 or 2.
        seed: of the directions.
        batch_norm: as for `line`; "running" keeps the network's own statistics.
        statistics: as for `line`.
        loss: (outputs, targets) -> loss of each sample, shape (n,).

    Cost: num_points^dimensions points, each as for `line`; memory 7 vectors of N weights.
    """
    if not 0 < radius < math.inf:
        raise ValueError(f"radius: {radius} is not allowed, it must be finite and > 0")
    if num_points < 2:
        raise ValueError(f"num_points: {num_points} is not allowed, it must be >= 2")
    if dimensions not in (1, 2):
        raise ValueError(f"dimensions: {dimensions} is not allowed, it must be 1 or 2")
    grid = Grid([network], batches, batch_norm, statistics, loss)
    generator = grid.surface.generator(seed)
    directions = [filter_normalized(grid.surface, grid.surface.normal(generator)) for _ in range(dimensions)]
    axis = torch.linspace(-radius, radius, num_points, dtype=torch.float64).tolist()
    return grid.measure(directions, [axis] * dimensions, lambda x: [1.0], torch.zeros(1, dimensions))


def filter_normalized(surface: LossSurface, direction: Tensor) -> Tensor:
    """The direction with each filter as long as that of the origin, and zero for parameters of one dimension."""
    scaled = direction.clone()
    for d, w in zip(surface.views(scaled), surface.views(surface.origin), strict=True):
        if w.ndim < 2:
            d.zero_()
            continue
        rest = tuple(range(1, w.ndim))
        lengths = [torch.linalg.vector_norm(x, dim=rest, keepdim=True) for x in (w, d)]
        d.mul_(lengths[0] / lengths[1].clamp_min(torch.finfo(d.dtype).tiny))
    return scaled
