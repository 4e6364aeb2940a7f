"""Synthetic images in the on-disk formats of real data sets, so that the real readers can be run without a download."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from sacreddnn.data.cifar import LAYOUTS, Layout
from sacreddnn.data.dataset import Raw, Split
from sacreddnn.data.idx import FILES


def write_idx(raw: Raw, folder: Path, *, compress: bool = True) -> None:
    """Writes the four files of MNIST into a folder; images must have one channel."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for name, split in (("train", raw.train), ("test", raw.test)):
        arrays[f"{name} images"] = split.images.squeeze(1).numpy()
        arrays[f"{name} labels"] = split.labels.numpy().astype(np.uint8)
    for key, array in arrays.items():
        header = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
        content = header + np.ascontiguousarray(array).tobytes()
        if compress:
            (folder / f"{FILES[key]}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / FILES[key]).write_bytes(content)


def write_cifar(raw: Raw, folder: Path, name: str = "cifar10", *, binary: bool = True, archive: bool = True) -> Path:
    """Returns what it wrote into a folder: a version of CIFAR-10 or CIFAR-100, as the archive or extracted.

    Args:
        raw: images of 32x32x3; for CIFAR-10 a multiple of five to train on.
        folder: the data folder, or `root/name`.
        name: "cifar10" or "cifar100".
        binary: the binary version; else the Python version.
        archive: one .tar.gz; else the folder in it.
    """
    layout = LAYOUTS[name][0 if binary else 1]
    encode = _cifar_binary if binary else _cifar_python
    files = {layout.names: _cifar_names(layout, raw.classes)}
    for names, split in ((layout.train, raw.train), (layout.test, raw.test)):
        size = len(split) // len(names)
        for i, file in enumerate(names):
            images = split.images[i * size : (i + 1) * size].flatten(1).numpy()
            files[file] = encode(layout, images, split.labels[i * size : (i + 1) * size].numpy())
    folder.mkdir(parents=True, exist_ok=True)
    if not archive:
        (folder / layout.folder).mkdir(exist_ok=True)
        for file, content in files.items():
            (folder / layout.folder / file).write_bytes(content)
        return folder / layout.folder
    with tarfile.open(folder / layout.archive, "w:gz") as tar:
        for file, content in files.items():
            member = tarfile.TarInfo(f"{layout.folder}/{file}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return folder / layout.archive


def _cifar_names(layout: Layout, classes: tuple[str, ...]) -> bytes:
    if layout.label_bytes:
        return "\n".join(classes).encode()
    return pickle.dumps({layout.names_key: list(classes)}, protocol=2)


def _cifar_binary(layout: Layout, images: np.ndarray, labels: np.ndarray) -> bytes:
    coarse = np.zeros((len(labels), layout.label_bytes - 1), np.uint8)
    return np.hstack([coarse, labels[:, None].astype(np.uint8), images]).tobytes()


def _cifar_python(layout: Layout, images: np.ndarray, labels: np.ndarray) -> bytes:
    return pickle.dumps({"data": np.ascontiguousarray(images), layout.labels_key: labels.tolist()}, protocol=2)


def write_tiny_imagenet(raw: Raw, folder: Path) -> Path:
    """Returns the zip it wrote into a folder, in the layout of tiny-imagenet-200.zip.

    The images are stored as PNG under the published names (*.JPEG): nothing is lost, and readers go by the content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, top = folder / "tiny-imagenet-200.zip", "tiny-imagenet-200"
    wnids = [f"n{label:08d}" for label in range(len(raw.classes))]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{top}/wnids.txt", "\n".join(wnids) + "\n")
        words = zip(wnids, raw.classes, strict=True)
        archive.writestr(f"{top}/words.txt", "".join(f"{wnid}\t{name}, another word\n" for wnid, name in words))
        for i, label in enumerate(raw.train.labels.tolist()):
            name = f"{top}/train/{wnids[label]}/images/{wnids[label]}_{i:05d}.JPEG"
            archive.writestr(name, png(raw.train, i))
        lines = []
        for i, label in enumerate(raw.test.labels.tolist()):
            archive.writestr(f"{top}/val/images/val_{i}.JPEG", png(raw.test, i))
            lines.append(f"val_{i}.JPEG\t{wnids[label]}\t0\t0\t63\t63\n")
        archive.writestr(f"{top}/val/val_annotations.txt", "".join(lines))
    return path


def write_image_folder(raw: Raw, folder: Path) -> None:
    """Writes PNG images as train/<class>/<number>.png and val/<class>/<number>.png below a folder."""
    for name, split in (("train", raw.train), ("val", raw.test)):
        for i, label in enumerate(split.labels.tolist()):
            path = folder / name / raw.classes[label] / f"{i:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(split, i))


def png(split: Split, index: int) -> bytes:
    """Returns one image of a split as the content of a PNG file."""
    pixels = split.images[index].permute(1, 2, 0).contiguous().squeeze(2).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()
