r"""One pattern of a committee machine whose units have Gaussian fields: the probability that the vote is right.

With independent u_k ~ N(omega_k, V_k) unit k votes right with probability H(-omega_k / sqrt(V_k)), where
H(x) = P(N(0, 1) > x), and the number of right votes is Poisson-binomial: its distribution is a convolution of K laws of
two values. As a function of one unit, with the others summed over,

    Z(omega) = p- + pivotal H(-x),    x = omega / sqrt(V),
    p-       = P(the others alone have a majority),    pivotal = P(the vote hangs on unit k),
    g        = d log Z / d omega  = pivotal G(x) / (sqrt(V) Z),    G(x) = exp(-x^2/2) / sqrt(2 pi)
    Gamma    = -d g / d omega     = g (g + x / sqrt(V))

All of it through G/H, which stays accurate where H underflows.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy.special import erfcx, log_ndtr

from sacreddnn.shallow.committee import Array


def hazard(x: Array) -> Array:
    """G(x) / H(x), the hazard rate of the normal law, to full accuracy for every x (it tends to x for large x).

    >>> hazard(np.array([-50.0, 0.0, 1e8])).tolist()
    [0.0, 0.7978845608028654, 100000000.0]
    """
    with np.errstate(over="ignore"):  # erfcx is infinite far on the left, where the rate is 0
        return np.asarray(np.sqrt(2 / np.pi) / erfcx(np.asarray(x) / np.sqrt(2)))


def log_h(x: Array) -> Array:
    """Log H(x) = log P(N(0, 1) > x), accurate in both tails."""
    return np.asarray(log_ndtr(-np.asarray(x)))


@njit(cache=True)
def others(right):  # type: ignore[no-untyped-def]
    """What the other units do, for each pattern and each unit.

    Args:
        right: probability that a unit votes right, shape (P, K), K odd.

    Returns:
        P(K//2 + 1 or more of the others are right) and P(exactly K//2 are), both (P, K). Sums of positive terms only.

    Cost: about 3/2 K^2 multiplications a pattern.
    """
    num_patterns, K = right.shape
    half = K // 2
    majority, pivotal = np.empty_like(right), np.empty_like(right)
    before = np.zeros((K + 1, K + 1))  # before[k, j] = P(j of the first k units are right)
    after = np.zeros((K + 1, K + 1))  # after[k, j] = P(j of the units k .. K-1 are right)
    tail = np.zeros((K + 1, K + 2))  # tail[k, j] = P(j or more of them are right)
    before[0, 0] = after[K, 0] = tail[K, 0] = 1.0
    for mu in range(num_patterns):
        for k in range(K):
            p = right[mu, k]
            before[k + 1, 0] = before[k, 0] * (1 - p)
            for j in range(1, k + 2):
                before[k + 1, j] = before[k, j] * (1 - p) + before[k, j - 1] * p
        for k in range(K - 1, -1, -1):
            p = right[mu, k]
            after[k, 0] = after[k + 1, 0] * (1 - p)
            for j in range(1, K - k + 1):
                after[k, j] = after[k + 1, j] * (1 - p) + after[k + 1, j - 1] * p
            total = 0.0
            for j in range(K - k, -1, -1):
                total += after[k, j]
                tail[k, j] = total
        for k in range(K):
            more, equal = 0.0, 0.0
            for j in range(k + 1):
                needed = half - j
                more += before[k, j] * (tail[k + 1, needed + 1] if needed >= 0 else tail[k + 1, 0])
                if needed >= 0:
                    equal += before[k, j] * after[k + 1, needed]
            majority[mu, k], pivotal[mu, k] = more, equal
    return majority, pivotal


def node(omega: Array, variance: Array) -> tuple[Array, Array, Array]:
    """Log Z, g and Gamma of every pattern, for independent units (the formulas at the top).

    Args:
        omega: means of the fields, the label absorbed, shape (P, K).
        variance: their variances, > 0, same shape.

    Returns:
        log Z, shape (P,); g and Gamma, shape (P, K). NaN and -inf where, for K > 1, Z underflows.
    """
    scale = 1 / np.sqrt(variance)
    x = omega * scale
    log_right = log_ndtr(x)
    majority, pivotal = others(np.exp(log_right))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # Z / H(-x): finite or, where unit k cannot matter, infinite
        relative = pivotal + np.where(majority > 0, majority * np.exp(-log_right), 0.0)
        g = pivotal * hazard(-x) / relative * scale
        best = x.argmax(1)[:, None]  # any unit gives the same Z; the one that is right most surely does not underflow
        log_z = np.take_along_axis(log_right + np.log(relative), best, 1)[:, 0]
    return log_z, g, g * (g + x * scale)
