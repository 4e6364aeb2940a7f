"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): the binary and the Python version, extracted or as archives.

The Python version is pickled; `unpickle` reads it without being able to run code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sacreddnn.data.archive import read_members
from sacreddnn.data.cache import cached
from sacreddnn.data.dataset import DataError, Raw, Split
from sacreddnn.data.download import fetch
from sacreddnn.data.unpickle import PickledArray, unpickle

PIXELS = 3 * 32 * 32


class Layout(NamedTuple):
    """One version of one of the data sets: its archive, the folder in it, the files in that.

    A binary file is a sequence of records of `label_bytes` bytes, the last of which is the label, and 3072 pixels. In
    the Python version `labels_key` and `names_key` are the keys of the labels and of the class names.
    """

    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    label_bytes: int = 0
    labels_key: str = ""
    names_key: str = ""


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
LAYOUTS = {
    "cifar10": (
        Layout(
            archive="cifar-10-binary.tar.gz",
            folder="cifar-10-batches-bin",
            train=tuple(f"{batch}.bin" for batch in _BATCHES),
            test=("test_batch.bin",),
            names="batches.meta.txt",
            label_bytes=1,
        ),
        Layout(
            archive="cifar-10-python.tar.gz",
            folder="cifar-10-batches-py",
            train=_BATCHES,
            test=("test_batch",),
            names="batches.meta",
            names_key="label_names",
            labels_key="labels",
        ),
    ),
    "cifar100": (
        Layout(
            archive="cifar-100-binary.tar.gz",
            folder="cifar-100-binary",
            train=("train.bin",),
            test=("test.bin",),
            names="fine_label_names.txt",
            label_bytes=2,
        ),
        Layout(
            archive="cifar-100-python.tar.gz",
            folder="cifar-100-python",
            train=("train",),
            test=("test",),
            names="meta",
            names_key="fine_label_names",
            labels_key="fine_labels",
        ),
    ),
}


def read_cifar10(root: Path, *, download: bool = True) -> Raw:
    """Returns CIFAR-10: 50,000 and 10,000 colour images, 32x32, ten classes; see `_read`."""
    return _read("cifar10", root, download)


def read_cifar100(root: Path, *, download: bool = True) -> Raw:
    """Returns CIFAR-100: 50,000 and 10,000 colour images, 32x32, a hundred fine classes; see `_read`."""
    return _read("cifar100", root, download)


def _read(name: str, root: Path, download: bool) -> Raw:
    """Returns the data set from the first version found: extracted folder or archive, in `root/name` or `root`.

    Raises:
        DataError: files are missing or damaged.
    """
    folder = root / name
    cache = folder / f"{name}.cache"
    for layout in LAYOUTS[name]:
        for place in (folder, root):
            extracted, archive = place / layout.folder, place / layout.archive
            if extracted.is_dir():
                return _from_folder(layout, extracted, cache)
            if archive.is_file():
                return _from_archive(layout, archive, cache)
    python = LAYOUTS[name][1]
    target = folder / python.archive
    if not download:
        raise DataError(f"{target}: not found; put {python.archive} or {LAYOUTS[name][0].archive} there")
    from torchvision import datasets

    known = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    return _from_archive(python, fetch([known.url], target, md5=known.tgz_md5), cache)


def _from_folder(layout: Layout, folder: Path, cache: Path) -> Raw:
    paths = [folder / name for name in (*layout.train, *layout.test)]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: not found; extract {layout.archive} again")
    names = folder / layout.names

    def content(name: str) -> bytes | None:
        return (folder / name).read_bytes() if (folder / name).is_file() else None

    return cached(cache, [*paths, *([names] if names.is_file() else [])], lambda: _decode(layout, str(folder), content))


def _from_archive(layout: Layout, archive: Path, cache: Path) -> Raw:
    def decode() -> Raw:
        wanted = {*layout.train, *layout.test, layout.names}
        members = read_members(archive, lambda name: name.rsplit("/", 1)[-1] in wanted)
        by_name = {name.rsplit("/", 1)[-1]: content for name, content in members.items()}
        return _decode(layout, str(archive), by_name.get)

    return cached(cache, [archive], decode)


def _decode(layout: Layout, place: str, content: Callable[[str], bytes | None]) -> Raw:
    splits = []
    for files in (layout.train, layout.test):
        parts = []
        for name in files:
            data = content(name)
            if data is None:
                raise DataError(f"{place}: holds no {name}; get {layout.archive} again")
            parts.append(_decode_file(layout, f"{place}/{name}", data))
        if len({len(labels) for _, labels in parts}) > 1:
            raise DataError(f"{place}: its batches hold {[len(p[1]) for p in parts]} images, one is truncated")
        images = torch.from_numpy(np.concatenate([images for images, _ in parts]).reshape(-1, 3, 32, 32))
        splits.append(Split(images, torch.from_numpy(np.concatenate([labels for _, labels in parts]))))
    highest = int(max(split.labels.max() for split in splits))
    classes = _class_names(layout, place, content(layout.names))
    if not classes:
        classes = tuple(str(i) for i in range(10 if layout.archive.startswith("cifar-10-") else 100))
    if highest >= len(classes):
        raise DataError(f"{place}: label {highest} is out of range, there are {len(classes)} classes")
    return Raw(splits[0], splits[1], classes)


def _decode_file(layout: Layout, name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Returns images (n, 3072), uint8, red then green then blue rows, and labels (n,), int64."""
    if layout.label_bytes:
        record = layout.label_bytes + PIXELS
        if not content or len(content) % record:
            raise DataError(f"{name}: {len(content)} bytes are not whole records of {record}: truncated or not CIFAR")
        records = np.frombuffer(content, np.uint8).reshape(-1, record)
        return records[:, layout.label_bytes :], records[:, layout.label_bytes - 1].astype(np.int64)
    batch = unpickle(content, name)
    images, labels = (batch.get("data"), batch.get(layout.labels_key)) if isinstance(batch, dict) else (None, None)
    if not isinstance(labels, list) or not labels or not all(type(n) is int and n >= 0 for n in labels):
        raise DataError(f"{name}: holds no list of labels {layout.labels_key!r}; get {layout.archive} again")
    if not isinstance(images, PickledArray) or images.shape != (len(labels), PIXELS):
        raise DataError(f"{name}: holds no array `data` of {len(labels)} x {PIXELS} bytes; get {layout.archive} again")
    return images.array(name), np.array(labels, dtype=np.int64)


def _class_names(layout: Layout, place: str, content: bytes | None) -> tuple[str, ...]:
    if content is None:
        return ()
    if layout.label_bytes:
        return tuple(content.decode(errors="replace").split())
    meta = unpickle(content, f"{place}/{layout.names}")
    names = meta.get(layout.names_key, ()) if isinstance(meta, dict) else ()
    return tuple(str(name) for name in names)
