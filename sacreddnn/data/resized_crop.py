"""Random resized crops, per sample, batched."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sacreddnn.data.augment import Augmentation, resize_square
from sacreddnn.data.draws import Draws


def _resize_matrices(start: Tensor, length: Tensor, size: int, new_size: int) -> Tensor:
    """Returns for each sample the matrix that resizes a piece of a line of pixels, shape (n, new_size, size), float32.

    New pixel i weighs old pixel j by a triangle around its place c_i = start + (i + 1/2) s, s = length / new_size:
    max(0, 1 - |j + 1/2 - c_i| / max(s, 1)) within the piece, normalised to sum 1. This is bilinear interpolation when
    enlarging, and its antialiased form when reducing.

    Args:
        start: first pixel of the piece, shape (n,), float32.
        length: of the piece, shape (n,), float32.
        size: of the line.
        new_size: of the result.
    """
    old = torch.arange(size, device=start.device) + 0.5
    start, length = start.view(-1, 1, 1), length.view(-1, 1, 1)
    scale = length / new_size
    centres = start + (torch.arange(new_size, device=start.device).unsqueeze(1) + 0.5) * scale
    weights = (1 - (old - centres).abs() / scale.clamp_min(1)).clamp_min_(0)
    weights = weights * ((old > start) & (old < start + length))
    return weights / weights.sum(2, keepdim=True)


class ResizedCrop(Augmentation):
    """A random part of the image, of random area and aspect, scaled to a fixed size (RandomResizedCrop).

    The box is drawn as torchvision does: up to ten attempts at an area uniform in `scale` and an aspect
    log-uniform in `ratio`, else the largest central part whose aspect is allowed. Each box is resized
    bilinearly with antialiasing. Boxes have as many shapes as there are samples, so this is the one
    augmentation that resizes sample by sample.

    Args:
        size: side of the result in pixels; None keeps the size of the images.
        scale: smallest and largest area, as fractions of the image.
        ratio: smallest and largest width over height.

    Raises:
        ValueError: a range that is not 0 < low <= high (and high <= 1 for `scale`).
    """

    attempts = 10

    def __init__(
        self,
        size: int | None = None,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
    ) -> None:
        if size is not None and (not isinstance(size, int) or size < 1):
            raise ValueError(f"resized_crop: size {size!r} is not a positive number of pixels")
        for key, values, highest in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
            if len(values) != 2 or not 0 < values[0] <= values[1] <= highest:
                raise ValueError(
                    f"resized_crop: {key} {list(values)!r} must be two numbers 0 < low <= high <= {highest}"
                )
        self.size, self.scale, self.ratio = size, tuple(scale), tuple(ratio)

    def __call__(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Returns a random part of each sample at the new size."""
        size = (self.size, self.size) if self.size else (pixels.shape[1], pixels.shape[2])
        return self.resize(pixels, self.boxes(draws, pixels.shape[1], pixels.shape[2]), size)

    def clean(self, pixels: Tensor) -> Tensor:
        """Returns the whole image at the new size."""
        return resize_square(pixels, self.size) if self.size else pixels

    @staticmethod
    def resize(pixels: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Returns the parts of the images in the boxes, one each, at one size (height, width)."""
        _, height, width, _ = pixels.shape
        top, left, box_height, box_width = boxes.to(pixels.device, torch.float32, non_blocking=True).unbind(1)
        rows = _resize_matrices(top, box_height, height, size[0])
        columns = _resize_matrices(left, box_width, width, size[1])
        # (n, C, H, W) -> rows X columns^T
        planes = pixels.permute(0, 3, 1, 2).float()
        resized = rows.unsqueeze(1) @ planes @ columns.transpose(1, 2).unsqueeze(1)
        return resized.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def boxes(self, draws: Draws, height: int, width: int) -> Tensor:
        """Returns one box a sample, shape (n, 4), int64: top, left, height, width."""
        area = (
            height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * draws.uniform(self.attempts).double())
        )
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = torch.exp(low + (high - low) * draws.uniform(self.attempts).double())
        w, h = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
        fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
        first = fits.int().argmax(1, keepdim=True)
        w, h = w.gather(1, first).squeeze(1), h.gather(1, first).squeeze(1)
        place = draws.uniform(2).double()
        top, left = (place[:, 0] * (height - h + 1)).long(), (place[:, 1] * (width - w + 1)).long()
        fallback = torch.tensor(self._central_box(height, width))
        return torch.where(fits.any(1, keepdim=True), torch.stack([top, left, h, w], 1), fallback)

    def _central_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        w, h = width, height
        if width / height < self.ratio[0]:
            h = min(round(width / self.ratio[0]), height)
        elif width / height > self.ratio[1]:
            w = min(round(height * self.ratio[1]), width)
        return (height - h) // 2, (width - w) // 2, h, w
