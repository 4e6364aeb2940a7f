"""Random crops, flips, cutout and resizing: per sample, batched, on the device of the images.

Every augmentation is called with pixels of shape (n, H, W, C) and the minibatch's `Draws`, and returns pixels
of the same layout. The reference for each is torchvision's transform of the same name, applied image by
image.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from sacreddnn.data.draws import Draws


class Augmentation:
    """What all augmentations share.

    Attributes:
        stage: "pixels" acts on uint8 pixels before normalisation, "normalized" on float pixels after it.
    """

    stage: ClassVar[Literal["pixels", "normalized"]] = "pixels"

    def __call__(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Returns the augmented pixels, shape (n, H', W', C)."""
        raise NotImplementedError

    def clean(self, pixels: Tensor) -> Tensor:
        """Returns what evaluation sees in its place: the same pixels unless their size changes."""
        return pixels


class Crop(Augmentation):
    """A window of the image's own size at a random place of the image padded with black (RandomCrop).

    Args:
        padding: pixels added on each side, > 0.

    Raises:
        ValueError: `padding` is not a positive integer.
    """

    def __init__(self, padding: int = 4) -> None:
        if not isinstance(padding, int) or padding < 1:
            raise ValueError(f"crop: padding {padding!r} is not a positive number of pixels")
        self.padding = padding

    def __call__(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Returns a random window of each sample."""
        offsets = draws.integers(2 * self.padding + 1, 2).to(pixels.device, non_blocking=True)
        return self.crop(pixels, offsets[:, 0], offsets[:, 1])

    def crop(self, pixels: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Returns the windows whose upper left corners lie at given places of the padded images.

        Args:
            pixels: shape (n, H, W, C).
            top: row of the corner, shape (n,), int64, in [0, 2 * padding].
            left: column of the corner, likewise.
        """
        num, height, width, channels = pixels.shape
        p = self.padding
        padded = functional.pad(pixels, (0, 0, p, p, p, p))
        # A row of a crop is width * channels neighbouring bytes at any place of the padded pixels. Seen as overlapping
        # rows of that length, one from each byte, they are gathered by index_select: a plain copy each.
        row = width * channels
        rows_from_every_byte = padded.as_strided((padded.numel() - row + 1, row), (1, 1))
        sample, line, pixel, _ = padded.stride()
        first = torch.arange(0, num * sample, sample, device=pixels.device) + top * line + left * pixel
        lines = torch.arange(0, height * line, line, device=pixels.device)
        places = (first.unsqueeze(1) + lines).view(-1)
        return rows_from_every_byte.index_select(0, places).view(num, height, width, channels)


class Flip(Augmentation):
    """The mirror image, with some probability (RandomHorizontalFlip).

    Args:
        probability: in [0, 1].

    Raises:
        ValueError: `probability` out of range.
    """

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"flip: probability {probability!r} is out of range, allowed 0 to 1")
        self.probability = probability

    def __call__(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Returns the samples, each mirrored with the given probability."""
        return self.flip(pixels, draws.uniform() < self.probability)

    def flip(self, pixels: Tensor, mirrored: Tensor) -> Tensor:
        """Returns the pixels, those of some samples mirrored left to right; `mirrored` is bool of shape (n,)."""
        order, num_mirrored = mirrored.int().argsort(stable=True), int(mirrored.sum())
        on_device = order.to(pixels.device, non_blocking=True)
        kept, flipped = on_device.split([len(order) - num_mirrored, num_mirrored])
        parts = torch.cat([pixels.index_select(0, kept), pixels.index_select(0, flipped).flip(2)])
        return parts.index_select(0, order.argsort().to(pixels.device, non_blocking=True))


class Cutout(Augmentation):
    """A square around a random pixel set to the mean, zero after normalisation (DeVries and Taylor 2017).

    The square is clipped at the border of the image, so that less than `size**2` pixels may be lost; its
    centre is uniform over the pixels. An even size extends by half of it to the upper left and half less one
    to the lower right.

    Args:
        size: side of the square in pixels, > 0.

    Raises:
        ValueError: `size` is not a positive integer.
    """

    stage = "normalized"

    def __init__(self, size: int = 16) -> None:
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"cutout: size {size!r} is not a positive number of pixels")
        self.size = size

    def __call__(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Returns the samples, each with a random square set to zero."""
        _, height, width, _ = pixels.shape
        rows, columns = draws.integers(height), draws.integers(width)
        device = pixels.device
        return self.erase(pixels, rows.to(device, non_blocking=True), columns.to(device, non_blocking=True))

    def erase(self, pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Returns the pixels with the square around (row, column) of each sample set to zero."""
        _, height, width, _ = pixels.shape
        top, left = rows[:, None] - self.size // 2, columns[:, None] - self.size // 2
        y, x = torch.arange(height, device=pixels.device), torch.arange(width, device=pixels.device)
        in_rows = (y >= top) & (y < top + self.size)
        in_columns = (x >= left) & (x < left + self.size)
        return pixels.masked_fill((in_rows[:, :, None] & in_columns[:, None, :]).unsqueeze(-1), 0)


def resize_square(pixels: Tensor, size: int) -> Tensor:
    """Returns square images, interpolated bilinearly with antialiasing by torchvision."""
    if pixels.shape[1:3] == (size, size):
        return pixels
    from torchvision.transforms.v2.functional import resize

    return resize(pixels.permute(0, 3, 1, 2), [size, size], antialias=True).permute(0, 2, 3, 1).contiguous()


class Resize(Augmentation):
    """The image at another size, square, in training and evaluation alike; nothing random.

    Args:
        size: side in pixels, > 0.

    Raises:
        ValueError: `size` is not a positive integer.
    """

    def __init__(self, size: int) -> None:
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"resize: size {size!r} is not a positive number of pixels")
        self.size = size

    def __call__(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Returns the samples at the new size."""
        return self.clean(pixels)

    def clean(self, pixels: Tensor) -> Tensor:
        """Returns the whole image at the new size."""
        return resize_square(pixels, self.size)


class Mixup:
    """Each sample blended with its neighbour in the minibatch, inputs and targets alike (Zhang et al. 2018).

    x_i <- lambda_i x_i + (1 - lambda_i) x_{i-1}, lambda_i ~ Beta(alpha, alpha) per sample, and the same for
    the targets as rows of class probabilities. Minibatches are shuffled, so the neighbour is a random
    partner.

    Args:
        alpha: > 0, finite; small values mix rarely, 1 uniformly.

    Raises:
        ValueError: `alpha` is not positive and finite.
    """

    def __init__(self, alpha: float = 0.2) -> None:
        if not 0 < alpha < math.inf:
            raise ValueError(f"mixup: alpha {alpha!r} is out of range, allowed finite numbers above 0")
        self.alpha = alpha

    def weights(self, draws: Draws) -> Tensor:
        """Returns lambda for each sample, float32 of shape (n,), by the inverse of the Beta distribution."""
        from scipy.special import betaincinv

        return torch.from_numpy(betaincinv(self.alpha, self.alpha, draws.uniform().double().numpy())).float()

    @staticmethod
    def mix(values: Tensor, partners: Tensor, weights: Tensor) -> Tensor:
        """Returns weights * values + (1 - weights) * partners, one weight a sample."""
        return torch.lerp(partners, values, weights.view(-1, *[1] * (values.ndim - 1)).to(values, non_blocking=True))
