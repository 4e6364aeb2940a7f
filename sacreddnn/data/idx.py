"""IDX files, the format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import torch
from torch import Tensor

from sacreddnn.data.dataset import DataError, Raw, Split

FILES = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}


def read_idx(path: Path) -> Tensor:
    """Returns the array of one IDX file of unsigned bytes, uint8, of the shape its header gives.

    The format: two zero bytes, 0x08 for unsigned bytes, the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the bytes in row-major order.

    Args:
        path: the file; read through gzip where its name ends in .gz.

    Raises:
        DataError: not an IDX file of bytes, truncated, too long, or a damaged gzip stream.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged or truncated gzip file ({error}); delete it and get it again") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise DataError(f"{path}: not an IDX file of bytes (it begins with {content[:4].hex()!r}, expected '000008..')")
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(content[3])]
    size = 1
    for length in shape:
        size *= length
    start = 4 + 4 * len(shape)
    if len(content) - start != size:
        found = len(content) - start
        raise DataError(f"{path}: holds {found} bytes where its header says {size}; delete it and get it again")
    # frombuffer refuses an empty buffer, a bytearray is writable as torch wants it
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[start:].view(shape)


def decode(paths: dict[str, Path], classes: tuple[str, ...]) -> Raw:
    """Returns the data set in four IDX files.

    Args:
        paths: for each key of `FILES` the file.
        classes: the name of each label.

    Raises:
        DataError: a file is damaged, or images and labels do not match.
    """
    splits = []
    for split in ("train", "test"):
        images, labels = read_idx(paths[f"{split} images"]), read_idx(paths[f"{split} labels"]).long()
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(
                f"{paths[f'{split} images']}: {tuple(images.shape)} does not go with labels {tuple(labels.shape)}"
            )
        if len(labels) and int(labels.max()) >= len(classes):
            raise DataError(
                f"{paths[f'{split} labels']}: label {int(labels.max())}, but there are {len(classes)} classes"
            )
        splits.append(Split(images.unsqueeze(1), labels))
    return Raw(splits[0], splits[1], classes)
