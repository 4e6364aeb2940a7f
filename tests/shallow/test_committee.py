import numpy as np
import pytest

from sacreddnn.shallow import committee, patterns


def network(num_units, num_inputs, seed=0):
    return committee.normalized(np.random.default_rng(seed).standard_normal((num_units, num_inputs)))


def test_the_vote_is_counted_by_hand():
    weights = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    x = np.array([[2.0, 1.0], [1.0, -2.0], [-1.0, -3.0]])  # votes ++-, -+-, -+-
    assert committee.num_errors(weights, x, np.array([1.0, -1.0, 1.0])) == 1
    assert committee.error(weights, x, np.array([1.0, -1.0, 1.0])) == pytest.approx(100 / 3)


@pytest.mark.parametrize("num_units", [1, 3, 9])
def test_the_poisson_binomial_is_that_of_all_votes(num_units):
    right = np.random.default_rng(1).random((4, num_units))
    expected = np.zeros(4)
    for votes in np.ndindex(*(2,) * num_units):
        if sum(votes) <= num_units // 2:
            expected += np.prod(np.where(votes, right, 1 - right), axis=1)
    np.testing.assert_allclose(committee.wrong_vote(right), expected)


@pytest.mark.parametrize("noise", committee.NOISES)
@pytest.mark.parametrize("num_units", [1, 5])
def test_the_local_energy_is_what_sampling_gives(num_units, noise):
    w, (x, y) = network(num_units, 15), patterns.random(15, 40, seed=2)
    w[0, 3] = 5.0
    sigmas, generator, draws = [0.3, 1.0], np.random.default_rng(0), 4000
    exact = committee.local_energy(w, x, y, sigmas, noise)
    for i, sigma in enumerate(sigmas):
        z = generator.standard_normal((draws, *w.shape))
        noisy = w + sigma * z * (w if noise == "multiplicative" else 1)
        votes = (np.einsum("dkn,pn->dpk", noisy, x) * y[:, None] > 0).sum(2)
        errors = 100 * (votes <= num_units // 2).mean(1)
        standard_error = errors.std() / np.sqrt(draws)
        assert abs(errors.mean() - committee.error(w, x, y) - exact[i]) < 4 * standard_error


def test_the_local_energy_of_no_noise_is_none_and_of_all_noise_is_chance():
    w, (x, y) = network(3, 15), patterns.random(15, 40)
    energies = committee.local_energy(w, x, y, [0.0, 1e9])
    assert energies[0] == 0
    assert energies[1] == pytest.approx(50 - committee.error(w, x, y), abs=1e-4)


def test_images_become_balanced_signs_of_their_own_median():
    made = patterns.images("digits", (3, 8), num_train=100, num_validation=50)
    x, y = made.train
    assert set(np.unique(x)) == {-1.0, 1.0}
    assert abs(y.sum()) <= 1
    assert (x > 0).mean(1).max() <= 0.5
    joined = np.concatenate([x, made.validation[0]])
    assert len(joined) == 150
    again = patterns.images("digits", (3, 8), num_train=100, num_validation=50)
    assert (again.train[0] == x).all()


def test_a_teacher_makes_no_errors_on_its_own_rule():
    made, teacher = patterns.teacher_student(21, 60, num_units=3)
    assert committee.error(teacher, *made.train) == committee.error(teacher, *made.test) == 0


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"weights": np.ones((2, 4))}, "weights: 2 units can tie"),
        ({"patterns": np.ones((3, 5))}, r"patterns: shape \(3, 5\) does not fit 4 inputs"),
        ({"labels": np.zeros(3)}, r"labels: 3 numbers of -1 or \+1"),
        ({"weights": np.full((1, 4), np.nan)}, "weights: some are not finite"),
        ({"sigmas": [-1.0]}, "sigmas: -1.0 is not allowed"),
        ({"noise": "none"}, "noise: 'none' is not allowed"),
    ],
)
def test_bad_input(change, line):
    given = {"weights": np.ones((1, 4)), "patterns": np.ones((3, 4)), "labels": np.ones(3), "sigmas": [0.1]} | change
    with pytest.raises(ValueError, match=line):
        committee.local_energy(**given)
