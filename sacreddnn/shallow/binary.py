r"""How many solutions with weights +-1 there are at a distance from a reference, by belief propagation.

    Z(gamma) = sum_w chi(w) exp(gamma w~ . w),      w and w~ in {-1, 1}^(K N), chi(w) = 1 if w is right on every pattern

For large K N there are exp(K N s) solutions at the overlap q = <w~ . w>/(KN) = d log Z/d gamma /(KN), which is the
distance d = 1 - q per weight as for spherical weights (a fraction d/2 of the weights differs); by Legendre

    s = log Z/(KN) - gamma q            Phi = s - H(q),     H(q) = -sum_+- (1 +- q)/2 log((1 +- q)/2)

Phi <= 0 compares them to all w at that distance. Without patterns log Z = K N log 2 cosh gamma and Phi = 0; gamma = 0
counts all solutions. Messages: binary_messages.py. A curve starts at a small gamma and goes on to larger ones from the
fixed point before: at large gamma the messages can sit on the frozen point q = 1, which always is a fixed point around
a solution and says nothing about its neighbours.

A point counts as converged if

1. the last change of a message, undamped, is below the tolerance,
2. what holds for every set of solutions holds up to SLACK per weight: 0 <= s <= H(q) (s is the entropy of a law), and
   q does not fall as gamma grows,
3. it is not frozen, that is 1 - q > FROZEN (1 - tanh gamma),
4. the points before it are converged too.

Others keep what was found, with converged=False. These conditions are necessary, not sufficient: against enumeration
(K = 1, N = 19, P/N up to 0.5) log Z is right to 0.004 per weight in the mean, 0.02 at worst. **K > 1 at small gamma is
poor**: solutions with their units exchanged are as many, and messages know one order of the units only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from sacreddnn.shallow import committee
from sacreddnn.shallow.binary_messages import BinaryMessages, log_2cosh
from sacreddnn.shallow.committee import Array

GAMMAS = tuple(np.linspace(0.0, 2.0, 21).tolist())
DAMPINGS = (0.0, 0.5, 0.8, 0.95)
SLACK = 0.02  # per weight: what belief propagation may be off by at a few tens of weights
FROZEN = 0.01


@dataclass(frozen=True)
class BinaryCurve:
    """Solutions around a reference; arrays of shape (number of gammas,).

    Attributes:
        gamma: strength of the field.
        q: overlap per weight, the mean over solutions.
        d: 1 - q.
        log_z: log Z, natural logarithm.
        entropy: s, log of the number of solutions at q, per weight.
        phi: s - H(q), the local entropy, <= 0 up to its error.
        converged: whether it is vouched for, see the top.
        residual: last change of a message, or by how much a condition is violated per weight if that is more.
        frozen: whether the messages sit on q = 1.
        factor: "exact" or "gaussian", how a pattern was computed.
    """

    gamma: Array
    q: Array
    d: Array
    log_z: Array
    entropy: Array
    phi: Array
    converged: NDArray[np.bool_]
    residual: Array
    frozen: NDArray[np.bool_]
    factor: str


def binary_entropy(q: Array) -> Array:
    """H(q), log of the number of +-1 vectors at the overlap q from one of them, per weight.

    >>> binary_entropy(np.array([0.0, 0.5])).round(4).tolist()
    [0.6931, 0.5623]
    """
    up, down = (1 + np.asarray(q)) / 2, (1 - np.asarray(q)) / 2
    return np.asarray(-xlogy(up, up) - xlogy(down, down))


def entropy_curve(
    reference: Array,
    patterns: Array,
    labels: Array,
    *,
    gammas: Sequence[float] = GAMMAS,
    factor: str = "auto",
    damping: float | None = None,
    max_iterations: int = 500,
    tolerance: float = 1e-8,
) -> BinaryCurve:
    """The number of solutions with weights +-1 against their distance from a reference.

    Args:
        reference: w~ of +-1, shape (K, N) or (N,), K odd; it may make errors.
        patterns: shape (P, N); for the exact factor of +-1.
        labels: +-1, shape (P,).
        gammas: rising numbers >= 0; begin with a small one.
        factor: "exact", "gaussian" or "auto", see binary_messages.py.
        damping: fraction of old messages kept, in [0, 1); None: raised from 0 to 0.95 as needed.
        max_iterations: at each gamma and damping.
        tolerance: of the messages.

    Raises:
        ValueError: a reference other than +-1, gammas out of order, shapes that do not fit, an unknown factor.

    Cost: an iteration is 100 P K N operations, 10 P K N^2 with the exact factor; 10 to 100 of them a gamma.
    """
    w, F = check_signs(reference, patterns, labels)
    gamma = np.array(gammas, dtype=float)
    if gamma.ndim != 1 or not (
        len(gamma) and np.isfinite(gamma).all() and gamma[0] >= 0 and (np.diff(gamma) > 0).all()
    ):
        raise ValueError(f"gammas: {list(gammas)} is not allowed, give rising numbers >= 0")
    check_iteration(damping, max_iterations, tolerance)
    engine, dampings = BinaryMessages(F, len(w), factor), DAMPINGS if damping is None else (damping,)
    q, log_z, residual = (np.full(len(gamma), np.nan) for _ in range(3))
    u, rung = engine.start(), 0
    for i, strength in enumerate(gamma):
        reached, residual[i] = iterate(engine, u, strength * w, dampings[rung], max_iterations, tolerance)
        while not residual[i] < tolerance and rung + 1 < len(dampings):
            rung += 1
            reached, residual[i] = iterate(engine, u, strength * w, dampings[rung], max_iterations, tolerance)
        u = reached if residual[i] < tolerance else u
        H, rest = engine.totals(reached, strength * w)
        q[i], log_z[i] = float((w * np.tanh(H)).mean()), float(log_2cosh(H).sum()) + rest
    entropy, largest = log_z / w.size - gamma * q, binary_entropy(q)
    frozen = 1 - q <= FROZEN * (1 - np.tanh(gamma))
    violated = np.maximum.reduce([-entropy, entropy - largest, -np.diff(q, prepend=-1.0), np.zeros_like(q)])
    violated[~np.isfinite(violated)] = math.inf
    residual = np.maximum(residual, np.where(violated > SLACK, violated, 0.0))
    converged = np.logical_and.accumulate((residual < tolerance) & ~frozen)
    return BinaryCurve(
        gamma, q, 1 - q, log_z, entropy, entropy - largest, converged, residual, frozen, engine.factor
    )  # fmt: skip


def iterate(
    engine: BinaryMessages, u: Array, fields: Array, damping: float, max_iterations: int, tolerance: float
) -> tuple[Array, float]:
    """Steps until no message changes by more than the tolerance; the last messages and their last change."""
    change = math.inf
    for _ in range(max_iterations):
        u, change = engine.step(u, fields, damping)
        if change < tolerance or not math.isfinite(change):
            break
    return u, change


def check_signs(weights: Array, patterns: Array, labels: Array) -> tuple[Array, Array]:
    """The weights as (K, N), and F, label times pattern; ValueError for weights that are not +-1."""
    w = np.atleast_2d(np.asarray(weights, dtype=float))
    if not np.isin(w, (-1.0, 1.0)).all():
        raise ValueError("reference: its weights must be -1 or +1; take the signs of others")
    patterns, labels = np.asarray(patterns, dtype=float), np.asarray(labels, dtype=float)
    committee.check(w, patterns, labels)
    return w, labels[:, None] * patterns


def check_iteration(damping: float | None, max_iterations: int, tolerance: float) -> None:
    """ValueError for numbers of an iteration that are out of range."""
    if damping is not None and not 0 <= damping < 1:
        raise ValueError(f"damping: {damping} is not allowed, give a number in [0, 1) or None")
    if max_iterations < 1 or not tolerance > 0:
        raise ValueError(
            f"max_iterations: {max_iterations} and tolerance={tolerance} are not allowed, give >= 1 and > 0"
        )
