"""Problems of known answers, and the same volumes by plain drawing."""

import math
from pathlib import Path

import numpy as np
import pytest

from sacreddnn.data.mnist import SYSTEM_FOLDER
from sacreddnn.shallow import committee, descent, patterns
from sacreddnn.shallow.relaxation import Growth

needs_fashion = pytest.mark.skipif(
    not Path(SYSTEM_FOLDER).is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)
QUICK = descent.Schedule(40, 20, Growth(30.0, 3.0), Growth(1.0, 10.0), Growth(0.5, 100.0), finish=400)


def solved(num_units, num_inputs, num_patterns, seed=0):
    """A network without training errors: the teacher of its patterns."""
    made, teacher = patterns.teacher_student(num_inputs, num_patterns, num_units, seed=seed, num_test=2)
    return teacher, *made.train


def trained(num_units, num_patterns, dataset="fashion_mnist", **options):
    """A network trained on images until it makes no errors."""
    x, y = patterns.images(dataset, num_train=num_patterns, num_validation=0, **options).train
    found = descent.replicated_sgd(x, y, QUICK, num_units=num_units, num_restarts=4)
    assert min(found.num_errors) == 0
    return found.weights[found.num_errors.index(0)], x, y


def drawn(weights, x, y, t, draws=300_000, seed=1):
    """log P_t and q, and their standard errors: by plain drawing."""
    F, generator = y[:, None] * x, np.random.default_rng(seed)
    allowed, good, qs = committee.num_errors(weights, x, y), [], []
    for _ in range(10):
        w = t * weights + math.sqrt(1 - t * t) * generator.standard_normal((draws // 10, *weights.shape))
        votes = (np.einsum("dkn,pn->dpk", w, F, optimize=True) > 0).sum(2)
        good.append((votes <= weights.shape[0] // 2).sum(1) <= allowed)
        qs.append((w[good[-1]] * weights).mean((1, 2)))
    p, q = np.concatenate(good).mean(), np.concatenate(qs)
    return math.log(p), math.sqrt((1 - p) / p / draws), q.mean(), q.std() / math.sqrt(len(q))
