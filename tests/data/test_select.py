"""Classes, validation split, subsets and label noise: exact counts, seeds, and every refusal."""

import re

import pytest
import torch

from sacreddnn import data
from sacreddnn.data import normalization

SIZES = {"train_samples": 500, "test_samples": 100, "image_size": 4, "channels": 1, "num_classes": 5}


def load(**options):
    return data.load("synthetic", options=SIZES, **options)


def rows(split):
    return {tuple(image.flatten().tolist()) for image in split.images}


def test_everything_is_kept_by_default():
    dataset = load()
    assert (len(dataset.train), len(dataset.test), dataset.validation) == (500, 100, None)
    assert dataset.train.labels.bincount().tolist() == [100] * 5
    assert dataset.classes == tuple(f"class_{i}" for i in range(5))


def test_classes_are_restricted_and_renumbered():
    whole, pair = load(), load(classes=[3, "class_1"])
    assert (pair.num_classes, pair.classes) == (2, ("class_3", "class_1"))
    for split, full in ((pair.train, whole.train), (pair.test, whole.test)):
        expected = full.images[(full.labels == 3) | (full.labels == 1)]
        assert torch.equal(split.images, expected)
        assert torch.equal(split.labels, (full.labels[(full.labels == 3) | (full.labels == 1)] == 1).long())


def test_binary_mapping():
    whole, binary = load(), load(binary=[0, "class_4"])
    assert torch.equal(binary.train.labels, ((whole.train.labels == 0) | (whole.train.labels == 4)).long())
    assert binary.classes == ("class_1+class_2+class_3", "class_0+class_4")
    assert torch.equal(binary.train.images, whole.train.images)


@pytest.mark.parametrize("validation", [50, 0.1])
def test_validation_is_stratified_disjoint_and_complete(validation):
    whole, held = load(), load(validation=validation)
    assert (len(held.train), len(held.validation)) == (450, 50)
    assert held.validation.labels.bincount().tolist() == [10] * 5
    assert rows(held.train) | rows(held.validation) == rows(whole.train)
    assert not rows(held.train) & rows(held.validation)


def test_validation_depends_on_the_seed_only():
    held = load(validation=60, seed=1)
    same = load(validation=60, seed=1, num_train=100, noise=0.3)
    assert torch.equal(held.validation.images, same.validation.images)
    assert torch.equal(held.validation.labels, same.validation.labels)
    assert rows(load(validation=60, seed=2).validation) != rows(held.validation)
    free = load(validation=60, stratified=False)
    assert len(free.validation) == 60
    assert free.validation.labels.bincount().tolist() != [12] * 5


def test_subsets_are_exact_and_nested():
    small, large = load(num_train=40), load(num_train=90)
    assert (len(small.train), len(large.train)) == (40, 90)
    assert rows(small.train) < rows(large.train)
    per_class = load(num_per_class=7)
    assert per_class.train.labels.bincount().tolist() == [7] * 5


def test_label_noise_changes_exactly_the_fraction_and_nothing_else():
    whole, noisy = load(validation=100), load(validation=100, noise=0.25)
    changed = whole.train.labels != noisy.train.labels
    assert changed.sum() == 100
    assert torch.equal(whole.train.images, noisy.train.images)
    assert torch.equal(whole.validation.labels, noisy.validation.labels)
    assert torch.equal(whole.test.labels, noisy.test.labels)
    shift = (noisy.train.labels - whole.train.labels)[changed] % 5
    assert shift.bincount(minlength=5)[1:].min() > 10
    assert torch.equal(load(noise=0.25, validation=100).train.labels, noisy.train.labels)
    assert not torch.equal(load(noise=0.25, validation=100, seed=1).train.labels, noisy.train.labels)


