r"""Replica-symmetric entropies of the spherical perceptron, as saddle points.

N weights on the sphere |w|^2 = N, P = alpha N independent random patterns, zero margin; entropies per weight, relative
to the whole sphere, natural logarithm. H(x) = P(N(0, 1) > x), G the normal density, Dz = G(z) dz.

Random labels (Gardner 1988): the volume of the solutions

    S = extr_q  1/2 log(1-q) + q/(2(1-q)) + alpha Int Dz log H(-sqrt(q/(1-q)) z)
    saddle      q = alpha (1-q) Int Dz (G/H)^2(-sqrt(q/(1-q)) z);      q -> 1 at alpha = 2 (Cover 1965)

Labels of a teacher, around whom the solutions w at the cosine r = 1 - d are counted (Franz and Parisi 1995)

    S(r) = extr_q  1/2 log(1-q) + (q-r^2)/(2(1-q)) + 2 alpha Int Dz H(-r z/sqrt(q-r^2)) log H(-sqrt(q/(1-q)) z)
    Phi(d) = S(r) - 1/2 log(1-r^2)

Around a typical solution the curve is the same: patterns and labels do not tell it from the teacher (Nishimori). Two
typical solutions have the overlap Q of `typical_overlap`, and so have a typical solution and the teacher.

The Bayes point is the direction of the mean of all solutions, of squared length Q. Around it, with p = sqrt(Q) r,

    S_B(r) = extr_{q, delta}  1/2 log(1-q) + (q - p^2 - 2 p delta + Q delta^2/(1-Q))/(2(1-q))
                              + 2 alpha Int Dz H(x) Int Dy log H(-u/sqrt(1-q)),
    x = -sqrt(Q/(1-Q)) z,     u = r z + delta/sqrt(1-Q) G/H(x) + sqrt(q - r^2) y

Derived here: n typical solutions are the reference, n -> infinity; their overlap p with w exceeds
that of other typical solutions by delta/n. Checks: delta = 0 and S_B = the volume of all solutions at r = sqrt(Q);
delta = p (1-Q)/Q, the field of the Bayes point on the patterns, for r -> 1; AMP at large N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, root
from scipy.special import ndtr

from sacreddnn.shallow.committee import Array
from sacreddnn.shallow.vote import hazard, log_h

_EDGE = 1e-12  # nearest to its limits that q is looked for
_GUESSES = ((-3.0, 0.9), (-6.0, 1.0), (-10.0, 1.0), (0.0, 0.1))  # logit of (q - r^2)/(1 - r^2); delta over its largest


def normal_measure(num_nodes: int, half_width: float = 10.0) -> tuple[Array, Array]:
    """Nodes and weights of Int Dz: Gauss-Legendre in z^(1/3) on both sides of 0, where integrands bend as q -> 1."""
    x, weight = np.polynomial.legendre.leggauss(num_nodes)
    u = (x + 1) / 2
    z = half_width * u**3
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * 1.5 * half_width * u**2 * weight
    return np.concatenate([-z[::-1], z]), np.concatenate([density[::-1], density])


_Z, _DZ = normal_measure(160)
_Z2, _DZ2 = normal_measure(40)  # of each of two integrals


@dataclass(frozen=True)
class Entropy:
    """A saddle point: the entropy per weight, and the overlap q of two of the solutions counted."""

    entropy: float
    q: float


def gardner_at(q: float) -> tuple[float, float]:
    """The load alpha at which solutions have overlap q, and their entropy: the Gardner curve, parametrised by q.

    >>> alpha, entropy = gardner_at(1 - 1e-7)  # near capacity
    >>> round(alpha, 4)
    2.0
    """
    if not 0 <= q < 1:
        raise ValueError(f"q: {q} is not allowed, an overlap of solutions lies in [0, 1)")
    x = -math.sqrt(q / (1 - q)) * _Z
    alpha = q / ((1 - q) * float(_DZ @ hazard(x) ** 2))
    return alpha, 0.5 * math.log1p(-q) + q / (2 * (1 - q)) + alpha * float(_DZ @ log_h(x))


def gardner(alpha: float) -> Entropy:
    """The volume of the solutions of a perceptron with random labels.

    Raises:
        ValueError: alpha outside [0, 2); from 2 on there are no solutions.
    """
    if not 0 <= alpha < 2:
        raise ValueError(f"alpha: {alpha} is not allowed, solutions exist for 0 <= alpha < 2")
    highest = 1 - 1e-9
    if alpha == 0 or alpha > gardner_at(highest)[0]:
        return Entropy(0.0, 0.0) if alpha == 0 else Entropy(-math.inf, 1.0)
    q = float(brentq(lambda q: gardner_at(q)[0] - alpha, _EDGE, highest, xtol=1e-15))
    return Entropy(gardner_at(q)[1], q)


def typical_overlap(alpha: float) -> float:
    """Q, the overlap of two typical solutions and of one with the teacher: the root of Q = 2 alpha Int Dz (G^2/H)(x).

    A typical solution errs with probability arccos(Q)/pi on new patterns, the Bayes point with arccos(sqrt(Q))/pi.
    """
    _check_alpha(alpha)
    if alpha == 0:
        return 0.0

    def excess(q: float) -> float:
        x = -math.sqrt(q / (1 - q)) * _Z
        return 2 * alpha * float(_DZ @ (ndtr(-x) * hazard(x) ** 2)) - q

    return float(brentq(excess, _EDGE, 1 - _EDGE, xtol=1e-15))


def around_teacher(r: float, alpha: float) -> Entropy:
    """S(r): the solutions at the cosine r in [0, 1) from the teacher, or from a typical solution.

    Raises:
        ValueError: r or alpha out of range.
    """
    _check(r, alpha)

    def parts(q: float) -> tuple[Array, Array]:
        return ndtr(r * _Z / math.sqrt(max(q - r * r, 1e-300))), -math.sqrt(q / (1 - q)) * _Z

    def slope(q: float) -> float:  # of the bracket in q, times 2 (1-q)^2
        weight, x = parts(q)
        return q - r * r - 2 * alpha * (1 - q) * float(_DZ @ (weight * hazard(x) ** 2))

    low = r * r + _EDGE * (1 - r * r)  # two solutions at cosine r from one point have this overlap at least
    high = min(1 - _EDGE * (1 - r), 1 - 1e-15)
    q = float(brentq(slope, low, high, xtol=1e-15)) if slope(low) < 0 else low
    weight, x = parts(q)
    entropy = 0.5 * math.log1p(-q) + (q - r * r) / (2 * (1 - q)) + 2 * alpha * float(_DZ @ (weight * log_h(x)))
    return Entropy(entropy, q)


def around_bayes_point(r: float, alpha: float) -> Entropy:
    """S_B(r): the solutions at the cosine r in [0, 1) from the Bayes point, for alpha > 0.

    Raises:
        ValueError: r or alpha out of range, or a saddle point that is not found.
    """
    _check(r, alpha)
    if alpha == 0:
        raise ValueError("alpha: 0 is not allowed, without patterns there is no Bayes point")
    Q = typical_overlap(alpha)
    p, x = math.sqrt(Q) * r, -math.sqrt(Q / (1 - Q)) * _Z2
    weight, rate = 2 * alpha * _DZ2 * ndtr(-x), hazard(x) / math.sqrt(1 - Q)
    largest = p * (1 - Q) / Q  # delta: the field of the Bayes point itself

    def unpack(v: Array) -> tuple[float, float]:
        return r * r + (1 - r * r) / (1 + math.exp(-v[0])), largest * v[1]

    def field(q: float, delta: float) -> Array:
        mean = r * _Z2 + delta * rate
        return -(mean[:, None] + math.sqrt(q - r * r) * _Z2) / math.sqrt(1 - q)

    def slopes(v: Array) -> tuple[float, float]:
        q, delta = unpack(v)
        h = hazard(field(q, delta))
        squared = p * p + 2 * p * delta - Q * delta**2 / (1 - Q)
        in_q = (q - squared) / (1 - q) - float(weight @ (h**2 @ _DZ2))
        in_delta = (Q * delta / (1 - Q) - p) / math.sqrt(1 - q) + float((weight * rate) @ (h @ _DZ2))
        return in_q, in_delta

    q, delta = 0.0, 0.0
    with np.errstate(all="ignore"):  # on the way
        for guess in _GUESSES:
            found = root(slopes, guess, tol=1e-12)
            if np.abs(found.fun).max() < 1e-6:  # at r = sqrt(Q), where q = r^2, the solver itself is never content
                q, delta = unpack(found.x)
                break
        else:
            raise ValueError(f"r: no saddle point is found around the Bayes point at r={r}, alpha={alpha}")
    energy = float(weight @ (log_h(field(q, delta)) @ _DZ2))
    squared = p * p + 2 * p * delta - Q * delta**2 / (1 - Q)
    return Entropy(0.5 * math.log1p(-q) + (q - squared) / (2 * (1 - q)) + energy, q)


def local_entropy(d: float, alpha: float, reference: str = "teacher") -> float:
    """Phi(d) of the spherical perceptron on a teacher's patterns.

    Args:
        d: distance per weight, in (0, 1].
        alpha: patterns per weight.
        reference: "teacher", also for a typical solution, or "bayes".
    """
    around = {"teacher": around_teacher, "bayes": around_bayes_point}
    if reference not in around:
        raise ValueError(f"reference: {reference!r} is not allowed, allowed: {', '.join(around)}")
    if not 0 < d <= 1:
        raise ValueError(f"d: {d} is not allowed, distances per weight lie in (0, 1]")
    r = 1 - d
    return around[reference](r, alpha).entropy - 0.5 * math.log1p(-r * r)


def _check(r: float, alpha: float) -> None:
    _check_alpha(alpha)
    if not 0 <= r < 1:
        raise ValueError(f"r: {r} is not allowed, the cosine with a reference lies in [0, 1)")


def _check_alpha(alpha: float) -> None:
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha: {alpha} is not allowed, give a number of patterns per weight >= 0")
