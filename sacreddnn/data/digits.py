"""The digits that scikit-learn brings along: 1797 grey images of 8x8 pixels, ten classes, no download."""

from __future__ import annotations

from pathlib import Path

import torch

from sacreddnn.data.dataset import DataError, Raw, Split

NUM_TRAIN = 1500  # the samples come in order of writers: the test digits are of other hands than the training digits


def read(root: Path, *, download: bool = True) -> Raw:
    """Returns the digits, 1500 to train on and 297 to test on, grey levels 0..16 scaled to 0..255.

    Args:
        root: not used.
        download: not used.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("digits: the images come with scikit-learn; run `pip install scikit-learn`") from error
    digits = load_digits()
    images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(digits.target).long()
    train, test = Split(images[:NUM_TRAIN], labels[:NUM_TRAIN]), Split(images[NUM_TRAIN:], labels[NUM_TRAIN:])
    return Raw(train, test, tuple(str(digit) for digit in range(10)))
