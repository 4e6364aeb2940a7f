r"""The local entropy of a shallow network: how many solutions there are at a distance from it.

    Phi(w~, d) = 1/(KN) log [ volume of the solutions w at distance d / volume of all w at distance d ]

on the product of spheres |w_k|^2 = N, with d = 1 - q per weight, q = w~ . w / (KN), so that |w - w~|^2 / 2 = KN d.
A solution makes no more errors on the patterns than w~ itself; mostly none. Phi <= 0, and Phi -> 0 as d -> 0; around a
sharp minimum it drops fast. The paper (Pittorino et al. 2021) integrates over the ball of radius d, whose volume lies
at its surface.

All engines work with the Gaussian w = t w~ + sqrt(1 - t^2) z, z ~ N(0, I), and P_t, the probability of a solution.
It is the measure of precision lambda = 1/(1 - t^2) in the field gamma w~, gamma = t lambda, so that every unit gets the
same distance without a multiplier to solve for. With q = <w~ . w>/(KN) over its solutions, and their squared norm per
weight n = (1 - t^2) + t q (exact: whether w is a solution does not depend on the lengths of its units),

    d = 1 - q / sqrt(n)
    Phi = log P_t/(KN) + 1/2 log(1 - t^2) + t^2/(2(1 - t^2)) - t q/(2(1 - t^2)) - 1/2 log(n - q^2)

Without patterns q = t, n = 1, Phi = 0. While |log P_t| is below about 5, simply d = 1 - t and Phi = log P_t/(KN). What
is drawn is KN Phi: on 500 images Phi itself is 1e-5 to 3e-3.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sacreddnn.shallow import committee
from sacreddnn.shallow.committee import Array

METHODS = {"sampling": "sampling", "ep": "expectation_propagation", "amp": "amp"}  # files with a function `curve`
TS = (0.99, 0.98, 0.97, 0.95, 0.92, 0.89, 0.86, 0.82, 0.78, 0.74)


@dataclass(frozen=True)
class LocalEntropyCurve:
    """A curve; arrays of shape (number of distances,), in the order of growing distance.

    Attributes:
        d: distance per weight, in [0, 1].
        phi: local entropy per weight, natural logarithm, <= 0 up to its error.
        error: standard error of phi; NaN from an engine that does not know it.
        converged: whether the engine vouches for the value. Where it does not, phi may be NaN.
        residual: what it judges by: from sampling the potential scale reduction between chains minus one, from message
            passing the last change of a message.
        t: of the Gaussian.
        log_p: log P_t.
        log_p_error: its standard error, or NaN.
        q: w~ . w / (KN), mean over the solutions.
        method: the engine.
        num_weights: KN.
    """

    d: Array
    phi: Array
    error: Array
    converged: NDArray[np.bool_]
    residual: Array
    t: Array
    log_p: Array
    log_p_error: Array
    q: Array
    method: str
    num_weights: int

    @classmethod
    def of(
        cls,
        t: Array,
        log_p: Array,
        q: Array,
        *,
        converged: NDArray[np.bool_],
        residual: Array,
        method: str,
        num_weights: int,
        log_p_error: Array | None = None,
        q_error: Array | None = None,
    ) -> Self:
        """The curve of what an engine finds at each t: log P_t and q, by the formulas above.

        Args:
            t: shape (number of distances,), falling, in (0, 1).
            log_p: natural logarithm of P_t.
            q: mean over the solutions, |w~_k|^2 = N.
            converged: see above.
            residual: see above.
            method: name of the engine.
            num_weights: KN.
            log_p_error: standard error; None: unknown.
            q_error: standard error, independent of that of log P_t; None: 0.
        """
        unknown = np.full_like(t, np.nan)
        log_p_error = unknown if log_p_error is None else log_p_error
        s2 = 1 - t**2
        n = s2 + t * q
        with np.errstate(invalid="ignore", divide="ignore"):  # NaN in, NaN out
            d = 1 - q / np.sqrt(n)
            phi = log_p / num_weights + 0.5 * np.log(s2) + t * (t - q) / (2 * s2) - 0.5 * np.log(n - q**2)
            slope = -t / (2 * s2) - 0.5 * (t - 2 * q) / (n - q**2)  # of phi in q; 0 where q = t
        error = np.hypot(log_p_error / num_weights, slope * (0.0 if q_error is None else q_error))
        return cls(d, phi, error, converged & np.isfinite(phi), residual, t, log_p, log_p_error, q, method, num_weights)


def local_entropy_curve(
    network: Array,
    patterns: Array,
    labels: Array,
    *,
    ts: Sequence[float] = TS,
    method: str = "sampling",
    **options: object,
) -> LocalEntropyCurve:
    """The local entropy around a committee machine at several distances.

    Args:
        network: its weights w~, shape (K, N), or (N,) for a perceptron; K odd; they are put on their spheres.
        patterns: shape (P, N).
        labels: +-1, shape (P,).
        ts: falling numbers in (0, 1), one a point; the distance is about 1 - t, see `d` of the curve.
        method: "sampling" draws solutions exactly and has error bars: the truth, and what to use on data. "amp"
            (approximate message passing) is right on random patterns and off by a factor on images, whose pixels are
            correlated, though it converges there. "ep" (expectation propagation with the full covariance of the
            patterns) is all but exact for K = 1 and up to tens of percent off for more units. Both count networks
            without training errors only, and refuse a w~ that has some.
        options: of the engine, see `curve` of sampling.py, expectation_propagation.py, amp.py.

    Raises:
        ValueError: an unknown method, ts out of order or out of range, shapes that do not fit, labels that are not +-1.
        TypeError: an option that the engine has not got.
    """
    if method not in METHODS:
        raise ValueError(f"method: {method!r} is not allowed, allowed: {', '.join(METHODS)}")
    t = np.array(ts, dtype=float)
    if t.ndim != 1 or not (len(t) and (t > 0).all() and (t < 1).all() and (np.diff(t) < 0).all()):
        raise ValueError(f"ts: {list(ts)} is not allowed, give falling numbers between 0 and 1")
    weights = committee.normalized(np.atleast_2d(np.asarray(network, dtype=float)))
    patterns, labels = np.asarray(patterns, dtype=float), np.asarray(labels, dtype=float)
    committee.check(weights, patterns, labels)
    if not len(labels):  # every network is a solution
        zero = np.zeros_like(t)
        return LocalEntropyCurve.of(
            t, zero, t.copy(), converged=zero == 0, residual=zero, method=method, num_weights=weights.size,
            log_p_error=zero,
        )  # fmt: skip
    # only the one asked for: numba is slow to import
    engine = importlib.import_module(f"sacreddnn.shallow.{METHODS[method]}")
    curve: LocalEntropyCurve = engine.curve(weights, patterns, labels, t, **options)
    return curve
