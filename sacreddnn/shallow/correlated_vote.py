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

The mean over x is by Gauss and Hermite, with as many nodes as the load L of the factor needs; for s = -1 the nodes x
and -x are conjugate, and one of each pair is enough. With l = sum_k a_k^2/D_k the load is L = l, for s = +1 l/(1 + l):
the coefficients of what is integrated fall with its powers.

W_k and W_jk are coefficients of the generating function of the other units' votes, and come out of its values at
M > half roots of unity, with f_k = 1 - p_k + p_k zeta: no other coefficient falls on them. For all pairs at once

    W_jk = 1/M sum_zeta zeta^-half (zeta - 1) prod_l f_l/(f_j f_k)      W_k = 1/M sum_zeta zeta^-half prod_l f_l/f_k
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numba import njit

from sacreddnn.shallow import complex_normal
from sacreddnn.shallow.committee import Array

LARGEST_RULE = 48  # nodes
RULE_ERROR = 1e-9  # load^nodes; the sums are then wrong by a tenth of that or less
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


def num_nodes(load: float) -> int:
    """Even number of nodes: the coefficients of what is integrated fall with powers of the load, below 1."""
    wanted = math.log(RULE_ERROR) / math.log(min(max(load, 1e-100), 1 - 1e-9))
    return 2 * min(max(math.ceil(wanted / 2), 2), LARGEST_RULE // 2)


@cache
def quadrature(num: int, conjugate: bool) -> tuple[Array, Array]:
    """Nodes and weights of the mean over a normal x; of conjugate nodes x and -x one, with twice the weight."""
    x, weight = np.polynomial.hermite_e.hermegauss(num)
    weight /= np.sqrt(2 * np.pi)
    return (x[num // 2 :], 2 * weight[num // 2 :]) if conjugate else (x, weight)


def node(omega: Array, V: Array) -> tuple[Array, Array, Array]:
    """Log Z (P,), g (P, K) and Gamma (P, K, K) of every pattern.

    Args:
        omega: means of the fields, the label absorbed, shape (P, K).
        V: their covariances, positive, shape (P, K, K).

    Cost: K^3/4 complex multiplications a pattern and node, and K of the complex normal law.
    """
    D, a, s = one_factor(V)
    load = (a**2 / D).sum(1)
    Z, first, second = np.empty(len(V)), np.empty_like(omega), np.empty_like(V)
    for sign in np.unique(s):
        of = s == sign
        sigma = np.sqrt(D[of])
        x, weight = quadrature(num_nodes(float((load[of] / (1 + load[of] if sign > 0 else 1)).max())), sign < 0)
        u, shift = (omega[of] / sigma)[:, None, :], (a[of] / sigma)[:, None, :] * x[:, None]
        u, v = (u + shift, np.zeros_like(shift)) if sign > 0 else (np.broadcast_to(u, shift.shape), shift)
        phi, density = complex_normal.distribution(u, v)
        Z[of], first[of], second[of] = derivatives(phi, density, u, v, sigma, weight)
    with np.errstate(divide="ignore", invalid="ignore"):  # a vote that cannot be right: found by what is not finite
        g = first / Z[:, None]
        return np.log(Z), g, g[:, :, None] * g[:, None, :] - second / Z[:, None, None]


@njit(cache=True)
def descend(off, s, a, num_rounds):  # type: ignore[no-untyped-def]
    """Improve the fit in place, one a_k after another to its least squares value given the others."""
    for mu in range(a.shape[0]):
        for _ in range(num_rounds):
            change, largest = 0.0, 0.0
            for k in range(a.shape[1]):
                product, square = 0.0, 0.0
                for j in range(a.shape[1]):
                    if j != k:
                        product += off[mu, k, j] * a[mu, j]
                        square += a[mu, j] ** 2
                better = s[mu] * product / square if square > 0 else 0.0
                change, largest = max(change, abs(better - a[mu, k])), max(largest, abs(better))
                a[mu, k] = better
            if change <= 1e-12 * largest:
                break


@njit(cache=True)
def derivatives(phi, density, u, v, sigma, weight):  # type: ignore[no-untyped-def]
    """Z (P,), its gradient (P, K) and its second derivatives (P, K, K): real parts of sums over the nodes.

    Args:
        phi: p_k, shape (P, nodes, K).
        density: sigma_k dp_k/d omega_k, same shape.
        u: real part of the field over sigma_k, same shape.
        v: its imaginary part.
        sigma: root of D, shape (P, K).
        weight: of the nodes.
    """
    P, num_nodes, K = phi.shape
    half = K // 2
    Z, first, second = np.zeros(P), np.zeros((P, K)), np.zeros((P, K, K))
    num_roots = half + 1 + half % 2  # odd: at the root -1 a factor is 0 where p = 1/2
    roots = np.exp(2j * np.pi * np.arange(num_roots) / num_roots)
    head = np.zeros(half + 1, np.complex128)  # probabilities that 0 .. half of the first k units vote right
    slope, bend = np.empty(K, np.complex128), np.empty(K, np.complex128)
    part = np.empty(K, np.complex128)
    part_re, part_im = np.empty(K), np.empty(K)
    for mu in range(P):
        for node in range(num_nodes):
            p = phi[mu, node]
            head[:] = 0
            head[0] = 1
            for k in range(K):
                for n in range(half, 0, -1):
                    head[n] += p[k] * (head[n - 1] - head[n])
                head[0] *= 1 - p[k]
            Z[mu] += weight[node] * (1 - head.sum()).real
            for k in range(K):
                slope[k] = density[mu, node, k] / sigma[mu, k]
                bend[k] = -complex(u[mu, node, k], v[mu, node, k]) / sigma[mu, k]
            for m in range(num_roots):
                product = complex(1.0)
                for k in range(K):
                    factor = 1 + p[k] * (roots[m] - 1)
                    product *= factor
                    part[k] = slope[k] * factor.conjugate() / (factor.real**2 + factor.imag**2)
                    part_re[k], part_im[k] = part[k].real, part[k].imag
                product *= weight[node] / num_roots * roots[m].conjugate() ** half
                pair = product * (roots[m] - 1)
                for j in range(K):
                    pivotal = product * part[j]
                    first[mu, j] += pivotal.real
                    second[mu, j, j] += (pivotal * bend[j]).real
                    twice = pair * part[j]
                    for k in range(j):
                        second[mu, j, k] += twice.real * part_re[k] - twice.imag * part_im[k]
        for j in range(K):
            for k in range(j):
                second[mu, k, j] = second[mu, j, k]
    return Z, first, second
