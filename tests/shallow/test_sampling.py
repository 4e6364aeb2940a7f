"""Sampling against volumes that are known otherwise, and its two samplers against each other."""

import math

import numpy as np
import pytest
from scipy.special import ndtr
from shallow_cases import drawn, needs_fashion, solved, trained

from sacreddnn.shallow import chains, sampling
from sacreddnn.shallow.curve import local_entropy_curve

TS = (0.99, 0.9, 0.7, 0.4)


@pytest.fixture
def mostly_chains(monkeypatch):
    """Plain Monte Carlo only where most draws are solutions: the chains and their bridges do the work."""
    monkeypatch.setattr(sampling, "RARE", 0.6)


@pytest.mark.usefixtures("mostly_chains")
@pytest.mark.parametrize(("num_units", "num_inputs", "num_patterns"), [(1, 5, 6), (3, 6, 8)])
@pytest.mark.parametrize("sampler", sampling.SAMPLERS)
def test_chains_agree_with_drawing(num_units, num_inputs, num_patterns, sampler):
    w, x, y = solved(num_units, num_inputs, num_patterns)
    found = local_entropy_curve(w, x, y, ts=TS, sampler=sampler, num_sweeps=2000)
    assert found.converged.all()
    for i, t in enumerate(TS):
        log_p, error, q, q_error = drawn(w, x, y, t)
        assert abs(found.log_p[i] - log_p) < 4 * math.hypot(error, found.log_p_error[i]) + 1e-9
        assert found.log_p_error[i] < 0.1
        assert abs(found.q[i] - q) < 5 * math.hypot(q_error, 0.005)


@pytest.mark.usefixtures("mostly_chains")
def test_chains_of_a_network_with_training_errors():
    w, x, y = solved(3, 7, 10)
    y = y.copy()
    y[:2] = -y[:2]
    found = local_entropy_curve(w, x, y, ts=TS, num_sweeps=1500)
    assert found.converged.all()
    for i, t in enumerate(TS):
        log_p, error, q, q_error = drawn(w, x, y, t, draws=200_000)
        assert abs(found.log_p[i] - log_p) < 4 * math.hypot(error, found.log_p_error[i]) + 1e-9
        assert found.log_p_error[i] < 0.1
        assert abs(found.q[i] - q) < 5 * math.hypot(q_error, 0.005)


@pytest.mark.usefixtures("mostly_chains")
@pytest.mark.parametrize("sampler", sampling.SAMPLERS)
def test_error_bars_are_honest(sampler):
    """Over seeds the deviations are as large as the error bars say."""
    w, x, y = solved(3, 6, 8)
    exact, error, *_ = drawn(w, x, y, 0.5, draws=1_000_000)
    found = [local_entropy_curve(w, x, y, ts=(0.9, 0.5), sampler=sampler, num_sweeps=40, burn_in=10, seed=s)
             for s in range(40)]  # fmt: skip
    z = np.array([(one.log_p[1] - exact) / math.hypot(one.log_p_error[1], error) for one in found])
    assert abs(z.mean()) < 4 * 1.3 / math.sqrt(len(z))
    assert 0.5 < np.sqrt((z**2).mean()) < 1.7  # a Student's t of seven degrees of freedom has 1.18


def sphere_volume(w, x, y, cosine, draws, generator):
    """The fraction of solutions among the points of the sphere |v|^2 = N at a cosine from w."""
    z = generator.standard_normal((draws, w.size))
    z -= np.outer(z @ w / w.size, w)
    z *= math.sqrt(w.size) / np.linalg.norm(z, axis=1, keepdims=True)
    v = cosine * w + math.sqrt(1 - cosine**2) * z
    return ((v @ (y[:, None] * x).T) > 0).all(1).mean()


@pytest.mark.parametrize("num_inputs", [3, 4, 5, 6])
def test_it_is_the_volume_on_the_sphere(num_inputs):
    """P_t is the mean over the cosines of Gaussian draws of the fraction of solutions at that cosine on the sphere."""
    w, x, y = solved(1, num_inputs, 4, seed=num_inputs)
    generator = np.random.default_rng(0)
    cosines = np.cos(np.linspace(math.pi, 0.0, 121))
    volumes = np.array([sphere_volume(w[0], x, y, c, 20_000, generator) for c in cosines])
    found = local_entropy_curve(w, x, y, ts=TS, num_direct=300_000, num_sweeps=1000)
    for i, t in enumerate(TS):
        v = t * w[0] + math.sqrt(1 - t * t) * generator.standard_normal((200_000, num_inputs))
        of_draws = v @ w[0] / np.linalg.norm(v, axis=1) / math.sqrt(num_inputs)
        expected = math.log(np.interp(of_draws, cosines, volumes).mean())
        assert found.log_p[i] == pytest.approx(expected, abs=0.01 + 4 * found.log_p_error[i])
        assert found.log_p_error[i] < 0.05


