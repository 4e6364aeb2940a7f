"""The local entropy of a shallow network around its weights: one function in front of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sacreddnn.shallow import committee, sampling
from sacreddnn.shallow.committee import Array
from sacreddnn.shallow.curve import LocalEntropyCurve

TS = (0.999, 0.995, 0.99, 0.98, 0.95, 0.92, 0.88, 0.84, 0.8, 0.75)


def local_entropy_curve(
    weights: Array, patterns: Array, labels: Array, ts: Sequence[float] = TS, **options: Any
) -> LocalEntropyCurve:
    """The local entropy around a network, by exact sampling.

    Args:
        weights: w~, shape (K, N), K odd; put on their spheres.
        patterns: shape (P, N).
        labels: +-1, shape (P,).
        ts: falling numbers in (0, 1); d is about 1 - t.
        options: of the chains, see sampling.py.

    Raises:
        ValueError: ts out of order or range, shapes that do not fit, a network without solutions near it.
    """
    t = np.array(ts, dtype=float)
    if not (len(t) and (t > 0).all() and (t < 1).all() and (np.diff(t) < 0).all()):
        raise ValueError(f"ts: {list(ts)} is not allowed, give falling numbers between 0 and 1")
    return sampling.curve(committee.normalized(weights), patterns, labels, t, **options)
