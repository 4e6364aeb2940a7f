"""Tiny ImageNet (Stanford CS231n): 200 classes, 64x64, as the zip it is published in or extracted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from sacreddnn.data.archive import read_members
from sacreddnn.data.cache import cached
from sacreddnn.data.dataset import DataError, Raw, Split
from sacreddnn.data.download import fetch
from sacreddnn.data.images import decode_images

NAME = "tiny-imagenet-200"
URL = f"http://cs231n.stanford.edu/{NAME}.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"


def read(root: Path, *, download: bool = True) -> Raw:
    """Returns Tiny ImageNet: 100,000 training images, and its 10,000 validation images as the test split.

    The labels of the published test images are not public.

    Args:
        root: the data folder; `tiny-imagenet-200` or `tiny-imagenet-200.zip` is looked for in it and in
            `tiny_imagenet`.
        download: whether the zip may be fetched.

    Raises:
        DataError: missing or damaged files, a class without images, an annotation of an unknown class or
            image.
    """
    folder = root / "tiny_imagenet"
    cache = folder / "tiny_imagenet.cache"
    for place in (folder / NAME, folder, root / NAME):
        if (place / "wnids.txt").is_file():
            files = {str(p.relative_to(place)): p for p in sorted(place.rglob("*")) if _wanted(p.as_posix())}
            return cached(cache, files.values(), lambda place=place, files=files: decode(files, str(place)))  # type: ignore[misc]
    archives = [place / f"{NAME}.zip" for place in (folder, root)]
    archive = next((path for path in archives if path.is_file()), archives[0])
    if not archive.is_file():
        if not download:
            raise DataError(f"{archive}: not found; put {archive.name} there")
        fetch([URL], archive, md5=MD5)

    def decode_archive() -> Raw:
        members = read_members(archive, _wanted)
        return decode({name.split("/", 1)[-1]: content for name, content in members.items()}, str(archive))

    return cached(cache, [archive], decode_archive)


def _wanted(name: str) -> bool:
    return name.endswith((".txt", ".JPEG")) and "/test/" not in name and not name.endswith("_boxes.txt")


def decode(files: Mapping[str, Path | bytes], place: str) -> Raw:
    """Returns the data set in the published layout: wnids.txt, words.txt, train/<wnid>/images, val/val_annotations.txt.

    Args:
        files: paths or contents by their names below `tiny-imagenet-200`.
        place: the archive or folder, for error messages.

    Raises:
        DataError: see `read`.
    """
    wnids = _text(files, "wnids.txt", place).split()
    if not wnids:
        raise DataError(f"{place}: wnids.txt names no class; get it again")
    train_names: list[str] = []
    train_labels: list[int] = []
    by_class: dict[str, list[str]] = {wnid: [] for wnid in wnids}
    for name in sorted(files):
        parts = name.split("/")
        if parts[0] == "train" and name.endswith(".JPEG") and parts[1] in by_class:
            by_class[parts[1]].append(name)
    for label, wnid in enumerate(wnids):
        if not by_class[wnid]:
            raise DataError(f"{place}: class {wnid} has no training images; get the archive again")
        train_names += by_class[wnid]
        train_labels += [label] * len(by_class[wnid])
    test_names, test_labels = _annotations(files, wnids, place)
    splits = []
    for names, labels in ((train_names, train_labels), (test_names, test_labels)):
        images = decode_images([files[name] for name in names], [f"{place}/{name}" for name in names])
        splits.append(Split(images, torch.tensor(labels)))
    return Raw(splits[0], splits[1], _class_names(files, wnids, place))


def _text(files: Mapping[str, Path | bytes], name: str, place: str) -> str:
    if name not in files:
        raise DataError(f"{place}: holds no {name}; get {NAME}.zip again")
    source = files[name]
    return (source if isinstance(source, bytes) else source.read_bytes()).decode(errors="replace")


def _annotations(files: Mapping[str, Path | bytes], wnids: list[str], place: str) -> tuple[list[str], list[int]]:
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    names, labels = [], []
    for line in _text(files, "val/val_annotations.txt", place).splitlines():
        image, wnid = [*line.split("\t"), ""][:2]
        name = f"val/images/{image}"
        if wnid not in label_of or name not in files:
            raise DataError(f"{place}: val_annotations.txt names image {image!r} of class {wnid!r}, which is not there")
        names.append(name)
        labels.append(label_of[wnid])
    if not names:
        raise DataError(f"{place}: val_annotations.txt is empty; get it again")
    return names, labels


def _class_names(files: Mapping[str, Path | bytes], wnids: list[str], place: str) -> tuple[str, ...]:
    if "words.txt" not in files:
        return tuple(wnids)
    lines = [line.split("\t", 1) for line in _text(files, "words.txt", place).splitlines() if "\t" in line]
    words = {wnid: text.split(",")[0] for wnid, text in lines}
    names = [words.get(wnid, wnid) for wnid in wnids]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({wnid})" for name, wnid in zip(names, wnids, strict=True)
    )
