"""Endless shuffled minibatches of a split in memory."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from sacreddnn.data.augment import Mixup
from sacreddnn.data.dataset import Split
from sacreddnn.data.draws import Draws
from sacreddnn.data.pipeline import Pipeline
from sacreddnn.data.seeds import derive_seed, generator_for


class Stream:
    """Minibatches without end, every epoch in a new random order: `inputs, targets = next(stream)`.

    The order of an epoch is a function of (seed, stream, epoch), the augmentation of a minibatch one of
    (seed, stream, epoch, position). So two integers, epoch and position, are the whole state, and a stream
    continues exactly where another stopped, in the middle of an epoch too. Several streams share the images
    of one split.

    In a distributed run all processes walk through the same minibatches, and each gets its own part of every
    one.

    Args:
        split: the images and labels, on the device where the inputs are wanted.
        batch_size: samples of a minibatch, over all processes together.
        seed: of the run.
        stream: index of this stream; streams of different indices are independent.
        pipeline: augments and normalises.
        drop_last: leave out the last minibatch of an epoch when it is smaller than the others.
        shard: (rank, number of processes).

    Attributes:
        images_from: "memory" or "files"; the same seed gives other crops of files, so a state of one is none of the
            other.
        epoch: the epoch of the next minibatch, from 0.
        position: its place in the epoch, from 0.

    Raises:
        ValueError: a batch larger than the split, a minibatch with fewer samples than processes, an
            impossible shard.
    """

    images_from = "memory"

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        pipeline: Pipeline,
        seed: int = 0,
        stream: int = 0,
        drop_last: bool = True,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        num_samples = len(split)
        if not 1 <= batch_size <= num_samples:
            raise ValueError(f"batch_size: {batch_size} is out of range, allowed 1 to {num_samples} (training samples)")
        rank, world = shard
        if not 0 <= rank < world:
            raise ValueError(f"shard: rank {rank} of {world} processes does not exist")
        smallest = batch_size if drop_last else num_samples % batch_size or batch_size
        if smallest < world:
            raise ValueError(
                f"batch_size: a minibatch of {smallest} cannot be shared by {world} processes; use drop_last"
            )
        self.split, self.batch_size, self.pipeline = split, batch_size, pipeline
        self.seed, self.stream, self.drop_last, self.shard = seed, stream, drop_last, shard
        self.epoch = self.position = 0
        self._generator = torch.Generator()
        self._order: tuple[int, Tensor] | None = None

    @property
    def num_batches(self) -> int:
        """Minibatches in one epoch."""
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Returns the next minibatch of this process.

        Returns:
            Inputs, shape (n, C, H, W), of the pipeline's dtype, channels-last; targets, shape (n,), int64, or
            with mixup shape (n, num_classes), float32.
        """
        batch = self._order_of(self.epoch)[self.position * self.batch_size : (self.position + 1) * self.batch_size]
        rows, draws = self._rows_and_draws(len(batch))
        indices = batch if rows is None else batch[rows]
        images = self.split.images.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)
        labels = self.split.labels.index_select(0, indices)
        self._advance()
        return self._finish(images, labels, draws)

    def _advance(self) -> None:
        self.position += 1
        if self.position == self.num_batches:
            self.epoch, self.position = self.epoch + 1, 0

    def _order_of(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            generator = generator_for(self.seed, "order", self.stream, epoch)
            order = torch.randperm(len(self.split), generator=generator)
            self._order = (epoch, order.to(self.split.labels.device, non_blocking=True))
        return self._order[1]

    def _rows_and_draws(self, num_rows: int) -> tuple[Tensor | None, Draws]:
        """Returns the rows of the minibatch to read (None: all) and their random numbers.

        With mixup a part of a minibatch starts one row early, because the first sample needs its neighbour.
        """
        self._generator.manual_seed(derive_seed(self.seed, "augmentation", self.stream, self.epoch, self.position))
        rank, world = self.shard
        if world == 1:
            return None, Draws(self._generator, num_rows)
        start, stop = rank * num_rows // world, (rank + 1) * num_rows // world
        rows = torch.arange(start - (self.pipeline.mixup is not None), stop) % num_rows
        return rows, Draws(self._generator, num_rows, rows)

    def _finish(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        inputs, mixup = self.pipeline.apply(images, draws), self.pipeline.mixup
        if mixup is None:
            return inputs, labels
        weights, targets = mixup.weights(draws), self.pipeline.target_rows(labels)
        if self.shard[1] == 1:
            partners = [torch.cat([values[-1:], values[:-1]]) for values in (inputs, targets)]
        else:
            partners = [inputs[:-1], targets[:-1]]
            inputs, targets, weights = inputs[1:], targets[1:], weights[1:]
        return Mixup.mix(inputs, partners[0], weights), Mixup.mix(targets, partners[1], weights)

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "stream": self.stream,
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "num_samples": len(self.split),
            "images_from": self.images_from,
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns epoch and position, with what they are relative to: plain numbers only."""
        return {"epoch": self.epoch, "position": self.position, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where the stream stood that gave the state; the number of processes may be another.

        Raises:
            ValueError: the state is that of another stream (seed, index, batch size or number of samples
                differ, or one reads files and the other memory).
        """
        state = {"images_from": self.images_from, **state}  # not in states that were saved before there was the key
        if state["images_from"] != self.images_from:
            raise ValueError(
                f"images_from: the saved stream read images from {state['images_from']}, this one from "
                f"{self.images_from}; dataset.options.in_memory decides it"
            )
        for key, value in self._identity().items():
            if state.get(key) != value:
                raise ValueError(f"{key}: the saved stream had {state.get(key)!r}, this one has {value!r}")
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
