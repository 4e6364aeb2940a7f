r"""The committee machine: K sign units on N inputs that vote, weights on the product of spheres |w_k|^2 = N.

    out(w, x) = sign( sum_k sign(w_k . x) ),        K odd, so that no vote is a tie; K = 1 is the perceptron

(Pittorino et al. 2021, section on shallow networks; recalled: N = 784, K = 9, second layer fixed to +1.) Arrays are
numpy float64: weights (K, N), patterns (P, N), labels (P,) of +-1. A field of 0, which has no sign, counts as wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
NOISES = ("multiplicative", "additive")


def normalized(weights: Array) -> Array:
    """The weights with every row on its sphere, |w_k|^2 = N."""
    norms = np.linalg.norm(weights, axis=-1, keepdims=True)
    if not (norms > 0).all():
        raise ValueError("weights: a unit has no weights but zeros, it lies on no sphere")
    return np.asarray(weights * np.sqrt(weights.shape[-1]) / norms)


def stabilities(weights: Array, patterns: Array, labels: Array) -> Array:
    """The label times w_k . x / sqrt(N), shape (P, K): positive where unit k votes for the label."""
    check(weights, patterns, labels)
    fields = patterns @ weights.T / np.sqrt(weights.shape[1])
    return np.asarray(fields * labels[:, None])


def num_errors(weights: Array, patterns: Array, labels: Array) -> int:
    """How many patterns the vote gets wrong."""
    votes = (stabilities(weights, patterns, labels) > 0).sum(1)
    return int((votes <= weights.shape[0] // 2).sum())


def error(weights: Array, patterns: Array, labels: Array) -> float:
    """The same in percent."""
    return 100 * num_errors(weights, patterns, labels) / len(labels)


def wrong_vote(right: Array) -> Array:
    """Probability that at most half of the units vote right, when unit k does with probability right[.., k].

    The distribution of the number of right votes (Poisson-binomial) by adding one unit after another, K^2 operations.
    """
    num_units = right.shape[-1]
    counts = np.zeros((*right.shape[:-1], num_units + 1))
    counts[..., 0] = 1.0
    for k in range(num_units):
        p = right[..., k, None]
        counts[..., 1:] = counts[..., 1:] * (1 - p) + counts[..., :-1] * p
        counts[..., 0] *= 1 - p[..., 0]
    return np.asarray(counts[..., : num_units // 2 + 1].sum(-1))


def local_energy(
    weights: Array, patterns: Array, labels: Array, sigmas: Sequence[float], noise: str = "multiplicative"
) -> Array:
    r"""The local energy, exactly: the expected error of the noisy network minus its own, in percentage points.

    With w + sigma z w (z standard normal) unit k votes right on pattern mu with probability Phi(Delta / sigma),
    Delta = label w_k . x / sqrt(sum_i w_ki^2 x_i^2), independently of the others; the vote is Poisson-binomial. With
    additive noise the root is sqrt(sum_i x_i^2). For sigma -> infinity it tends to 50 percent minus the error.

    Args:
        weights: shape (K, N).
        patterns: shape (P, N).
        labels: +-1, shape (P,).
        sigmas: noise strengths >= 0.
        noise: "multiplicative" or "additive".

    Returns:
        Shape (len(sigmas),). Exact: no sampling.
    """
    check(weights, patterns, labels)
    base = error(weights, patterns, labels)
    return np.array([
        100 * error_probability(weights, patterns, labels, sigma, noise).mean() - base if sigma else 0.0
        for sigma in sigmas
    ])  # fmt: skip


def error_probability(
    weights: Array, patterns: Array, labels: Array, sigma: float, noise: str = "multiplicative"
) -> Array:
    """The probability that the noisy network is wrong on each pattern, shape (P,); see `local_energy`."""
    if noise not in NOISES:
        raise ValueError(f"noise: {noise!r} is not allowed, allowed: {', '.join(NOISES)}")
    if not 0 <= sigma < np.inf:
        raise ValueError(f"sigmas: {sigma} is not allowed, noise strengths are finite and >= 0")
    fields = stabilities(weights, patterns, labels)
    squares = weights**2 if noise == "multiplicative" else np.ones_like(weights)
    scale = sigma * np.sqrt(patterns**2 @ squares.T / weights.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        delta = np.where(scale > 0, fields / scale, np.where(fields > 0, np.inf, -np.inf))  # no input, no right vote
    return wrong_vote(ndtr(delta))


def check(weights: Array, patterns: Array, labels: Array) -> None:
    """ValueError for an even number of units, shapes that do not fit, labels other than +-1, weights not finite."""
    num_units, num_inputs = weights.shape
    if num_units % 2 == 0:
        raise ValueError(f"weights: {num_units} units can tie; the number of units K must be odd")
    if patterns.ndim != 2 or patterns.shape[1] != num_inputs:
        raise ValueError(f"patterns: shape {patterns.shape} does not fit {num_inputs} inputs, give (P, {num_inputs})")
    if labels.shape != (len(patterns),) or not np.isin(labels, (-1.0, 1.0)).all():
        raise ValueError(f"labels: {len(patterns)} numbers of -1 or +1 are needed, one a pattern")
    if not np.isfinite(weights).all():
        raise ValueError("weights: some are not finite")
