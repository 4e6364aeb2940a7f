"""Focusing belief propagation: its message, its protocols, its entropies, and that it solves."""

import itertools
import math

import numpy as np
import pytest
from binary_cases import solves, teacher

from sacreddnn.shallow import binary, committee, focusing, patterns, protocols
from sacreddnn.shallow.binary_messages import BinaryMessages

RHOS = np.linspace(0, 0.98, 50)


def fixed_point(x, y, gamma, replicas, tolerance=1e-11, **options):
    """The state at one pair, and what internal_entropy gives of it: Phi, q, log Z_y."""
    found = focusing.focusing_bp(
        x, y, [(gamma, replicas)], stop=False, max_iterations=3000, tolerance=tolerance, scale=0.0, **options
    )
    assert found.steps[0].converged
    return found.steps[0]


@pytest.mark.parametrize("gamma", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("replicas", [1, 2, 5])
def test_the_self_message_is_that_of_a_tree(gamma, replicas):
    """One weight, y copies of it and their center, everything enumerated but the field of the first copy."""
    for h in (-1.2, 0.1, 0.7):
        total = {1: 0.0, -1: 0.0}
        for c, first, *others in itertools.product((1, -1), repeat=replicas + 1):
            total[first] += math.exp(gamma * c * (first + sum(others)) + h * sum(others))
        expected = 0.5 * math.log(total[1] / total[-1])
        found = focusing.self_message(np.array([h]), gamma, replicas)[0]
        assert found == pytest.approx(expected, abs=1e-10)
        as_means = math.tanh(gamma) * math.tanh((replicas - 1) * math.atanh(math.tanh(h) * math.tanh(gamma)))
        assert math.tanh(found) == pytest.approx(as_means, abs=1e-10)


def test_the_self_message_in_its_limits():
    h = np.array([-40.0, -0.5, 0.0, 1e-9, 300.0])
    np.testing.assert_allclose(focusing.self_message(h, 0.0, 7.0), 0, atol=1e-12)
    np.testing.assert_array_equal(focusing.self_message(h, 1.3, 1.0), 0)
    np.testing.assert_allclose(focusing.self_message(h, math.inf, 3.5), 2.5 * h)
    assert np.isfinite(focusing.self_message(h, 50.0, 1e6)).all()


def test_protocols():
    rhos = (0.0, 0.2, 0.5, 0.9)
    assert protocols.standard_reinforcement(rhos) == [(math.inf, 1 / (1 - rho)) for rho in rhos]
    assert protocols.pseudo_reinforcement(rhos, x=0) == protocols.standard_reinforcement(rhos)
    for x in (0.5, 0.25):
        pairs = protocols.pseudo_reinforcement(rhos, x)
        for rho, (gamma, y) in zip(rhos, pairs, strict=True):
            assert math.tanh(gamma) == pytest.approx(rho**x)
            assert y == pytest.approx(1 + rho ** (1 - 2 * x) / (1 - rho))
            # a weak field comes back as rho/(1 - rho) of itself, whatever x
            come_back = focusing.self_message(np.array([1e-4]), gamma, y)[0] / 1e-4
            assert come_back == pytest.approx(rho / (1 - rho), abs=1e-5)
    assert protocols.scoping((0.1, 0.7, 2.0), 12) == [(0.1, 12.0), (0.7, 12.0), (2.0, 12.0)]
    assert protocols.free_scoping([(0.1, 2), (0.1, 7)]) == [(0.1, 2.0), (0.1, 7.0)]


@pytest.mark.parametrize(("gamma", "replicas"), [(0.8, 1.0), (0.0, 4.0)])
@pytest.mark.parametrize("num_units", [1, 3])
def test_one_replica_or_no_coupling_is_plain_belief_propagation(num_units, gamma, replicas):
    w, x, y = teacher(num_units, 21, 5 * num_units, seed=0)
    plain = binary.entropy_curve(w, x, y, gammas=(0.0,), tolerance=1e-11)
    found = fixed_point(x, y, gamma, replicas, num_units=num_units)
    # y copies of the law of w; centers are independent of it, or noise on it
    expected = replicas * plain.log_z[0] + w.size * (math.log(2 * math.cosh(gamma)) if gamma else math.log(2))
    assert found.log_z == pytest.approx(expected, rel=1e-8)
    if gamma == 0:
        assert found.local_entropy == pytest.approx(plain.entropy[0] - math.log(2), abs=1e-8)


def test_the_internal_entropy_against_enumeration():
    """log Z_y, and Phi around its centers, summed over all centers and all solutions."""
    gamma, replicas, wrong = 0.6, 3, []
    kernel = np.array([[math.exp(gamma), math.exp(-gamma)], [math.exp(-gamma), math.exp(gamma)]])
    slope = np.array([[math.exp(gamma), -math.exp(-gamma)], [-math.exp(-gamma), math.exp(gamma)]])  # d/d gamma
    for seed in range(6):
        x, y = patterns.random(13, 3, seed=seed)
        around = solves(1, x, y).astype(float).reshape((2,) * 13)
        partial = np.zeros_like(around)
        for axis in range(13):
            partial = np.moveaxis(np.tensordot(kernel, partial, (1, axis)), 0, axis) + np.moveaxis(
                np.tensordot(slope, around, (1, axis)), 0, axis
            )
            around = np.moveaxis(np.tensordot(kernel, around, (1, axis)), 0, axis)
        weight = around**replicas
        log_z = math.log(weight.sum())
        log_n = float((weight * np.log(around)).sum() / weight.sum())
        q = float((weight * partial / around).sum() / weight.sum()) / 13
        phi = log_n / 13 - gamma * q - float(binary.binary_entropy(q))
        found = fixed_point(x, y, gamma, replicas, tolerance=1e-8)
        wrong.append((found.log_z / replicas / 13 - log_z / replicas / 13, found.q - q, found.local_entropy - phi))
        assert -math.log(2) < phi < 0
        assert -math.log(2) < found.local_entropy < 0
    assert np.abs(wrong).mean(0) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("num_units", [1, 3])
def test_derivatives_of_log_z(num_units):
    """By gamma it is y KN q, by y it is <log N>, from which Phi comes: the free entropy is stationary."""
    _, x, y = teacher(num_units, 21, 6 * num_units, seed=4)
    size, at = 21 * num_units, (0.5, 3.0)
    center = fixed_point(x, y, *at, num_units=num_units)
    more, less = (fixed_point(x, y, at[0] + e, at[1], num_units=num_units).log_z for e in (1e-4, -1e-4))
    assert (more - less) / 2e-4 == pytest.approx(at[1] * size * center.q, rel=1e-5)
    more, less = (fixed_point(x, y, at[0], at[1] + e, num_units=num_units).log_z for e in (1e-4, -1e-4))
    log_n = size * (center.local_entropy + at[0] * center.q + float(binary.binary_entropy(center.q)))
    assert (more - less) / 2e-4 == pytest.approx(log_n, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "num_inputs", "alpha", "seed"),
    [
        ("standard", 201, 0.5, 0),
        ("standard", 301, 0.4, 1),
        ("pseudo", 201, 0.5, 2),
        ("pseudo", 301, 0.4, 3),
        ("scoping", 201, 0.5, 4),
        ("scoping", 1001, 0.3, 5),
        ("free", 301, 0.4, 6),
    ],
)
def test_it_solves_random_perceptrons(name, num_inputs, alpha, seed):
    x, y = patterns.random(num_inputs, round(alpha * num_inputs), seed=seed)
    protocol = {
        "standard": protocols.standard_reinforcement(RHOS),
        "pseudo": protocols.pseudo_reinforcement(RHOS),
        "scoping": protocols.scoping(np.linspace(0, 2.5, 26), 10),
        "free": protocols.free_scoping([(g, y) for y in (5, 20) for g in np.linspace(0.1, 2.0, 12)]),
    }[name]
    found = focusing.focusing_bp(x, y, protocol, max_iterations=3 if name == "standard" else 10, seed=seed)
    assert found.solved
    assert found.factor == "gaussian"
    assert np.isin(found.weights, (-1.0, 1.0)).all()
    assert found.weights.shape == (1, num_inputs)
    assert (y * (x @ found.weights[0]) > 0).all()
    assert all(-math.log(2) <= step.local_entropy <= 0 for step in found.steps if step.converged and step.gamma < 9)


