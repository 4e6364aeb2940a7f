"""Encoded images (JPEG, PNG, ..) to uint8 tensors of one size."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from sacreddnn.data.dataset import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def open_rgb(source: Path | bytes, name: str = "") -> Image.Image:
    """Returns an image in RGB.

    Raises:
        DataError: not an image, or damaged.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name or source!s}: not a readable image ({error}); get it again or remove it") from error


def resize_and_crop(image: Image.Image, size: int, crop_fraction: float) -> Image.Image:
    """Returns the central square of `size` pixels after the shorter side is resized to size / crop_fraction.

    Bilinear with antialiasing, as torchvision's Resize and CenterCrop.
    """
    from torchvision.transforms.v2 import functional

    resized = functional.resize(image, [round(size / crop_fraction)], antialias=True)
    return functional.center_crop(resized, [size, size])


def decode_images(
    sources: Sequence[Path | bytes],
    names: Sequence[str] | None = None,
    *,
    image_size: int | None = None,
    crop_fraction: float = 1.0,
) -> Tensor:
    """Returns all images, shape (n, 3, S, S) or, without `image_size`, their common (n, 3, H, W), uint8.

    Args:
        sources: files or their contents, at least one.
        names: what they are called in error messages.
        image_size: side of the squares they are brought to; None where all have one size already.
        crop_fraction: share of the shorter side that the square keeps, in (0, 1].

    Raises:
        DataError: a damaged image, or images of different sizes without `image_size`.
    """
    labels = list(names) if names is not None else [str(source) for source in sources]

    def decode(index: int) -> np.ndarray:
        image = open_rgb(sources[index], labels[index])
        return np.asarray(image if image_size is None else resize_and_crop(image, image_size, crop_fraction))

    first = decode(0)
    pixels = torch.empty((len(sources), *first.shape), dtype=torch.uint8)
    view = pixels.numpy()

    def store(index: int) -> None:
        image = decode(index)
        if image.shape != first.shape:
            (h, w, _), (height, width, _) = image.shape, first.shape
            raise DataError(
                f"{labels[index]}: {w}x{h} pixels, but others have {width}x{height}; set the option image_size"
            )
        view[index] = image

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the interpreter's lock
        for _ in pool.map(store, range(len(sources)), chunksize=64):
            pass
    return pixels.permute(0, 3, 1, 2)
