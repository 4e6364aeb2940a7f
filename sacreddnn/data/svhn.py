"""Street View House Numbers (Netzer et al. 2011): MATLAB files of 32x32 colour images."""

from __future__ import annotations

from pathlib import Path

import torch

from sacreddnn.data.cache import cached
from sacreddnn.data.dataset import DataError, Raw, Split
from sacreddnn.data.download import fetch


def read(root: Path, *, download: bool = True, extra: bool = False) -> Raw:
    """Returns SVHN, cropped digits: 73,257 training and 26,032 test images.

    Args:
        root: the data folder; the files are looked for in `svhn` below it.
        download: whether missing files may be fetched.
        extra: add the 531,131 simpler images to the training images.

    Raises:
        DataError: files are missing or damaged.
    """
    folder = root / "svhn"
    splits = ["train", "test", *(["extra"] if extra else [])]
    paths = {split: folder / f"{split}_32x32.mat" for split in splits}
    for split, path in paths.items():
        if not path.is_file():
            if not download:
                raise DataError(f"{path}: not found; put {path.name} there")
            from torchvision.datasets import SVHN

            url, _, md5 = SVHN.split_list[split]
            fetch([url], path, md5=md5)

    def decode() -> Raw:
        train, test = read_mat(paths["train"]), read_mat(paths["test"])
        if extra:
            more = read_mat(paths["extra"])
            train = Split(torch.cat([train.images, more.images]), torch.cat([train.labels, more.labels]))
        return Raw(train, test, tuple(str(digit) for digit in range(10)))

    return cached(folder / ("svhn_extra.cache" if extra else "svhn.cache"), paths.values(), decode)


def read_mat(path: Path) -> Split:
    """Returns the images of one file; its label 10 stands for the digit zero.

    Raises:
        DataError: not a MATLAB file of images `X` (32, 32, 3, n) and labels `y`.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=["X", "y"])
        images, labels = torch.from_numpy(content["X"]), torch.from_numpy(content["y"]).flatten().long() % 10
        return Split(images.permute(3, 2, 0, 1), labels)
    except Exception as error:  # a damaged file raises nearly anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a readable SVHN file ({reason}); delete it and get it again") from error
