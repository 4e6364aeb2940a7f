r"""Two Gaussian clouds told apart by one unit: test error and local energy of the Bayes-optimal rule and of ridge.

    x = y v/sqrt(N) + sqrt(Delta) z,     v, z standard normal, y = +1 with probability rho, P = alpha N patterns
    out = sign( w . x / sqrt(N) + b )

(the model of the paper's first version; Mignacco et al. 2020, arXiv 2002.11544). With m = w.v/N and q = |w|^2/N the
field of a new pattern times its label is y b + m + sqrt(Delta q) times a normal number:

    error = rho H((m + b)/sqrt(Delta q)) + (1 - rho) H((m - b)/sqrt(Delta q)),      H(x) = P(N(0, 1) > x)

Bayes-optimal: w = E[v | patterns], b = Delta/2 log(rho/(1 - rho)), m = q = alpha/(alpha + Delta).

Ridge: the least 1/2 sum (y - w.x/sqrt(N) - b)^2 + lambda/2 |w|^2, for N -> infinity

    s = 1/(lambda + alpha Delta/(1 + V)),   V = Delta s,   b = (2 rho - 1)(1 - m),   m = c/(1 + c)
    c = 4 rho (1 - rho) alpha s/(1 + V),    k = alpha Delta s^2/(1 + V)^2
    q = [m^2 + k 4 rho (1 - rho) (1 - m)^2]/(1 - k Delta)

Patterns that were learned have another field. A pattern pulls w toward itself: in ridge y minus the field shrinks by
1 + V; in the mean of all patterns it adds Delta/(alpha + Delta). So y times the field is normal there too, with

    ridge    mean (V + m + y b)/(1 + V)             variance Delta q/(1 + V)^2
    Bayes    mean m + y b + Delta/(alpha + Delta)   variance Delta q

Noise w -> w (1 + sigma n), b -> b (1 + sigma n), adds the variance sigma^2 (Delta q + b^2), which gives the local
energy in closed form: the mean of H(mean/sqrt(variance + that)) over y, minus itself at sigma = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from sacreddnn.shallow.committee import Array


@dataclass(frozen=True)
class Rule:
    """A linear rule on the mixture as N -> infinity.

    Attributes:
        m: overlap with the centers of the clouds, w.v/N.
        q: |w|^2/N.
        b: bias.
        shift: what learning adds to y times the field of a learned pattern, before `shrink`.
        shrink: by what it is divided.
        delta: variance Delta of the clouds.
        rho: fraction of y = +1.
    """

    m: float
    q: float
    b: float
    shift: float
    shrink: float
    delta: float
    rho: float

    def test_error(self) -> float:
        """On new patterns, in percent."""
        return self._error(self.m, self.b, self.delta * self.q)

    def train_error(self, sigma: float = 0.0) -> float:
        """On learned patterns, with multiplicative noise of this strength on weights and bias, in percent."""
        variance = self.delta * self.q / self.shrink**2 + sigma**2 * (self.delta * self.q + self.b**2)
        return self._error((self.m + self.shift) / self.shrink, self.b / self.shrink, variance)

    def local_energy(self, sigmas: Sequence[float]) -> Array:
        """Train error with noise minus train error without, in percentage points, shape (len(sigmas),)."""
        return np.array([self.train_error(sigma) - self.train_error() for sigma in sigmas])

    def _error(self, mean: float, bias: float, variance: float) -> float:
        scale = math.sqrt(variance)
        wrong = self.rho * ndtr(-(mean + bias) / scale) + (1 - self.rho) * ndtr(-(mean - bias) / scale)
        return 100 * float(wrong)


def bayes(alpha: float, delta: float, rho: float = 0.5) -> Rule:
    """The Bayes-optimal rule: no other has a lower test error.

    Args:
        alpha: patterns per weight, > 0.
        delta: variance of the clouds, > 0; their centers are 2 apart.
        rho: fraction of y = +1, in (0, 1).
    """
    _check(alpha, delta, rho)
    m = alpha / (alpha + delta)
    return Rule(m, m, delta / 2 * math.log(rho / (1 - rho)), delta / (alpha + delta), 1.0, delta, rho)


def ridge(alpha: float, delta: float, lam: float, rho: float = 0.5) -> Rule:
    """Ridge regression on the labels, with a bias that is not penalized; arguments as in `bayes`.

    Args:
        alpha: ..
        delta: ..
        lam: lambda, > 0. For lambda -> infinity and rho = 1/2 the rule of the Bayes point, of another length.
        rho: ..
    """
    _check(alpha, delta, rho)
    if not 0 < lam < math.inf:
        raise ValueError(f"lam: {lam} is not allowed, the penalty is finite and > 0")
    linear = lam + (alpha - 1) * delta  # s solves lambda Delta s^2 + linear s - 1 = 0
    root = math.hypot(linear, 2 * math.sqrt(lam * delta))
    # of the two forms of the positive root the one without cancellation
    s = 2 / (linear + root) if linear > 0 else (root - linear) / (2 * lam * delta)
    V, spread = delta * s, 4 * rho * (1 - rho)
    c, k = spread * alpha * s / (1 + V), alpha * delta * s**2 / (1 + V) ** 2
    m = c / (1 + c)
    q = (m**2 + k * spread * (1 - m) ** 2) / (1 - k * delta)
    return Rule(m, q, (2 * rho - 1) * (1 - m), V, 1 + V, delta, rho)


def sample(
    num_inputs: int, num_patterns: int, delta: float, rho: float = 0.5, *, num_test: int = 0, seed: int = 0
) -> tuple[Array, Array, Array, Array]:
    """Patterns (P, N) and labels (P,) to learn, and as many as `num_test` of the same clouds to test on.

    |v|^2 = N, and a fraction rho of either has y = +1, to the next pattern: both as for N -> infinity.
    """
    _check(1.0, delta, rho)
    generator = np.random.default_rng(seed)
    v = generator.standard_normal(num_inputs)
    v *= math.sqrt(num_inputs) / np.linalg.norm(v)
    count = num_patterns + num_test
    signs = [np.where(np.arange(n) < round(rho * n), 1.0, -1.0) for n in (num_patterns, num_test)]
    y = np.concatenate([generator.permutation(one) for one in signs])
    x = y[:, None] * v / math.sqrt(num_inputs) + math.sqrt(delta) * generator.standard_normal((count, num_inputs))
    return x[:num_patterns], y[:num_patterns], x[num_patterns:], y[num_patterns:]


def fit_bayes(x: Array, y: Array, delta: float, rho: float = 0.5) -> tuple[Array, float]:
    """The mean E[v | patterns] as w, shape (N,), and b."""
    num_patterns, num_inputs = x.shape
    return math.sqrt(num_inputs) * (y @ x) / (num_patterns + num_inputs * delta), delta / 2 * math.log(rho / (1 - rho))


def fit_ridge(x: Array, y: Array, lam: float) -> tuple[Array, float]:
    """The least squares with penalty: w, shape (N,), and b. By the smaller of the P x P and the N x N system."""
    num_patterns, num_inputs = x.shape
    mean_x, mean_y = x.mean(0), y.mean()
    X, Y = (x - mean_x) / math.sqrt(num_inputs), y - mean_y  # the best b leaves these
    if num_patterns < num_inputs:
        w = X.T @ np.linalg.solve(X @ X.T + lam * np.eye(num_patterns), Y)
    else:
        w = np.linalg.solve(X.T @ X + lam * np.eye(num_inputs), X.T @ Y)
    return w, float(mean_y - mean_x @ w / math.sqrt(num_inputs))


def error(w: Array, b: float, x: Array, y: Array, sigma: float = 0.0) -> float:
    """The expected error under multiplicative noise of this strength on w and b, in percent; exact, without drawing.

    Args:
        w: shape (N,).
        b: bias.
        x: patterns, shape (P, N).
        y: labels.
        sigma: strength of the noise.
    """
    fields = y * (x @ w / math.sqrt(len(w)) + b)
    if sigma == 0:
        return 100 * float((fields <= 0).mean())
    scale = sigma * np.sqrt(x**2 @ w**2 / len(w) + b**2)
    return 100 * float(ndtr(-fields / scale).mean())


def _check(alpha: float, delta: float, rho: float) -> None:
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha: {alpha} is not allowed, give a number of patterns per weight > 0")
    if not 0 < delta < math.inf:
        raise ValueError(f"delta: {delta} is not allowed, give a variance > 0")
    if not 0 < rho < 1:
        raise ValueError(f"rho: {rho} is not allowed, both classes have patterns: give a fraction in (0, 1)")
