"""The data sets by name. To add one, write a reader in a file of its own and add its line here."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sacreddnn.data import cifar, digits, folder, mnist, select, svhn, synthetic, tiny_imagenet
from sacreddnn.data.dataset import Dataset, Raw
from sacreddnn.data.normalization import statistics

# A reader is called with the data folder, download=, and its own options; it returns the data set as its
# files hold it.
SOURCES: dict[str, Callable[..., Raw]] = {
    "cifar10": cifar.read_cifar10,
    "cifar100": cifar.read_cifar100,
    "digits": digits.read,
    "fashion_mnist": mnist.read_fashion_mnist,
    "folder": folder.read,
    "imagenet": folder.read_imagenet,
    "mnist": mnist.read_mnist,
    "svhn": svhn.read,
    "synthetic": synthetic.read,
    "tiny_imagenet": tiny_imagenet.read,
}


def load(
    name: str,
    root: str | Path = "data",
    *,
    num_train: int | None = None,
    num_per_class: int | None = None,
    validation: int | float = 0,
    stratified: bool = True,
    classes: Sequence[int | str] | None = None,
    binary: Sequence[int | str] | None = None,
    noise: float = 0.0,
    seed: int = 0,
    normalization: str = "pixel",
    download: bool = True,
    options: dict[str, Any] | None = None,
) -> Dataset:
    """Returns a data set by name, decoded to uint8 tensors in memory.

    The choices are made in the order classes, binary, validation, subset, noise (see `select`). The
    statistics "pixel" are those of the whole training set as its files hold it, so that they do not change
    with the subset.

    Args:
        name: one of `SOURCES`.
        root: the data folder; each data set has a folder of its name in it.
        num_train: number of random training samples to keep; None keeps all.
        num_per_class: number of random training samples to keep of every class; None keeps all.
        validation: number (or fraction below 1) of training samples to hold out.
        stratified: hold out the same share of every class.
        classes: labels or names of the classes to keep, relabelled 0, 1, .. in this order; None keeps all.
        binary: labels or names of the classes that become 1, all others become 0; counted after `classes`.
        noise: fraction of the training labels replaced by another class.
        seed: of validation split, subset and noise.
        normalization: "pixel", "reference", "imagenet" or "none".
        download: whether missing files may be fetched.
        options: further arguments of the reader of this data set.

    Raises:
        ValueError: an unknown name, option or class, or a number out of range.
        DataError: files are missing or damaged; the message says what to put where.
    """
    raw = reader(name, options or {})(Path(root), download=download, **(options or {}))
    mean, std = statistics(normalization, name, raw.train)
    if classes is not None:
        raw = select.restrict_classes(raw, classes)
    if binary is not None:
        raw = select.map_to_binary(raw, binary)
    num_classes = len(raw.classes)
    train, held_out = select.hold_out(raw.train, validation, seed, stratified)
    train = select.take(train, num_train, num_per_class, seed, num_classes)
    train = select.add_label_noise(train, noise, seed, num_classes)
    return Dataset(name, train, raw.test, held_out, num_classes, raw.classes, mean, std)


def reader(name: str, options: dict[str, Any]) -> Callable[..., Raw]:
    """Returns the reader of a data set, after checking that it knows the options.

    Raises:
        ValueError: an unknown data set or option.
    """
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"dataset.name: unknown data set {name!r}, allowed: {', '.join(sorted(SOURCES))}{hint}")
    function = SOURCES[name]
    allowed = reader_options(name)
    for key in options:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            names = ", ".join(allowed) or "none"
            raise ValueError(f"dataset.options.{key}: {name} has no such option, allowed: {names}{hint}")
    return function


def reader_options(name: str) -> list[str]:
    """Returns the names of the options that the reader of a data set takes."""
    parameters = inspect.signature(SOURCES[name]).parameters
    return [key for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY and key != "download"]
