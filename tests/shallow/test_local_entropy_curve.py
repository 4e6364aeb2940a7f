"""The local entropy by sampling, against volumes counted otherwise."""

import math

import numpy as np
import pytest
from scipy.special import ndtr

from sacreddnn.shallow import committee, local_entropy_curve, patterns, sampling
from sacreddnn.shallow.curve import make_curve

TS = (0.99, 0.9, 0.7, 0.4)


def solved(num_units, num_inputs, num_patterns, seed=0):
    """A network without training errors: the teacher of its patterns."""
    made, teacher = patterns.teacher_student(num_inputs, num_patterns, num_units, seed=seed, num_test=2)
    return teacher, *made.train


def brute_force(weights, x, y, t, draws=400_000, seed=1):
    """log P_t, q and their errors by drawing."""
    generator = np.random.default_rng(seed)
    w = t * weights + math.sqrt(1 - t * t) * generator.standard_normal((draws, *weights.shape))
    votes = (np.einsum("dkn,pn->dpk", w, x) * y[:, None] > 0).sum(2)
    good = (votes <= weights.shape[0] // 2).sum(1) <= committee.num_errors(weights, x, y)
    p, q = good.mean(), (w[good] * weights).mean((1, 2))
    return math.log(p), math.sqrt((1 - p) / p / draws), q.mean(), q.std() / math.sqrt(len(q))


@pytest.mark.parametrize(("num_units", "num_inputs", "num_patterns"), [(1, 5, 6), (3, 6, 8)])
@pytest.mark.parametrize("sampler", ["hmc", "ess"])
def test_chains_agree_with_brute_force(num_units, num_inputs, num_patterns, sampler, monkeypatch):
    monkeypatch.setattr(sampling, "RARE", 0.6)  # plain Monte Carlo only at the first t: chains do the work
    w, x, y = solved(num_units, num_inputs, num_patterns)
    found = local_entropy_curve(w, x, y, TS, sampler=sampler, num_sweeps=2000, burn_in=50)
    assert found.converged.all()
    for i, t in enumerate(TS):
        log_p, error, q, q_error = brute_force(w, x, y, t)
        assert abs(found.log_p[i] - log_p) < 4 * math.hypot(error, found.log_p_error[i]) + 1e-9
        assert found.log_p_error[i] < 0.15
        assert abs(found.q[i] - q) < 5 * math.hypot(q_error, 0.01)


def test_training_errors_are_allowed_as_many_as_the_network_has(monkeypatch):
    monkeypatch.setattr(sampling, "RARE", 0.6)
    w, x, y = solved(3, 6, 8)
    y = y.copy()
    y[:2] = -y[:2]
    found = local_entropy_curve(w, x, y, TS, num_sweeps=2000)
    for i, t in enumerate(TS):
        log_p, error, *_ = brute_force(w, x, y, t)
        assert abs(found.log_p[i] - log_p) < 4 * math.hypot(error, found.log_p_error[i]) + 1e-9
    with pytest.raises(ValueError, match="sampler: 'hmc' takes no training errors, this network has 2"):
        local_entropy_curve(w, x, y, TS, sampler="hmc")


def test_one_pattern_has_a_closed_form():
    """One pattern and one unit: P_t = Phi(t Delta / sqrt(1 - t^2)), Delta the stability over |x|/sqrt(N)."""
    w, x, y = solved(1, 20, 1)
    delta = committee.stabilities(w, x, y)[0, 0] / (np.linalg.norm(x) / math.sqrt(20))
    found = local_entropy_curve(w, x, y, TS)
    for i, t in enumerate(TS):
        exact = math.log(ndtr(t * delta / math.sqrt(1 - t * t)))
        assert abs(found.log_p[i] - exact) < 4 * found.log_p_error[i] + 1e-4


def test_bounds_and_signs_on_images(monkeypatch):
    """log(1 - sum p) <= log P_t <= log(1 - max p), p the exact flip probability at sigma = sqrt(1/t^2 - 1)."""
    monkeypatch.setattr(sampling, "RARE", 0.6)
    x, y = patterns.images("digits", (3, 8), num_train=40, num_validation=10).train
    w = committee.normalized(np.linalg.lstsq(x, y, rcond=None)[0][None])
    assert committee.num_errors(w, x, y) == 0
    ts = (0.999, 0.99, 0.95, 0.9, 0.8)
    curves = [local_entropy_curve(w, x, y, ts, sampler=s, num_sweeps=600) for s in ("hmc", "ess")]
    difference = np.abs(curves[0].log_p - curves[1].log_p)
    assert (difference < 4 * np.hypot(curves[0].log_p_error, curves[1].log_p_error) + 1e-6).all()
    found = curves[0]
    delta = committee.stabilities(w, x, y) / np.sqrt((x**2).sum(1, keepdims=True) / x.shape[1])
    for i, t in enumerate(ts):
        p = 1 - ndtr(t * delta[:, 0] / math.sqrt(1 - t * t))
        slack = 4 * found.log_p_error[i]
        assert found.log_p[i] <= math.log(1 - p.max()) + slack
        if p.sum() < 1:
            assert found.log_p[i] >= math.log(1 - p.sum()) - slack
    assert (found.phi <= 4 * found.error).all()
    assert (np.diff(found.d) > 0).all()
    assert found.phi[0] > found.phi[-1]


def test_without_patterns_there_is_no_entropy():
    t = np.array(TS)
    zero = np.zeros(4)
    free = make_curve(t, zero, t, log_p_error=zero, q_error=zero, converged=zero == 0, residual=zero, method="exact",
                      num_weights=10)  # fmt: skip
    np.testing.assert_allclose(free.phi, 0, atol=1e-12)
    np.testing.assert_allclose(free.d, 1 - t)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"ts": (0.5, 0.9)}, "ts: .* is not allowed, give falling numbers"),
        ({"ts": ()}, "ts: "),
        ({"sampler": "gibbs"}, "sampler: 'gibbs' is not allowed, allowed: hmc, ess"),
        ({"num_chains": 1}, "num_chains: 1"),
    ],
)
def test_bad_options(options, line):
    w, x, y = solved(1, 5, 3)
    with pytest.raises(ValueError, match=line):
        local_entropy_curve(w, x, y, **options)
