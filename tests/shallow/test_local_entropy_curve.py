"""The curve and its formulas, whatever engine: closed forms, identities, bounds, what is refused."""

import math

import numpy as np
import pytest
from scipy.special import ndtr
from shallow_cases import drawn, solved

from sacreddnn.shallow import committee, curve
from sacreddnn.shallow.curve import LocalEntropyCurve, local_entropy_curve

ENGINES = {
    "sampling": {"method": "sampling"},
    "ep": {"method": "ep"},
    "amp": {"method": "amp"},
    "amp_matrix": {"method": "amp", "correlated": True},
}
EXACT = {name: ENGINES[name] for name in ("sampling", "ep")}  # for one pattern


@pytest.mark.parametrize("method", curve.METHODS)
@pytest.mark.parametrize("num_units", [1, 3])
def test_without_patterns_nothing_is_lost(method, num_units):
    weights = np.random.default_rng(0).standard_normal((num_units, 7))
    found = local_entropy_curve(weights, np.empty((0, 7)), np.empty(0), method=method)
    np.testing.assert_allclose(found.phi, 0, atol=1e-12)
    np.testing.assert_allclose(found.d, 1 - np.array(curve.TS))
    assert found.converged.all()
    assert found.method == method


def test_one_pattern_has_a_closed_form():
    """P_t = H(-t Delta/s), s^2 = 1 - t^2, Delta the stability over |x|/sqrt(N); q = t + s^2 Delta g |x|/N^(3/2) .."""
    w, x, y = solved(1, 20, 1)
    length = np.linalg.norm(x) / math.sqrt(20)
    t = np.array([0.99, 0.9, 0.7, 0.4])
    s = np.sqrt(1 - t**2)
    margin = t * committee.stabilities(w, x, y)[0, 0] / length / s
    rate = np.exp(-(margin**2) / 2) / math.sqrt(2 * math.pi) / ndtr(margin)
    q = t + s * rate * committee.stabilities(w, x, y)[0, 0] / length / 20
    for options in EXACT.values():
        found = local_entropy_curve(w, x, y, ts=t, **options)
        slack = 1e-7 if options["method"] == "ep" else 4 * found.log_p_error + 1e-4
        assert (np.abs(found.log_p - np.log(ndtr(margin))) < slack).all()
        np.testing.assert_allclose(found.q, q, atol=1e-7 if options["method"] == "ep" else 5e-3)
        assert found.converged.all()


def test_one_pattern_of_a_committee_is_its_vote():
    w, x, y = solved(3, 30, 1)
    t = np.array([0.99, 0.9, 0.7, 0.4])
    exact = [math.log(1 - committee.error_probability(w, x, y, math.sqrt(1 / one**2 - 1), "additive")[0]) for one in t]
    for options in EXACT.values():
        found = local_entropy_curve(w, x, y, ts=t, **options)
        assert (np.abs(found.log_p - exact) < np.nan_to_num(4 * found.log_p_error) + 0.01 * np.abs(exact)).all()


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("num_units", [1, 3])
def test_it_is_negative_within_its_bounds_and_vanishes_near_the_network(name, num_units):
    w, x, y = solved(num_units, 120, 20)
    ts = (1 - 1e-5, 0.999, 0.99, 0.9, 0.7, 0.5)
    found = local_entropy_curve(w, x, y, ts=ts, **ENGINES[name])
    assert found.converged.all()
    assert (found.phi <= 4 * np.nan_to_num(found.error)).all()
    assert abs(found.phi[0]) < 2e-3
    assert (np.diff(found.phi) < 0).all()
    assert (np.diff(found.d) > 0).all()
    for i, t in enumerate(ts):
        p = committee.error_probability(w, x, y, math.sqrt(1 / t**2 - 1), "additive")
        slack = np.nan_to_num(4 * found.log_p_error[i]) + 0.02 * abs(found.log_p[i]) + 1e-9
        assert found.log_p[i] <= math.log(1 - p.max()) + slack
        if p.sum() < 1:
            assert found.log_p[i] >= math.log(1 - p.sum()) - slack


@pytest.mark.parametrize("name", ["ep", "amp", "amp_matrix"])
def test_the_slope_is_the_field(name):
    """d Phi/dr = -gamma sqrt(n) + r/(1 - r^2), r = 1 - d: the field that holds a unit vector at the overlap r."""
    w, x, y = solved(3, 200, 80)
    for t in (0.95, 0.7, 0.3):
        step = 1e-3
        found = local_entropy_curve(w, x, y, ts=(t + step, t, t - step), tolerance=1e-11, **ENGINES[name])
        r = 1 - found.d
        slope = (found.phi[0] - found.phi[2]) / (r[0] - r[2])
        n = 1 - t * t + t * found.q[1]
        field = -t / (1 - t * t) * math.sqrt(n) + r[1] / (1 - r[1] ** 2)
        assert slope == pytest.approx(field, rel=2e-3)
        assert found.converged.all()


