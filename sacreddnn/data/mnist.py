"""MNIST and Fashion-MNIST: where their four files are looked for, and how they are got."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from sacreddnn.data import idx
from sacreddnn.data.cache import cached
from sacreddnn.data.dataset import DataError, Raw
from sacreddnn.data.download import fetch

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package
DEBIAN_PACKAGE = "dataset-fashion-mnist"
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def read_mnist(root: Path, *, download: bool = True) -> Raw:
    """Returns MNIST (LeCun et al. 1998): 60,000 and 10,000 handwritten digits, 28x28, grey.

    Args:
        root: the data folder; the files are looked for in `mnist` and `MNIST/raw` below it.
        download: whether missing files may be fetched.

    Raises:
        DataError: files are missing or damaged.
    """
    folder = root / "mnist"
    paths = find([folder, root / "MNIST" / "raw"])
    if paths is None:
        paths = _fetch_files("MNIST", folder, download)
    classes = tuple(str(digit) for digit in range(10))
    return cached(folder / "mnist.cache", paths.values(), lambda: idx.decode(paths, classes))


def read_fashion_mnist(root: Path, *, download: bool = True) -> Raw:
    """Returns Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 images of clothes, 28x28, grey.

    Args:
        root: the data folder; the files are looked for in `fashion_mnist` and `FashionMNIST/raw` below it,
            then in the system folder of Debian's package.
        download: whether missing files may be fetched, or the package installed.

    Raises:
        DataError: files are missing or damaged.
    """
    folder = root / "fashion_mnist"
    places = [folder, root / "FashionMNIST" / "raw", SYSTEM_FOLDER]
    paths = find(places)
    if paths is None:
        try:
            paths = _fetch_files("FashionMNIST", folder, download)
        except DataError as error:
            if not download:
                raise
            install_fashion_mnist(reason=str(error))
            paths = find(places)
            if paths is None:
                raise
    return cached(folder / "fashion_mnist.cache", paths.values(), lambda: idx.decode(paths, FASHION_CLASSES))


def find(folders: list[Path]) -> dict[str, Path] | None:
    """Returns the four files, plain or gzipped, of the first folder that holds them all; None where no folder does."""
    for folder in folders:
        found = {}
        for key, name in idx.FILES.items():
            present = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
            if present:
                found[key] = present[0]
        if len(found) == len(idx.FILES):
            return found
    return None


def install_fashion_mnist(reason: str = "") -> None:
    """Installs Debian's package of Fashion-MNIST, where this process may (root, with apt-get).

    Args:
        reason: why it is needed, put before the advice in the error message.

    Raises:
        DataError: not root, no apt-get, or apt-get failed; the message says what to do by hand.
    """
    command = ["apt-get", "install", "-y", "--no-install-recommends", DEBIAN_PACKAGE]
    advice = f"{reason + '; or ' if reason else ''}as root run `apt-get install {DEBIAN_PACKAGE}`"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise DataError(advice)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=600)
    except (subprocess.SubprocessError, OSError) as error:
        output = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        last = output[-1] if output else "no output"
        raise DataError(f"{advice} (tried here: {last})") from error


def _fetch_files(kind: str, folder: Path, download: bool) -> dict[str, Path]:
    """Returns the four files after fetching those that are missing; addresses and digests are torchvision's."""
    if not download:
        names = ", ".join(f"{name}.gz" for name in idx.FILES.values())
        raise DataError(f"{folder}: {kind} not found; put {names} there")
    from torchvision import datasets

    known = getattr(datasets, kind)
    paths = {}
    for (key, name), (filename, md5) in zip(idx.FILES.items(), known.resources, strict=True):
        assert filename == f"{name}.gz"
        plain = folder / name
        urls = [mirror + filename for mirror in known.mirrors]
        paths[key] = plain if plain.is_file() else fetch(urls, folder / filename, md5=md5)
    return paths
