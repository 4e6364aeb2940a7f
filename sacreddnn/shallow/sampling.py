r"""The local entropy by exact sampling: plain Monte Carlo near the network, bridges of chains further out.

Near w~ the fraction of Gaussian draws w = t w~ + s z that are solutions is P_t itself. Below the smallest such t,

    log P_t' / P_t = log P(t' w~ + s' z is a solution | z at t) - log P(t w~ + s z is a solution | z at t')

with the same z in both, down a grid of t, each conditional probability the fraction of the states of Markov chains
(chains.py). Nothing is approximated: the error bar, from the scatter between independent chains, is the error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sacreddnn.shallow import chains, committee
from sacreddnn.shallow.committee import Array
from sacreddnn.shallow.curve import LocalEntropyCurve, make_curve

WIDEST = 0.03  # step of the grid of t: bridges across more have few states in common
NEAREST = (0.9999, 0.9995)  # where to begin if the first t asked for is too far for plain Monte Carlo
RARE = 0.01  # smallest P_t that plain Monte Carlo measures
SAMPLERS = ("hmc", "ess")


@dataclass
class _Point:
    """One t: estimates of log P_t and q with errors, and the diagnostic between chains."""

    log_p: float
    log_p_error: float
    q: float
    q_error: float
    residual: float = 0.0


def curve(
    weights: Array, patterns: Array, labels: Array, ts: Array, *, sampler: str | None = None, num_chains: int = 4,
    num_sweeps: int = 150, burn_in: int = 30, num_direct: int = 20_000, seed: int = 0,
) -> LocalEntropyCurve:  # fmt: skip
    """The curve by sampling, see curve.local_entropy_curve for the first four arguments.

    Args:
        weights: w~ on its spheres.
        patterns: shape (P, N).
        labels: +-1.
        ts: falling.
        sampler: "hmc", or "ess" which a w~ with training errors needs; None: as needed.
        num_chains: >= 2 independent chains at each t.
        num_sweeps: states kept of each, one a sweep over the units.
        burn_in: sweeps before.
        num_direct: draws of plain Monte Carlo.
        seed: of everything random.

    Returns:
        The curve; `residual` is the potential scale reduction of q between chains minus one (Gelman and Rubin), and a
        point counts as converged below 0.2 when the bridges to it were crossed; those further out inherit it.

    Cost: num_direct K N P operations, then a sweep costs about K (N P + P log P).
    """
    if sampler not in (None, *SAMPLERS):
        raise ValueError(f"sampler: {sampler!r} is not allowed, allowed: {', '.join(SAMPLERS)}")
    if num_chains < 2 or num_sweeps < 2 or burn_in < 0 or num_direct < 1:
        raise ValueError(
            f"num_chains: {num_chains}, num_sweeps={num_sweeps}, burn_in={burn_in}, num_direct={num_direct} are not "
            "allowed; two chains, two sweeps and one draw at least"
        )
    allowed = committee.num_errors(weights, patterns, labels)
    if sampler == "hmc" and allowed:
        raise ValueError(f"sampler: 'hmc' takes no training errors, this network has {allowed}; use 'ess'")
    use_hmc = sampler != "ess" and allowed == 0
    F = np.ascontiguousarray(labels[:, None] * patterns / math.sqrt(weights.shape[1]))
    grid = _grid(ts)
    points, states = _direct(weights, F, grid, allowed, num_direct, num_chains, np.random.default_rng(seed))
    points |= _bridges(weights, F, grid, points, states, allowed, use_hmc, burn_in, num_sweeps, seed)
    missing = _Point(math.nan, math.nan, math.nan, math.nan, math.inf)
    found = [points.get(t, missing) for t in ts]
    columns = {name: np.array([getattr(point, name) for point in found]) for name in
               ("log_p", "log_p_error", "q", "q_error", "residual")}  # fmt: skip
    # what lies further out stands on everything before
    residual = np.maximum.accumulate(columns.pop("residual"))
    return make_curve(
        ts, **columns, converged=residual < 0.2, residual=residual, method="sampling", num_weights=weights.size
    )


def _grid(ts: Array) -> list[float]:
    """The ts with others between them and before them."""
    grid = [t for t in NEAREST if t > ts[0]] + [float(ts[0])]
    for above, below in pairwise(ts):
        steps = math.ceil((above - below) / WIDEST - 1e-9)
        grid += [above + (below - above) * i / steps for i in range(1, steps)] + [float(below)]
    return grid


def _direct(
    weights: Array, F: Array, grid: list[float], allowed: int, num_draws: int, num_states: int,
    generator: np.random.Generator,
) -> tuple[dict[float, _Point], list[Array]]:  # fmt: skip
    """Plain Monte Carlo at every t where solutions are not rare, and some of them at the last such t.

    All t share the draws. In float32: a vote that its rounding turns has a field of 1e-7.
    """
    num_units, num_inputs = weights.shape
    base, F32, w32 = (weights @ F.T).astype(np.float32), F.astype(np.float32), weights.astype(np.float32)
    hits = np.zeros(len(grid), int)
    sums = np.zeros((2, len(grid)))
    states: dict[int, list[Array]] = {i: [] for i in range(len(grid))}
    block = max(1, 20_000_000 // (num_units * F.shape[0]))
    drawn, last = 0, len(grid)
    while drawn < num_draws:
        count = min(block, num_draws - drawn)
        z = generator.standard_normal((count, num_units, num_inputs), dtype=np.float32)
        u = z @ F32.T
        overlap = (z * w32).sum((1, 2)) / weights.size
        for i, t in enumerate(grid[:last]):
            s = math.sqrt(1 - t * t)
            votes = (np.float32(t) * base + np.float32(s) * u > 0).sum(1)
            solved = (votes <= num_units // 2).sum(1) <= allowed
            q = t + s * overlap[solved].astype(float)
            hits[i] += solved.sum()
            sums[:, i] += q.sum(), (q**2).sum()
            states[i] = (states[i] + list(z[solved][:num_states].astype(float)))[:num_states]
        drawn += count
        if drawn == count:  # what the first block finds rare is left to the chains
            last = next((i for i in range(len(grid)) if hits[i] < RARE * count), len(grid))
            last = max(last, 1)
    points: dict[float, _Point] = {}
    for i, t in enumerate(grid[:last]):
        if hits[i] < max(20, RARE * num_draws) or len(states[i]) < num_states:
            break
        p, mean = hits[i] / drawn, sums[0, i] / hits[i]
        # no miss at all: as if there had been one
        miss = max(1 - p, 1 / drawn)
        variance = max(sums[1, i] / hits[i] - mean**2, 0.0)
        points[t] = _Point(math.log(p), math.sqrt(miss / (p * drawn)), mean, math.sqrt(variance / hits[i]))
    if not points:
        raise ValueError(
            f"weights: hardly a solution within d = {1 - grid[0]:g} of this network; its stabilities are too small for "
            "a local entropy"
        )
    return points, states[len(points) - 1]


def _bridges(
    weights: Array, F: Array, grid: list[float], direct: dict[float, _Point], states: list[Array], allowed: int,
    use_hmc: bool, burn_in: int, num_sweeps: int, seed: int,
) -> dict[float, _Point]:  # fmt: skip
    """From the last t of plain Monte Carlo on down, as far as the chains cross the bridges."""
    gram, base = F @ F.T, weights @ F.T
    states = [state.copy() for state in states]
    points: dict[float, _Point] = {}
    start = len(direct) - 1
    log_p, variance = direct[grid[start]].log_p, direct[grid[start]].log_p_error ** 2
    before: Array | None = None
    for i in range(start, len(grid)):
        t, above = grid[i], grid[max(i - 1, start)]
        below = grid[i + 1] if i + 1 < len(grid) else t
        ups, downs, qs = [], [], []
        for number, state in enumerate(states):
            chains.seed((seed * 1009 + i) * 1009 + number)
            up, down, q = chains.run(
                state, weights, base, t, above, below, F, gram, allowed, use_hmc, burn_in, num_sweeps
            )
            ups.append(up)
            downs.append(down)
            qs.append(q)
        if before is not None:
            forth, back = _log_mean(before), _log_mean(np.array(ups))
            log_p += forth[0] - back[0]
            variance += forth[1] + back[1]
            within = np.array(qs)
            q_error = within.mean(1).std(ddof=1) / math.sqrt(len(qs))
            points[t] = _Point(log_p, math.sqrt(variance), float(within.mean()), q_error, _scale_reduction(within))
        before = np.array(downs)
        if before.min() == 0 or not math.isfinite(log_p):
            break  # a chain that never crosses has no state to go on from
    return points


def _log_mean(fractions: Array) -> tuple[float, float]:
    """Log of the mean over chains and its variance by the jackknife."""
    if fractions.mean() == 0:
        return -math.inf, math.inf
    num = len(fractions)
    left_out = np.log(np.maximum((fractions.sum() - fractions) / (num - 1), 1e-12))
    return math.log(fractions.mean()), float((num - 1) / num * ((left_out - left_out.mean()) ** 2).sum())


def _scale_reduction(values: Array) -> float:
    """Potential scale reduction of (chains, states), halves of chains taken as chains, minus one."""
    half = values.shape[1] // 2
    split = np.concatenate([values[:, :half], values[:, half : 2 * half]])
    within = split.var(1, ddof=1).mean()
    between = split.mean(1).var(ddof=1)
    return math.sqrt((half - 1) / half + between / within) - 1 if within > 0 else 0.0
