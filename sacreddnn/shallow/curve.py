r"""The local entropy of a shallow network: how many solutions there are at a distance from it.

    Phi(w~, d) = 1/(KN) log [ volume of zero-error w at distance d / volume of all w at distance d ]

on the product of spheres |w_k|^2 = N, d = 1 - q, q the cosine of a weight vector with w~; |w - w~|^2 = 2 K N d.
(Pittorino et al. 2021; their d is half the squared distance, which per weight is this one. Zero error becomes "no more
errors than w~" where w~ has some.) Phi <= 0, and -> 0 for d -> 0; of a sharp minimum it drops fast.

It is computed with the Gaussian w = t w~ + sqrt(1 - t^2) z, z ~ N(0, 1), and P_t, the probability that w is such a
solution. That is concentrated on one distance; with q = <w~ . w>/(KN) over the solutions and n = (1 - t^2) + t q,

    d = 1 - q / sqrt(n)
    Phi = log P_t/(KN) + 1/2 log(1 - t^2) + t^2/(2(1 - t^2)) - t q/(2(1 - t^2)) - 1/2 log(n - q^2)

For small |log P_t| simply d = 1 - t and Phi = log P_t/(KN). KN Phi is what is worth drawing: Phi itself is tiny.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sacreddnn.shallow.committee import Array


@dataclass(frozen=True)
class LocalEntropyCurve:
    """A curve; arrays of shape (number of t,), in the order of falling t.

    Attributes:
        t: of the Gaussian.
        d: distance per weight.
        phi: local entropy per weight, natural logarithm.
        error: standard error of phi; from that of log P_t and of q.
        log_p: log P_t.
        log_p_error: its standard error.
        q: <w~ . w>/(KN) over the solutions.
        converged: whether the engine vouches for the point.
        residual: why: the diagnostic between chains.
        method: the engine.
        num_weights: K N.
    """

    t: Array
    d: Array
    phi: Array
    error: Array
    log_p: Array
    log_p_error: Array
    q: Array
    converged: np.ndarray
    residual: Array
    method: str
    num_weights: int


def make_curve(
    t: Array, log_p: Array, q: Array, *, log_p_error: Array, q_error: Array, converged: np.ndarray, residual: Array,
    method: str, num_weights: int,
) -> LocalEntropyCurve:  # fmt: skip
    """The curve from log P_t and q; the error of phi is that of log P_t, q entering in second order only."""
    s2 = 1 - t**2
    n = s2 + t * q
    with np.errstate(invalid="ignore", divide="ignore"):
        d = 1 - q / np.sqrt(n)
        phi = log_p / num_weights + 0.5 * np.log(s2) + (t**2 - t * q) / (2 * s2) - 0.5 * np.log(n - q**2)
        slope = -t / (2 * s2) - 0.5 * (t - 2 * q) / (n - q**2)  # of phi in q
    error = np.sqrt((log_p_error / num_weights) ** 2 + (slope * q_error) ** 2)
    return LocalEntropyCurve(t, d, phi, error, log_p, log_p_error, q, converged, residual, method, num_weights)
