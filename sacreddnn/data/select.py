"""Which samples of a data set are used, and under which labels: classes, validation, subsets, label noise.

The order is fixed: classes, then the binary mapping, then the validation split, then subsets of what is left
for training, then label noise. So the validation samples do not depend on how many training samples are kept,
and no noise reaches validation or test labels. Every choice is a function of the seed and of the name of the
choice.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sacreddnn.data.dataset import Raw, Split
from sacreddnn.data.seeds import generator_for


def class_indices(chosen: Sequence[int | str], classes: tuple[str, ...], key: str) -> list[int]:
    """Returns the label of each chosen class, given by label or by name.

    Args:
        chosen: labels in [0, num_classes) or names of classes, without repetition.
        classes: the name of each label.
        key: what the choice is called in an error message.

    Raises:
        ValueError: an unknown class, a class given twice, or none at all.
    """
    indices = []
    for value in chosen:
        if isinstance(value, str) and value in classes:
            indices.append(classes.index(value))
        elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(classes):
            indices.append(value)
        else:
            near = difflib.get_close_matches(str(value), classes, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{key}: unknown class {value!r}, allowed 0 to {len(classes) - 1} or a class name{hint}")
    if not indices or len(set(indices)) < len(indices):
        raise ValueError(f"{key}: {list(chosen)!r} must name at least one class and none of them twice")
    return indices


def _relabel(split: Split, new_label: Tensor) -> Split:
    """Returns the samples whose class has a new label >= 0, with that label."""
    labels = new_label[split.labels]
    kept = (labels >= 0).nonzero().squeeze(1)
    split = replace(split, labels=labels)
    return split if len(kept) == len(labels) else split.subset(kept)


def restrict_classes(raw: Raw, classes: Sequence[int | str]) -> Raw:
    """Returns the samples of some classes only, relabelled 0, 1, .. in the order given.

    Raises:
        ValueError: an unknown class, or fewer than two.
    """
    indices = class_indices(classes, raw.classes, "classes")
    if len(indices) < 2:
        raise ValueError(f"classes: {list(classes)!r} leaves one class, at least two are needed")
    new_label = torch.full((len(raw.classes),), -1)
    new_label[indices] = torch.arange(len(indices))
    names = tuple(raw.classes[i] for i in indices)
    return Raw(_relabel(raw.train, new_label), _relabel(raw.test, new_label), names)


def map_to_binary(raw: Raw, positive: Sequence[int | str]) -> Raw:
    """Returns the data set with label 1 for the positive classes and 0 for all others.

    Raises:
        ValueError: an unknown class, or all classes on one side.
    """
    indices = class_indices(positive, raw.classes, "binary")
    if len(indices) == len(raw.classes):
        raise ValueError(
            f"binary: {list(positive)!r} are all the classes, one of them at least must be left for label 0"
        )
    new_label = torch.zeros(len(raw.classes), dtype=torch.int64)
    new_label[indices] = 1
    sides = ["+".join(name for i, name in enumerate(raw.classes) if (i in indices) == side) for side in (False, True)]
    return Raw(_relabel(raw.train, new_label), _relabel(raw.test, new_label), (sides[0], sides[1]))


def hold_out(split: Split, validation: int | float, seed: int, stratified: bool = True) -> tuple[Split, Split | None]:
    """Returns (training samples, validation samples), disjoint and together the split.

    Args:
        split: what to divide.
        validation: number of samples, or a fraction of them in (0, 1); 0 holds out none.
        seed: chooses the samples.
        stratified: as many of each class as its share of the split, rounded; otherwise regardless of class.

    Raises:
        ValueError: a negative number, a fraction of less than half a sample, or nothing left to train on.
    """
    num_samples = len(split)
    count = round(validation * num_samples) if 0 < validation < 1 else validation
    if count == 0 < validation:
        raise ValueError(
            f"dataset.validation: {validation!r} of {num_samples} samples is none; give a larger fraction, or 0"
        )
    if count != int(count) or not 0 <= count < num_samples:
        raise ValueError(f"validation: {validation!r} is out of range, allowed 0 to {num_samples - 1} or a fraction")
    count = int(count)
    if count == 0:
        return split, None
    order = torch.randperm(num_samples, generator=generator_for(seed, "validation"))
    if stratified:
        # spread every class evenly over [0, 1), then the first samples hold each class in proportion
        labels = split.labels[order]
        rank = torch.empty(num_samples, dtype=torch.float64)
        for label in labels.unique():
            of_class = (labels == label).nonzero().squeeze(1)
            rank[of_class] = (torch.arange(len(of_class), dtype=torch.float64) + 0.5) / len(of_class)
        order = order[rank.argsort(stable=True)]
    return split.subset(order[count:].sort().values), split.subset(order[:count].sort().values)


def take(split: Split, num_train: int | None, num_per_class: int | None, seed: int, num_classes: int) -> Split:
    """Returns a random subset of given size, or with as many samples of every class.

    A larger subset of the same seed contains the smaller one.

    Raises:
        ValueError: both sizes given, a size below one, or larger than what there is.
    """
    if num_train is not None and num_per_class is not None:
        raise ValueError(
            f"dataset.num_train: {num_train} and dataset.num_per_class: {num_per_class} are both given, choose one"
        )
    if num_train is None and num_per_class is None:
        return split
    order = torch.randperm(len(split), generator=generator_for(seed, "subset"))
    if num_train is not None:
        if not 1 <= num_train <= len(split):
            raise ValueError(f"dataset.num_train: {num_train} is out of range, allowed 1 to {len(split)}")
        return split.subset(order[:num_train].sort().values)
    assert num_per_class is not None
    labels = split.labels[order]
    fewest = int(torch.bincount(labels, minlength=num_classes).min())
    if not 1 <= num_per_class <= fewest:
        raise ValueError(
            f"dataset.num_per_class: {num_per_class} is out of range, allowed 1 to {fewest}, the smallest class"
        )
    chosen = [order[labels == label][:num_per_class] for label in range(num_classes)]
    return split.subset(torch.cat(chosen).sort().values)


def add_label_noise(split: Split, noise: float, seed: int, num_classes: int) -> Split:
    """Returns the split with a fraction of its labels replaced, each by one of the other classes, uniformly.

    Exactly round(noise * n) labels change, so `noise` is the error of the true labels on the noisy ones.
    (Drawing the new label among all classes, as is also done in the literature, would change only noise * (1
    - 1 / num_classes).)

    Args:
        split: what to relabel.
        noise: fraction in [0, 1].
        seed: chooses samples and labels.
        num_classes: at least two.

    Raises:
        ValueError: `noise` out of range.
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"noise: {noise} is out of range, allowed 0 to 1 (fraction of the training labels)")
    if noise == 0:
        return split
    generator = generator_for(seed, "noise")
    changed = torch.randperm(len(split), generator=generator)[: round(noise * len(split))]
    shift = torch.randint(1, num_classes, (len(changed),), generator=generator)
    labels = split.labels.clone()
    labels[changed] = (labels[changed] + shift) % num_classes
    return replace(split, labels=labels)
