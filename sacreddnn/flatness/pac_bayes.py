r"""How much noise the weights bear: the sigma of PAC-Bayes bounds.

    sigma* = max { sigma : E_z L(w + sigma z) - L(w) <= t },    z ~ N(0, 1)

(Neyshabur et al. 2017, arXiv 1706.08947; as the measure 1/sigma*^2 in Jiang et al. 2020, arXiv 1912.02178, "pac-bayes
flatness", where t is a rise of the train error by 0.1.) Magnitude-aware noise, with which the measure does not depend
on the scale of each weight, has the standard deviation sqrt(sigma^2 w_i^2 + epsilon^2) (same source, "pac-bayes mag
flatness").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sacreddnn.flatness.estimate import Estimate
from sacreddnn.flatness.loss_surface import LossSurface, SampleLoss
from sacreddnn.flatness.passes import Batches
from sacreddnn.flatness.quantities import loss as cross_entropy


@dataclass(frozen=True)
class PacBayesSigma:
    """The noise at which the loss has risen by the target.

    Attributes:
        sigma: sigma*.
        standard_error: of the draws, by the slope of the rise at sigma*; NaN for a single draw.
        rise: mean rise at sigma*, its standard error and the draws, in the loss's unit.
        evaluations: strengths of noise that were tried, in order.
        not_finite: how many of them had a draw whose loss is not finite; they count as above the target.
    """

    sigma: float
    standard_error: float
    rise: Estimate
    evaluations: tuple[float, ...]
    not_finite: int


def pac_bayes_sigma(
    network: nn.Module,
    batches: Batches,
    target: float = 0.1,
    *,
    magnitude_aware: bool = False,
    epsilon: float = 0.0,
    num_samples: int = 10,
    tolerance: float = 0.01,
    bounds: tuple[float, float] = (1e-6, 1e3),
    seed: int = 0,
    loss: SampleLoss = cross_entropy,
    dtype: torch.dtype | None = None,
) -> PacBayesSigma:
    """The strength of Gaussian noise at which the mean loss has risen by `target`, by bisection of log sigma.

    The same draws z serve every sigma, and every network of as many weights that is measured with the same seed (common
    random numbers): the rise is then a smooth function of sigma.

    Args:
        network: any module with floating-point parameters; measured in eval mode, never written to.
        batches: (inputs, targets); can be iterated over again and again.
        target: t > 0, in the loss's unit.
        magnitude_aware: noise in proportion to each weight.
        epsilon: >= 0, noise that magnitude-aware noise keeps for weights at zero (Jiang et al. 2020 use 1e-3).
        num_samples: >= 1 draws z; two or more for a standard error.
        tolerance: > 0, relative width of the last bracket.
        bounds: smallest and largest sigma, between which sigma* is looked for.
        seed: of the draws.
        loss: (outputs, targets) -> loss of each sample, shape (n,); `lambda o, y: error(o, y) / 100` for the paper's t.
        dtype: to compute in; by default the network's own.

    Raises:
        ValueError: an argument outside its range, no batches, a network whose loss is not finite, or a rise that is
            above the target at the smallest sigma, or below at the largest.

    Cost: num_samples forward passes over the data for each evaluation, some 15 to 20 of them; memory 6 vectors of N
    weights.

    Bias: the rise is averaged, not sigma: of order 1/num_samples. Where the loss is not monotonic in sigma one of its
    crossings is found.
    """
    low, high = bounds
    for key, value, holds, allowed in (
        ("target", target, 0 < target < math.inf, "finite and > 0"),
        ("epsilon", epsilon, 0 <= epsilon < math.inf, "finite and >= 0"),
        ("num_samples", num_samples, num_samples >= 1, ">= 1"),
        ("tolerance", tolerance, tolerance > 0, "> 0"),
        ("bounds", bounds, 0 < low < high < math.inf, "two rising numbers > 0"),
    ):
        if not holds:
            raise ValueError(f"{key}: {value} is not allowed, it must be {allowed}")
    if epsilon and not magnitude_aware:
        raise ValueError(f"epsilon: {epsilon} has no meaning without magnitude_aware, leave it at 0")
    surface = LossSurface(network, batches, loss=loss, dtype=dtype)
    tried: dict[float, Tensor] = {}

    def rise(sigma: float) -> float:
        """Mean rise at sigma; infinite where any draw's loss is not finite."""
        scale = surface.origin.new_tensor(sigma)
        if magnitude_aware:
            scale = (sigma * surface.origin).square_().add_(epsilon**2).sqrt_()
        generator = surface.generator(seed)
        rises = [
            surface.value(surface.normal(generator).mul_(scale).add_(surface.origin)) - surface.origin_loss
            for _ in range(num_samples)
        ]
        tried[sigma] = torch.tensor(rises, dtype=torch.float64)
        mean = tried[sigma].mean().item()
        return mean if math.isfinite(mean) else math.inf

    low, high = _bracket(rise, target, low, high)
    while high > low * (1 + tolerance):
        middle = math.sqrt(low * high)
        if rise(middle) <= target:
            low = middle
        else:
            high = middle
    below, above = tried[low].mean().item(), tried[high].mean().item()
    estimate = Estimate.of(tried[low])
    slope = (above - below) / (high - low)
    return PacBayesSigma(
        # between the ends of the bracket by the secant, where the upper one is a number at all
        sigma=low + (target - below) / slope if math.isfinite(slope) and slope > 0 else low,
        standard_error=estimate.standard_error.item() / slope if math.isfinite(slope) and slope > 0 else math.nan,
        rise=estimate,
        evaluations=tuple(tried),
        not_finite=sum(not rises.isfinite().all() for rises in tried.values()),
    )


def _bracket(rise: Callable[[float], float], target: float, low: float, high: float) -> tuple[float, float]:
    """Two strengths of noise, at most a factor 10 apart, with the target between their rises.

    Goes outward from 0.01 (or the nearer bound): far away are the numbers that are not finite.
    """
    sigma = min(max(0.01, low), high)
    if rise(sigma) > target:
        while sigma > low:
            upper, sigma = sigma, max(sigma / 10, low)
            if rise(sigma) <= target:
                return sigma, upper
        raise ValueError(
            f"bounds: the loss rises by more than the target, {target:g}, already at sigma = {low:g}; "
            "take a smaller bound, a larger target or a smaller epsilon"
        )
    while sigma < high:
        lower, sigma = sigma, min(sigma * 10, high)
        if rise(sigma) > target:
            return lower, sigma
    raise ValueError(
        f"bounds: the loss rises by less than the target, {target:g}, even at sigma = {high:g}; "
        "take a larger bound or a smaller target"
    )
