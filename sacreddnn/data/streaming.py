"""Images that do not fit in memory: decoded by workers as they are needed, behind the interface of `Stream`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sacreddnn.data.dataset import Split
from sacreddnn.data.images import decode_images, open_rgb, resize_and_crop
from sacreddnn.data.pipeline import Pipeline
from sacreddnn.data.resized_crop import ResizedCrop
from sacreddnn.data.seeds import derive_seed
from sacreddnn.data.stream import Stream

_LARGEST_SAMPLE = 4096  # images that stand for all when statistics are taken


class FileImages:
    """Image files that are indexed as if they were a tensor (n, 3, S, S): what is asked for is decoded at that moment.

    Args:
        files: n image files.
        size: side of the squares in pixels.
        crop_fraction: share of the shorter side that the central square keeps.
        device: where decoded images go.
    """

    def __init__(
        self, files: Sequence[Path], size: int, crop_fraction: float, device: torch.device | str = "cpu"
    ) -> None:
        self.files, self.size, self.crop_fraction, self.device = tuple(files), size, crop_fraction, device
        self.shape = (len(self.files), 3, size, size)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int | slice | Sequence[int]) -> Tensor:
        """Returns decoded images, uint8, on the device: one (3, S, S), or several (m, 3, S, S)."""
        if isinstance(index, int):
            return self[[index]][0]
        chosen = self.files[index] if isinstance(index, slice) else [self.files[i] for i in index]
        return decode_images(chosen, image_size=self.size, crop_fraction=self.crop_fraction).to(self.device)

    def replace(self, files: Sequence[Path] | None = None, device: torch.device | str | None = None) -> FileImages:
        """Returns the same with other files or on another device."""
        return FileImages(
            self.files if files is None else files,
            self.size,
            self.crop_fraction,
            self.device if device is None else device,
        )


@dataclass(frozen=True, eq=False)
class FileSplit(Split):
    """A split whose images stay in their files.

    Args:
        images: the files.
        labels: shape (n,), int64.
    """

    images: FileImages  # type: ignore[assignment]

    def __post_init__(self) -> None:
        assert len(self.images) == len(self.labels)

    def some_images(self) -> Tensor:
        """Returns the images that statistics are taken of: at most 4096, evenly spaced over the files."""
        chosen = torch.linspace(0, len(self) - 1, min(len(self), _LARGEST_SAMPLE)).round().long()
        return self.images[chosen.tolist()]

    def to(self, device: torch.device | str) -> Self:
        """Returns the same split with its minibatches on another device."""
        return replace(self, images=self.images.replace(device=device), labels=self.labels.to(device))

    def subset(self, indices: Tensor) -> Self:
        """Returns some of the samples, in the order of `indices`, int64 of shape (m,)."""
        chosen = [self.images.files[i] for i in indices.tolist()]
        return replace(self, images=self.images.replace(files=chosen), labels=self.labels[indices])


class _Decoder:
    """What a worker does: `decoder[index, seed]` is one image, uint8, (3, S, S), and its label.

    With a random resized crop it is torchvision's, drawn from a generator seeded for this image alone, so
    that the result does not depend on the number of workers.
    """

    def __init__(self, split: FileSplit, crop: ResizedCrop | None) -> None:
        self.images, self.labels = split.images, split.labels.cpu()
        self.crop = None
        if crop is not None:
            from torchvision.transforms import v2

            self.crop = v2.RandomResizedCrop(crop.size or self.images.size, crop.scale, crop.ratio, antialias=True)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, seed = key
        image = open_rgb(self.images.files[index])
        if self.crop is None:
            image = resize_and_crop(image, self.images.size, self.images.crop_fraction)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                image = self.crop(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), self.labels[index]


class FileStream(Stream):
    """A stream that reads image files; minibatches are a function of the same numbers as those of `Stream`.

    A random resized crop at the head of the augmentation is done by the workers, on the image as it is on
    disk; all other augmentations act on the squares, in batches on the device.

    Args:
        split: the files.
        batch_size: samples of a minibatch, over all processes together.
        num_workers: processes that decode; 0 decodes in this one.
        options: as for `Stream`.
    """

    images_from = "files"

    def __init__(
        self, split: FileSplit, batch_size: int, *, pipeline: Pipeline, num_workers: int = 2, **options: Any
    ) -> None:
        head = pipeline.on_pixels[0] if pipeline.on_pixels else None
        crop = head if isinstance(head, ResizedCrop) else None
        if crop is not None:
            pipeline = copy.copy(pipeline)
            pipeline.on_pixels = pipeline.on_pixels[1:]
        super().__init__(split, batch_size, pipeline=pipeline, **options)
        self._decoder = _Decoder(split, crop)
        self._num_workers = num_workers
        self._batches: Iterator[tuple[Tensor, Tensor]] | None = None

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Returns the next minibatch of this process, as `Stream` does."""
        if self._batches is None:
            # a copy, without a way back to this stream: in a cycle the workers would not be stopped when it goes
            ahead = copy.copy(self)
            ahead._generator = torch.Generator()
            self._batches = iter(
                DataLoader(
                    self._decoder,  # type: ignore[arg-type]
                    batch_sampler=ahead._keys(),
                    num_workers=self._num_workers,
                    pin_memory=self.split.labels.is_cuda,
                    generator=torch.Generator(),  # else the loader draws from the global one
                )
            )
        images, labels = next(self._batches)
        _, draws = self._rows_and_draws(self._batch_length(self.position))
        self._advance()
        device = self.split.labels.device
        return self._finish(images.to(device, non_blocking=True), labels.to(device, non_blocking=True), draws)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where the stream stood that gave the state; what was decoded ahead is thrown away."""
        super().load_state_dict(state)
        self._batches = None

    def _batch_length(self, position: int) -> int:
        return min(self.batch_size, len(self.split) - position * self.batch_size)

    def _keys(self) -> Iterator[list[tuple[int, int]]]:
        """Yields (file, seed) for every row of every minibatch to come, advancing this stream on the way."""
        while True:
            start = self.position * self.batch_size
            batch = self._order_of(self.epoch)[start : start + self.batch_size].tolist()
            rows, _ = self._rows_and_draws(len(batch))
            chosen = range(len(batch)) if rows is None else rows.tolist()
            place = (self.seed, "decode", self.stream, self.epoch)
            yield [(batch[row], derive_seed(*place, start + row)) for row in chosen]
            self._advance()


def make_stream(split: Split, batch_size: int, *, num_workers: int = 2, **options: Any) -> Stream:
    """Returns a `Stream` of a split in memory or a `FileStream` of one in files; see there for the arguments."""
    if isinstance(split, FileSplit):
        return FileStream(split, batch_size, num_workers=num_workers, **options)
    return Stream(split, batch_size, **options)
