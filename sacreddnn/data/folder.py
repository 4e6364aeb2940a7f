"""ImageNet and any other folder of images with one folder a class: train/<class>/.., val/<class>/.."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

from sacreddnn.data.cache import cached
from sacreddnn.data.dataset import DataError, Raw, Split
from sacreddnn.data.images import SUFFIXES, decode_images
from sacreddnn.data.streaming import FileImages, FileSplit

_TEST_NAMES = ("val", "test", "valid", "validation")
IN_MEMORY_BYTES = 4 * 2**30  # of decoded pixels, up to which images are kept in memory


def read(
    root: Path,
    *,
    download: bool = True,
    path: str = ".",
    image_size: int | None = None,
    crop_fraction: float = 1.0,
    in_memory: bool | None = None,
) -> Raw:
    """Returns the images below a folder, by class.

    Images are brought to squares: shorter side to image_size / crop_fraction, then the central square. Those
    of both splits that take at most 4 GiB as pixels (3 image_size^2 bytes each) are decoded once and kept in
    memory; larger ones are decoded by workers as they are needed, and a random resized crop then cuts the
    image as it is in its file. The bound is the same everywhere, so that the same config gives the same
    minibatches.

    Args:
        root: the data folder.
        download: not used.
        path: the folder with `train` and `val` (or `test`), below `root` or absolute; ~ is the home.
        image_size: side of the squares in pixels; None where all images have one size already.
        crop_fraction: in (0, 1].
        in_memory: keep the images in memory; None decides by their size: up to IN_MEMORY_BYTES.

    Raises:
        DataError: a missing folder, a class without images, other classes in the two splits, a damaged image.
        ValueError: `crop_fraction` or `image_size` out of range, streaming without `image_size`, images to be
            kept in memory that are larger than it.
    """
    if not isinstance(crop_fraction, (int, float)) or not 0 < crop_fraction <= 1:
        raise ValueError(f"dataset.options.crop_fraction: {crop_fraction!r} is out of range, allowed above 0 to 1")
    if image_size is not None and (not isinstance(image_size, int) or image_size < 1):
        allowed = "a whole number of pixels from 1"
        raise ValueError(f"dataset.options.image_size: {image_size!r} is no size of squares, allowed: {allowed}")
    folder = root / os.path.expanduser(path)
    train_folder = folder / "train"
    test_folder = next((folder / name for name in _TEST_NAMES if (folder / name).is_dir()), folder / _TEST_NAMES[0])
    classes, train_files, train_labels = list_classes(train_folder)
    test_classes, test_files, test_labels = list_classes(test_folder)
    if classes != test_classes:
        differing = sorted(set(classes) ^ set(test_classes))[0]
        raise DataError(f"{folder}: class {differing!r} is not in both {train_folder.name} and {test_folder.name}")
    num_bytes = (len(train_files) + len(test_files)) * 3 * (image_size or 0) ** 2
    if in_memory is None:
        in_memory = num_bytes <= IN_MEMORY_BYTES
    if in_memory and num_bytes > total_memory():
        raise ValueError(
            f"dataset.options.in_memory: {num_bytes / 2**30:.1f} GiB of pixels do not fit in the "
            f"{total_memory() / 2**30:.1f} GiB of memory here; set it to false, and they are read from their files"
        )
    labels = [torch.tensor(train_labels), torch.tensor(test_labels)]
    if not in_memory:
        if image_size is None:
            raise ValueError("image_size: needed to stream images; set dataset.options.image_size")
        images = [FileImages(names, image_size, crop_fraction) for names in (train_files, test_files)]
        return Raw(FileSplit(images[0], labels[0]), FileSplit(images[1], labels[1]), classes)

    def decode() -> Raw:
        splits = []
        for files, numbers in zip((train_files, test_files), labels, strict=True):
            pixels = decode_images(files, image_size=image_size, crop_fraction=crop_fraction)
            splits.append(Split(pixels, numbers))
        return Raw(splits[0], splits[1], classes)

    name = f"images_{image_size or 'as_they_are'}_{crop_fraction:g}.cache"
    return cached(folder / name, [*train_files, *test_files], decode)  # their paths give classes and labels


def read_imagenet(
    root: Path,
    *,
    download: bool = True,
    image_size: int = 224,
    crop_fraction: float = 0.875,
    in_memory: bool | None = None,
) -> Raw:
    """Returns ImageNet (ILSVRC 2012), `imagenet/train/<wnid>` and `imagenet/val/<wnid>` below the data folder.

    It may not be passed on, so it is not fetched: extract the archives of image-net.org. See `read` for the
    arguments.

    Raises:
        DataError, ValueError: see `read`.
    """
    return read(
        root,
        path="imagenet",
        image_size=image_size,
        crop_fraction=crop_fraction,
        in_memory=in_memory,
        download=download,
    )


def list_classes(folder: Path) -> tuple[tuple[str, ...], list[Path], list[int]]:
    """Returns the class names in alphabetical order, all image files and the label of each.

    Raises:
        DataError: no such folder, no class folders, or one without images.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; put the images there, in one folder a class")
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{folder}: holds no class folders; put the images there, in one folder a class")
    files, labels = [], []
    for label, name in enumerate(names):
        found = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise DataError(f"{folder / name}: a class folder without images; add some or remove it")
        files += found
        labels += [label] * len(found)
    return tuple(names), files, labels


def total_memory() -> float:
    """Returns the bytes of memory of this machine; infinity where the system does not say."""
    if "SC_PHYS_PAGES" in os.sysconf_names:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return math.inf
