"""Seeded images with class structure, of any shape, made in memory: for tests, trials and benchmarks."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from sacreddnn.data.dataset import Raw, Split
from sacreddnn.data.seeds import generator_for


def read(
    root: Path,
    *,
    download: bool = True,
    num_classes: int = 10,
    channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    train_samples: int = 2048,
    test_samples: int = 512,
    contrast: float = 0.5,
    seed: int = 0,
) -> Raw:
    """Returns a data set whose classes are smooth random patterns, seen shifted and under noise.

    Class c has a pattern P_c, low-frequency noise of unit variance. A sample of it is
    `128 + 64 * (contrast * shift(P_c) + noise)`, rounded and clamped to 0..255, with the pattern shifted
    cyclically by up to an eighth of the image and white noise of unit variance. So convolutions help, and
    contrast sets how hard it is.

    Args:
        root: not used.
        download: not used.
        num_classes: at least 2; the classes are equally frequent to within one sample.
        channels: at least 1.
        image_size: side of a square image, or (height, width).
        train_samples: number of training samples.
        test_samples: number of test samples.
        contrast: amplitude of the pattern over that of the noise, >= 0; 0 leaves nothing to learn.
        seed: equal seeds give equal images.

    Raises:
        ValueError: an option of another type or below its minimum.
    """
    size = image_size if isinstance(image_size, (list, tuple)) else (image_size, image_size)
    if len(size) != 2 or not all(_is_whole(side) and side >= 1 for side in size):
        allowed = "a whole number of pixels from 1, or [height, width]"
        raise ValueError(f"dataset.options.image_size: {image_size!r} is no size of images, allowed: {allowed}")
    height, width = size
    for key, value, minimum in (
        ("num_classes", num_classes, 2),
        ("channels", channels, 1),
        ("train_samples", train_samples, 1),
        ("test_samples", test_samples, 1),
    ):
        if not _is_whole(value) or value < minimum:
            raise ValueError(f"dataset.options.{key}: {value!r} is out of range, allowed whole numbers from {minimum}")
    if not isinstance(contrast, (int, float)) or not 0 <= contrast < math.inf:
        raise ValueError(f"dataset.options.contrast: {contrast!r} is out of range, allowed finite numbers from 0")
    generator = generator_for(seed, "synthetic")
    coarse = torch.randn(num_classes, channels, 4, 4, generator=generator)
    patterns = functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    flat = patterns.flatten(1)
    patterns = ((flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True, correction=0) + 1e-6)).view_as(
        patterns
    )
    classes = tuple(f"class_{c}" for c in range(num_classes))
    return Raw(
        _sample(patterns, train_samples, contrast, generator),
        _sample(patterns, test_samples, contrast, generator),
        classes,
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _sample(patterns: Tensor, num_samples: int, contrast: float, generator: torch.Generator) -> Split:
    num_classes, channels, height, width = patterns.shape
    labels = torch.randperm(num_samples, generator=generator) % num_classes
    rows = torch.randint(height // 8 + 1, (num_samples, 1, 1, 1), generator=generator) + torch.arange(height)[:, None]
    columns = torch.randint(width // 8 + 1, (num_samples, 1, 1, 1), generator=generator) + torch.arange(width)
    parts = []
    for part in torch.arange(num_samples).split(1024):  # bounds the memory of the noise
        which, channel = labels[part, None, None, None], torch.arange(channels)[:, None, None]
        signal = patterns[which, channel, rows[part] % height, columns[part] % width]
        noise = torch.randn(len(part), channels, height, width, generator=generator)
        parts.append((128 + 64 * (contrast * signal + noise)).round().clamp(0, 255).to(torch.uint8))
    return Split(torch.cat(parts), labels)
