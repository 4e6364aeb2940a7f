"""Solutions with weights +-1 by belief propagation: against enumeration, replica theory and identities."""

import math

import numpy as np
import pytest
from binary_cases import exact, teacher
from scipy.optimize import fixed_point

from sacreddnn.shallow import binary, patterns, theory
from sacreddnn.shallow.binary_messages import EXACT_UP_TO, BinaryMessages
from sacreddnn.shallow.vote import hazard, log_h

GAMMAS = (0.0, 0.2, 0.5, 1.0, 1.5)


@pytest.mark.parametrize(("num_units", "num_inputs"), [(1, 7), (1, 8), (3, 5), (3, 4)])
def test_one_pattern_is_a_tree(num_units, num_inputs):
    w, x, y = teacher(num_units, num_inputs, 1, seed=1)
    for reference in (w, np.ones_like(w)):
        found = binary.entropy_curve(reference, x, y, gammas=GAMMAS)
        log_z, q = exact(reference, x, y, GAMMAS)
        assert found.factor == "exact"
        np.testing.assert_allclose(found.log_z, log_z, rtol=1e-12)
        np.testing.assert_allclose(found.q, q, atol=1e-12)
        assert found.residual.max() < 1e-8


@pytest.mark.parametrize(("num_inputs", "num_patterns"), [(15, 3), (19, 5), (19, 9)])
def test_against_enumeration(num_inputs, num_patterns):
    """K = 1, up to P/N = 0.5: log Z and distances to 0.02 per weight, in the mean over instances."""
    wrong, q_wrong = [], []
    for seed in range(8):
        w, x, y = teacher(1, num_inputs, num_patterns, seed)
        found = binary.entropy_curve(w, x, y, gammas=GAMMAS)
        log_z, q = exact(w, x, y, GAMMAS)
        ok = found.converged
        wrong += list((np.abs(found.log_z - log_z) / num_inputs)[ok])
        q_wrong += list(np.abs(found.q - q)[ok])
        np.testing.assert_allclose(found.d, 1 - found.q)
    assert len(wrong) > 30  # of 40
    assert np.mean(wrong) < 0.01
    assert np.mean(q_wrong) < 0.02


def test_a_committee_against_enumeration():
    """K = 3, away from gamma = 0, where units exchanged are other solutions."""
    for seed in range(4):
        w, x, y = teacher(3, 6, 4, seed)
        found = binary.entropy_curve(w, x, y, gammas=GAMMAS)
        log_z, q = exact(w, x, y, GAMMAS)
        assert np.abs(found.log_z - log_z)[3:].max() / w.size < 0.02
        assert np.abs(found.q - q)[3:].max() < 0.04


def test_without_patterns():
    w = np.ones((3, 5))
    found = binary.entropy_curve(w, np.empty((0, 5)), np.empty(0), gammas=GAMMAS)
    np.testing.assert_allclose(found.log_z, 15 * np.log(2 * np.cosh(GAMMAS)))
    assert found.log_z[0] == pytest.approx(15 * math.log(2))
    np.testing.assert_allclose(found.q, np.tanh(GAMMAS))
    np.testing.assert_allclose(found.phi, 0, atol=1e-12)
    # the number of vectors with a fraction of the weights changed
    n, k = 3000, 600
    per_weight = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / n
    assert binary.binary_entropy(1 - 2 * k / n) == pytest.approx(per_weight, abs=2e-3)
    assert found.converged.all()


@pytest.mark.parametrize("factor", ["exact", "gaussian"])
@pytest.mark.parametrize("num_units", [1, 3])
def test_gauge(num_units, factor):
    """Weights and inputs flipped together, or labels and patterns, change nothing."""
    w, x, y = teacher(num_units, 15, 6, seed=3)
    flips = np.random.default_rng(0).choice((-1.0, 1.0), 15)
    one = binary.entropy_curve(w, x, y, gammas=GAMMAS, factor=factor)
    for other in ((w * flips, x * flips, y), (w, -x, -y), (w[::-1], x, y)):
        found = binary.entropy_curve(*other, gammas=GAMMAS, factor=factor)
        np.testing.assert_allclose(found.log_z, one.log_z, rtol=1e-7)
        np.testing.assert_allclose(found.q, one.q, atol=1e-6)


@pytest.mark.parametrize("factor", ["exact", "gaussian"])
@pytest.mark.parametrize("num_units", [1, 3])
def test_the_overlap_is_the_derivative_of_log_z(num_units, factor):
    """The Bethe free entropy is stationary in the messages, so that q = d log Z/d gamma, and s has the slope -gamma.

    With normal sums Z_mu is not quite what the messages come from, which at N = 33 shows by a thousandth.
    """
    rel = 1e-5 if factor == "exact" else 2e-3
    w, x, y = teacher(num_units, 33, 8 * num_units, seed=5)
    found = binary.entropy_curve(w, x, y, gammas=(0.4, 0.4995, 0.5, 0.5005), factor=factor, tolerance=1e-11)
    assert found.residual.max() < 1e-10
    assert (found.log_z[3] - found.log_z[1]) / 0.001 / w.size == pytest.approx(found.q[2], rel=rel)
    slope = (found.entropy[3] - found.entropy[1]) / (found.q[3] - found.q[1])
    assert slope == pytest.approx(-0.5, rel=1e-3 if factor == "exact" else 0.02)


@pytest.mark.parametrize("num_inputs", [40, 41])
def test_both_factors_agree_at_some_size(num_inputs):
    w, x, y = teacher(1, num_inputs, 12, seed=2)
    one, other = (binary.entropy_curve(w, x, y, gammas=GAMMAS, factor=f) for f in ("exact", "gaussian"))
    np.testing.assert_allclose(one.log_z / num_inputs, other.log_z / num_inputs, atol=0.006)
    assert np.abs(one.log_z - other.log_z).max() > 1e-6


