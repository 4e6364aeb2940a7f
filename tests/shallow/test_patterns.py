import numpy as np
import pytest

from sacreddnn.shallow import committee, patterns

SYNTHETIC = {
    "num_train": 40,
    "num_validation": 20,
    "options": {"train_samples": 300, "test_samples": 60, "num_classes": 3},
}


def synthetic(**change):
    return patterns.images("synthetic", (2, 0), **SYNTHETIC | change)


def test_images_are_signs_around_their_median():
    values = np.array([[[[0, 0, 0], [0, 7, 9]]], [[[1, 2, 3], [4, 5, 6]]]], dtype=np.uint8)
    np.testing.assert_array_equal(patterns.binarized(values), [[-1, -1, -1, -1, 1, 1], [-1, -1, -1, 1, 1, 1]])


def test_channels_are_averaged():
    values = np.array([[[[0, 4]], [[9, 1]]]], dtype=np.uint8)  # means 4.5 and 2.5
    np.testing.assert_array_equal(patterns.binarized(values), [[1, -1]])


def test_parts_are_disjoint_and_balanced():
    found = synthetic()
    for (x, y), size in ((found.train, 40), (found.validation, 20)):
        assert x.shape == (size, found.num_inputs)
        assert y.sum() == 0
        assert set(np.unique(x)) == {-1.0, 1.0}
    together = np.concatenate([found.train[0], found.validation[0]])
    assert len(np.unique(together, axis=0)) == 60


def test_a_larger_training_set_contains_the_smaller():
    small, large = synthetic(), synthetic(num_train=60)
    np.testing.assert_array_equal(small.train[0], large.train[0][:40])


def test_the_seed_chooses():
    np.testing.assert_array_equal(synthetic().train[0], synthetic().train[0])
    assert not np.array_equal(synthetic().train[0], synthetic(seed=1).train[0])


def test_more_images_than_there_are():
    with pytest.raises(ValueError, match="num_train: 4000"):
        synthetic(num_train=4000)


@pytest.mark.parametrize("num_units", [1, 3])
def test_a_teacher_makes_no_errors(num_units):
    student, teacher = patterns.teacher_student(31, 50, num_units, num_test=70)
    for x, y in (student.train, student.validation, student.test):
        assert committee.num_errors(teacher, x, y) == 0
    assert [len(y) for _, y in (student.train, student.validation, student.test)] == [50, 70, 70]
    assert not np.array_equal(student.validation[0], student.test[0])


def test_random_patterns_have_the_moments_of_signs():
    for binary in (True, False):
        x, y = patterns.random(100, 400, binary=binary)
        assert abs(x.mean()) < 4 / np.sqrt(x.size)
        assert (x**2).mean() == pytest.approx(1, abs=4 * np.sqrt(2 / x.size))
        assert set(y) == {-1.0, 1.0}
