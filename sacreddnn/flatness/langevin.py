r"""Stochastic gradient Langevin dynamics around a network, at a falling series of couplings.

Samples exp(-beta (L(w') + gamma d(w', w))) with steps of size eta on the displacement u = w' - w:

    u <- u - eta (g + gamma u) + sqrt(2 eta / beta) xi,    g = grad L(w + u; minibatch)

"euler" draws xi fresh in every step (SGLD, Welling and Teh 2011); "leimkuhler_matthews" takes the mean of this step's
and the last one's (Leimkuhler and Matthews 2013, arXiv 1203.5428). In a direction of curvature h, with
k = h + gamma and a = 1 - eta k, the stationary variance of u is

    euler:                s^2 / (1 - a^2) = 1/(beta k) 1/(1 - eta k / 2),    s^2 = 2 eta / beta
    leimkuhler_matthews:  s^2 / (2 (1 - a)) = 1/(beta k), that of the exact law
    and gradient noise of covariance C adds to either  eta^2 C / (1 - a^2)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sacreddnn.flatness.autocorrelation import series_mean
from sacreddnn.flatness.loss_surface import LossSurface

SCHEMES = ("leimkuhler_matthews", "euler")


@dataclass(frozen=True)
class Chain:
    """Averages along one chain at each coupling; float64 on the CPU, shape (g,) if not said.

    Attributes:
        slope: -1/2 <u . grad L>, the derivative of F with respect to log gamma.
        slope_error: its standard error from the autocorrelation.
        time: integrated autocorrelation time of the slope, in steps.
        half_difference: slope of the first half of the steps minus that of the second.
        half_difference_error: its standard error.
        distance: <|u|^2> / 2 as sampled.
        loss: <L(w')>.
        loss_error: its standard error.
        displacement: <u> at the last coupling, shape (N,).
    """

    slope: Tensor
    slope_error: Tensor
    time: Tensor
    half_difference: Tensor
    half_difference_error: Tensor
    distance: Tensor
    loss: Tensor
    loss_error: Tensor
    displacement: Tensor


def sample(
    surface: LossSurface,
    gammas: list[float],
    etas: list[float],
    beta: float,
    num_steps: int,
    burn_in: int,
    scheme: str,
    full_batch: bool,
    seed: int,
) -> Chain:
    """One chain from the Gaussian of gammas[0] through all couplings in the order given.

    Args:
        surface: the loss.
        gammas: couplings > 0.
        etas: step size at each.
        beta: inverse temperature.
        num_steps: steps kept at each coupling.
        burn_in: steps before them.
        scheme: one of `SCHEMES`.
        full_batch: whether each step takes the gradient over all batches, or over one at random.
        seed: of start, noise and minibatches.

    Raises:
        ValueError: the chain leaves the finite numbers.
    """
    generator, choice = surface.generator(seed), torch.Generator().manual_seed(seed)
    u = surface.normal(generator).div_(math.sqrt(beta * gammas[0]))
    z = surface.normal(generator)
    displacement = torch.zeros_like(u)
    rows = []
    for i, (gamma, eta) in enumerate(zip(gammas, etas, strict=True)):
        if i > 0:
            u *= math.sqrt(gammas[i - 1] / gamma)  # the width of a flat direction at the new coupling
        trace = u.new_zeros(num_steps, 3)  # on the device: nothing waits for it
        for t in range(-burn_in, num_steps):
            loss, g = _gradient(surface, surface.origin + u, full_batch, choice)
            if t >= 0:
                trace[t, 0], trace[t, 1], trace[t, 2] = -0.5 * (u @ g), 0.5 * (u @ u), loss
                if i == len(gammas) - 1:
                    displacement += u
            fresh = surface.normal(generator)
            u.sub_(g.add_(u, alpha=gamma), alpha=eta)
            noise = math.sqrt(2 * eta / beta)
            if scheme == "euler":
                u.add_(fresh, alpha=noise)
            else:
                u.add_(z, alpha=noise / 2).add_(fresh, alpha=noise / 2)
            z = fresh
        rows.append(_averages(trace.double().cpu(), gamma))
    averages: list[Tensor] = [*torch.tensor(rows, dtype=torch.float64).unbind(1), displacement / num_steps]
    return Chain(*averages)


def _gradient(surface: LossSurface, w: Tensor, full_batch: bool, choice: torch.Generator) -> tuple[Tensor, Tensor]:
    if full_batch:
        return surface.value_and_gradient(w)
    number = int(torch.randint(surface.num_batches, (), generator=choice))
    return surface.minibatch_gradient(number, w)


def _averages(trace: Tensor, gamma: float) -> list[float]:
    if not trace.isfinite().all():
        raise ValueError(f"step: the chain diverged at gamma = {gamma:g}; take a smaller step or a larger curvature")
    slope, loss = series_mean(trace[:, 0]), series_mean(trace[:, 2])
    half = len(trace) // 2
    first, second = series_mean(trace[:half, 0]), series_mean(trace[half:, 0])
    both = math.hypot(first.standard_error, second.standard_error)
    return [
        slope.mean,
        slope.standard_error,
        slope.time,
        first.mean - second.mean,
        both,
        trace[:, 1].mean().item(),
        loss.mean,
        loss.standard_error,
    ]
