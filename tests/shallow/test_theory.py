"""Replica formulas against their limits, each other, and single instances of a thousand weights."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from shallow_cases import solved

from sacreddnn.shallow import amp, message_passing, patterns, theory, vote
from sacreddnn.shallow.curve import local_entropy_curve

ALPHA = 0.5


def everything(x, y):
    """log P of all solutions, and the mean of all solutions: AMP without a reference, t -> 0."""
    nowhere = np.ones((1, x.shape[1]))
    engine = amp.ScalarAmp(nowhere, y[:, None] * x / math.sqrt(x.shape[1]))
    state, change = message_passing.iterate(engine, 1e-9, engine.start(1e-9), 0.2, 2000, 1e-9)
    assert change < 1e-9
    return engine.values(1e-9, state)[0], state.m[0]


def test_hazard_and_log_h():
    x = np.linspace(-8, 8, 33)
    np.testing.assert_allclose(vote.hazard(x), norm.pdf(x) / norm.sf(x), rtol=1e-12)
    np.testing.assert_allclose(vote.log_h(x), norm.logsf(x), rtol=1e-12)


def test_the_measure_integrates_moments():
    z, dz = theory.normal_measure(160)
    for power, moment in ((0, 1), (1, 0), (2, 1), (4, 3)):
        assert dz @ z**power == pytest.approx(moment, abs=1e-10)


def test_gardner_has_its_limits():
    assert theory.gardner(0.0).entropy == 0
    # few patterns: each halves the volume
    assert theory.gardner(1e-3).entropy == pytest.approx(-1e-3 * math.log(2), rel=2e-3)
    assert theory.gardner_at(1 - 1e-7)[0] == pytest.approx(2, abs=1e-3)
    # q is a saddle point, so that alpha shows itself in the energy alone
    one, two = theory.gardner(0.999), theory.gardner(1.001)
    q = theory.gardner(1.0).q
    x = -math.sqrt(q / (1 - q)) * theory.normal_measure(160)[0]
    energy = theory.normal_measure(160)[1] @ norm.logsf(x)
    assert (two.entropy - one.entropy) / 0.002 == pytest.approx(energy, rel=1e-5)


def test_gardner_of_instances():
    """N = 1000, where one instance scatters by 3 percent: the mean of twelve."""
    log_ps = [everything(*patterns.random(1000, 500, seed=seed))[0] for seed in range(12)]
    assert np.mean(log_ps) / 1000 == pytest.approx(theory.gardner(0.5).entropy, rel=0.02)


def test_overlaps_of_single_instances():
    """N = 1000, each instance by itself: the overlap of two solutions, and of their mean with the teacher.

    At alpha = 4 they scatter by 0.3 and 0.4 percent of themselves from instance to instance (twelve). Entropies scatter
    by more than a percent at every load from 0.5 to 8, so that those are averaged: at alpha = 4 the volume of all
    solutions by 1.4 percent, the curve around the teacher by 2.2 to 2.6.
    """
    Q = theory.typical_overlap(4.0)
    for seed in range(5):
        w, x, y = solved(1, 1000, 4000, seed=seed)
        _, bayes = everything(x, y)
        assert bayes @ bayes / 1000 == pytest.approx(Q, rel=0.02)
        assert bayes @ w[0] / np.linalg.norm(bayes) / math.sqrt(1000) == pytest.approx(math.sqrt(Q), rel=0.02)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.5])
def test_most_solutions_lie_at_the_typical_overlap(alpha):
    Q, step = theory.typical_overlap(alpha), 1e-4
    at = [theory.around_teacher(r, alpha).entropy for r in (Q - step, Q, Q + step)]
    assert at[1] > at[0]
    assert at[1] > at[2]
    # around the Bayes point they have the overlap sqrt(Q), and are as many
    assert theory.around_bayes_point(math.sqrt(Q), alpha).entropy == pytest.approx(at[1], abs=1e-6)
    assert theory.around_teacher(Q, alpha).q == pytest.approx(Q, abs=1e-5)


def test_without_patterns_there_is_nothing_to_lose():
    for d in (0.01, 0.3, 1.0):
        assert theory.local_entropy(d, 0.0) == pytest.approx(0, abs=1e-9)
    assert theory.typical_overlap(0.0) == 0
    assert theory.local_entropy(1e-6, ALPHA) == pytest.approx(0, abs=2e-3)


def test_the_bayes_point_lies_above_a_typical_solution():
    for d in (0.01, 0.05, 0.2, 0.4):
        assert theory.local_entropy(d, ALPHA, "bayes") > 0.8 * theory.local_entropy(d, ALPHA)


def test_instances_have_the_curve_of_the_theory():
    """N = 1000: around the teacher the mean of thirty instances is within 2 percent; EP and AMP agree on each."""
    curves, instances = [], [solved(1, 1000, 500, seed=seed) for seed in range(30)]
    for w, x, y in instances:
        curves.append(local_entropy_curve(w, x, y, ts=(0.95, 0.8, 0.5), method="amp"))
        assert curves[-1].converged.all()
    d, phi = (np.mean([getattr(curve, name) for curve in curves], axis=0) for name in ("d", "phi"))
    np.testing.assert_allclose(phi, [theory.local_entropy(one, ALPHA) for one in d], rtol=0.02)
    ep = local_entropy_curve(*instances[0], ts=(0.8,), method="ep", tolerance=1e-5)
    assert ep.phi[0] == pytest.approx(curves[0].phi[1], rel=0.005)


def test_sampling_has_the_curve_of_the_theory():
    w, x, y = solved(1, 400, 200, seed=2)
    found = local_entropy_curve(w, x, y, ts=(0.95, 0.8), num_sweeps=40, num_chains=4)
    expected = np.array([theory.local_entropy(d, ALPHA) for d in found.d])
    assert (np.abs(found.phi - expected) < 4 * found.error + 0.05 * np.abs(expected)).all()


def test_the_bayes_point_of_instances():
    """The mean of all solutions: its overlap with the teacher is sqrt(Q), its curve that of the theory, far above."""
    found, log_ps, Q = [], [], theory.typical_overlap(ALPHA)
    for seed in range(12):
        w, x, y = solved(1, 1000, 500, seed=seed)
        log_p, bayes = everything(x, y)
        log_ps.append(log_p)
        assert bayes @ w[0] / np.linalg.norm(bayes) / math.sqrt(1000) == pytest.approx(math.sqrt(Q), abs=0.06)
        found.append(local_entropy_curve(bayes, x, y, ts=(0.8, 0.5), method="amp"))
        assert found[-1].converged.all()
        typical = local_entropy_curve(w, x, y, ts=(0.8, 0.5), method="amp")
        assert (found[-1].phi > 0.6 * typical.phi).all()
    assert np.mean(log_ps) / 1000 == pytest.approx(theory.around_teacher(Q, ALPHA).entropy, rel=0.02)
    d, phi = (np.mean([getattr(curve, name) for curve in found], axis=0) for name in ("d", "phi"))
    np.testing.assert_allclose(phi, [theory.local_entropy(one, ALPHA, "bayes") for one in d], rtol=0.06)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: theory.gardner(2.0), "alpha: 2.0"),
        (lambda: theory.gardner_at(1.0), "q: 1.0"),
        (lambda: theory.typical_overlap(-1.0), "alpha: -1.0"),
        (lambda: theory.around_teacher(1.0, 0.5), "r: 1.0"),
        (lambda: theory.around_bayes_point(0.5, 0.0), "alpha: 0"),
        (lambda: theory.local_entropy(0.0, 0.5), "d: 0.0"),
        (lambda: theory.local_entropy(0.5, 0.5, "best"), "reference: 'best' is not allowed, allowed: teacher, bayes"),
    ],
)
def test_refuses(call, line):
    with pytest.raises(ValueError, match=line):
        call()