@needs_fashion
@pytest.mark.usefixtures("mostly_chains")
def test_two_samplers_agree_on_a_committee_and_images():
    """Reflections, elliptical slices and, where solutions are not too rare, rejection: the same log P_t and q."""
    w, x, y = trained(3, 60)
    ts = (0.99, 0.95, 0.9, 0.8)
    hmc, ess = (local_entropy_curve(w, x, y, ts=ts, sampler=s, num_sweeps=400, num_chains=12, num_direct=2000)
                for s in sampling.SAMPLERS)  # fmt: skip
    assert hmc.converged.all()
    assert ess.converged.all()
    assert (hmc.log_p_error[1:] > 0).all()
    assert (np.abs(hmc.log_p - ess.log_p) < 4 * np.hypot(hmc.log_p_error, ess.log_p_error)).all()
    assert (np.hypot(hmc.log_p_error, ess.log_p_error) < 0.05 * np.abs(hmc.log_p) + 0.05).all()
    np.testing.assert_allclose(hmc.q, ess.q, atol=0.01)
    for i in (1, 2):
        log_p, error, q, _ = drawn(w, x, y, ts[i], draws=10_000)
        assert abs(hmc.log_p[i] - log_p) < 4 * math.hypot(error, hmc.log_p_error[i])
        assert abs(hmc.q[i] - q) < 0.01


def test_plain_monte_carlo_is_used_where_it_suffices():
    w, x, y = solved(3, 40, 10)
    found = local_entropy_curve(w, x, y, ts=(0.999, 0.95), num_direct=30_000)
    log_p, error, *_ = drawn(w, x, y, 0.95, draws=100_000)
    assert abs(found.log_p[1] - log_p) < 4 * math.hypot(error, found.log_p_error[1])
    # the number of errors as control variate: better than counting
    counted = math.sqrt((1 / math.exp(found.log_p[1]) - 1) / 30_000)
    assert found.log_p_error[1] < 0.9 * counted


def test_the_seed_decides():
    w, x, y = solved(3, 20, 10)
    one, same, other = (local_entropy_curve(w, x, y, ts=TS, num_direct=2000, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.log_p, same.log_p)
    assert not np.array_equal(one.log_p, other.log_p)


def test_where_no_state_is_in_common_the_curve_ends(monkeypatch):
    """One long bridge instead of short ones: NaN, not converged, and no number behind it."""
    monkeypatch.setattr(sampling, "SHARED", 0.0)
    w, x, y = solved(1, 100, 100)
    found = local_entropy_curve(w, x, y, ts=(0.999, 0.5, 0.4), num_direct=20_000)
    assert np.isfinite(found.phi[0])
    assert np.isnan(found.phi[1:]).all()
    assert not found.converged[1:].any()


def test_a_network_with_hardly_a_solution_around_it():
    """Fifteen patterns with next to no stability: half of the draws fail each of them."""
    x, ones = np.random.default_rng(0).standard_normal((15, 30)), np.ones(15)
    w = np.linalg.lstsq(x, 1e-9 * ones, rcond=None)[0]
    away = np.random.default_rng(1).standard_normal(30)
    w += away - np.linalg.pinv(x) @ (x @ away)
    with pytest.raises(ValueError, match="network: hardly a solution at d = 0.0001 around it"):
        local_entropy_curve(w, x, ones, ts=(0.99,))


def test_scale_reduction_tells_chains_apart():
    values = np.random.default_rng(0).standard_normal((8, 400))
    assert sampling.scale_reduction(values) < 0.02
    assert sampling.scale_reduction(values + np.arange(8)[:, None]) > 0.5
    assert sampling.scale_reduction(values + np.linspace(0, 4, 400)) > 0.2  # chains that drift all alike


@pytest.mark.parametrize("use_hmc", [True, False])
def test_a_sweep_leaves_a_truncated_normal_law_alone(use_hmc):
    """One unit, one pattern: z F^T above -drift/s of a normal law, whose moments are known."""
    variance, drift, t = 2.0, -0.5, 0.6
    s = math.sqrt(1 - t * t)
    u = np.array([[2.0]])
    base = np.array([[drift / t]])
    root = np.array([[math.sqrt(variance)]])
    _, us = chains.run(u, base, np.ones((1, 1)), t, np.array([t]), root, root**2, 0, use_hmc, 20_000, 0)
    edge = -drift / s / math.sqrt(variance)
    rate = math.exp(-(edge**2) / 2) / math.sqrt(2 * math.pi) / ndtr(-edge)
    assert us.min() * s + drift > 0
    assert us.mean() == pytest.approx(rate * math.sqrt(variance), abs=0.03)
    assert us.var() == pytest.approx(variance * (1 - rate * (rate - edge)), rel=0.05)
