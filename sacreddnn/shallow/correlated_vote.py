r"""One pattern of a committee machine whose units have correlated Gaussian fields: u ~ N(omega, V), V of K x K.

Off its diagonal V is fitted by one factor, V_jk = s a_j a_k with s = -1 (units that share the work anticorrelate) or
s = +1. Given the factor x the units are independent, with p_k(x) = H(-(omega_k + sqrt(s) a_k x)/sqrt(D_k)) and
D_k = V_kk - s a_k^2, and the vote is Poisson-binomial as in vote.py. For s = -1 sqrt(s) is imaginary: the mean over x
is then the analytic continuation, which converges while V is positive. With W = P(the vote is right | p), which is
linear in each p_k,

    Z           = Int Dx W(p(x))
    dZ/d omega  = Int Dx W_k r_k             r_k = G(.)/sqrt(D_k),    W_k  = P(half of the others are right)
    d2Z         = Int Dx W_jk r_j r_k        W_jk = P(half - 1 of all but j, k) - P(half of them);  W_k r_k' for j = k
    g = dZ/Z        Gamma = g g^T - d2Z/Z

The mean over x is by Gauss and Hermite; for s = -1 the nodes x and -x are conjugate, and one of each pair is enough.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy.special import erfc

from sacreddnn.shallow.committee import Array

NUM_NODES = 16  # even
ROUNDS = 60  # of the fit
LARGEST = 0.9  # a D^-1 a for s = -1; at 1 the fitted V is singular


def one_factor(V: Array) -> tuple[Array, Array, Array]:
    """D (P, K), a (P, K) and s (P,) of every pattern: least squares off the diagonal, coordinate after coordinate.

    Exact for K <= 3 if the three correlations have one sign, and for every V that has this form.
    """
    num_units = V.shape[1]
    diagonal = np.einsum("pkk->pk", V)
    off = V * (1 - np.eye(num_units))
    s = np.where(off.sum((1, 2)) > 0, 1.0, -1.0)
    if num_units == 1:
        return diagonal.copy(), np.zeros_like(diagonal), s
    size = np.sqrt(np.abs(off).sum((1, 2)) / (num_units * (num_units - 1)))
    a = np.repeat(size[:, None], num_units, axis=1)
    descend(off, s, a, ROUNDS)
    # D must stay positive for s = +1, and V for s = -1
    load = np.where(s > 0, (a**2 / diagonal).max(1), (a**2 / (diagonal + a**2)).sum(1))
    a *= np.where(load > LARGEST, np.sqrt(LARGEST / np.maximum(load, 1e-300)) * 0.9, 1.0)[:, None]
    return diagonal - s[:, None] * a**2, a, s


def node(omega: Array, V: Array) -> tuple[Array, Array, Array]:
    """Log Z (P,), g (P, K) and Gamma (P, K, K) of every pattern.

    Args:
        omega: means of the fields, the label absorbed, shape (P, K).
        V: their covariances, positive, shape (P, K, K).

    Cost: `NUM_NODES` times about K^3 complex multiplications a pattern.
    """
    D, a, s = one_factor(V)
    x, weight = np.polynomial.hermite_e.hermegauss(NUM_NODES)
    weight /= np.sqrt(2 * np.pi)
    half = NUM_NODES // 2
    Z, first, second = np.empty(len(V)), np.empty_like(omega), np.empty_like(V)
    for root, nodes, weights in ((1j, x[half:], 2 * weight[half:]), (1 + 0j, x, weight)):
        of = s == (root**2).real
        sigma = np.sqrt(D[of])[:, None, :]
        fields = (omega[of][:, None, :] + root * a[of][:, None, :] * nodes[:, None]) / sigma  # (P, nodes, K)
        right = 0.5 * erfc(-fields / np.sqrt(2))
        slope = np.exp(-(fields**2) / 2) / np.sqrt(2 * np.pi) / sigma
        Z[of], first[of], second[of] = derivatives(right, slope, -fields / sigma * slope, weights)
    with np.errstate(divide="ignore", invalid="ignore"):  # a vote that cannot be right: found by what is not finite
        g = first / Z[:, None]
        return np.log(Z), g, g[:, :, None] * g[:, None, :] - second / Z[:, None, None]


@njit(cache=True)
def descend(off, s, a, num_rounds):  # type: ignore[no-untyped-def]
    """Improve the fit in place, one a_k after another to its least squares value given the others."""
    for mu in range(a.shape[0]):
        for _ in range(num_rounds):
            for k in range(a.shape[1]):
                product, square = 0.0, 0.0
                for j in range(a.shape[1]):
                    if j != k:
                        product += off[mu, k, j] * a[mu, j]
                        square += a[mu, j] ** 2
                a[mu, k] = s[mu] * product / square if square > 0 else 0.0


@njit(cache=True)
def derivatives(right, slope, bend, weight):  # type: ignore[no-untyped-def]
    """Z (P,), its gradient (P, K) and its second derivatives (P, K, K): real parts of sums over the nodes.

    Args:
        right: p_k, shape (P, nodes, K).
        slope: r_k = dp_k/d omega_k, same shape.
        bend: its derivative.
        weight: of the nodes.
    """
    P, num_nodes, K = right.shape
    half = K // 2
    Z, first, second = np.zeros(P), np.zeros((P, K)), np.zeros((P, K, K))
    # probabilities that 0 .. half units vote right: of the first k, of those from k on, of those but j before k
    head = np.zeros((K + 1, half + 1), np.complex128)
    tail = np.zeros((K + 1, half + 1), np.complex128)
    rest = np.zeros(half + 1, np.complex128)
    head[0, 0], tail[K, 0] = 1, 1
    for mu in range(P):
        for node in range(num_nodes):
            p, r = right[mu, node], slope[mu, node]
            for k in range(K):
                head[k + 1, 0] = head[k, 0] * (1 - p[k])
                for n in range(1, half + 1):
                    head[k + 1, n] = head[k, n] * (1 - p[k]) + head[k, n - 1] * p[k]
            for k in range(K - 1, -1, -1):
                tail[k, 0] = tail[k + 1, 0] * (1 - p[k])
                for n in range(1, half + 1):
                    tail[k, n] = tail[k + 1, n] * (1 - p[k]) + tail[k + 1, n - 1] * p[k]
            wrong = 0.0j
            for n in range(half + 1):
                wrong += head[K, n]
            Z[mu] += weight[node] * (1 - wrong).real
            for j in range(K):
                rest[:] = head[j]
                for k in range(j + 1, K):
                    one_less, equal = 0.0j, rest[half] * tail[k + 1, 0]
                    for n in range(half):
                        equal += rest[n] * tail[k + 1, half - n]
                        one_less += rest[n] * tail[k + 1, half - 1 - n]
                    value = weight[node] * ((one_less - equal) * r[j] * r[k]).real
                    second[mu, j, k] += value
                    second[mu, k, j] += value
                    for n in range(half, 0, -1):
                        rest[n] = rest[n] * (1 - p[k]) + rest[n - 1] * p[k]
                    rest[0] *= 1 - p[k]
                first[mu, j] += weight[node] * (rest[half] * r[j]).real
                second[mu, j, j] += weight[node] * (rest[half] * bend[mu, node, j]).real
    return Z, first, second
