"""All committees with weights +-1 of a small size, by enumeration."""

import itertools
from functools import cache

import numpy as np

from sacreddnn.shallow import patterns


@cache
def all_signs(size):
    """Every vector of +-1, (2^size, size), the first weight slowest."""
    return np.array(list(itertools.product((1.0, -1.0), repeat=size)), dtype=np.float32)


def solves(num_units, x, y):
    """Whether each vector of K N weights is right on every pattern, (2^(K N),)."""
    num_inputs = x.shape[1]
    rows = all_signs(num_inputs) @ (y[:, None] * x).T.astype(np.float32) > 0  # (2^N, P): unit right
    if num_units == 1:
        return rows.all(1)
    votes = sum(rows[index] for index in np.indices((2**num_inputs,) * num_units).reshape(num_units, -1))
    return (votes > num_units // 2).all(1) if isinstance(votes, np.ndarray) else None


def exact(reference, x, y, gamma):
    """log Z(gamma) and q of the solutions, by enumeration."""
    w = np.atleast_2d(reference)
    overlaps = (all_signs(w.size) @ w.ravel().astype(np.float32))[solves(len(w), x, y)].astype(float)
    largest = (gamma * overlaps).max()
    weight = np.exp(gamma * overlaps - largest)
    return np.log(weight.sum()) + largest, (weight @ overlaps) / weight.sum() / w.size


def teacher(num_units, num_inputs, num_patterns, seed):
    """A reference of +-1 and patterns of +-1 that it is right on, with no ties of a unit."""
    generator = np.random.default_rng(seed)
    w = generator.choice((-1.0, 1.0), (num_units, num_inputs))
    x, _ = patterns.random(num_inputs, num_patterns, seed=seed + 1000)
    y = np.where((x @ w.T > 0).sum(1) > num_units // 2, 1.0, -1.0)
    return w, x, y
