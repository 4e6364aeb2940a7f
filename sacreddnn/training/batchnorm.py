"""The network to evaluate: the center's weights with batch-norm statistics by a named policy.

running       the running statistics gathered in training, averaged over the replicas (as the reference does);
reestimated   reset and averaged over clean training data at the center itself (torch.optim.swa_utils.update_bn).
both          running, and the other as a second network of its own.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from sacreddnn.algorithms import Algorithm


class CenterNetwork:
    """A copy of the architecture that takes the center of an algorithm when asked to.

    Args:
        networks: the replicas in training.
        algorithm: whose center it shows.
    """

    def __init__(self, networks: Sequence[nn.Module], algorithm: Algorithm) -> None:
        self.networks, self.algorithm = networks, algorithm
        self.network = copy.deepcopy(networks[0]).requires_grad_(False)

    @torch.no_grad()
    def update(self) -> nn.Module:
        """The network at the current center, batch-norm statistics averaged over the replicas.

        Where processes share a minibatch, over their parts of it too.
        """
        group = self.algorithm.group
        views = self.algorithm.weights.views(self.algorithm.center())
        for parameter, view in zip(self.network.parameters(), views, strict=True):
            parameter.copy_(view)
        for center, *replicas in zip(self.network.buffers(), *(n.buffers() for n in self.networks), strict=True):
            # the mean of one buffer is that buffer, bit for bit; counters are equal in all replicas
            if center.is_floating_point():
                rows = torch.stack(replicas).flatten(1) if center.ndim else torch.stack(replicas)[:, None]
                center.copy_(group.mean(group.mean_shards(rows)).view_as(center))
            else:
                center.copy_(replicas[0])
        return self.network


def has_batch_norm(network: nn.Module) -> bool:
    """Whether any module keeps running statistics."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats for m in network.modules())


@torch.no_grad()
def all_networks(networks: Sequence[nn.Module], algorithm: Algorithm) -> list[nn.Module]:
    """The networks of all replicas, in order: those in training, or copies where other processes hold some of them."""
    group = algorithm.group
    if len(networks) == group.num_replicas:
        return list(networks)
    copies = [copy.deepcopy(networks[0]).requires_grad_(False) for _ in range(group.num_replicas)]
    W = group.gather(algorithm.weights.values)
    for network, row in zip(copies, W, strict=True):
        for parameter, view in zip(network.parameters(), algorithm.weights.views(row), strict=True):
            parameter.copy_(view)
    of_mine, of_all = (zip(*(n.buffers() for n in several), strict=True) for several in (networks, copies))
    for mine, everyones in zip(of_mine, of_all, strict=True):
        rows = torch.stack(mine)
        values = group.gather(group.mean_shards(rows) if rows.is_floating_point() else rows)
        for buffer, value in zip(everyones, values, strict=True):
            buffer.copy_(value)
    return copies


@torch.no_grad()
def reestimate(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Replace the running statistics by their averages over the batches at the present weights. One forward pass.

    Each batch should be drawn from all classes: variances are those within batches (`CleanBatches.in_random_order`).
    The same network and batches give the same statistics, dropout included. Batches smaller than the first are left
    out: each counts the same, and batch norm cannot take a batch of one. Modes and momenta are put back.
    """
    modes = {module: module.training for module in network.modules()}
    momenta = {m: m.momentum for m in modes if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    iterator = iter(batches)
    first = next(iterator)
    size = len(first[0])
    whole = itertools.chain([first], (batch for batch in iterator if len(batch[0]) == size))
    device = first[0].device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            torch.optim.swa_utils.update_bn(whole, network)
    finally:
        for module, training in modes.items():
            module.training = training
        for norm, momentum in momenta.items():  # update_bn does not put it back when it is interrupted
            norm.momentum = momentum
