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
LANES = 16  # patterns that go through the vote together, in vector registers
RULE_ERROR = 1e-7  # load^nodes; the sum Z is then wrong by a tenth of that or less
ROUNDS = 60  # of the fit
FIT_TOLERANCE = 1e-10  # relative change of a round; the fit itself is off by percents where K > 3
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
    fitted = np.repeat(size[None], num_units, axis=0)
    descend(off, s, fitted, ROUNDS)
    a = np.ascontiguousarray(fitted.T)
    # D must stay positive for s = +1, and V for s = -1
    load = np.where(s > 0, (a**2 / diagonal).max(1), (a**2 / (diagonal + a**2)).sum(1))
    a *= np.where(load > LARGEST, np.sqrt(LARGEST / np.maximum(load, 1e-300)) * 0.9, 1.0)[:, None]
    return diagonal - s[:, None] * a**2, a, s


def num_nodes(load: float) -> int:
    """Even number of nodes: the coefficients of what is integrated fall with powers of the load, below 1."""
    # NaN, of a covariance that is none, takes the largest rule and stays NaN in the sums
    wanted = math.log(RULE_ERROR) / math.log(max(load, 1e-100) if load < 1 - 1e-9 else 1 - 1e-9)
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
        # patterns last: they go through the processor's vector registers side by side
        u = np.ascontiguousarray((omega[of] / sigma).T)
        shift = np.ascontiguousarray((a[of] / sigma).T) * x[:, None, None]
        u, v = (u + shift, np.zeros_like(shift)) if sign > 0 else (np.broadcast_to(u, shift.shape), shift)
        phi, density = complex_normal.distribution(u, v)
        Z[of], first[of], second[of] = derivatives(phi, density, u, v, sigma.T.copy(), weight)
    with np.errstate(divide="ignore", invalid="ignore"):  # a vote that cannot be right: found by what is not finite
        g = first / Z[:, None]
        return np.log(Z), g, g[:, :, None] * g[:, None, :] - second / Z[:, None, None]


@njit(cache=True, error_model="numpy")
def descend(off, s, a, num_rounds):  # type: ignore[no-untyped-def]
    """Improve the fit a (K, P) in place, one a_k after another to its least squares value given the others.

    A pattern whose fit no longer moves stays as it is while others in its row of LANES go on.
    """
    num_units, num_patterns = a.shape
    targets, fit = np.zeros((num_units, num_units, LANES)), np.zeros((num_units, LANES))
    sign, moves, work = np.ones(LANES), np.empty(LANES), np.empty((4, LANES))
    for start in range(0, num_patterns, LANES):
        num = min(LANES, num_patterns - start)
        for i in range(num):
            sign[i] = s[start + i]
            for k in range(num_units):
                fit[k, i] = a[k, start + i]
                for j in range(num_units):
                    targets[k, j, i] = off[start + i, k, j]
        moves[:] = 1
        for _ in range(num_rounds):
            if not _round(targets, sign, fit, moves, work):
                break
        for i in range(num):
            for k in range(num_units):
                a[k, start + i] = fit[k, i]


@njit(cache=True, error_model="numpy")
def _round(targets, sign, fit, moves, work):  # type: ignore[no-untyped-def]
    """One round of `descend` for the patterns of a row that still move; whether any does."""
    product, change, largest, squares = work
    for i in range(LANES):
        change[i], largest[i], squares[i] = 0, 0, 0
    for k in range(len(fit)):
        for i in range(LANES):
            squares[i] += fit[k, i] ** 2
    for k in range(len(fit)):
        for i in range(LANES):
            product[i] = 0
        for j in range(len(fit)):
            for i in range(LANES):
                product[i] += targets[k, j, i] * fit[j, i]
        for i in range(LANES):
            old = fit[k, i]
            others = squares[i] - old**2
            better = sign[i] * product[i] / others if others > 1e-14 * squares[i] else 0.0
            better = old + moves[i] * (better - old)
            change[i] = max(change[i], abs(better - old))
            largest[i] = max(largest[i], abs(better))
            squares[i] = others + better**2
            fit[k, i] = better
    moving = 0.0
    for i in range(LANES):
        moves[i] = 1.0 if change[i] > FIT_TOLERANCE * largest[i] else 0.0
        moving += moves[i]
    return moving > 0


