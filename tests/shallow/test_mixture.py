"""The Gaussian mixture: formulas against closed forms, and against rules learned from sampled clouds."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from sacreddnn.shallow import mixture

SIGMAS = (0.3, 1.0)


@pytest.mark.parametrize(("alpha", "delta"), [(0.5, 1.0), (2.0, 0.7)])
def test_with_equal_clouds_much_ridge_is_the_bayes_point(alpha, delta):
    best, much = mixture.bayes(alpha, delta), mixture.ridge(alpha, delta, 1e7)
    assert much.test_error() == pytest.approx(best.test_error(), rel=1e-5)
    np.testing.assert_allclose(much.local_energy(SIGMAS), best.local_energy(SIGMAS), rtol=1e-4)
    errors = [mixture.ridge(alpha, delta, lam).test_error() for lam in np.logspace(-3, 5, 60)]
    assert (np.diff(errors) < 0).all()
    assert min(errors) >= best.test_error()


@pytest.mark.parametrize("rho", [0.5, 0.25])
def test_no_ridge_beats_bayes(rho):
    best = mixture.bayes(1.5, 1.0, rho).test_error()
    found = minimize_scalar(
        lambda log: mixture.ridge(1.5, 1.0, math.exp(log), rho).test_error(), bounds=(-5, 12), method="bounded"
    )
    assert found.fun >= best - 1e-9
    assert found.fun < best + (0.01 if rho == 0.5 else 3)  # with unequal clouds the bias of ridge is not the best


def test_many_patterns_show_the_centers():
    for delta in (0.5, 1.0, 2.0):
        limit = 100 * ndtr(-1 / math.sqrt(delta))
        assert mixture.bayes(1e6, delta).test_error() == pytest.approx(limit, rel=1e-4)
        assert mixture.ridge(1e6, delta, 0.1).test_error() == pytest.approx(limit, rel=1e-4)
        assert mixture.bayes(1e6, delta).train_error() == pytest.approx(limit, rel=1e-4)


def test_the_bias_of_bayes_is_the_best_one():
    rule = mixture.bayes(2.0, 1.0, 0.2)

    def test_error(b):
        return mixture.Rule(rule.m, rule.q, b, 0, 1, rule.delta, rule.rho).test_error()

    assert minimize_scalar(test_error, (-1, 0)).x == pytest.approx(rule.b, abs=1e-5)


@pytest.mark.parametrize(("alpha", "rho", "lam"), [(0.6, 0.3, 0.01), (3.0, 0.5, 0.2)])
def test_ridge_is_a_saddle_point(alpha, rho, lam):
    """s, m and q solve the equations that they come from, written without their solutions."""
    delta, rule = 1.3, mixture.ridge(alpha, 1.3, lam, rho)
    V = rule.shift
    s = V / delta
    assert s * (lam + alpha * delta / (1 + V)) == pytest.approx(1, rel=1e-10)
    # residual of a new pattern: y - field has the mean y (1 - m) - b and the variance delta q
    residual = (1 - rule.m) - rule.b * (2 * rho - 1)
    assert rule.m == pytest.approx(alpha * s / (1 + V) * residual, rel=1e-10)
    square = rho * (1 - rule.m - rule.b) ** 2 + (1 - rho) * (1 - rule.m + rule.b) ** 2 + delta * rule.q
    assert rule.q == pytest.approx(rule.m**2 + alpha * delta * (s / (1 + V)) ** 2 * square, rel=1e-10)
    assert rho * (1 - rule.m - rule.b) - (1 - rho) * (1 - rule.m + rule.b) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("alpha", "rho"), [(0.7, 0.5), (2.0, 0.3)])
def test_learned_rules_are_those_of_the_theory(alpha, rho):
    """N = 1000: test error, train error, local energy, bias and length of ridge and Bayes, within a few errors."""
    lams, instances = (0.05, 1.0), 5
    rules = [mixture.bayes(alpha, 1.0, rho), *(mixture.ridge(alpha, 1.0, lam, rho) for lam in lams)]
    found = np.empty((instances, len(rules), 6))
    for seed in range(instances):
        x, y, new_x, new_y = mixture.sample(1000, round(1000 * alpha), 1.0, rho, num_test=4000, seed=seed)
        learned = [mixture.fit_bayes(x, y, 1.0, rho), *(mixture.fit_ridge(x, y, lam) for lam in lams)]
        for i, (w, b) in enumerate(learned):
            train = mixture.error(w, b, x, y)
            energies = [mixture.error(w, b, x, y, sigma) - train for sigma in SIGMAS]
            found[seed, i] = mixture.error(w, b, new_x, new_y), train, *energies, b, w @ w / 1000
    mean, error = found.mean(0), found.std(0, ddof=1) / math.sqrt(instances)
    for i, rule in enumerate(rules):
        expected = rule.test_error(), rule.train_error(), *rule.local_energy(SIGMAS), rule.b, rule.q
        # of five instances an error of the mean is itself uncertain; the last term is of size 1/N
        assert (np.abs(mean[i] - expected) < 5 * error[i] + [0.3, 0.3, 0.3, 0.3, 0.01, 0.01]).all()
    assert (error[:, :4] < 1).all()


def test_the_error_under_noise_is_that_of_drawing():
    x, y, _, _ = mixture.sample(50, 40, 1.0, 0.3, seed=2)
    w, b = mixture.fit_ridge(x, y, 0.1)
    generator, draws = np.random.default_rng(0), 40_000
    noisy_w = w * (1 + 0.8 * generator.standard_normal((draws, 50)))
    noisy_b = b * (1 + 0.8 * generator.standard_normal(draws))
    wrong = y * (noisy_w @ x.T / math.sqrt(50) + noisy_b[:, None]) <= 0
    error = 100 * wrong.mean(1).std() / math.sqrt(draws)
    assert mixture.error(w, b, x, y, 0.8) == pytest.approx(100 * wrong.mean(), abs=4 * error)
    assert mixture.error(w, b, x, y) == 100 * (y * (x @ w / math.sqrt(50) + b) <= 0).mean()
    assert abs(mixture.error(w, 0.0, x, y, 0.8) - mixture.error(w, b, x, y, 0.8)) > 10 * error  # the bias matters


def test_limits_of_the_noise():
    rule = mixture.ridge(0.8, 1.0, 0.5)
    assert rule.local_energy([0.0])[0] == 0
    assert rule.local_energy([1e6])[0] == pytest.approx(50 - rule.train_error(), abs=1e-3)
    assert (np.diff(rule.local_energy(np.linspace(0, 3, 20))) > 0).all()


@pytest.mark.parametrize("num_patterns", [20, 80])
def test_ridge_is_the_least_of_what_it_minimizes(num_patterns):
    x, y, _, _ = mixture.sample(40, num_patterns, 1.0, 0.4, seed=1)
    w, b = mixture.fit_ridge(x, y, 0.3)

    def loss(w, b):
        return 0.5 * ((y - x @ w / math.sqrt(40) - b) ** 2).sum() + 0.15 * w @ w

    generator = np.random.default_rng(0)
    for _ in range(10):
        dw, db = 1e-3 * generator.standard_normal(40), 1e-3 * generator.standard_normal()
        assert loss(w + dw, b + db) > loss(w, b)
        assert loss(w + dw, b + db) + loss(w - dw, b - db) - 2 * loss(w, b) > 0
        assert abs(loss(w + dw, b + db) - loss(w - dw, b - db)) < 1e-9


def test_clouds():
    x, y, new_x, new_y = mixture.sample(30, 200, 0.5, 0.25, num_test=100, seed=3)
    assert x.shape == (200, 30)
    assert new_x.shape == (100, 30)
    assert (y == 1).sum() == 50
    assert (new_y == 1).sum() == 25
    v = np.concatenate([y @ x, new_y @ new_x]).reshape(2, 30).sum(0) / 300 * math.sqrt(30)
    assert v @ v / 30 == pytest.approx(1 + 0.5 * 30 / 300, abs=0.2)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: mixture.bayes(0.0, 1.0), "alpha: 0.0"),
        (lambda: mixture.bayes(1.0, -1.0), "delta: -1.0"),
        (lambda: mixture.bayes(1.0, 1.0, 1.0), "rho: 1.0"),
        (lambda: mixture.ridge(1.0, 1.0, 0.0), "lam: 0.0"),
    ],
)
def test_refuses(call, line):
    with pytest.raises(ValueError, match=line):
        call()
