"""Passes over minibatches: what every measure demands of batches and network, and its mean over samples.

    <m>(w) = 1/P sum_mu m(f(x_mu; w), y_mu)

over all P samples, each counted once whatever the sizes of the minibatches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor]]


def mean(values: Iterable[Tensor]) -> Tensor:
    """The mean over all samples of what was measured of each.

    Args:
        values: of every minibatch, shape (n,) or (n, m), n may differ.

    Returns:
        Shape () or (m,), in float64 where the device has it.

    Raises:
        ValueError: no sample at all.

    >>> mean([torch.tensor([1.0, 2.0]), torch.tensor([6.0])]).item()
    3.0
    """
    total, count = None, 0
    for of_batch in values:
        wide = torch.float32 if of_batch.device.type == "mps" else torch.float64  # MPS has no float64
        summed = of_batch.sum(0, dtype=wide)
        total = summed if total is None else total + summed
        count += len(of_batch)
    if total is None or count == 0:
        raise ValueError("batches: empty, there is nothing to measure on")
    return total / count


def require_repeatable(batches: Batches) -> None:
    """Raise ValueError for an iterator, which the first pass would exhaust."""
    if isinstance(batches, Iterator):
        raise ValueError(
            "batches: a one-shot iterator cannot be passed over several times; pass a list or a DataLoader"
        )


def require_eval(network: nn.Module) -> None:
    """Raise ValueError for a network whose outputs for one sample depend on the others of its minibatch, or on chance.

    That is one that is in training mode, in whole or in part, or has batch norm without running statistics.
    """
    for name, module in network.named_modules():
        where = f"network.{name}" if name else "network"
        if module.training:
            raise ValueError(f"{where}: is in training mode, also after eval(); a network is measured in eval mode")
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise ValueError(
                f"{where}: batch norm without running statistics normalises by the minibatch, also in eval mode; "
                "give it track_running_stats=True"
            )


def finite_outputs(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network, raising ValueError where its outputs are not finite (an argmax over NaN is a class as any)."""

    def forward(inputs: Tensor) -> Tensor:
        outputs: Tensor = network(inputs)
        if not outputs.isfinite().all():
            raise ValueError("network: its outputs on the batches are not finite, they cannot be measured")
        return outputs

    return forward


@contextmanager
def left_as_found(network: nn.Module) -> Iterator[list[Tensor]]:
    """Eval mode inside; afterwards weights, buffers, modes and torch's generators are as before, whatever happened.

    Yields copies of the weights, in the order of the parameters. Gradients are not touched.

    Raises:
        ValueError: the network cannot be measured in eval mode (`require_eval`).
    """
    modes = {module: module.training for module in network.modules()}
    tensors = [*network.parameters(), *network.buffers()]
    saved = [tensor.detach().clone() for tensor in tensors]

    def put_back() -> None:
        with torch.no_grad():
            for tensor, value in zip(tensors, saved, strict=True):
                tensor.copy_(value)
        for module, training in modes.items():
            module.training = training

    devices = {tensor.device for tensor in tensors if tensor.device.type == "cuda"}
    with torch.random.fork_rng(list(devices)):  # a network may draw in eval mode too
        try:
            network.eval()
            require_eval(network)
            yield saved[: len(list(network.parameters()))]
        finally:
            try:
                put_back()
            except BaseException:  # Ctrl-C in the midst of it
                put_back()
                raise