def test_it_solves_a_committee():
    x, y = patterns.random(51, 30, seed=0)
    found = focusing.focusing_bp(
        x, y, protocols.pseudo_reinforcement(RHOS), num_units=3, damping=0.8, max_iterations=20, scale=0.1
    )
    assert found.solved
    assert committee.num_errors(found.weights, x, y) == 0


def test_replicas_find_more_solutions_around_them_than_a_typical_one_has():
    """The local entropy of centers grows with y at a fixed distance: what focusing is for."""
    x, y = patterns.random(201, 80, seed=1)
    few, many = (fixed_point(x, y, 0.4, replicas, tolerance=1e-7) for replicas in (1.0, 4.0))
    assert many.log_z / 4 < few.log_z  # a power mean, less its number of centers
    assert many.local_entropy + 0.4 * many.q + float(binary.binary_entropy(many.q)) > (
        few.local_entropy + 0.4 * few.q + float(binary.binary_entropy(few.q))
    )


def test_what_is_not_solved_says_so():
    x, y = patterns.random(51, 80, seed=0)  # far above capacity
    found = focusing.focusing_bp(x, y, protocols.pseudo_reinforcement(RHOS[::5]), max_iterations=4)
    assert not found.solved
    assert found.num_errors == committee.num_errors(found.weights, x, y) > 0
    assert found.num_errors == min(step.num_errors for step in found.steps) < found.steps[-1].num_errors
    assert not all(step.converged for step in found.steps)
    assert all(step.residual >= 1e-3 for step in found.steps if not step.converged)


