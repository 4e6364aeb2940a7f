r"""Focusing belief propagation: a solver for weights +-1 that looks for regions with many solutions.

The law of a center c that is attracted by y solutions,

    Z_y = sum_c [ sum_w chi(w) exp(gamma c . w) ]^y

weighs centers by the local entropy around them (Baldassi et al., PNAS 2016). All replicas have the same messages, so
that it is the belief propagation of one (binary_messages.py) with one more message a weight: from its copies in the
other y - 1 replicas through the center. With the field h_ki = sum_mu u_mu,ki of the patterns

    f_ki = atanh( tanh gamma tanh( (y - 1) atanh( tanh gamma tanh h_ki ) ) )

gamma and y grow along a protocol (protocols.py); at its end the marginals are all but decided, and their signs are the
weights. y = 1 or gamma = 0 is plain belief propagation. The internal local entropy belongs to a fixed point: with
l_+- = log 2 cosh(h_ki +- gamma) and p_+- proportional to exp(y l_+-), the law of c_ki,

    log Z_y = sum_ki log( exp(y l_+) + exp(y l_-) ) + y R         R: of patterns and edges, BinaryMessages.totals
    <log N> = d log Z_y/dy = sum_ki (p_+ l_+ + p_- l_-) + R        log number of solutions, weighted, around c
    q       = mean of p_+ tanh(h + gamma) - p_- tanh(h - gamma)    overlap of a replica with the center
    Phi     = <log N>/(KN) - gamma q - H(q)

Phi lies between -log 2 and 0, 0 if everything near c is a solution. It is NaN for gamma = inf, which has no distance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sacreddnn.shallow import binary, committee, protocols
from sacreddnn.shallow.binary_messages import BinaryMessages, log_2cosh
from sacreddnn.shallow.committee import Array


@dataclass(frozen=True)
class Step:
    """What there was at one pair (gamma, y) of a protocol.

    Attributes:
        gamma: coupling to the center.
        y: number of replicas.
        q: overlap of a replica with the center, per weight.
        local_entropy: Phi, per weight; NaN for gamma = inf.
        log_z: log Z_y, natural logarithm; NaN for gamma = inf.
        num_errors: of the signs of the marginals.
        converged: whether messages stood still, and Phi lies between -log 2 and 0 up to binary.SLACK; otherwise the
            numbers above are those of the last iteration.
        residual: last change of a message, or by how much Phi lies outside if that is more.
        iterations: done at this pair.
    """

    gamma: float
    y: float
    q: float
    local_entropy: float
    log_z: float
    num_errors: int
    converged: bool
    residual: float
    iterations: int


@dataclass(frozen=True)
class Focused:
    """What focusing belief propagation found.

    Attributes:
        weights: +-1, shape (K, N); those with fewest errors on the way.
        num_errors: of them, counted on all patterns.
        steps: one a pair of the protocol, up to the first without errors.
        factor: "exact" or "gaussian", how a pattern was computed.
    """

    weights: Array
    num_errors: int
    steps: tuple[Step, ...]
    factor: str

    @property
    def solved(self) -> bool:
        """Whether there are no errors."""
        return self.num_errors == 0


def self_message(h: Array, gamma: float, y: float) -> Array:
    """f, what y - 1 other replicas with the field h tell a weight through its center.

    Args:
        h: field of the patterns.
        gamma: coupling >= 0, also infinite.
        y: number of replicas >= 1, any number.

    >>> self_message(np.array([0.5]), np.inf, 3.0).tolist()
    [1.0]
    """
    return _through((y - 1) * _through(h, gamma), gamma)


def internal_entropy(engine: BinaryMessages, u: Array, fields: Array, gamma: float, y: float) -> tuple[float, ...]:
    """Phi, q and log Z_y of a fixed point u with the self-messages `fields`; for infinite gamma NaN, 1 and NaN."""
    if gamma == math.inf:
        return math.nan, 1.0, math.nan
    h, size = u.sum(0), fields.size
    rest = engine.totals(u, fields)[1]
    plus, minus = log_2cosh(h + gamma), log_2cosh(h - gamma)
    both = np.logaddexp(y * plus, y * minus)
    up, down = np.exp(y * plus - both), np.exp(y * minus - both)
    q = float((up * np.tanh(h + gamma) - down * np.tanh(h - gamma)).mean())
    log_n = float((up * plus + down * minus).sum()) + rest
    phi = log_n / size - gamma * q - float(binary.binary_entropy(np.array(min(q, 1.0))))
    return phi, q, float(both.sum()) + y * rest


def focusing_bp(
    patterns: Array,
    labels: Array,
    protocol: Sequence[tuple[float, float]] | None = None,
    *,
    num_units: int = 1,
    factor: str = "auto",
    damping: float = 0.5,
    max_iterations: int = 50,
    tolerance: float = 1e-3,
    stop: bool = True,
    scale: float = 0.01,
    seed: int = 0,
) -> Focused:
    """Weights +-1 that are right on the patterns, by focusing belief propagation.

    Args:
        patterns: shape (P, N); for the exact factor of +-1.
        labels: +-1, shape (P,).
        protocol: pairs (gamma, y), see protocols.py; None: pseudo-reinforcement.
        num_units: K, odd.
        factor: "exact", "gaussian" or "auto", see binary_messages.py.
        damping: fraction of old messages kept, in [0, 1).
        max_iterations: at each pair. Not all steps converge at few of them; the solver does not need it, the local
            entropy does.
        tolerance: of messages, largest change.
        stop: at the first weights without errors.
        scale: of the random messages at the start, which tell the units apart.
        seed: of them.

    Raises:
        ValueError: shapes, labels, or numbers that are not allowed.

    Cost: an iteration is 100 P K N operations, 10 P K N^2 with the exact factor.
    """
    pairs = protocols.pseudo_reinforcement() if protocol is None else protocols.free_scoping(protocol)
    patterns, labels = np.asarray(patterns, dtype=float), np.asarray(labels, dtype=float)
    committee.check(np.ones((num_units, patterns.shape[-1])), patterns, labels)
    binary.check_iteration(damping, max_iterations, tolerance)
    engine = BinaryMessages(labels[:, None] * patterns, num_units, factor)
    u = engine.start(scale, seed)
    fields = np.zeros(u.shape[1:])
    best, fewest, steps = np.ones_like(fields), len(labels) + 1, []
    for gamma, y in pairs:
        change, iterations = math.inf, 0
        while iterations < max_iterations and not change < tolerance:
            iterations += 1
            told = self_message(u.sum(0), gamma, y)
            moved = float(np.abs(np.tanh(told) - np.tanh(fields)).max())  # the field itself has no bound
            fields = told + damping * (fields - told)
            u, change = engine.step(u, fields, damping)
            change = max(change, moved)
            if not math.isfinite(change):
                break
        weights = np.where(fields + u.sum(0) >= 0, 1.0, -1.0)
        wrong = committee.num_errors(weights, patterns, labels)
        if wrong < fewest:
            best, fewest = weights, wrong
        phi, q, log_z = internal_entropy(engine, u, fields, gamma, y)
        outside = max(phi, -math.log(2) - phi, 0.0) if gamma < math.inf else 0.0
        residual = change if outside <= binary.SLACK else max(change, outside)  # NaN is not <=
        steps.append(Step(gamma, y, q, phi, log_z, wrong, residual < tolerance, residual, iterations))
        if (stop and not wrong) or not math.isfinite(change):
            break
    return Focused(best, fewest, tuple(steps), engine.factor)


def _through(x: Array, gamma: float) -> Array:
    """The field x as it comes through a coupling: atanh(tanh gamma tanh x), without overflow."""
    return np.asarray(x) if gamma == math.inf else (log_2cosh(x + gamma) - log_2cosh(x - gamma)) / 2
