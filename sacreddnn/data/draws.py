"""The random numbers of one minibatch, one row a sample."""

from __future__ import annotations

import torch
from torch import Tensor


class Draws:
    """Random numbers for some rows of a minibatch, as if drawn for all of its rows.

    A process that holds a part of the minibatch draws for the whole of it and keeps its rows. So a sample is
    augmented in the same way whatever the number of processes. The numbers stay on the CPU: they are few, and
    whoever uses them knows without waiting for an accelerator which samples they select.

    Args:
        generator: a CPU generator; every method advances it.
        num_rows: rows of the whole minibatch.
        rows: indices of the rows wanted, shape (n,), int64; None means all of them.
    """

    def __init__(self, generator: torch.Generator, num_rows: int, rows: Tensor | None = None) -> None:
        self.generator = generator
        self.num_rows = num_rows
        self._rows = rows

    def __len__(self) -> int:
        return self.num_rows if self._rows is None else len(self._rows)

    def _select(self, values: Tensor) -> Tensor:
        return values if self._rows is None else values.index_select(0, self._rows)

    def uniform(self, *shape: int) -> Tensor:
        """Returns float32 numbers in [0, 1), shape (n, *shape)."""
        return self._select(torch.rand(self.num_rows, *shape, generator=self.generator))

    def integers(self, high: int, *shape: int) -> Tensor:
        """Returns int64 numbers in [0, high), shape (n, *shape)."""
        return self._select(torch.randint(high, (self.num_rows, *shape), generator=self.generator))