def test_the_end_of_a_protocol_has_decided():
    x, y = patterns.random(101, 30, seed=0)
    found = focusing.focusing_bp(x, y, protocols.pseudo_reinforcement(RHOS), stop=False)
    assert len(found.steps) == len(RHOS)
    assert found.steps[-1].num_errors == 0
    assert found.steps[-1].q > 0.95
    again = focusing.focusing_bp(x, y, protocols.pseudo_reinforcement(RHOS), stop=False)
    np.testing.assert_array_equal(found.weights, again.weights)


def test_no_patterns():
    engine = BinaryMessages(np.empty((0, 5)), 1)
    phi, q, log_z = focusing.internal_entropy(engine, engine.start(), np.zeros((1, 5)), 0.7, 3.0)
    assert phi == pytest.approx(0, abs=1e-12)
    assert q == pytest.approx(math.tanh(0.7))
    assert log_z == pytest.approx(5 * math.log(2) + 15 * math.log(2 * math.cosh(0.7)))


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: protocols.standard_reinforcement([1.0]), "rhos: "),
        (lambda: protocols.pseudo_reinforcement([0.5], x=0.6), "x: 0.6"),
        (lambda: protocols.scoping([-1.0], 3), "protocol: "),
        (lambda: protocols.scoping([1.0], 0.5), "protocol: "),
        (lambda: protocols.free_scoping([]), "protocol: it is empty"),
        (lambda: focusing.focusing_bp(np.ones((2, 5)), np.ones(2), num_units=2), "2 units can tie"),
        (lambda: focusing.focusing_bp(np.ones((2, 5)), np.ones(2), damping=1.0), "damping: 1.0"),
    ],
)
def test_refuses(call, line):
    with pytest.raises(ValueError, match=line):
        call()
