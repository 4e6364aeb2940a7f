"""From uint8 images to what the network reads: augmented per sample, normalised, channels-last."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sacreddnn.data.augment import Augmentation, Crop, Cutout, Flip, Mixup, Resize
from sacreddnn.data.draws import Draws
from sacreddnn.data.policies import AutoAugment, RandAugment
from sacreddnn.data.resized_crop import ResizedCrop

AUGMENTATIONS: dict[str, type[Augmentation] | type[Mixup]] = {
    "crop": Crop,
    "flip": Flip,
    "cutout": Cutout,
    "auto_augment": AutoAugment,
    "rand_augment": RandAugment,
    "resize": Resize,
    "resized_crop": ResizedCrop,
    "mixup": Mixup,
}


class Pipeline:
    """The way of a minibatch from stored images to inputs: `pipeline(images, generator)`.

    Augmentations act in the order given; those of normalised values (cutout, mixup) after normalisation. One
    is named alone, `flip`, or with its first argument, `{crop: 8}`, or with several, `{resized_crop: {size:
    64, scale: [0.3, 1]}}`.

    Args:
        mean: per channel, in units where a pixel is in [0, 1].
        std: per channel, in the same units, > 0.
        augmentation: names of `AUGMENTATIONS`, with arguments where wanted; or one string of names joined by
            "+", each with an optional first argument, `"crop:4+flip"`. Empty or "none" for no augmentation.
        num_classes: length of a row of targets; needed by mixup only.
        dtype: of the inputs.

    Raises:
        ValueError: an unknown augmentation or argument, an argument out of range, mixup without
            `num_classes`.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: str | Sequence[str | Mapping[str, Any]] = (),
        *,
        num_classes: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if len(mean) != len(std) or any(s <= 0 for s in std):
            raise ValueError(f"std: {tuple(std)} must hold one number above 0 per channel, as mean {tuple(mean)} does")
        self.mean, self.std, self.dtype = tuple(mean), tuple(std), dtype
        self.num_classes = num_classes
        built = build_augmentation(augmentation)
        mixups = [a for a in built if isinstance(a, Mixup)]
        if len(mixups) > 1 or (mixups and num_classes is None):
            raise ValueError("mixup: give it once, and num_classes with it")
        self.mixup = mixups[0] if mixups else None
        augmentations = [a for a in built if isinstance(a, Augmentation)]
        self.on_pixels = [a for a in augmentations if a.stage == "pixels"]
        self.on_normalized = [a for a in augmentations if a.stage == "normalized"]
        self._constants: dict[tuple[torch.device, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Returns augmented, normalised inputs, shape (n, C, H', W'), channels-last; mixup is the stream's.

        Args:
            images: shape (n, C, H, W), uint8, on any device.
            generator: a CPU generator; the whole randomness of the call.
        """
        return self.apply(images, Draws(generator, len(images)))

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Returns the same as a call, from draws that may be those of a part of a larger minibatch."""
        pixels = images.permute(0, 2, 3, 1).contiguous()
        for augmentation in self.on_pixels:
            pixels = augmentation(pixels, draws)
        values = self._normalize(pixels)
        for augmentation in self.on_normalized:
            values = augmentation(values, draws)
        return values.permute(0, 3, 1, 2)

    def clean(self, images: Tensor) -> Tensor:
        """Returns normalised inputs without augmentation, what evaluation reads; shapes as in a call."""
        pixels = images.permute(0, 2, 3, 1).contiguous()
        for augmentation in self.on_pixels:
            pixels = augmentation.clean(pixels)
        return self._normalize(pixels).permute(0, 3, 1, 2)

    def image_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns (height, width) of the inputs for stored images of the given size."""
        return tuple(self.clean(torch.zeros(1, len(self.mean), height, width, dtype=torch.uint8)).shape[2:])  # type: ignore[return-value]

    def _normalize(self, pixels: Tensor) -> Tensor:
        num, height, width, channels = pixels.shape
        if channels != len(self.mean):
            raise ValueError(f"images: {channels} channels, but mean and std are given for {len(self.mean)}")
        key = (pixels.device, height * width)
        if key not in self._constants:
            # (pixel / 255 - mean) / std as one multiplication and addition, the constants repeated for every pixel:
            # long inner loops are several times faster than those over three channels
            mean, std = torch.tensor(self.mean, dtype=torch.float64), torch.tensor(self.std, dtype=torch.float64)
            pair = (1 / (255 * std), -mean / std)
            scale, shift = (values.repeat(height * width).float().to(pixels.device) for values in pair)
            self._constants[key] = scale, shift
        scale, shift = self._constants[key]
        values = pixels.view(num, height * width * channels).to(torch.float32).mul_(scale).add_(shift)
        return values.to(self.dtype).view(num, height, width, channels)

    def target_rows(self, labels: Tensor) -> Tensor:
        """Returns labels as rows of class probabilities, float32 of shape (n, num_classes)."""
        assert self.num_classes is not None
        return functional.one_hot(labels, self.num_classes).float()


def build_augmentation(augmentation: str | Sequence[str | Mapping[str, Any]]) -> list[Augmentation | Mixup]:
    """Returns the augmentations that a list of names, with or without arguments, stands for.

    Raises:
        ValueError: an unknown name or argument, or an argument out of range.
    """
    if isinstance(augmentation, str):
        entries: list[Any] = []
        for part in augmentation.split("+"):
            name, _, value = part.strip().partition(":")
            entries.append({name: _number(value)} if value else name)
        augmentation = entries
    built = []
    for entry in augmentation:
        if entry in ("none", ""):
            continue
        if isinstance(entry, Mapping) and len(entry) == 1:
            ((name, arguments),) = entry.items()
        elif isinstance(entry, str):
            name, arguments = entry, {}
        else:
            raise ValueError(f"augmentation: {entry!r} must be a name or one name with its arguments, {{crop: 4}}")
        built.append(_build_one(name, arguments))
    return built


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _build_one(name: str, arguments: Any) -> Augmentation | Mixup:
    if name not in AUGMENTATIONS:
        near = difflib.get_close_matches(str(name), AUGMENTATIONS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"augmentation: unknown name {name!r}, allowed: {', '.join(AUGMENTATIONS)}{hint}")
    kind = AUGMENTATIONS[name]
    allowed = list(inspect.signature(kind).parameters)
    if not isinstance(arguments, Mapping):
        arguments = {allowed[0]: arguments} if allowed else {}
    unknown = [key for key in arguments if key not in allowed]
    if unknown:
        raise ValueError(f"augmentation: {name} has no argument {unknown[0]!r}, allowed: {', '.join(allowed)}")
    for key, value in arguments.items():
        if isinstance(value, bool):  # Python would take it for the number 0 or 1
            raise ValueError(
                f"augmentation: {name} with {key} {value!r}: wanted is a {key}, not yes or no; "
                f"{name} alone has its default if there is one, to have none leave {name} out"
            )
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"augmentation: {name} with {dict(arguments)!r}: {error}") from error