def test_statistics_are_those_of_the_whole_training_set():
    whole, part = load(), load(num_train=10, classes=[0, 1])
    pixels = whole.train.images.double() / 255
    assert whole.mean == pytest.approx([pixels.mean().item()])
    assert whole.std == pytest.approx([pixels.std(correction=0).item()])
    assert (part.mean, part.std) == (whole.mean, whole.std)
    assert load(normalization="none").mean == (0.0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": [0, 7]}, "classes: unknown class 7, allowed 0 to 4"),
        ({"classes": [0, "clas_1"]}, "did you mean 'class_1'"),
        ({"classes": [1]}, "leaves one class"),
        ({"classes": [1, 1]}, "none of them twice"),
        ({"binary": [0, 1, 2, 3, 4]}, "all the classes"),
        ({"validation": 500}, "validation: 500 is out of range, allowed 0 to 499"),
        ({"validation": -1}, "validation: -1"),
        ({"validation": 1.5}, "validation: 1.5"),
        ({"validation": 0.001}, "validation: 0.001 of 500 samples is none; give a larger fraction, or 0"),
        ({"num_train": 501}, "^dataset.num_train: 501 is out of range, allowed 1 to 500"),
        ({"num_train": 401, "validation": 100}, "allowed 1 to 400"),
        ({"num_per_class": 101}, "^dataset.num_per_class: 101 is out of range, allowed 1 to 100"),
        ({"num_train": 10, "num_per_class": 1}, "^dataset.num_train: 10 and dataset.num_per_class: 1 are both given"),
        ({"noise": 1.2}, "noise: 1.2"),
        ({"normalization": "pixels"}, "normalization: 'pixels' is unknown, allowed: pixel, reference, imagenet, none"),
        ({"normalization": "reference"}, "no values for synthetic"),
        ({"normalization": "imagenet"}, "needs 3 channels"),
    ],
)
def test_bad_choices_are_refused(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", normalization.NAMES)
def test_every_normalization_of_the_list_is_known(name):
    pixels = data.Split(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    mean, std = normalization.statistics(name, "cifar10", pixels)
    assert len(mean) == len(std) == 3


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("image_size", "abc", "a whole number of pixels from 1, or [height, width]"),
        ("image_size", [8, 8, 3], "[height, width]"),
        ("image_size", [8, 0], "[height, width]"),
        ("image_size", 8.5, "[height, width]"),
        ("num_classes", 1, "whole numbers from 2"),
        ("train_samples", "many", "whole numbers from 1"),
        ("channels", True, "whole numbers from 1"),
        ("contrast", float("nan"), "finite numbers from 0"),
        ("contrast", "high", "finite numbers from 0"),
    ],
)
def test_bad_options_of_synthetic_images_are_refused(key, value, allowed):
    with pytest.raises(ValueError, match=f"^dataset.options.{key}: {re.escape(repr(value))} .*{re.escape(allowed)}$"):
        data.load("synthetic", options={key: value})


def test_synthetic_images_need_not_be_square():
    assert data.load("synthetic", options={**SIZES, "image_size": [4, 6]}).train.shape == (1, 4, 6)


def test_unknown_names_and_options_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown data set 'fashion'.*did you mean 'fashion_mnist'"):
        data.load("fashion")
    with pytest.raises(ValueError, match=r"dataset.options.num_clases: .*did you mean 'num_classes'"):
        data.load("synthetic", options={"num_clases": 3})
    with pytest.raises(ValueError, match="digits has no such option, allowed: none"):
        data.load("digits", options={"image_size": 3})
    with pytest.raises(ValueError, match="train_samples: 0 is out of range"):
        data.load("synthetic", options={"train_samples": 0})


def test_reference_normalisation_of_every_data_set_it_is_known_for():
    from sacreddnn.data.normalization import REFERENCE

    assert set(REFERENCE) <= set(data.SOURCES)
    for mean, std in REFERENCE.values():
        assert len(mean) == len(std) in (1, 3)


def test_splits_refuse_what_is_not_images_and_labels():
    with pytest.raises(ValueError, match="images: expected uint8"):
        data.Split(torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="labels: expected 2 of int64"):
        data.Split(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
