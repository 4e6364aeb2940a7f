"""Means and standard deviations that inputs are normalised with."""

from __future__ import annotations

import torch
from torch import Tensor

from sacreddnn.data.dataset import Split

# What the reference implementation divides by (PAPER.md, section 5). For CIFAR-10 its deviation is the mean
# over images of each image's own deviation, smaller than that of the pixels; the values are kept to compare
# with its runs.
REFERENCE: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "tiny_imagenet": ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of torchvision's and timm's pretrained networks
NAMES = ("pixel", "reference", "imagenet", "none")


def pixel_statistics(images: Tensor, chunk: int = 4096) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns per channel mean and standard deviation of all pixels, where a pixel is in [0, 1].

    Exact: the sums are integers. The deviation is that of the population (divided by the number of pixels). A
    channel without any variation gets deviation 1, so that dividing by it is harmless.

    Args:
        images: shape (n, C, H, W), uint8, n > 0.
        chunk: images converted at a time, bounds the memory used.
    """
    channels = images.shape[1]
    total, squares = torch.zeros(channels, dtype=torch.int64), torch.zeros(channels, dtype=torch.int64)
    for part in images.split(chunk):
        counts = torch.stack([torch.bincount(part[:, c].flatten(), minlength=256) for c in range(channels)]).cpu()
        values = torch.arange(256)
        total += (counts * values).sum(1)
        squares += (counts * values.square()).sum(1)
    num_pixels = images.numel() // channels
    mean = total.double() / num_pixels
    variance = squares.double() / num_pixels - mean.square()
    std = torch.where(variance > 0, variance.clamp_min(0).sqrt() / 255, 1.0)
    return tuple((mean / 255).tolist()), tuple(std.tolist())


def statistics(normalization: str, name: str, split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the mean and standard deviation per channel for a named normalisation.

    Args:
        normalization: "pixel" for the statistics of the pixels of `images`; "reference" for the constants of
            the reference implementation; "imagenet" for those of most pretrained networks; "none" for 0 and
            1.
        name: the data set, for "reference".
        split: the training images; of images in files some thousands stand for all.

    Raises:
        ValueError: an unknown normalisation, or one without values for this data set.
    """
    channels = split.shape[0]
    if normalization == "pixel":
        return pixel_statistics(split.some_images())
    if normalization == "none":
        return (0.0,) * channels, (1.0,) * channels
    if normalization == "reference":
        if name not in REFERENCE:
            raise ValueError(f"normalization: 'reference' has no values for {name}, only for {', '.join(REFERENCE)}")
        return REFERENCE[name]
    if normalization == "imagenet":
        if channels != 3:
            raise ValueError(f"normalization: 'imagenet' needs 3 channels, {name} has {channels}; use 'pixel'")
        return IMAGENET
    raise ValueError(f"normalization: {normalization!r} is unknown, allowed: {', '.join(NAMES)}")
