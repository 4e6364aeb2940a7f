r"""The local-entropy loss of a deep network, by thermodynamic integration along Langevin chains.

    L_LE(w; beta, gamma) = -1/beta log int dw' exp(-beta L(w') - beta gamma d(w', w)),    d(w', w) = |w' - w|^2 / 2

(Chaudhari et al. 2017, arXiv 1611.01838; Pittorino et al. 2021, arXiv 2006.07897.) A wide minimum keeps L_LE low as
gamma falls and the neighbourhood grows. Reported is the part that the loss makes, without the volume of the Gaussian:

    F(gamma) = L_LE - N/(2 beta) log(beta gamma / 2 pi) = -1/beta log E_(w' ~ N(w, 1/(beta gamma))) exp(-beta L(w'))

so that F -> L(w) for gamma -> infinity. By dL_LE/dgamma = <d>, and by parts (Stein's identity)

    dF/dlog gamma = gamma <d> - N/(2 beta) = -1/2 <(w' - w) . grad L(w')>

The right form is the one that is averaged: its fluctuations, and its bias from the size of the step, come from the
curved directions only, where those of <d> grow with N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sacreddnn.flatness.lanczos import lanczos
from sacreddnn.flatness.langevin import SCHEMES, Chain, sample
from sacreddnn.flatness.loss_surface import LossSurface, SampleLoss
from sacreddnn.flatness.passes import Batches
from sacreddnn.flatness.quantities import loss as cross_entropy

SPLINE = 4  # couplings from which the derivative is integrated as a cubic spline


@dataclass(frozen=True)
class LocalEntropy:
    """The local-entropy loss at each coupling, gammas falling. Tensors are float64 on the CPU, shape (g,) if not said.

    Attributes:
        gammas: couplings, in falling order.
        beta: inverse temperature.
        num_weights: N.
        value: F(gamma).
        standard_error: of F; the larger one of the two below.
        error_within: from the autocorrelation of each chain, with the reference's.
        error_between: from the scatter of the independent chains, with the reference's; NaN for one chain.
        quadrature_error: |spline - trapezoid|, an upper estimate of the error of integrating between the couplings; NaN
            for fewer than four couplings, which are integrated by trapezoids alone.
        chains: F of every chain, shape (num_chains, g).
        distance: <d(w', w)>.
        distance_error: its standard error.
        loss: <L(w')>.
        loss_error: its standard error.
        time: integrated autocorrelation time of the integrand, in steps, mean over chains.
        drift: integrand of the first half minus the second's in standard errors; beyond 3: burn-in too short.
        temperature: beta <(w' - w) . grad(L + gamma d)> / N, 1 for exact sampling; what exceeds 1 is the heat of the
            finite step and of minibatches.
        step_size: of the chains.
        burn_in: steps thrown away at each coupling.
        reference_samples: effective number of the Gaussian draws that give F at the largest gamma; a few only: take a
            larger first gamma.
        gradient: gamma (w - <w'>) at the smallest gamma, the gradient of L_LE, shape (N,).
    """

    gammas: Tensor
    beta: float
    num_weights: int
    value: Tensor
    standard_error: Tensor
    error_within: Tensor
    error_between: Tensor
    quadrature_error: Tensor
    chains: Tensor
    distance: Tensor
    distance_error: Tensor
    loss: Tensor
    loss_error: Tensor
    time: Tensor
    drift: Tensor
    temperature: Tensor
    step_size: Tensor
    burn_in: int
    reference_samples: float
    gradient: Tensor

    def unnormalized(self) -> Tensor:
        """L_LE itself, with the volume of the Gaussian."""
        volume = self.num_weights / (2 * self.beta) * (self.beta * self.gammas / (2 * math.pi)).log()
        return self.value + volume

    def loss_against_distance(self) -> tuple[Tensor, Tensor]:
        """The curve (<d>, <L>): mean loss of the networks at a typical distance from w, each of shape (g,)."""
        return self.distance, self.loss


def local_entropy(
    network: nn.Module,
    batches: Batches,
    gammas: Sequence[float],
    *,
    beta: float,
    num_steps: int = 1000,
    burn_in: int = 250,
    num_chains: int = 2,
    step: float = 0.2,
    scheme: str = "leimkuhler_matthews",
    full_batch: bool = False,
    curvature: float | None = None,
    num_reference: int = 50,
    seed: int = 0,
    loss: SampleLoss = cross_entropy,
    dtype: torch.dtype | None = None,
) -> LocalEntropy:
    """The local-entropy loss around the weights of a network.

    Chains start at the largest gamma from its Gaussian and go down; at each new gamma the displacement is rescaled as
    a flat direction would be, so that burn-in is needed along curved directions only.

    Args:
        network: any module with floating-point parameters; measured in eval mode, never written to.
        batches: list of (inputs, targets), each step takes one at random; with full_batch any re-iterable.
        gammas: two or more different couplings > 0, evenly spaced in the logarithm at best. The largest should be far
            above the curvature (see `reference_samples`).
        beta: > 0, inverse temperature of the loss per sample.
        num_steps: >= 4, steps kept at each coupling and chain.
        burn_in: >= 0, steps thrown away before. The slowest curved direction needs several times
            (gamma + curvature) / (gamma step).
        num_chains: >= 1 independent chains; two or more for the error between them.
        step: in (0, 2), size of a step in units of the stability limit: eta = step / (gamma + curvature).
        scheme: "leimkuhler_matthews" or "euler" (plain SGLD), see langevin.py.
        full_batch: use the gradient of all batches in every step.
        curvature: > 0, upper bound of the Hessian's eigenvalues around w; by default that at w, by Lanczos.
        num_reference: >= 2 pairs of Gaussian draws for F at the largest gamma.
        seed: of everything random; chains and draws have generators of their own.
        loss: (outputs, targets) -> loss of each sample, shape (n,).
        dtype: to compute in; by default the network's own.

    Raises:
        ValueError: an argument outside its range, no batches, a network whose loss is not finite, a chain that
            diverges (a smaller step helps).

    Cost: num_chains * len(gammas) * (burn_in + num_steps) minibatch gradients, 2 num_reference forward passes over the
    data and, without `curvature`, 20 Hessian-vector products; memory 8 vectors of N weights.

    Bias: of the step, none on a quadratic with leimkuhler_matthews and second order elsewhere; with euler the variance
    of each direction of curvature h grows by 1 / (1 - eta (h + gamma) / 2). Minibatch gradients of covariance C add
    eta^2 C / (1 - a^2), a = 1 - eta (h + gamma): see `temperature`, and halve the step to see what it does.
    """
    _validate(gammas, beta, num_steps, burn_in, num_chains, step, scheme, curvature, num_reference)
    surface = LossSurface(network, batches, loss=loss, dtype=dtype)
    seeds = torch.randint(2**62, (num_chains + 2,), generator=torch.Generator().manual_seed(seed)).tolist()
    if curvature is None:
        found = lanczos(surface.hessian_product, surface.normal(surface.generator(seeds[-1])), 20)
        values, _, bounds = found.eigen()
        curvature = max((values.abs() + bounds).max().item(), 0.0)
    falling = sorted((float(gamma) for gamma in gammas), reverse=True)
    reference, reference_error, effective = _reference(
        surface, beta, falling[0], num_reference, surface.generator(seeds[-2])
    )
    etas = [step / (gamma + curvature) for gamma in falling]
    chains = [
        sample(surface, falling, etas, beta, num_steps, burn_in, scheme, full_batch, chain_seed)
        for chain_seed in seeds[:num_chains]
    ]
    return _integrate(surface, chains, falling, etas, beta, burn_in, reference, reference_error, effective)


def _validate(
    gammas: Sequence[float],
    beta: float,
    num_steps: int,
    burn_in: int,
    num_chains: int,
    step: float,
    scheme: str,
    curvature: float | None,
    num_reference: int,
) -> None:
    finite = lambda x: 0 < x < math.inf  # noqa: E731
    if len(set(gammas)) < 2 or len(set(gammas)) < len(gammas):
        raise ValueError(f"gammas: {list(gammas)} is not allowed, give two or more different couplings")
    checks = [(f"gammas: {gamma}", finite(gamma), "finite and > 0") for gamma in gammas]
    checks += [
        (f"beta: {beta}", finite(beta), "finite and > 0"),
        (f"num_steps: {num_steps}", num_steps >= 4, ">= 4"),
        (f"burn_in: {burn_in}", burn_in >= 0, ">= 0"),
        (f"num_chains: {num_chains}", num_chains >= 1, ">= 1"),
        (f"step: {step}", 0 < step < 2, "in (0, 2)"),
        (f"scheme: {scheme!r}", scheme in SCHEMES, f"one of {', '.join(SCHEMES)}"),
        (f"curvature: {curvature}", curvature is None or finite(curvature), "finite and > 0"),
        (f"num_reference: {num_reference}", num_reference >= 2, ">= 2"),
    ]
    for what, holds, allowed in checks:
        if not holds:
            raise ValueError(f"{what} is not allowed, it must be {allowed}")


def _reference(
    surface: LossSurface, beta: float, gamma: float, num_pairs: int, generator: torch.Generator
) -> tuple[float, float, float]:
    """F at the largest gamma from antithetic Gaussian draws: value, standard error, effective number of draws."""
    rises = []
    for _ in range(num_pairs):
        z = surface.normal(generator).div_(math.sqrt(beta * gamma))
        rises.append([surface.value(surface.origin + sign * z) - surface.origin_loss for sign in (1, -1)])
    exponents = -beta * torch.tensor(rises, dtype=torch.float64)
    if not exponents.isfinite().all():
        raise ValueError(f"gammas: the loss is not finite around the network at the largest one, {gamma}; add larger")
    log_pairs = exponents.logsumexp(1) - math.log(2)
    log_mean = (log_pairs.logsumexp(0) - math.log(num_pairs)).item()
    u = (log_pairs - log_mean).exp()  # mean 1
    error = u.std(correction=1).item() / math.sqrt(num_pairs) / beta if num_pairs > 1 else math.nan
    effective = (u.sum().square() / u.square().sum()).item()
    return surface.origin_loss - log_mean / beta, error, effective


def _integration_weights(x: list[float]) -> tuple[Tensor, Tensor]:
    """Matrices A with int_(x_k)^(x_0) f dx = sum_i A_ki f(x_i), x falling: by cubic spline, and by trapezoids."""
    n = len(x)
    trapezoid = torch.zeros(n, n, dtype=torch.float64)
    for k in range(1, n):
        trapezoid[k] = trapezoid[k - 1]
        trapezoid[k, k - 1 : k + 1] += (x[k - 1] - x[k]) / 2
    if n < SPLINE:
        return trapezoid, trapezoid
    from scipy.interpolate import CubicSpline  # only here: it takes longer to import than a run to start

    primitive = CubicSpline(x[::-1], torch.eye(n, dtype=torch.float64).flip(1).numpy()).antiderivative()
    spline = torch.from_numpy(primitive(x[0]) - primitive(x))
    return spline, trapezoid


def _integrate(
    surface: LossSurface,
    chains: list[Chain],
    gammas: list[float],
    etas: list[float],
    beta: float,
    burn_in: int,
    reference: float,
    reference_error: float,
    effective: float,
) -> LocalEntropy:
    gamma = torch.tensor(gammas, dtype=torch.float64)
    N, num = surface.num_weights, len(chains)
    A, trapezoid = _integration_weights(gamma.log().tolist())
    slopes = torch.stack([chain.slope for chain in chains])  # dF/dlog gamma, shape (num_chains, g)
    slope = slopes.mean(0)
    slope_errors = torch.stack([chain.slope_error for chain in chains])
    slope_error = slope_errors.square().sum(0).sqrt() / num
    of_chains = reference - slopes @ A.mT
    within = ((A.square() @ slope_error.square()) + reference_error**2).sqrt()
    between = (of_chains.var(0, correction=1) / num + reference_error**2).sqrt() if num > 1 else within * math.nan
    mean_of = lambda name: torch.stack([getattr(chain, name) for chain in chains]).mean(0)  # noqa: E731
    error_of = lambda name: torch.stack([getattr(c, name) for c in chains]).square().sum(0).sqrt() / num  # noqa: E731
    displacement = torch.stack([chain.displacement for chain in chains]).mean(0)
    return LocalEntropy(
        gammas=gamma,
        beta=beta,
        num_weights=N,
        value=of_chains.mean(0),
        standard_error=torch.fmax(within, between),
        error_within=within,
        error_between=between,
        quadrature_error=((A - trapezoid) @ slope).abs() if len(gammas) >= SPLINE else torch.full_like(slope, math.nan),
        chains=of_chains,
        distance=(N / (2 * beta) + slope) / gamma,
        distance_error=slope_error / gamma,
        loss=mean_of("loss"),
        loss_error=error_of("loss_error"),
        time=mean_of("time"),
        drift=mean_of("half_difference") / error_of("half_difference_error"),
        temperature=beta * (2 * gamma * mean_of("distance") - 2 * slope) / N,
        step_size=torch.tensor(etas, dtype=torch.float64),
        burn_in=burn_in,
        reference_samples=effective,
        gradient=-gammas[-1] * displacement,
    )
