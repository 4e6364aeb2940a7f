r"""Belief propagation for committee machines with weights +-1: messages, one pattern at a time, the Bethe free entropy.

A message is a field: weight w_ki = +-1 has the law exp(h w)/(2 cosh h). With u_mu,ki the message of pattern mu and f_ki
the fields that are no pattern's (of a reference, of other replicas),

    H_ki = f_ki + sum_mu u_mu,ki               total field; the marginal's mean is tanh H
    h_mu,ki = H_ki - u_mu,ki                   what pattern mu hears from weight ki
    u_mu,ki = 1/2 log [ Z_mu(w_ki = +1) / Z_mu(w_ki = -1) ]
    log Z = sum_ki log 2 cosh H_ki + sum_mu log Z_mu - sum_mu,ki [ log 2 cosh H_ki - log 2 cosh h_mu,ki ]

Z_mu is the probability that the vote on pattern mu is right, all K N weights independent. Given the votes of the other
units it hangs on unit k with probability v_k, and is right without it with probability r_k:

    Z_mu(w_ki) = r_k + v_k P(sum_j w_kj F_muj > 0 | w_ki),            F = label times pattern

The last factor is where the two ways of computing differ:

exact      patterns of +-1 only: the number of weights that agree with the pattern is Poisson-binomial, and its law
           without one weight comes from a convolution from the left and one from the right (vote.others), N^2 steps
gaussian   the sum of the other weights is taken as normal (central limit): any patterns, N steps. For N even and
           patterns of +-1 the step of the lattice around 0, which is no right vote, is halved

Exact is right for one pattern (a tree) at any N. Both are belief propagation: right for large N and random patterns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, log_ndtr

from sacreddnn.shallow import vote
from sacreddnn.shallow.committee import Array

EXACT_UP_TO = 64  # inputs: where the normal law is good to a percent and the convolution begins to cost
FACTORS = ("auto", "exact", "gaussian")
LARGEST = 50.0  # of a message: a weight that a pattern decides, as a number
_SMALLEST = 0.01  # variance of a sum, in squares of an input: with all weights decided the lattice is not smooth


def log_2cosh(x: Array) -> Array:
    """Log(2 cosh x), without overflow."""
    return np.asarray(np.logaddexp(x, -x))


@dataclass(frozen=True)
class BinaryMessages:
    """Belief propagation on fixed patterns.

    Args:
        F: label times pattern, shape (P, N).
        num_units: K, odd.
        factor: "exact", "gaussian", or "auto": exact for patterns of +-1 with at most EXACT_UP_TO inputs.

    Attributes:
        factor: "exact" or "gaussian".
    """

    F: Array
    num_units: int
    factor: str = "auto"
    _threshold: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if self.factor not in FACTORS:
            raise ValueError(f"factor: {self.factor!r} is not allowed, allowed: {', '.join(FACTORS)}")
        signs, num_inputs = bool((np.abs(self.F) == 1).all()), self.F.shape[1]
        if self.factor == "exact" and not signs:
            raise ValueError("factor: 'exact' counts agreeing weights, patterns must be +-1; use 'gaussian'")
        if self.factor == "auto":
            object.__setattr__(self, "factor", "exact" if signs and num_inputs <= EXACT_UP_TO else "gaussian")
        object.__setattr__(self, "_threshold", 1.0 if signs and num_inputs % 2 == 0 else 0.0)

    def start(self, scale: float = 0.0, seed: int = 0) -> Array:
        """No messages, or small random ones (normal, of this scale), shape (P, K, N)."""
        shape = (len(self.F), self.num_units, self.F.shape[1])
        return scale * np.random.default_rng(seed).standard_normal(shape) if scale else np.zeros(shape)

    def step(self, u: Array, fields: Array, damping: float = 0.0) -> tuple[Array, float]:
        """The next messages, and the largest change of one before damping (infinite where a message is no number).

        Args:
            u: messages of the patterns, shape (P, K, N).
            fields: f, shape (K, N).
            damping: fraction of the old messages that stays.
        """
        if not len(u):
            return u, 0.0
        new, _ = self._answers(fields + u.sum(0) - u)
        change = float(np.abs(new - u).max())
        if not np.isfinite(change):
            return u, np.inf
        return new + damping * (u - new), change

    def totals(self, u: Array, fields: Array) -> tuple[Array, float]:
        """H, shape (K, N), and what patterns and edges contribute to log Z, that is log Z - sum_ki log 2 cosh H_ki."""
        H = fields + u.sum(0)
        if not len(u):
            return H, 0.0
        h = H - u
        _, log_z = self._answers(h)
        return H, float(log_z.sum() - (log_2cosh(H) - log_2cosh(h)).sum())

    def _answers(self, h: Array) -> tuple[Array, Array]:
        """Messages u of the patterns, (P, K, N), and log Z_mu, (P,), given the messages h to them."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
            log_right, up, down = self._exact(h) if self.factor == "exact" else self._gaussian(h)
            log_z = log_right[:, 0]
            if self.num_units > 1:
                majority, pivotal = (np.log(x) for x in vote.others(np.exp(log_right)))
                log_z = np.logaddexp(majority, pivotal + log_right)[:, 0]
                up = np.logaddexp(majority[:, :, None], pivotal[:, :, None] + up)
                down = np.logaddexp(majority[:, :, None], pivotal[:, :, None] + down)
            return np.clip((up - down) / 2, -LARGEST, LARGEST), log_z

    def _exact(self, h: Array) -> tuple[Array, Array, Array]:
        """Log P(unit k right), and the same given w_ki = +1 and -1: shapes (P, K), (P, K, N), (P, K, N)."""
        agree = expit(2 * self.F[:, None, :] * h)
        without, pivotal = vote.others(agree.reshape(-1, h.shape[2]))
        without, pivotal = without.reshape(h.shape), pivotal.reshape(h.shape)
        right = without[..., 0] + agree[..., 0] * pivotal[..., 0]  # any weight gives the same
        yes, no = np.log(without + pivotal), np.log(without)
        plus = self.F[:, None, :] > 0
        return np.log(right), np.where(plus, yes, no), np.where(plus, no, yes)

    def _gaussian(self, h: Array) -> tuple[Array, Array, Array]:
        """The same with normal sums."""
        F = self.F[:, None, :]
        m = np.tanh(h)
        mean, variance = F * m, F**2 * (1 - m**2)
        omega, V = mean.sum(2) - self._threshold, variance.sum(2)
        least = _SMALLEST * (F**2).mean(2)
        scale = 1 / np.sqrt(np.maximum(V[..., None] - variance, least[..., None]))
        omega_others = omega[..., None] - mean
        right = log_ndtr(omega / np.sqrt(np.maximum(V, least)))
        return right, log_ndtr((omega_others + F) * scale), log_ndtr((omega_others - F) * scale)