def test_which_factor():
    signs, one = np.ones((2, EXACT_UP_TO)), np.ones((2, EXACT_UP_TO + 1))
    assert [BinaryMessages(F, 1).factor for F in (signs, one, 0.5 * signs)] == ["exact", "gaussian", "gaussian"]


def test_all_solutions_are_as_many_as_theory_says():
    """Random labels, gamma = 0: the replica-symmetric entropy of the Ising perceptron (Krauth and Mezard 1989)."""
    alpha, (z, dz) = 0.5, theory.normal_measure(160)

    def saddle(q):
        q_hat = alpha / (1 - q) * float(dz @ hazard(-math.sqrt(q / (1 - q)) * z) ** 2)
        return float(dz @ np.tanh(math.sqrt(q_hat) * z) ** 2)

    q = float(fixed_point(saddle, 0.3))
    x = -math.sqrt(q / (1 - q)) * z
    q_hat = alpha / (1 - q) * float(dz @ hazard(x) ** 2)
    s = -q_hat * (1 - q) / 2 + float(dz @ np.log(2 * np.cosh(math.sqrt(q_hat) * z))) + alpha * float(dz @ log_h(x))
    found = [
        binary.entropy_curve(np.ones(301), *patterns.random(301, 150, seed=seed), gammas=(0.0,), tolerance=1e-5)
        for seed in range(4)
    ]
    assert all(one.converged.all() for one in found)
    assert np.mean([one.entropy[0] for one in found]) == pytest.approx(s, abs=0.015)


def test_patterns_that_are_no_signs():
    w = np.random.default_rng(0).choice((-1.0, 1.0), (1, 101))
    x = np.random.default_rng(1).standard_normal((20, 101))
    y = np.where(x @ w[0] > 0, 1.0, -1.0)
    one, other = (binary.entropy_curve(w, scale * x, y, gammas=GAMMAS) for scale in (1, 7))
    assert one.converged.all()
    assert (one.phi < 0).all()
    np.testing.assert_allclose(one.log_z, other.log_z, rtol=1e-6)  # no scale


def test_damping_does_not_move_the_fixed_point():
    w, x, y = teacher(1, 31, 8, seed=0)
    one, other = (binary.entropy_curve(w, x, y, gammas=GAMMAS, damping=d) for d in (0.3, 0.7))
    np.testing.assert_allclose(one.log_z, other.log_z, rtol=1e-6)


def test_what_does_not_converge_says_so():
    w, x, y = teacher(1, 31, 8, seed=0)
    found = binary.entropy_curve(w, x, y, gammas=GAMMAS, max_iterations=2)
    assert not found.converged.any()
    assert found.residual.min() > 1e-8
    # far above capacity there are no solutions: no messages that stand still, or a negative entropy
    found = binary.entropy_curve(w, *patterns.random(31, 93, seed=0), gammas=GAMMAS)
    assert not found.converged.any()
    assert (found.residual > 1e-8).all()


@pytest.mark.parametrize("fault", ["more solutions than vectors", "fewer than one", "q falls"])
def test_what_cannot_be_is_not_vouched_for(monkeypatch, fault):
    """Messages that stand still, and log Z or q outside of what holds for every set of solutions."""
    w, x, y = teacher(1, 31, 5, seed=0)
    honest = BinaryMessages.totals

    def faulty(self, u, fields):
        H, rest = honest(self, u, fields)
        if fault == "q falls":
            return (0.5 * H if fields.max() > 1 else H), rest
        return H, rest + (10.0 if fault == "more solutions than vectors" else -31.0)

    assert binary.entropy_curve(w, x, y, gammas=GAMMAS).converged.all()
    monkeypatch.setattr(BinaryMessages, "totals", faulty)
    found = binary.entropy_curve(w, x, y, gammas=GAMMAS)
    assert not found.converged[-1]
    assert found.residual.max() > binary.SLACK


def test_the_frozen_point_is_not_vouched_for():
    """Near capacity the reference is alone: the messages fall onto it, and the curve ends there."""
    w, x, y = teacher(1, 51, 70, seed=0)
    found = binary.entropy_curve(w, x, y, gammas=np.linspace(0, 3, 16))
    assert found.frozen.any()
    assert not found.converged[found.frozen].any()
    first = int(found.frozen.argmax())
    assert not found.converged[first:].any()
    few = binary.entropy_curve(*teacher(1, 51, 10, seed=0), gammas=np.linspace(0, 3, 16))
    assert not few.frozen.any()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"reference": np.full((1, 5), 0.5)}, "reference: its weights must be"),
        ({"reference": np.ones((2, 5))}, "2 units can tie"),
        ({"gammas": (1.0, 0.5)}, "gammas: "),
        ({"gammas": (-1.0,)}, "gammas: "),
        ({"factor": "clt"}, "factor: 'clt' is not allowed, allowed: auto, exact, gaussian"),
        ({"factor": "exact", "patterns": np.full((3, 5), 0.5)}, "factor: 'exact' counts"),
        ({"damping": 1.0}, "damping: 1.0"),
        ({"max_iterations": 0}, "max_iterations: 0"),
        ({"labels": np.zeros(3)}, "labels: "),
    ],
)
def test_refuses(change, line):
    given = {"reference": np.ones((1, 5)), "patterns": np.ones((3, 5)), "labels": np.ones(3)} | change
    with pytest.raises(ValueError, match=line):
        binary.entropy_curve(**given)
