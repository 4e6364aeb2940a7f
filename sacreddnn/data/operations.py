"""The image operations of AutoAugment and RandAugment, a whole minibatch at a time, another operation for each sample.

Three kinds of work cover all of them:

- a geometric operation moves pixels: an index map says which pixel goes where;
- a pointwise one gives every pixel a new value: a table of 256 values, fixed (brightness, posterize, solarize, invert)
or made
  from the image (contrast, autocontrast, equalize);
- color and sharpness blend the image with a grey or blurred copy.

Maps and fixed tables are what torchvision's own operation makes of an image of pixel numbers or of all 256 values. So
its tensor operations are reproduced exactly, at the price of a few gathers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
FIXED_TABLE = ("Brightness", "Posterize", "Solarize", "Invert")
_KINDS = ("none", "geometric", "table", "Contrast", "AutoContrast", "Equalize", "Color", "Sharpness")
_GREY = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision rounds it


class Operations:
    """Operations on uint8 images of one size, applied by number.

    Args:
        operations: (name, magnitude) of each, as torchvision's AutoAugment names and counts them; "Identity" for none.
        height: of the images.
        width: of the images.
        device: of the images.
    """

    def __init__(
        self, operations: Sequence[tuple[str, float]], height: int, width: int, device: torch.device | str = "cpu"
    ) -> None:
        kinds: list[str] = []
        maps: list[Tensor] = []
        tables: list[Tensor] = []
        ratios: list[tuple[float, float]] = []
        pixel_numbers = torch.arange(1.0, height * width + 1).view(1, height, width)
        all_values = torch.arange(256, dtype=torch.uint8).view(1, 1, 256)
        self._rows = torch.zeros(len(operations) + 1, dtype=torch.int64)  # of a map or a table, by operation
        for number, (name, magnitude) in enumerate(operations):
            ratios.append((1.0 + magnitude, 1.0 - (1.0 + magnitude)))
            if name in GEOMETRIC:
                self._rows[number] = len(maps)
                # numbers up to 2**24 are exact in float32; outside the image torchvision fills with zero
                source = _torchvision_operation(pixel_numbers, name, magnitude).long().flatten() - 1
                maps.append(torch.where(source < 0, height * width, source))
                kinds.append("geometric")
            elif name in FIXED_TABLE:
                self._rows[number] = len(tables)
                tables.append(_torchvision_operation(all_values, name, magnitude).flatten())
                kinds.append("table")
            else:
                kinds.append("none" if name == "Identity" else name)
        self._kinds = torch.tensor([_KINDS.index(kind) for kind in [*kinds, "none"]])
        self._maps = torch.stack(maps).to(device) if maps else None
        self._tables = torch.stack(tables).to(device) if tables else None
        self._ratios = torch.tensor([*ratios, (1.0, 0.0)], dtype=torch.float64).float().to(device)

    def apply(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        """Returns the images after one operation each.

        Args:
            pixels: shape (n, H, W, C), uint8, C = 1 or 3.
            numbers: which operation each image gets, shape (n,), int64, on the CPU; -1 for none.
        """
        kinds = self._kinds[numbers]
        result = pixels.clone()
        pointwise: list[tuple[Tensor, Tensor]] = []  # samples and their tables
        for kind, name in enumerate(_KINDS[1:], start=1):
            chosen = (kinds == kind).nonzero().squeeze(1)
            if not len(chosen):
                continue
            rows = self._rows[numbers[chosen]].to(pixels.device)
            ratios = self._ratios[numbers[chosen].to(pixels.device)]
            samples = chosen.to(pixels.device)
            part = pixels.index_select(0, samples)
            if name == "geometric":
                assert self._maps is not None
                result.index_copy_(0, samples, _move(part, self._maps.index_select(0, rows)))
            elif name in ("Color", "Sharpness"):
                other = _grey(part).unsqueeze(3) if name == "Color" else _blurred(part)
                result.index_copy_(0, samples, _blend(part.float(), other, ratios.view(-1, 2, 1, 1, 1)))
            else:
                if name == "table":
                    assert self._tables is not None
                    tables = self._tables.index_select(0, rows).unsqueeze(1).expand(-1, pixels.shape[3], -1)
                elif name == "Contrast":
                    tables = _contrast_tables(part, ratios)
                else:
                    tables = _autocontrast_tables(part) if name == "AutoContrast" else _equalize_tables(part)
                pointwise.append((samples, tables))
        if pointwise:
            samples, tables = (torch.cat(parts) for parts in zip(*pointwise, strict=True))
            result.index_copy_(0, samples, _look_up(pixels.index_select(0, samples), tables))
        return result


def _torchvision_operation(image: Tensor, name: str, magnitude: float) -> Tensor:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.autoaugment import _apply_op

    return _apply_op(image, name, magnitude, InterpolationMode.NEAREST, None)


def _move(pixels: Tensor, maps: Tensor) -> Tensor:
    """Returns images whose pixel i is pixel maps[i] of the old one; number H * W stands for black."""
    num, height, width, channels = pixels.shape
    size = height * width
    padded = torch.cat([pixels.view(num, size, channels), pixels.new_zeros(num, 1, channels)], dim=1)
    start = torch.arange(0, num * (size + 1), size + 1, device=pixels.device).unsqueeze(1)
    return padded.view(-1, channels).index_select(0, (maps + start).view(-1)).view_as(pixels)


def _places(pixels: Tensor) -> Tensor:
    """Returns for every value its place in tables of shape (n, C, 256), flat, int32, shape (n, H, W * C)."""
    num, height, width, channels = pixels.shape
    start = torch.arange(0, num * channels * 256, 256, dtype=torch.int32, device=pixels.device)
    return pixels.view(num, height, width * channels) + start.view(num, 1, channels).repeat(1, 1, width)


def _look_up(pixels: Tensor, tables: Tensor) -> Tensor:
    """Returns tables[n, c, value] for every value, with tables of shape (n, C, 256), uint8."""
    return tables.reshape(-1).index_select(0, _places(pixels).view(-1)).view_as(pixels)


def _blend(first: Tensor, second: Tensor, ratios: Tensor) -> Tensor:
    """Returns ratio * first + (1 - ratio) * second, as pixels; `ratios` holds both factors in dimension 1."""
    return (ratios[:, 0] * first + ratios[:, 1] * second).clamp_(0, 255).to(torch.uint8)


def _grey(pixels: Tensor) -> Tensor:
    """Returns the grey level of each pixel, truncated to an integer, float32, shape (n, H, W)."""
    if pixels.shape[3] == 1:
        return pixels[..., 0].float()
    red, green, blue = pixels.float().unbind(3)
    return (_GREY[0] * red + _GREY[1] * green + _GREY[2] * blue).floor_()


def _blurred(pixels: Tensor) -> Tensor:
    """Returns each pixel averaged with its neighbours, its own weight 5 of 13, rounded; the border as it is."""
    values = pixels.float()
    if min(values.shape[1:3]) <= 2:
        return values
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    sums = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * values[:, 1:-1, 1:-1]
    blurred = values.clone()
    blurred[:, 1:-1, 1:-1] = sums.div_(13).round_()
    return blurred


def _contrast_tables(pixels: Tensor, ratios: Tensor) -> Tensor:
    num, channels = len(pixels), pixels.shape[3]
    mean = _grey(pixels).mean((1, 2)).view(num, 1)
    values = torch.arange(256.0, device=pixels.device).expand(num, 256)
    return _blend(values, mean, ratios.view(num, 2, 1)).unsqueeze(1).expand(num, channels, 256)


def _autocontrast_tables(pixels: Tensor) -> Tensor:
    low = pixels.amin((1, 2)).float().unsqueeze(2)
    high = pixels.amax((1, 2)).float().unsqueeze(2)
    scale = 255 / (high - low)
    flat = scale.isinf()
    scale, low = scale.masked_fill(flat, 1), low.masked_fill(flat, 0)
    values = torch.arange(256.0, device=pixels.device)
    return ((values - low) * scale).clamp_(0, 255).to(torch.uint8)


def _equalize_tables(pixels: Tensor) -> Tensor:
    """Returns for each channel the table that makes its histogram flat: cumulative count over a step of it."""
    num, height, width, channels = pixels.shape
    places = _places(pixels).view(-1).long()
    histogram = torch.zeros(num * channels * 256, dtype=torch.int32, device=pixels.device)
    histogram.scatter_add_(0, places, torch.ones_like(places, dtype=torch.int32))
    histogram = histogram.view(num, channels, 256)
    brightest = histogram.gather(2, pixels.amax((1, 2)).long().unsqueeze(2))
    step = (height * width - brightest) // 255
    sums = histogram.cumsum(2, dtype=torch.int32)
    before = torch.cat([torch.zeros_like(sums[:, :, :1]), sums[:, :, :-1] + step // 2], dim=2)
    tables = (before // step.clamp_min(1)).clamp_(0, 255)
    identity = torch.arange(256, dtype=torch.int32, device=pixels.device).expand_as(tables)
    return torch.where(step == 0, identity, tables).to(torch.uint8)
