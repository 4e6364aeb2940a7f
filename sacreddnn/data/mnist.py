"""MNIST and Fashion-MNIST: where their four files are looked for, and how they are got."""

from __future__ import annotations

from pathlib import Path

from sacreddnn.data import idx
from sacreddnn.data.dataset import DataError, Raw

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def find(folders: list[Path]) -> dict[str, Path] | None:
    """Returns the four files, plain or gzipped, of the first folder that holds them all."""
    for folder in folders:
        found = {}
        for key, name in idx.FILES.items():
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    found[key] = path
                    break
        if len(found) == len(idx.FILES):
            return found
    return None


def read_fashion(root: Path, *, download: bool = True) -> Raw:
    """Returns Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 images of clothes, 28x28, grey."""
    folder = root / "fashion_mnist"
    paths = find([folder, root / "FashionMNIST" / "raw", SYSTEM_FOLDER])
    if paths is None:
        raise DataError(f"fashion_mnist: not found in {folder}")
    return idx.decode(paths, FASHION_CLASSES)
