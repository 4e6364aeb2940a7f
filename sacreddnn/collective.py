"""Sums and means over replicas that may live in several processes; here, one process has them all.

An algorithm asks its `Group` for the center and for numbers of all replicas, and does not know where they are. The
group of a run in several processes is `training.distributed.ProcessGroup`; it says how to sum, the rest is here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sacreddnn.weights import blocks


class Group:
    """The y replicas, all in this process.

    Args:
        num_replicas: y.

    Attributes:
        num_replicas: y, over all processes.
        replicas: numbers of those in this process, in order; their weights are the rows of its W.
        shard: (part, number of parts) of each minibatch that this process reads.
        rank: of this process among all `size` of the run; rank 0 owns the record and the checkpoints.
    """

    rank, size = 0, 1

    # ---- what a group of several processes does otherwise ----------------------------------------------------------

    def __init__(self, num_replicas: int) -> None:
        self.num_replicas = num_replicas
        self.replicas = range(num_replicas)
        self.shard = (0, 1)

    def sum_replicas(self, values: Tensor) -> Tensor:
        """`values` summed over the processes that hold different replicas, in place."""
        return values

    def sum_shards(self, values: Tensor) -> Tensor:
        """`values` summed over the processes that hold the same replica, in place."""
        return values

    def sum_all(self, values: Tensor) -> Tensor:
        """`values` summed over all processes, in place."""
        return values

    def largest(self, *values: float) -> list[float]:
        """The largest of each value over all processes."""
        return list(values)

    def wait(self) -> None:
        """Go on when all processes have come here, as late as that may be: one of them may be at work alone."""

    def collect(self, states: list[Any]) -> list[Any] | None:
        """One state per replica of this process -> of all y replicas, in order, on rank 0; None elsewhere."""
        return states

    def share(self, state: Any) -> Any:
        """The state that rank 0 has, on every process; tensors are on the CPU where they arrive."""
        return state

    # ---- the same for all ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def mean(self, W: Tensor) -> Tensor:
        """1/y sum_a w^a over all replicas, the same bits wherever they are.

        The sum is made in float64. There the sum of y float32 numbers is exact, hence independent of its order, unless
        their magnitudes differ by more than 2^29 / y; then it is off by 2^-53, relatively, and the mean by at most one
        unit in its last place. Cost: one all-reduce of one float64 vector.

        Args:
            W: shape (replicas of this process, N), floating point.

        Returns:
            Shape (N,), dtype of W.
        """
        center = torch.empty_like(W[0])
        wide = torch.float64 if W.device.type != "mps" else W.dtype  # which has no float64, and runs one process
        for part in self.blocks(W):
            total = W[0, part].to(wide, copy=True)
            for w in W[1:, part]:
                total += w.to(wide)
            center[part] = self.sum_replicas(total).div_(self.num_replicas)
        return center

    def blocks(self, W: Tensor) -> list[slice]:
        """Parts of the rows to take the mean of in turn: in one process those that fit its cache, else the whole."""
        return blocks(W) if self.size == 1 else [slice(0, W.shape[1])]

    def gather(self, values: Tensor) -> Tensor:
        """One number or row per replica of this process -> of all y replicas, in order, on every process.

        Args:
            values: shape (replicas of this process, ..).

        Returns:
            Shape (y, ..), dtype of values, detached.
        """
        everyone = values.new_zeros(self.num_replicas, *values.shape[1:])
        everyone[self.replicas.start : self.replicas.stop] = values.detach()
        return self.sum_replicas(everyone)  # all but one summand are zero: exact

    def mean_shards(self, values: Tensor) -> Tensor:
        """The mean over the processes that hold the same replica; `values` itself where there is one."""
        return self.sum_shards(values.clone()).div_(self.shard[1]) if self.shard[1] > 1 else values

    @torch.no_grad()
    def combine_shards(self, G: Tensor, losses: Tensor, num_samples: int) -> Tensor:
        """Turn mean loss and gradient over a part of a minibatch into those over the whole.

        Cost: one all-reduce of the gradient, in place, after one of two numbers.

        Args:
            G: gradient of the replica of this process, shape (1, N); changed in place.
            losses: its loss, shape (1,).
            num_samples: how many samples of the minibatch they are the mean over.

        Returns:
            The loss over the whole minibatch, shape (1,).
        """
        if self.shard[1] == 1:
            return losses
        loss_sum, total = self.sum_shards(torch.cat([losses, losses.new_ones(1)]).mul_(num_samples))
        self.sum_shards(G[0].mul_(num_samples / total))
        return (loss_sum / total).view(1)
