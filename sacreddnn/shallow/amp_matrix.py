r"""The local entropy by approximate message passing with a K x K covariance of the units at every weight.

All units see the same patterns, so that they are correlated where amp.py takes them as independent: for K > 1 that is
not exact even for large N. Here m_i is a vector over the units, S_i and A_i are K x K matrices, and

    V_mu  = sum_i F_mui^2 S_i                   omega_mu = sum_i F_mui m_i - V_mu g_mu
    log Z_mu, g_mu, Gamma_mu                    of the vote on N(omega_mu, V_mu), see correlated_vote.py
    A_i   = sum_mu F_mui^2 Gamma_mu             B_i = sum_mu F_mui g_mu + A_i m_i
    S_i   = (lambda + A_i)^-1                   m_i = S_i h_i,     h_i = gamma w~_i + B_i

    log P_t = sum_i [ -1/2 log|1 + A_i/lambda| + 1/2 h_i S_i h_i - gamma^2 |w~_i|^2/(2 lambda)
                      + 1/2 tr A_i (m_i m_i^T + S_i) - B_i.m_i ]
              + sum_mu [ log Z_mu + 1/2 g_mu V_mu g_mu ]
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from sacreddnn.shallow import correlated_vote
from sacreddnn.shallow.committee import Array


class Messages(NamedTuple):
    """Mean m (N, K) and covariance S (N, K, K) of the weights; g (P, K) and Gamma (P, K, K) of the patterns."""

    m: Array
    S: Array
    g: Array
    gamma: Array


class MatrixAmp:
    """The iteration on fixed patterns; see message_passing.Engine."""

    name = "amp"
    norm_tolerance = 1e-4  # the vote is a quadrature after a fit, so the identity holds as well as the fit
    dampings: tuple[float, ...] = (0.0, 0.5, 0.8, 0.95)

    def __init__(self, weights: Array, F: Array) -> None:
        self.w, self.F, self.F2 = np.ascontiguousarray(weights.T), F, F**2  # (N, K)

    def start(self, t: float) -> Messages:
        """The Gaussian around the network."""
        (N, K), P = self.w.shape, len(self.F)
        S = np.broadcast_to((1 - t * t) * np.eye(K), (N, K, K)).copy()
        return Messages(t * self.w, S, np.zeros((P, K)), np.zeros((P, K, K)))

    def step(self, t: float, state: Messages, damping: float) -> tuple[Messages, float]:
        """One iteration: two products of F^2 with K^2 columns, the votes, N inverses of K x K matrices."""
        _, _, g, gamma = self._patterns(state)
        change = max(_largest(g - state.g), _largest(gamma - state.gamma))
        g += damping * (state.g - g)
        gamma += damping * (state.gamma - gamma)
        A, B = self._fields(state.m, g, gamma)
        solved = self._weights(t, A, B)
        if solved is None:
            return state, np.inf
        m, S, _ = solved
        change = max(change, _largest(m - state.m), _largest(S - state.S))
        return Messages(state.m + (1 - damping) * (m - state.m), S, g, gamma), change

    def values(self, t: float, state: Messages) -> tuple[float, Array, Array]:
        """Log P_t of the fixed point (Bethe), q_k and <|w_k|^2>/N."""
        V, log_z, g, gamma = self._patterns(state)
        A, B = self._fields(state.m, g, gamma)
        (N, K), lam = self.w.shape, 1 / (1 - t * t)
        solved = self._weights(t, A, B)
        if solved is None:
            return np.nan, np.full(K, np.nan), np.full(K, np.nan)
        m, S, log_det = solved
        h = t * lam * self.w + B
        second = m[:, :, None] * m[:, None, :] + S
        of_weights = (h * m).sum() - t**2 * lam * (self.w**2).sum() + (A * second).sum() - 2 * (B * m).sum() - log_det
        log_p = 0.5 * of_weights + log_z.sum() + 0.5 * np.einsum("pk,pkl,pl->", g, V, g)
        return float(log_p), (self.w * m).sum(0) / N, np.einsum("ikk->k", second) / N

    def _patterns(self, state: Messages) -> tuple[Array, Array, Array, Array]:
        (N, K), P = self.w.shape, len(self.F)
        V = (self.F2 @ state.S.reshape(N, K * K)).reshape(P, K, K)
        omega = self.F @ state.m - np.einsum("pkl,pl->pk", V, state.g)
        return V, *correlated_vote.node(omega, V)

    def _fields(self, m: Array, g: Array, gamma: Array) -> tuple[Array, Array]:
        (N, K), P = self.w.shape, len(self.F)
        A = (self.F2.T @ gamma.reshape(P, K * K)).reshape(N, K, K)
        return A, self.F.T @ g + np.einsum("ikl,il->ik", A, m)

    def _weights(self, t: float, A: Array, B: Array) -> tuple[Array, Array, float] | None:
        """m, S and sum_i log|1 + A_i/lambda|; None where a covariance would not be positive."""
        lam = 1 / (1 - t * t)
        S = np.empty_like(A)
        log_det = _inverses(A, lam, S)
        if not np.isfinite(log_det):
            return None
        h = t * lam * self.w + B
        return (S @ h[:, :, None])[:, :, 0], S, log_det


@njit(cache=True, error_model="numpy")
def _inverses(A, lam, S):  # type: ignore[no-untyped-def]
    """Fill S with (lambda + A_i)^-1, by Cholesky: S = R^T R with R = L^-1; returns sum_i log|1 + A_i/lambda|.

    NaN where a matrix is not positive, or not finite. numpy takes three times as long: a call of LAPACK a matrix.
    """
    N, K = A.shape[0], A.shape[1]
    L, R = np.zeros((K, K)), np.zeros((K, K))
    log_det = 0.0
    for i in range(N):
        for k in range(K):
            for j in range(k + 1):
                rest = A[i, k, j]
                for n in range(j):
                    rest -= L[k, n] * L[j, n]
                if j < k:
                    L[k, j] = rest * R[j, j]
            rest += lam
            if not 0 < rest < np.inf:
                return np.nan
            R[k, k] = 1 / math.sqrt(rest)
            log_det += math.log(rest / lam)
            for j in range(k):
                above = 0.0
                for n in range(j, k):
                    above -= L[k, n] * R[n, j]
                R[k, j] = above * R[k, k]
        for k in range(K):
            for j in range(k + 1):
                entry = 0.0
                for n in range(k, K):
                    entry += R[n, k] * R[n, j]
                S[i, k, j] = S[i, j, k] = entry
    return log_det


def _largest(x: Array) -> float:
    """Largest absolute entry; NaN stays NaN."""
    return float(np.abs(x).max(initial=0.0))
