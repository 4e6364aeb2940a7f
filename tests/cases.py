"""Tiny networks, losses and data with known answers, shared by all tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Vector(nn.Module):
    """A 'network' that is a plain vector of weights: losses on it have closed forms."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(start.clone())


class Quadratic:
    """loss(w) = 1/2 sum_i h_i (w_i - m_i)^2 + noise . w, with gradient h (w - m) + noise."""

    def __init__(self, curvature: Tensor, minimum: Tensor) -> None:
        self.h, self.m = curvature, minimum

    def loss(self, w: Tensor, noise: Tensor | float = 0.0) -> Tensor:
        return 0.5 * (self.h * (w - self.m).square()).sum() + (w * noise).sum()

    def closure(self, algorithm, networks, noises=None):
        """A closure over the networks (module or list of modules), one fixed gradient noise each."""
        networks = networks if isinstance(networks, list) else [networks]

        def closure():
            algorithm.zero_grad()
            losses = [self.loss(network.w, 0.0 if noises is None else noises[a]) for a, network in enumerate(networks)]
            sum(losses).backward()
            return torch.stack([loss.detach() for loss in losses])

        return closure


def quadratic(size: int = 7, dtype: torch.dtype = torch.float64) -> tuple[Quadratic, Tensor]:
    """A quadratic with curvatures from 0.1 to 2 and a starting point, both fixed."""
    generator = torch.Generator().manual_seed(1)
    curvature = torch.linspace(0.1, 2.0, size, dtype=dtype)
    minimum = torch.randn(size, generator=generator, dtype=dtype)
    start = torch.randn(size, generator=generator, dtype=dtype)
    return Quadratic(curvature, minimum), start


def tiny_network(seed: int = 0, *, batch_norm: bool = True, channels: int = 1) -> nn.Sequential:
    """A small convolutional network with or without batch norm for 8x8 images and 3 classes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1),
            *([nn.BatchNorm2d(4)] if batch_norm else []),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 3),
        )


def tiny_batches(num_batches: int = 4, size: int = 6, seed: int = 0, channels: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Minibatches of noise images with labels that depend on them (so that they can be learned)."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(num_batches):
        labels = torch.randint(3, (size,), generator=generator)
        images = torch.randn(size, channels, 8, 8, generator=generator) + labels.view(-1, 1, 1, 1)
        batches.append((images, labels))
    return batches
