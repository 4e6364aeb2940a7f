"""What shallow networks learn: two classes of images as +-1 patterns, random patterns, the rules of a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacreddnn import data
from sacreddnn.shallow import committee
from sacreddnn.shallow.committee import Array


@dataclass(frozen=True)
class Patterns:
    """Patterns (P, N) and labels (P,) of +-1: to train on, to choose schedules on, to test on."""

    train: tuple[Array, Array]
    validation: tuple[Array, Array]
    test: tuple[Array, Array]

    @property
    def num_inputs(self) -> int:
        """N."""
        return int(self.train[0].shape[1])


def images(
    dataset: str = "fashion_mnist",
    classes: tuple[str | int, str | int] = ("Dress", "Coat"),
    num_train: int = 500,
    num_validation: int = 2000,
    *,
    root: str = "data",
    seed: int = 0,
    options: dict[str, Any] | None = None,
) -> Patterns:
    """Two classes of a data set, each image binarized by its own median: +1 above it, -1 at or below.

    Args:
        dataset: name of any data set of `sacreddnn.data`; images of several channels are averaged over them.
        classes: the label -1 and the label +1.
        num_train: P, as many of each class (give or take one), drawn by the seed; a larger choice contains a smaller.
        num_validation: other training images, chosen in the same way.
        root: folder of the data sets.
        seed: of the choice.
        options: of the data set's reader.

    Raises:
        ValueError: an unknown data set or class, or more images than there are.
    """
    loaded = data.load(dataset, root=root, classes=list(classes), seed=seed, options=options)
    inputs, labels = binarized(loaded.train.images.numpy()), _signs(loaded.train.labels.numpy())
    order = np.random.default_rng(seed).permutation(len(labels))
    # alternate the classes, so that every beginning of the order is balanced
    each = [order[labels[order] == sign] for sign in (-1.0, 1.0)]
    shortest = min(map(len, each))
    order = np.stack([one[:shortest] for one in each], axis=1).ravel()
    if num_train < 1 or num_validation < 0 or num_train + num_validation > len(order):
        raise ValueError(
            f"num_train: {num_train} and num_validation={num_validation} are not allowed, classes {classes[0]} and "
            f"{classes[1]} of {dataset} have {len(order)} images, from 1 to train on"
        )
    # from both ends: neither choice depends on the size of the other
    train, validation = order[:num_train], order[::-1][:num_validation]
    test = binarized(loaded.test.images.numpy()), _signs(loaded.test.labels.numpy())
    return Patterns((inputs[train], labels[train]), (inputs[validation], labels[validation]), test)


def random(
    num_inputs: int, num_patterns: int, *, seed: int | Sequence[int] = 0, binary: bool = True
) -> tuple[Array, Array]:
    """Patterns (P, N) of independent +-1 (or standard normal) entries with random labels: nothing to generalize to."""
    generator = np.random.default_rng(seed)
    shape = (num_patterns, num_inputs)
    x = generator.choice((-1.0, 1.0), shape) if binary else generator.standard_normal(shape)
    return x, generator.choice((-1.0, 1.0), num_patterns)


def teacher_student(
    num_inputs: int, num_patterns: int, num_units: int = 1, *, seed: int = 0, num_test: int = 2000, binary: bool = False
) -> tuple[Patterns, Array]:
    """Random patterns labelled by a random network, and that network's weights (K, N)."""
    generator = np.random.default_rng(seed)
    teacher = committee.normalized(generator.standard_normal((num_units, num_inputs)))
    parts = []
    for number, count in enumerate((num_patterns, num_test, num_test)):
        x, ones = random(num_inputs, count, seed=(seed, number), binary=binary)
        votes = (committee.stabilities(teacher, x, np.ones_like(ones)) > 0).sum(1)
        parts.append((x, np.where(votes > num_units // 2, 1.0, -1.0)))
    return Patterns(*parts), teacher


def binarized(images: np.ndarray) -> Array:
    """Images (n, C, H, W) as signs around the median of each, (n, H W)."""
    flat = images.reshape(len(images), images.shape[1], -1).mean(1)
    return np.where(flat > np.median(flat, axis=1, keepdims=True), 1.0, -1.0)


def _signs(labels: np.ndarray) -> Array:
    return np.where(labels == 1, 1.0, -1.0)