def test_errors_are_those_of_log_p_and_q():
    t, step = np.array([0.9, 0.5]), 1e-6
    common = {"converged": t > 0, "residual": t, "method": "exact", "num_weights": 50}

    def phi(log_p, q, **errors):
        return LocalEntropyCurve.of(t, np.array(log_p), np.array(q), **common, **errors)

    log_p, q = np.array([-1.0, -9.0]), np.array([0.92, 0.58])
    by_p = (phi(log_p + step, q).phi - phi(log_p - step, q).phi) / (2 * step)
    by_q = (phi(log_p, q + step).phi - phi(log_p, q - step).phi) / (2 * step)
    errors = {"log_p_error": np.array([0.1, 0.5]), "q_error": np.array([0.01, 0.02])}
    np.testing.assert_allclose(
        phi(log_p, q, **errors).error, np.hypot(by_p * errors["log_p_error"], by_q * errors["q_error"]), rtol=1e-6
    )
    assert np.isnan(phi(log_p, q).error).all()


def test_what_is_no_number_is_not_converged():
    t = np.array([0.9, 0.5])
    found = LocalEntropyCurve.of(
        t, np.array([-1.0, np.nan]), t, converged=t > 0, residual=t, method="exact", num_weights=50
    )
    assert found.converged.tolist() == [True, False]


def test_training_errors_are_allowed_as_many_as_the_network_has():
    w, x, y = solved(3, 7, 8)
    y = y.copy()
    y[:2] = -y[:2]
    ts = (0.99, 0.8, 0.5)
    found = local_entropy_curve(w, x, y, ts=ts, num_sweeps=1000)
    for i, t in enumerate(ts):
        log_p, error, *_ = drawn(w, x, y, t, draws=100_000)
        assert abs(found.log_p[i] - log_p) < 4 * math.hypot(error, found.log_p_error[i])
    with pytest.raises(ValueError, match="sampler: 'hmc' takes no training errors, this network has 2; use 'ess'"):
        local_entropy_curve(w, x, y, sampler="hmc")
    for method in ("ep", "amp"):
        line = f"method: '{method}' counts networks without training errors, this one has 2; use 'sampling'"
        with pytest.raises(ValueError, match=line):
            local_entropy_curve(w, x, y, method=method)


def test_length_of_the_units_and_of_the_patterns_does_not_matter():
    w, x, y = solved(3, 60, 20)
    one = local_entropy_curve(w, x, y, method="amp")
    other = local_entropy_curve(w * np.array([[1.0], [2.0], [0.1]]), 3 * x, y, method="amp")
    np.testing.assert_allclose(one.phi, other.phi, rtol=1e-6)
    perceptron = solved(1, 60, 20)
    flat = local_entropy_curve(perceptron[0][0], *perceptron[1:], method="ep")
    np.testing.assert_array_equal(flat.phi, local_entropy_curve(*perceptron, method="ep").phi)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"method": "bp"}, "method: 'bp' is not allowed, allowed: sampling, ep, amp"),
        ({"ts": (0.5, 0.9)}, "ts: .* is not allowed, give falling numbers"),
        ({"ts": ()}, "ts: "),
        ({"ts": (1.0, 0.5)}, "ts: "),
        ({"sampler": "gibbs"}, "sampler: 'gibbs' is not allowed, allowed: hmc, ess"),
        ({"num_chains": 2}, "num_chains: 2 is not allowed, at least 3"),
        ({"method": "amp", "damping": 1.0}, "damping: 1.0"),
        ({"method": "ep", "max_iterations": 0}, "max_iterations: 0"),
        ({"method": "ep", "tolerance": 0.0}, "tolerance=0.0"),
    ],
)
def test_bad_options(options, line):
    w, x, y = solved(1, 5, 3)
    with pytest.raises(ValueError, match=line):
        local_entropy_curve(w, x, y, **options)


@pytest.mark.parametrize("method", curve.METHODS)
def test_an_option_of_another_engine(method):
    w, x, y = solved(1, 5, 3)
    with pytest.raises(TypeError, match="rounds"):
        local_entropy_curve(w, x, y, method=method, rounds=3)
