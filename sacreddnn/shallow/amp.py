r"""The local entropy by approximate message passing, one mean and one variance for every weight.

The measure is exp(-lambda |w|^2/2 + gamma w~.w) times "every pattern is right", lambda = 1/(1 - t^2), gamma = t lambda.
With F_mu = label xi_mu / sqrt(N) and the units taken as independent of each other given the messages (Donoho, Maleki
and Montanari 2009; Rangan 2011):

    V_kmu = sum_i F_mui^2 s_ki                  omega_kmu = sum_i F_mui m_ki - V_kmu g_kmu
    log Z_mu, g_kmu, Gamma_kmu                  of the vote, see vote.py
    A_ki  = sum_mu F_mui^2 Gamma_kmu            B_ki = sum_mu F_mui g_kmu + A_ki m_ki
    s_ki  = 1/(lambda + A_ki)                   m_ki = s_ki (gamma w~_ki + B_ki)

    log P_t = sum_ki [ 1/2 log(lambda s_ki) + 1/2 s_ki h_ki^2 - gamma^2 w~_ki^2/(2 lambda)
                       + 1/2 A_ki (m_ki^2 + s_ki) - B_ki m_ki ]
              + sum_mu [ log Z_mu + 1/2 sum_k V_kmu g_kmu^2 ],        h = gamma w~ + B

It is right for large N on independent random patterns if K = 1. For K > 1 the units see the same patterns and are
correlated, which amp_matrix.py keeps; up to d = 0.2 the two differ by a percent on random patterns. **On images it is
wrong by a factor of 1.5 to 2.7 although it converges**: pixels are correlated. There sampling.py is right.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sacreddnn.shallow import message_passing, vote
from sacreddnn.shallow.amp_matrix import MatrixAmp
from sacreddnn.shallow.committee import Array
from sacreddnn.shallow.curve import LocalEntropyCurve


class Messages(NamedTuple):
    """Mean m and variance s of the weights, (K, N); g and Gamma of the patterns, (P, K)."""

    m: Array
    s: Array
    g: Array
    gamma: Array


class ScalarAmp:
    """The iteration on fixed patterns; see message_passing.Engine."""

    name = "amp"
    norm_tolerance = 1e-6
    dampings: tuple[float, ...] = (0.0, 0.5, 0.8, 0.95)

    def __init__(self, weights: Array, F: Array) -> None:
        self.weights, self.F, self.F2 = weights, F, F**2

    def start(self, t: float) -> Messages:
        """The Gaussian around the network."""
        none = np.zeros((len(self.F), len(self.weights)))
        return Messages(t * self.weights, np.full_like(self.weights, 1 - t * t), none, none)

    def step(self, t: float, state: Messages, damping: float) -> tuple[Messages, float]:
        """One iteration: four products with F or its square. g and Gamma are damped, and m and s follow them."""
        _, _, _, g, gamma = self._patterns(state)
        change = max(_largest(g - state.g), _largest(gamma - state.gamma))
        g += damping * (state.g - g)
        gamma += damping * (state.gamma - gamma)
        A, B = self._fields(state.m, g, gamma)
        lam = 1 / (1 - t * t)
        s = 1 / (lam + A)
        m = s * (t * lam * self.weights + B)
        if not s.min(initial=1.0) > 0:
            return state, np.inf
        change = max(change, _largest(m - state.m), _largest(s - state.s))
        return Messages(state.m + (1 - damping) * (m - state.m), s, g, gamma), change

    def values(self, t: float, state: Messages) -> tuple[float, Array, Array]:
        """Log P_t of the fixed point (Bethe), q_k and <|w_k|^2>/N."""
        V, _, log_z, g, gamma = self._patterns(state)
        A, B = self._fields(state.m, g, gamma)
        lam, w = 1 / (1 - t * t), self.weights
        s = 1 / (lam + A)
        h = t * lam * w + B
        m = s * h
        with np.errstate(invalid="ignore"):
            of_weights = np.log(lam * s) + s * h**2 - t**2 * lam * w**2 + A * (m**2 + s) - 2 * B * m
        log_p = 0.5 * of_weights.sum() + log_z.sum() + 0.5 * (V * g**2).sum()
        num_inputs = w.shape[1]
        return float(log_p), (w * m).sum(1) / num_inputs, (m**2 + s).sum(1) / num_inputs

    def _patterns(self, state: Messages) -> tuple[Array, Array, Array, Array, Array]:
        V = self.F2 @ state.s.T
        omega = self.F @ state.m.T - V * state.g
        return V, omega, *vote.node(omega, V)

    def _fields(self, m: Array, g: Array, gamma: Array) -> tuple[Array, Array]:
        A = gamma.T @ self.F2
        return A, g.T @ self.F + A * m


def curve(
    weights: Array,
    patterns: Array,
    labels: Array,
    ts: Array,
    *,
    correlated: bool = False,
    damping: float | None = None,
    max_iterations: int = 2000,
    tolerance: float = 1e-8,
) -> LocalEntropyCurve:
    """The local entropy by AMP; other arguments as in message_passing.follow and curve.local_entropy_curve.

    Args:
        weights: w~ on its spheres.
        patterns: shape (P, N).
        labels: +-1.
        ts: falling.
        correlated: whether each weight has a K x K covariance, see amp_matrix.py; far slower.
        damping: see message_passing.follow.
        max_iterations: ..
        tolerance: ..

    Returns:
        The curve; `error` is NaN, AMP does not know its error. Points are converged as message_passing.py says.

    Cost: an iteration is four matrix products, 8 P K N operations, and a vote of 3/2 K^2 P; 20 to 500
    iterations a point.
    """
    F = labels[:, None] * patterns / np.sqrt(weights.shape[1])
    engine: message_passing.Engine = MatrixAmp(weights, F) if correlated else ScalarAmp(weights, F)
    return message_passing.follow(
        engine, weights, F, ts, damping=damping, max_iterations=max_iterations, tolerance=tolerance
    )


def _largest(x: Array) -> float:
    """Largest absolute entry; NaN stays NaN."""
    return float(np.abs(x).max(initial=0.0))
