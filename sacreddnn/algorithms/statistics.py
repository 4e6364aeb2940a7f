"""Running statistics (of batch norm) while a network is evaluated away from its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def frozen_statistics(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Undo at the end of the context whatever forward passes wrote into the networks' buffers.

    Batch norm still normalises by its minibatch, as in training; only its running mean, variance and counter stay what
    they were: statistics of the weights that are trained, not of perturbed ones. Every kind of buffer is covered.
    """
    buffers = [buffer for network in networks for buffer in network.buffers()]
    saved = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, saved, strict=True):
                buffer.copy_(value)