@njit(cache=True, error_model="numpy")
def derivatives(phi, density, u, v, sigma, weight):  # type: ignore[no-untyped-def]
    """Z (P,), its gradient (P, K) and its second derivatives (P, K, K): real parts of sums over the nodes.

    Args:
        phi: p_k, shape (nodes, K, P).
        density: sigma_k dp_k/d omega_k, same shape.
        u: real part of the field over sigma_k, same shape.
        v: its imaginary part.
        sigma: root of D, shape (K, P).
        weight: of the nodes.
    """
    num_nodes, K, P = phi.shape
    half = K // 2
    Z, first, second = np.zeros(P), np.empty((P, K)), np.empty((P, K, K))
    num_roots = half + 1 + half % 2  # odd: at the root -1 a factor is 0 where p = 1/2
    roots = np.exp(2j * np.pi * np.arange(num_roots) / num_roots)
    # real and imaginary parts in arrays of their own, LANES patterns in a row
    p, slope, bend, part = np.zeros((4, 2, K, LANES))
    head = np.empty((half + 1, 2, LANES))  # probabilities that 0 .. half of the first k units vote right
    product, twice = np.empty((2, 2, LANES))
    wrong = np.empty(LANES)
    gradient, hessian = np.empty((K, LANES)), np.empty((K, K, LANES))
    for start in range(0, P, LANES):
        num = min(LANES, P - start)
        gradient[:], hessian[:] = 0, 0
        for n in range(num_nodes):
            for k in range(K):
                for i in range(num):
                    mu = start + i
                    p[0, k, i], p[1, k, i] = phi[n, k, mu].real, phi[n, k, mu].imag
                    slope[0, k, i] = density[n, k, mu].real / sigma[k, mu]
                    slope[1, k, i] = density[n, k, mu].imag / sigma[k, mu]
                    bend[0, k, i], bend[1, k, i] = -u[n, k, mu] / sigma[k, mu], -v[n, k, mu] / sigma[k, mu]
            _wrong(p, head, wrong)
            for i in range(num):
                Z[start + i] += weight[n] * (1 - wrong[i])
            for m in range(num_roots):
                scale = weight[n] / num_roots * roots[m].conjugate() ** half
                _factors(p, slope, roots[m] - 1, scale, product, part)
                for j in range(K):
                    for i in range(LANES):
                        re = product[0, i] * part[0, j, i] - product[1, i] * part[1, j, i]
                        im = product[0, i] * part[1, j, i] + product[1, i] * part[0, j, i]
                        gradient[j, i] += re
                        hessian[j, j, i] += re * bend[0, j, i] - im * bend[1, j, i]
                    if m > 0:  # at the root 1 all pairs have the factor 0
                        _pairs(product, roots[m] - 1, part, j, twice, hessian)
        for i in range(num):
            for j in range(K):
                first[start + i, j] = gradient[j, i]
                for k in range(j + 1):
                    second[start + i, j, k] = second[start + i, k, j] = hessian[j, k, i]
    return Z, first, second


@njit(cache=True, error_model="numpy")
def _wrong(p, head, wrong):  # type: ignore[no-untyped-def]
    """Fill wrong with the real part of P(at most half of the units vote right)."""
    for n in range(len(head)):
        for i in range(LANES):
            head[n, 0, i], head[n, 1, i] = 1.0 if n == 0 else 0.0, 0.0
    for k in range(p.shape[1]):
        for n in range(len(head) - 1, -1, -1):
            for i in range(LANES):
                re, im = -head[n, 0, i], -head[n, 1, i]
                if n > 0:
                    re += head[n - 1, 0, i]
                    im += head[n - 1, 1, i]
                head[n, 0, i] += p[0, k, i] * re - p[1, k, i] * im
                head[n, 1, i] += p[0, k, i] * im + p[1, k, i] * re
    for i in range(LANES):
        wrong[i] = 0
    for n in range(len(head)):
        for i in range(LANES):
            wrong[i] += head[n, 0, i]


@njit(cache=True, error_model="numpy")
def _factors(p, slope, shift, scale, product, part):  # type: ignore[no-untyped-def]
    """Fill product with scale prod_k f_k, and part with slope_k/f_k, where f_k = 1 + shift p_k."""
    for i in range(LANES):
        product[0, i], product[1, i] = scale.real, scale.imag
    for k in range(p.shape[1]):
        for i in range(LANES):
            f_re = 1 + p[0, k, i] * shift.real - p[1, k, i] * shift.imag
            f_im = p[0, k, i] * shift.imag + p[1, k, i] * shift.real
            re = product[0, i] * f_re - product[1, i] * f_im
            product[1, i] = product[0, i] * f_im + product[1, i] * f_re
            product[0, i] = re
            below = 1 / (f_re**2 + f_im**2)
            part[0, k, i] = (slope[0, k, i] * f_re + slope[1, k, i] * f_im) * below
            part[1, k, i] = (slope[1, k, i] * f_re - slope[0, k, i] * f_im) * below


@njit(cache=True, error_model="numpy")
def _pairs(product, shift, part, j, twice, hessian):  # type: ignore[no-untyped-def]
    """Add the real part of shift product part_j part_k to the second derivatives by j and all k < j."""
    for i in range(LANES):
        re = product[0, i] * shift.real - product[1, i] * shift.imag
        im = product[0, i] * shift.imag + product[1, i] * shift.real
        twice[0, i] = re * part[0, j, i] - im * part[1, j, i]
        twice[1, i] = re * part[1, j, i] + im * part[0, j, i]
    for k in range(j):
        for i in range(LANES):
            hessian[j, k, i] += twice[0, i] * part[0, k, i] - twice[1, i] * part[1, k, i]
