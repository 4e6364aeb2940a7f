"""The data sets of the paper in small: synthetic images of their shape, in memory or in the real on-disk formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacreddnn.data import synthetic, synthetic_files
from sacreddnn.data.dataset import Raw


@dataclass(frozen=True)
class Shape:
    """Side of the square colour images, and the number of classes."""

    image_size: int
    num_classes: int


SHAPES = {"cifar10": Shape(32, 10), "cifar100": Shape(32, 100), "tiny_imagenet": Shape(64, 200)}


def options(name: str, train_samples: int, test_samples: int) -> dict[str, Any]:
    """The options of the data set "synthetic" for images of the shape of the named one."""
    shape = SHAPES[name]
    return {
        "image_size": shape.image_size,
        "channels": 3,
        "num_classes": shape.num_classes,
        "train_samples": train_samples,
        "test_samples": test_samples,
    }


def write(name: str, root: Path, num_train: int = 200, num_test: int = 200) -> None:
    """Write synthetic images below `root` as the files of the named data set, where its reader looks for them.

    Args:
        name: a key of `SHAPES`.
        root: the data folder.
        num_train: a multiple of five; with fewer images than classes some classes have none.
        num_test: likewise.
    """
    raw: Raw = synthetic.read(root, **options(name, num_train, num_test))
    if name == "tiny_imagenet":
        synthetic_files.write_tiny_imagenet(raw, root)
    else:
        synthetic_files.write_cifar(raw, root, name)
