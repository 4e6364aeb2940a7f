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
        self._maps = torch.stack(maps).int().to(device, non_blocking=True) if maps else None
        self._tables = torch.stack(tables).to(device, non_blocking=True) if tables else None
        self._ratios = torch.tensor([*ratios, (1.0, 0.0)], dtype=torch.float64).float().to(device, non_blocking=True)

    def apply(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        """Returns the images after one operation each.

        Args:
            pixels: shape (n, H, W, C), uint8, C = 1 or 3.
            numbers: which operation each image gets, shape (n,), int64, on the CPU; -1 for none.
        """
        numbers = numbers % len(self._kinds)  # -1 is the last
        kinds, order = self._kinds[numbers].sort(stable=True)
        numbers = numbers[order]
        counts = torch.bincount(kinds, minlength=len(_KINDS)).tolist()
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        # sorted by kind, so that every group is a view; all are put together and sorted back at the end
        rows = self._rows[numbers].to(pixels.device, non_blocking=True).split(counts)
        ratios = self._ratios.index_select(0, numbers.to(pixels.device, non_blocking=True)).split(counts)
        groups = pixels.index_select(0, order.to(pixels.device, non_blocking=True)).split(counts)
        parts = dict(zip(_KINDS, groups, strict=True))
        done = [parts["none"]]
        if len(parts["geometric"]):
            assert self._maps is not None
            done.append(_move(parts["geometric"], self._maps.index_select(0, rows[1])))
        pointwise, tables = [], []
        for kind in range(2, 6):
            part = parts[_KINDS[kind]]
            if len(part):
                pointwise.append(part)
                tables.append(self._tables_of(_KINDS[kind], part, rows[kind], ratios[kind]))
        if pointwise:
            done.append(_look_up(torch.cat(pointwise), torch.cat(tables)))
        for kind in (6, 7):
            part = parts[_KINDS[kind]]
            if len(part):
                values = part.float()
                other = _grey(values).unsqueeze(3) if _KINDS[kind] == "Color" else _blurred(values)
                done.append(_blend(values, other, ratios[kind].view(-1, 2, 1, 1, 1)))
        return torch.cat(done).index_select(0, back.to(pixels.device, non_blocking=True))

    def _tables_of(self, kind: str, pixels: Tensor, rows: Tensor, ratios: Tensor) -> Tensor:
        """Returns the new value of every old one, shape (n, C, 256), uint8."""
        if kind == "table":
            assert self._tables is not None
            return self._tables.index_select(0, rows).unsqueeze(1).expand(-1, pixels.shape[3], -1)
        if kind == "Contrast":
            return _contrast_tables(pixels, ratios)
        return _autocontrast_tables(pixels) if kind == "AutoContrast" else _equalize_tables(pixels)


def _torchvision_operation(image: Tensor, name: str, magnitude: float) -> Tensor:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.autoaugment import _apply_op

    return _apply_op(image, name, magnitude, InterpolationMode.NEAREST, None)


def _move(pixels: Tensor, maps: Tensor) -> Tensor:
    """Returns images whose pixel i is pixel maps[i] of the old one; number H * W stands for black."""
    num, height, width, channels = pixels.shape
    size = height * width
    padded = torch.cat([pixels.view(num, size, channels), pixels.new_zeros(num, 1, channels)], dim=1)
    start = torch.arange(0, num * (size + 1), size + 1, dtype=torch.int32, device=pixels.device).unsqueeze(1)
    return padded.view(-1, channels).index_select(0, (maps + start).view(-1)).view_as(pixels)


def _places(pixels: Tensor) -> Tensor:
    """Returns for every value its place in tables of shape (n, C, 256), int32, shape (n, H, W * C)."""
    num, height, width, channels = pixels.shape
    # repeated over a row of pixels: long inner loops are several times faster than those over three channels
    start = torch.arange(0, num * channels * 256, 256, dtype=torch.int32, device=pixels.device).view(num, 1, channels)
    return pixels.view(num, height, width * channels) + start.expand(-1, width, -1).reshape(num, 1, width * channels)


def _look_up(pixels: Tensor, tables: Tensor) -> Tensor:
    """Returns tables[n, c, value] for every value, with tables of shape (n, C, 256), uint8."""
    return tables.reshape(-1).index_select(0, _places(pixels).view(-1)).view_as(pixels)


def _blend(first: Tensor, second: Tensor, ratios: Tensor) -> Tensor:
    """Returns ratio * first + (1 - ratio) * second, as pixels; `ratios` holds both factors in dimension 1."""
    return (ratios[:, 0] * first).add_(ratios[:, 1] * second).clamp_(0, 255).to(torch.uint8)


def _grey(values: Tensor) -> Tensor:
    """Returns the grey level of each pixel, truncated to an integer, float32, shape (n, H, W)."""
    if values.shape[3] == 1:
        return values[..., 0]
    red, green, blue = values.unbind(3)
    return (_GREY[0] * red).add_(_GREY[1] * green).add_(_GREY[2] * blue).floor_()


def _blurred(values: Tensor) -> Tensor:
    """Returns each pixel averaged with its neighbours, its own weight 5 of 13, rounded; the border as it is."""
    if min(values.shape[1:3]) <= 2:
        return values
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    sums = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * values[:, 1:-1, 1:-1]
    blurred = values.clone()
    blurred[:, 1:-1, 1:-1] = sums.div_(13).round_()
    return blurred


def _contrast_tables(pixels: Tensor, ratios: Tensor) -> Tensor:
    num, channels = len(pixels), pixels.shape[3]
    mean = _grey(pixels.float()).mean((1, 2)).view(num, 1)
    values = torch.arange(256.0, device=pixels.device).expand(num, 256)
    return _blend(values, mean, ratios.view(num, 2, 1)).unsqueeze(1).expand(num, channels, 256)


def _autocontrast_tables(pixels: Tensor) -> Tensor:
    low, high = (extreme.float().unsqueeze(2) for extreme in pixels.flatten(1, 2).aminmax(dim=1))
    scale = 255 / (high - low)
    flat = scale.isinf()
    scale, low = scale.masked_fill(flat, 1), low.masked_fill(flat, 0)
    values = torch.arange(256.0, device=pixels.device)
    return ((values - low) * scale).clamp_(0, 255).to(torch.uint8)


def _equalize_tables(pixels: Tensor) -> Tensor:
    """Returns for each channel the table that makes its histogram flat: cumulative count over a step of it."""
    num, height, width, channels = pixels.shape
    histogram = torch.bincount(_places(pixels).view(-1), minlength=num * channels * 256)
    histogram = histogram.view(num, channels, 256).int()
    values = torch.arange(256, dtype=torch.int32, device=pixels.device)
    brightest = ((histogram > 0) * values).amax(2, keepdim=True)
    step = (height * width - histogram.gather(2, brightest.long())) // 255
    sums = histogram.cumsum(2, dtype=torch.int32)
    before = torch.cat([torch.zeros_like(sums[:, :, :1]), sums[:, :, :-1] + step // 2], dim=2)
    tables = (before // step.clamp_min(1)).clamp_(0, 255)
    return torch.where(step == 0, values, tables).to(torch.uint8)
