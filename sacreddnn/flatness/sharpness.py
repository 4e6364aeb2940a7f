"""Worst-case sharpness: how much the loss can rise within a ball around the weights.

    S(w, rho) = max_(|e| <= rho) L(w + e) - L(w)

(Keskar et al. 2017, arXiv 1609.04836; what SAM descends, Foret et al. 2021, arXiv 2010.01412.) Adaptive sharpness takes
the ball in units of the weights, |e / T|_2 <= rho with T = |w| (Kwon et al. 2021, arXiv 2102.11600), and is then
invariant under a rescaling of the weights that leaves the network's function alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sacreddnn.flatness.loss_surface import LossSurface, SampleLoss, require_finite
from sacreddnn.flatness.passes import Batches
from sacreddnn.flatness.quantities import loss as cross_entropy


@dataclass(frozen=True)
class Sharpness:
    """The largest rise that was found.

    Attributes:
        rise: S, a lower bound of the maximum, >= 0, in the loss's unit.
        rises: at every step of every start, shape (num_starts, num_steps).
        perturbation: e that reaches it, shape (N,), laid out like `LossSurface.origin`.
        loss: L(w).
    """

    rise: float
    rises: Tensor
    perturbation: Tensor
    loss: float


def sharpness(
    network: nn.Module,
    batches: Batches,
    rho: float,
    *,
    adaptive: bool = False,
    num_steps: int = 20,
    num_starts: int = 1,
    step: float = 1.0,
    seed: int = 0,
    loss: SampleLoss = cross_entropy,
    dtype: torch.dtype | None = None,
) -> Sharpness:
    """The worst-case sharpness by projected gradient ascent, u <- P(u + step rho g/|g|) with e = T u.

    P projects on the ball of radius rho, g is the gradient with respect to u over all batches. With step 1 the first
    step from the center is SAM's; on a quadratic all further ones are a power iteration shifted by the identity. The
    first start is the center, or a random direction where the gradient there is zero; further ones are random points on
    the sphere.

    Args:
        network: any module with floating-point parameters; measured in eval mode, never written to.
        batches: (inputs, targets); can be iterated over again and again.
        rho: > 0, radius.
        adaptive: T = |w| instead of 1: weights that are zero stay zero.
        num_steps: >= 1 steps from each start; 1 with one start is SAM's own estimate.
        num_starts: >= 1.
        step: > 0, length of a step in radii.
        seed: of the random starts.
        loss: (outputs, targets) -> loss of each sample, shape (n,).
        dtype: to compute in; by default the network's own.

    Returns:
        The largest rise over all points that were visited.

    Raises:
        ValueError: an argument outside its range, no batches, or a loss that is not finite at w or within the ball.

    Cost: 1 + num_starts * (num_steps + 1) gradients of the whole data set; memory 8 vectors of N weights.

    Error: a lower bound; more steps and starts can only raise it. Compare networks at the same numbers of both.
    """
    for key, value, holds, allowed in (
        ("rho", rho, 0 < rho < float("inf"), "finite and > 0"),
        ("num_steps", num_steps, num_steps >= 1, ">= 1"),
        ("num_starts", num_starts, num_starts >= 1, ">= 1"),
        ("step", step, 0 < step < float("inf"), "finite and > 0"),
    ):
        if not holds:
            raise ValueError(f"{key}: {value} is not allowed, it must be {allowed}")
    surface = LossSurface(network, batches, loss=loss, dtype=dtype)
    T = surface.origin.abs() if adaptive else torch.ones_like(surface.origin)
    if not T.any():
        raise ValueError("network: all its weights are zero, adaptive sharpness has no ball")
    generator = surface.generator(seed)
    rises = torch.zeros(num_starts, num_steps, dtype=torch.float64)
    best, perturbation = 0.0, torch.zeros_like(T)
    for start in range(num_starts):
        u = torch.zeros_like(T) if start == 0 else _on_sphere(surface, T, rho, generator)
        g = _ascent(surface, u, T, rho)[1]
        for t in range(num_steps):
            norm = g.norm()
            # at a stationary point any direction is as good as another
            direction = g / norm if norm > 0 else _on_sphere(surface, T, 1.0, generator)
            u.add_(direction, alpha=step * rho)
            u.mul_(rho / u.norm().clamp_min(rho))
            value, g = _ascent(surface, u, T, rho)
            rises[start, t] = value - surface.origin_loss
            if rises[start, t] > best:
                best, perturbation = rises[start, t].item(), T * u
    return Sharpness(best, rises, perturbation, surface.origin_loss)


def _ascent(surface: LossSurface, u: Tensor, T: Tensor, rho: float) -> tuple[float, Tensor]:
    """L at w + T u and its gradient with respect to u; refuses values that are not finite."""
    value, g = surface.value_and_gradient(surface.origin + T * u)
    g.mul_(T)
    loss = require_finite("rho", value.item(), f"is the loss within the ball of radius {rho:g}")
    require_finite("rho", g.norm().item(), f"is the gradient's norm within the ball of radius {rho:g}")
    return loss, g


def _on_sphere(surface: LossSurface, T: Tensor, radius: float, generator: torch.Generator) -> Tensor:
    u = surface.normal(generator) * (T != 0)  # what T does not move counts for nothing
    return u.mul_(radius / u.norm())
