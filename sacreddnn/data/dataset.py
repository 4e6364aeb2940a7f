"""What a data set is once it is in memory: images as uint8 tensors, labels, statistics of the pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


class DataError(OSError):
    """A data file is missing, damaged or not what it should be; the message says in one line what to do."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels, all in memory and on one device.

    The images are kept channels-last (in memory: sample, row, column, channel), because a minibatch is then
    gathered and cropped in long contiguous pieces and handed to the network in the layout that its
    convolutions like best.

    Args:
        images: shape (n, C, H, W), uint8.
        labels: shape (n,), int64, in [0, num_classes).

    Raises:
        ValueError: another dtype or shape, or as many images as labels are not given.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            shape = tuple(self.images.shape)
            raise ValueError(f"images: expected uint8 of shape (n, C, H, W), got {self.images.dtype} of shape {shape}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            shape = tuple(self.labels.shape)
            raise ValueError(f"labels: expected {len(self.images)} of int64, got {self.labels.dtype} {shape}")
        # `contiguous(memory_format=...)` leaves the strides of a one-channel image as they are, this does not
        channels_last = self.images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        object.__setattr__(self, "images", channels_last)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image, (C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def some_images(self) -> Tensor:
        """Returns the images that statistics are taken of: all of them."""
        return self.images

    def to(self, device: torch.device | str) -> Self:
        """Returns the same split on another device; itself where it is there already."""
        if self.images.device == torch.device(device):
            return self
        return type(self)(self.images.to(device), self.labels.to(device))

    def subset(self, indices: Tensor) -> Self:
        """Returns a copy of some samples, in the order of `indices`, int64 of shape (m,)."""
        pixels = self.images.permute(0, 2, 3, 1).index_select(0, indices)
        return type(self)(pixels.permute(0, 3, 1, 2), self.labels.index_select(0, indices))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set ready to be trained on.

    Args:
        name: its name in the registry.
        train: what is trained on, after subsets and label noise.
        test: what generalization is measured on; never changed but for the choice of classes.
        validation: held out of the training samples, with clean labels; None where none was asked for.
        num_classes: labels are in [0, num_classes).
        classes: the name of each label.
        mean: per channel, what normalisation subtracts, in units where a pixel is in [0, 1].
        std: per channel, what normalisation divides by, in the same units.
    """

    name: str
    train: Split
    test: Split
    validation: Split | None
    num_classes: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to(self, device: torch.device | str) -> Dataset:
        """Returns the data set with its splits on another device."""
        validation = None if self.validation is None else self.validation.to(device)
        return replace(self, train=self.train.to(device), test=self.test.to(device), validation=validation)


@dataclass(frozen=True, eq=False)
class Raw:
    """What a reader returns: a data set as its files hold it.

    Args:
        train: the training images.
        test: the test images; the validation images where the test labels are not published.
        classes: the name of each label.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
