import itertools

import numpy as np
import pytest

from sacreddnn.shallow import committee
from sacreddnn.shallow.patterns import random


def network(num_units, num_inputs=21, num_patterns=30, seed=0):
    weights = committee.normalized(np.random.default_rng(seed).standard_normal((num_units, num_inputs)))
    return weights, *random(num_inputs, num_patterns, seed=seed)


def noisy_errors(weights, x, y, sigma, noise, num=4000):
    """Percent of wrong votes under noise, and its standard error: by drawing networks."""
    z = np.random.default_rng(1).standard_normal((num, *weights.shape))
    noisy = weights * (1 + sigma * z) if noise == "multiplicative" else weights + sigma * z
    votes = np.sign(np.einsum("ski,pi->spk", noisy, x)).sum(2)
    errors = 100 * (votes * y < 0).mean(1)
    return errors.mean(), errors.std() / np.sqrt(num)


def test_votes_by_hand():
    weights = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    x = np.array([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    assert committee.num_errors(weights, x, np.array([1.0, -1.0, -1.0, 1.0])) == 0
    assert committee.num_errors(weights, x, np.array([1.0, 1.0, -1.0, -1.0])) == 2
    assert committee.error(weights, x, np.array([1.0, 1.0, -1.0, -1.0])) == 50.0


def test_a_field_of_zero_is_no_right_vote():
    weights = np.array([[1.0, -1.0]])
    for label in (-1.0, 1.0):
        assert committee.num_errors(weights, np.array([[1.0, 1.0]]), np.array([label])) == 1


def test_normalized_rows_keep_their_direction():
    weights = np.random.default_rng(0).standard_normal((3, 7))
    on_spheres = committee.normalized(weights)
    np.testing.assert_allclose((on_spheres**2).sum(1), 7)
    np.testing.assert_allclose(on_spheres / np.linalg.norm(on_spheres, axis=1)[:, None],
                               weights / np.linalg.norm(weights, axis=1)[:, None])  # fmt: skip


@pytest.mark.parametrize("num_units", [1, 3, 5])
def test_wrong_vote_sums_all_outcomes(num_units):
    right = np.random.default_rng(0).random((4, num_units))
    exact = np.zeros(4)
    for votes in itertools.product((0, 1), repeat=num_units):
        if sum(votes) <= num_units // 2:
            exact += np.prod(np.where(votes, right, 1 - right), axis=1)
    np.testing.assert_allclose(committee.wrong_vote(right), exact)


@pytest.mark.parametrize("noise", committee.NOISES)
@pytest.mark.parametrize("num_units", [1, 3])
def test_local_energy_is_that_of_sampled_noise(num_units, noise):
    weights, x, y = network(num_units)
    sigmas = [0.0, 0.3, 1.0]
    exact = committee.local_energy(weights, x, y, sigmas, noise)
    assert exact[0] == 0
    for sigma, value in zip(sigmas[1:], exact[1:], strict=True):
        mean, se = noisy_errors(weights, x, y, sigma, noise)
        assert abs(value - (mean - committee.error(weights, x, y))) < 4 * se


def test_local_energy_of_much_noise_is_a_coin():
    weights, x, y = network(5)
    limit = committee.local_energy(weights, x, y, [1e9])[0]
    assert limit == pytest.approx(50 - committee.error(weights, x, y), abs=1e-5)


def test_local_energy_does_not_see_the_length_of_a_unit():
    weights, x, y = network(3)
    longer = weights * np.array([[1.0], [10.0], [0.1]])
    np.testing.assert_allclose(
        committee.local_energy(weights, x, y, [0.5]), committee.local_energy(longer, x, y, [0.5])
    )


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"weights": np.ones((2, 4))}, "2 units can tie"),
        ({"weights": np.ones((1, 3))}, "does not fit 3 inputs"),
        ({"weights": np.full((1, 4), np.nan)}, "not finite"),
        ({"labels": np.array([0.0, 1.0])}, "labels"),
        ({"sigmas": [-0.1]}, "-0.1"),
        ({"noise": "filter"}, "'filter'"),
    ],
)
def test_refuses(change, names):
    arguments = {"weights": np.ones((1, 4)), "patterns": np.ones((2, 4)), "labels": np.ones(2), "sigmas": [0.1]}
    with pytest.raises(ValueError, match=names):
        committee.local_energy(**arguments | change)


def test_a_unit_of_zeros_lies_on_no_sphere():
    with pytest.raises(ValueError, match="zeros"):
        committee.normalized(np.array([[1.0, 1.0], [0.0, 0.0]]))
