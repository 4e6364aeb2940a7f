r"""The local entropy by exact sampling: plain Monte Carlo near the network, chains and bridges further out.

Near w~ the fraction of Gaussian draws w = t w~ + s z that are solutions is P_t itself. The number of errors of a draw,
whose mean is known exactly (committee.local_energy), is its control variate. From the smallest such t on down,

    log P_t' / P_t = log P(t' w~ + s' z is a solution | z at t) - log P(t w~ + s z is a solution | z at t')

with the same z in both, each conditional probability the fraction of the states of Markov chains (chains.py). The
burn-in at t tells how far the next t' may be: as far as a fifth of its states are solutions there. Nothing is
approximated; the error comes from the scatter of whole chains, each of which goes down all t on its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile

import numpy as np

from sacreddnn.shallow import chains, committee
from sacreddnn.shallow.committee import Array
from sacreddnn.shallow.curve import LocalEntropyCurve

NEAREST = (0.9999, 0.999, 0.995, 0.99, 0.98, 0.95)  # where to begin, if the first t asked for is too far out
RARE = 0.01  # smallest P_t that plain Monte Carlo measures
ACCURATE = 0.02  # relative error of log P_t at which plain Monte Carlo ends
SHARED = 0.2  # smallest fraction of states in common over a bridge
SAMPLERS = ("hmc", "ess")


@dataclass
class _Point:
    """Estimates at one t, and the potential scale reduction of q minus one."""

    log_p: float = math.nan
    log_p_error: float = math.nan
    q: float = math.nan
    q_error: float = math.nan
    residual: float = math.inf


@dataclass(frozen=True)
class _Problem:
    """A network and its patterns, as the chains see them.

    Attributes:
        base: w~ F^T, shape (K, P).
        gram: F F^T.
        root: (P, R), its square root: projections of R standard normal numbers.
        overlap: (K, P), E[w~_k . z_k | u_k] = overlap_k . u_k.
        allowed: number of errors.
        num_weights: K N.
        error_chances: at t, the probability that a draw is wrong on each pattern, shape (P,).
    """

    base: Array
    gram: Array
    root: Array
    overlap: Array
    allowed: int
    num_weights: int
    error_chances: Callable[[float], Array]

    @classmethod
    def of(cls, weights: Array, patterns: Array, labels: Array) -> _Problem:
        F = labels[:, None] * patterns / math.sqrt(weights.shape[1])
        left, singular, right = np.linalg.svd(F, full_matrices=False)
        rank = int((singular > 1e-10 * singular[0]).sum())
        left, singular, right = left[:, :rank], singular[:rank], right[:rank]
        overlap = weights @ right.T / singular @ left.T
        allowed = committee.num_errors(weights, patterns, labels)

        def error_chances(t: float) -> Array:
            return committee.error_probability(weights, patterns, labels, math.sqrt(1 / t**2 - 1), "additive")

        root = np.ascontiguousarray(left * singular)
        return cls(weights @ F.T, F @ F.T, root, overlap, allowed, weights.size, error_chances)


def curve(
    weights: Array, patterns: Array, labels: Array, ts: Array, *, sampler: str | None = None, num_chains: int = 8,
    num_sweeps: int = 100, burn_in: int = 20, num_direct: int = 100_000, seed: int = 0,
) -> LocalEntropyCurve:  # fmt: skip
    """The curve by sampling; for the first four arguments see curve.local_entropy_curve.

    Args:
        weights: w~ on its spheres.
        patterns: shape (P, N).
        labels: +-1.
        ts: falling.
        sampler: "hmc", or "ess" which a w~ with training errors needs; None: as needed.
        num_chains: >= 3, independent of each other.
        num_sweeps: >= 4, states kept of each chain at each t, one a sweep over the units.
        burn_in: >= 4 sweeps before that.
        num_direct: draws of plain Monte Carlo at most.
        seed: of everything random.

    Returns:
        The curve. `residual` is the potential scale reduction of q between chains minus one (Gelman and Rubin 1992),
        the largest met on the way; a point with less than 0.2 counts as converged. Where a chain has no state in
        common with the next t the curve ends in NaN.

    Raises:
        ValueError: an argument out of range; a network with hardly a solution around it.

    Cost: num_direct products with a P x P matrix a unit, then a sweep costs K P^2 operations and, for each bounce, P.
    """
    if sampler not in (None, *SAMPLERS):
        raise ValueError(f"sampler: {sampler!r} is not allowed, allowed: {', '.join(SAMPLERS)}")
    for name, value, least in (
        ("num_chains", num_chains, 3), ("num_sweeps", num_sweeps, 4), ("burn_in", burn_in, 4),
        ("num_direct", num_direct, 100),
    ):  # fmt: skip
        if value < least:
            raise ValueError(f"{name}: {value} is not allowed, at least {least}")
    problem = _Problem.of(weights, patterns, labels)
    if sampler == "hmc" and problem.allowed:
        raise ValueError(f"sampler: 'hmc' takes no training errors, this network has {problem.allowed}; use 'ess'")
    use_hmc = sampler != "ess" and problem.allowed == 0
    grid = np.array([t for t in NEAREST if t > ts[0]] + list(ts))
    generator = np.random.default_rng(seed)
    points, states = _direct(problem, grid, num_direct, num_chains, generator)
    number = len(points)
    points[float(grid[number - 1])], later = _chains(
        problem, points[float(grid[number - 1])], states, [float(t) for t in grid[number - 1 :]], use_hmc, burn_in,
        num_sweeps, generator,
    )  # fmt: skip
    points |= later
    found = [points.get(float(t), _Point()) for t in ts]
    names = ("log_p", "log_p_error", "q", "q_error", "residual")
    columns = {name: np.array([getattr(point, name) for point in found]) for name in names}
    # what lies further out stands on everything before
    residual = np.maximum.accumulate(columns.pop("residual"))
    return LocalEntropyCurve.of(
        ts, **columns, converged=residual < 0.2, residual=residual, method="sampling", num_weights=weights.size
    )


@dataclass
class _Direct:
    """Sums over the draws of plain Monte Carlo at one t, and some of its solutions."""

    t: float
    states: Array  # (n, K, P)
    misses: int = 0
    moments: Array = field(default_factory=lambda: np.zeros(3))  # of errors, their squares, errors of misses
    qs: list[Array] = field(default_factory=list)

    def point(self, problem: _Problem, num_draws: int) -> _Point:
        """P_t with the number of errors as control variate: miss - b (errors - its exact mean), b by least squares."""
        errors, squares, product = self.moments / num_draws
        miss, chances = self.misses / num_draws, problem.error_chances(self.t)
        variance, covariance = squares - errors**2, product - miss * errors
        b = covariance / variance if variance > 0 else 0.0
        miss -= b * (errors - chances.sum())
        if problem.allowed == 0:
            miss = float(np.clip(miss, chances.max(), chances.sum()))
        floor = 1 / num_draws  # no miss at all counts as one
        spread = max(miss * (1 - miss) - b * covariance, floor)
        p, q = max(1 - miss, floor), np.concatenate(self.qs)
        return _Point(math.log(p), math.sqrt(spread / num_draws) / p, q.mean(), q.std() / math.sqrt(len(q)), 0.0)


def _direct(
    problem: _Problem, grid: Array, num_draws: int, num_states: int, generator: np.random.Generator
) -> tuple[dict[float, _Point], Array]:
    """Plain Monte Carlo at every t where solutions are not rare, and some of them at the last such t.

    All t share the draws, which are in float32: a vote that its rounding turns has a field of 1e-7. Drawing ends when
    every log P_t is known to `ACCURATE`, relative.
    """
    base, root = problem.base.astype(np.float32), problem.root.astype(np.float32)
    overlap = problem.overlap.astype(np.float32)
    block = min(num_draws, max(100, 4_000_000 // base.size))
    found = [_Direct(float(t), np.empty((0, *base.shape))) for t in grid]
    drawn = 0
    while drawn < num_draws:
        us = generator.standard_normal((block, len(base), root.shape[1]), dtype=np.float32) @ root.T
        overlaps = np.einsum("nkp,kp->n", us, overlap).astype(float)
        errors = chains.errors_of(us, base, np.array([one.t for one in found], np.float32))
        drawn += block
        for one, wrong in zip(found, errors.T, strict=True):
            missed = wrong > problem.allowed
            which = (~missed).nonzero()[0]
            one.misses += int(missed.sum())
            one.moments += wrong.sum(), (wrong.astype(float) ** 2).sum(), wrong[missed].sum()
            one.qs.append(one.t + math.sqrt(1 - one.t**2) * overlaps[which] / problem.num_weights)
            if len(one.states) < num_states:
                exact = us[which[: 2 * num_states]].astype(float)
                exact = exact[chains.errors_of(exact, problem.base, np.array([one.t]))[:, 0] <= problem.allowed]
                one.states = np.concatenate([one.states, exact])[:num_states]
        # what is rare is left to the chains
        common = (drawn - one.misses >= max(20, RARE * drawn) and len(one.states) == num_states for one in found)
        found = found[: len(list(takewhile(bool, common)))]
        if not found:
            raise ValueError(
                f"network: hardly a solution at d = {1 - grid[0]:.1g} around it; its smallest stabilities are too "
                "small for a local entropy"
            )
        points = {one.t: one.point(problem, drawn) for one in found}
        if all(point.log_p_error <= ACCURATE * abs(point.log_p) for point in points.values()):
            break
    return points, found[-1].states


def _chains(
    problem: _Problem, start: _Point, states: Array, targets: list[float], use_hmc: bool, burn_in: int, num_sweeps: int,
    generator: np.random.Generator,
) -> tuple[_Point, dict[float, _Point]]:  # fmt: skip
    """From targets[0], where `start` was measured, down to the others as far as the chains cross the bridges."""
    points: dict[float, _Point] = {}

    def fractions(t: float, candidates: list[float]) -> Array:
        return run(t, candidates, burn_in)[0]

    def run(t: float, ts: list[float], length: int) -> tuple[Array, Array]:
        seeds = generator.integers(2**31, size=len(states))
        both = [
            chains.run(state, problem.base, problem.overlap, t, np.array(ts), problem.root, problem.gram,
                       problem.allowed, use_hmc, length, seed)
            for state, seed in zip(states, seeds, strict=True)
        ]  # fmt: skip
        return np.array([solved for solved, _ in both]), np.array([overlaps for _, overlaps in both])

    forth: list[Array] = []  # over each bridge: the fraction of each chain's states, (num_chains,)
    back: list[Array] = []
    t = above = targets[0]
    worst = 0.0
    while True:
        target = next((other for other in targets if other < t), None)
        below = t if target is None else _next(t, target, partial(fractions, t))
        if target is None:
            run(t, [t], burn_in)
        solved, overlaps = run(t, [above, below], num_sweeps)
        qs = t + math.sqrt(1 - t * t) * overlaps / problem.num_weights
        worst = max(worst, scale_reduction(qs))
        if t < targets[0]:
            back.append(solved[:, :, 0].mean(1))
        if t in targets and t < targets[0]:
            change, variance = _log_ratio(np.array(forth), np.array(back))
            error = math.sqrt(variance + start.log_p_error**2)
            points[t] = _Point(
                start.log_p + change, error, qs.mean(), qs.mean(1).std(ddof=1) / math.sqrt(len(qs)), worst
            )
        forth.append(solved[:, :, 1].mean(1))
        if target is None or forth[-1].min() == 0 or (t < targets[0] and back[-1].max() == 0):
            return start, points
        above, t = t, below


def _next(t: float, target: float, burn: Callable[[list[float]], Array]) -> float:
    """How far the next bridge reaches, at most to the target."""
    candidates = [t + (target - t) * 0.5**i for i in range(12)]
    candidates[0] = target
    fractions = burn(candidates)[:, :, :].mean((0, 1))
    return next((t for t, fraction in zip(candidates, fractions, strict=True) if fraction >= SHARED), candidates[-1])


def _log_ratio(forth: Array, back: Array) -> tuple[float, float]:
    """Sum over bridges of log of forth over back, each (bridges, chains), and its variance: jackknife over chains."""
    num = forth.shape[1]
    whole = np.log(forth.mean(1) / back.mean(1)).sum()
    others = (forth.sum(1, keepdims=True) - forth) / (back.sum(1, keepdims=True) - back)
    left_out = np.log(others).sum(0)
    return float(whole), float((num - 1) / num * ((left_out - left_out.mean()) ** 2).sum())


def scale_reduction(values: Array) -> float:
    """Potential scale reduction of (chains, states), each half of a chain taken as a chain, minus one."""
    half = values.shape[1] // 2
    split = np.concatenate([values[:, :half], values[:, half : 2 * half]])
    within = split.var(1, ddof=1).mean()
    between = split.mean(1).var(ddof=1)
    return math.sqrt((half - 1) / half + between / within) - 1 if within > 0 else 0.0
