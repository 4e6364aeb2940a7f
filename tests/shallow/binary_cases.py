"""All committees with weights +-1 of a small size, by enumeration."""

from functools import cache

import numpy as np


@cache
def all_signs(size):
    """Every vector of +-1, (2^size, size), the first weight slowest."""
    bits = np.arange(2**size, dtype=np.int32)[:, None] >> np.arange(size - 1, -1, -1, dtype=np.int32) & 1
    return (1 - 2 * bits).astype(np.float32)


def solves(num_units, x, y):
    """Whether each vector of K N weights is right on every pattern, (2^(K N),)."""
    num_inputs = x.shape[1]
    rows = all_signs(num_inputs) @ (y[:, None] * x).T.astype(np.float32) > 0  # (2^N, P): a unit is right
    votes, shape = np.zeros((1, len(y)), np.int8), (1,)
    for _ in range(num_units):
        votes = (votes[:, None] + rows[None]).reshape(shape[0] * len(rows), len(y))
        shape = votes.shape
    return (votes > num_units // 2).all(1)


def exact(reference, x, y, gammas):
    """log Z(gamma) and q of the solutions, by enumeration; both of shape (len(gammas),)."""
    w = np.atleast_2d(reference)
    overlaps = (all_signs(w.size) @ w.ravel().astype(np.float32))[solves(len(w), x, y)].astype(float)
    values, counts = np.unique(overlaps, return_counts=True)
    weight = counts * np.exp(np.outer(gammas, values))
    return np.log(weight.sum(1)), weight @ values / weight.sum(1) / w.size


def teacher(num_units, num_inputs, num_patterns, seed):
    """A reference of +-1, patterns of +-1, and the labels it gives them."""
    generator = np.random.default_rng(seed)
    w = generator.choice((-1.0, 1.0), (num_units, num_inputs))
    x = np.empty((0, num_inputs))
    while len(x) < num_patterns:  # the patterns on which no unit has a field of 0, which has no sign
        drawn = generator.choice((-1.0, 1.0), (num_patterns, num_inputs))
        x = np.concatenate([x, drawn[(drawn @ w.T != 0).all(1)]])[:num_patterns]
    return w, x, np.where((x @ w.T > 0).sum(1) > num_units // 2, 1.0, -1.0)
