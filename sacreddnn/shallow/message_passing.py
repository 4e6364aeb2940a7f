r"""What AMP and EP have in common: they follow a fixed point down in t, and vouch for it only after checks.

A fixed point at one t starts from that of the t before, nearer to the network, where messages are small. Damping is
raised from one value of the engine to the next until it converges. Where no damping helps the curve ends: what lies
further out is not tried. A point counts as converged if

1. the last change of a message, undamped, is below the tolerance,
2. log P_t is finite and within the bounds that hold for any network and any patterns,

       log(1 - sum_mu p_mu)  <=  log P_t  <=  log(1 - max_mu p_mu),    p_mu = P(t w~ + s z is wrong on pattern mu),

3. the norms obey lambda <|w_k|^2>/N = 1 + gamma q_k, which holds because the length of w_k does not matter to its vote,
4. the points before it are converged too: a later one stands on them.

A value that fails is returned with converged=False and what was violated as its residual, never silently. That all of
it holds does not make a value right: see amp.py on images.

Solutions here make no error at all. A network with training errors is refused: "no more errors than it" is not a
product over patterns, which messages need.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from scipy.special import ndtr

from sacreddnn.shallow import committee
from sacreddnn.shallow.committee import Array
from sacreddnn.shallow.curve import LocalEntropyCurve

SLACK = 0.02  # of the bounds, relative: message passing is exact for large N only
State = Any


class Engine(Protocol):
    """A message passing scheme on fixed patterns, at any t."""

    name: str
    norm_tolerance: float  # of check 3
    dampings: tuple[float, ...]  # to try, rising

    def start(self, t: float) -> State:
        """Messages without patterns."""

    def step(self, t: float, state: State, damping: float) -> tuple[State, float]:
        """The next messages, and the largest change of one before damping."""

    def values(self, t: float, state: State) -> tuple[float, Array, Array]:
        """Log P_t; q_k and <|w_k|^2>/N, shapes (K,)."""


def follow(
    engine: Engine,
    weights: Array,
    F: Array,
    ts: Array,
    *,
    damping: float | None = None,
    max_iterations: int = 500,
    tolerance: float = 1e-8,
) -> LocalEntropyCurve:
    """The curve of an engine.

    Args:
        engine: made for the same weights and patterns.
        weights: w~, shape (K, N), |w~_k|^2 = N.
        F: label times pattern over sqrt(N), shape (P, N).
        ts: falling, in (0, 1).
        damping: fraction of the old messages kept, in [0, 1); None: raised through those of the engine as needed.
        max_iterations: at each t and damping.
        tolerance: of the messages.

    Raises:
        ValueError: damping, max_iterations or tolerance out of range; a network with training errors.
    """
    if damping is not None and not 0 <= damping < 1:
        raise ValueError(f"damping: {damping} is not allowed, give a number in [0, 1) or None")
    if max_iterations < 1 or not tolerance > 0:
        raise ValueError(
            f"max_iterations: {max_iterations} and tolerance={tolerance} are not allowed, give >= 1 and > 0"
        )
    if wrong := int(((F @ weights.T > 0).sum(1) <= len(weights) // 2).sum()):
        raise ValueError(
            f"method: {engine.name!r} counts networks without training errors, this one has {wrong}; use 'sampling'"
        )
    ladder = engine.dampings if damping is None else (damping,)
    log_p, q, residual = np.full(len(ts), np.nan), np.full(len(ts), np.nan), np.full(len(ts), np.inf)
    converged = np.zeros(len(ts), dtype=bool)
    state, rung, intact = None, 0, True
    for i, t in enumerate(ts):
        begin = engine.start(t) if state is None else state
        reached, change = iterate(engine, t, begin, ladder[rung], max_iterations, tolerance)
        while not change < tolerance and rung + 1 < len(ladder):
            rung += 1  # a damping that was needed here is needed further out
            reached, change = iterate(engine, t, begin, ladder[rung], max_iterations, tolerance)
        log_p[i], q_units, norms = engine.values(t, reached)
        q[i] = q_units.mean()
        violation = max(change, _outside(weights, F, t, log_p[i]), _norms(t, q_units, norms, engine.norm_tolerance))
        intact = intact and violation < tolerance
        residual[i], converged[i] = violation, intact
        if not change < tolerance:
            break
        state = reached
    return LocalEntropyCurve.of(
        ts, log_p, q, converged=converged, residual=residual, method=engine.name, num_weights=weights.size
    )


def iterate(
    engine: Engine, t: float, state: State, damping: float, max_iterations: int, tolerance: float
) -> tuple[State, float]:
    """Steps until no message changes by more than the tolerance; the last messages and their last change."""
    change = math.inf
    with np.errstate(all="ignore"):  # what goes astray is found by its change, which is not finite
        for _ in range(max_iterations):
            state, change = engine.step(t, state, damping)
            if not math.isfinite(change):
                return state, math.inf
            if change < tolerance:
                break
    return state, change


def bounds(weights: Array, F: Array, t: float) -> tuple[float, float]:
    """Lower and upper bound of log P_t from the exact error probability of single patterns (check 2)."""
    scale = math.sqrt(1 - t * t) * np.linalg.norm(F, axis=1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        margins = np.where(scale > 0, t * (F @ weights.T) / scale, -np.inf)
    wrong = committee.wrong_vote(ndtr(margins))
    with np.errstate(divide="ignore"):
        upper = float(np.log1p(-min(wrong.max(initial=0.0), 1.0)))
        return float(np.log1p(-min(wrong.sum(), 1.0))), upper


def _outside(weights: Array, F: Array, t: float, log_p: float) -> float:
    """How far log P_t lies outside of its bounds; 0 inside."""
    if not math.isfinite(log_p):
        return math.inf
    low, high = bounds(weights, F, t)
    return max(low * (1 + SLACK) - 1e-6 - log_p, log_p - high * (1 - SLACK) - 1e-6, 0.0)


def _norms(t: float, q: Array, norms: Array, allowed: float) -> float:
    """Violation of the identity of the norms, beyond what the scheme allows."""
    lam = 1 / (1 - t * t)
    violation = float(np.abs(lam * norms - 1 - t * lam * q).max())
    return 0.0 if violation <= allowed * max(1.0, t * lam) else violation
