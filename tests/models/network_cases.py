"""A small instance of every file of networks: its name, options, and the images it gets."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sacreddnn import models


class Case(NamedTuple):
    name: str
    options: dict
    in_channels: int
    image_size: int

    def build(self, seed: int | None = 0, num_classes: int = 3, **options) -> nn.Module:
        shape = {"num_classes": num_classes, "in_channels": self.in_channels, "image_size": self.image_size}
        return models.build(self.name, seed=seed, **shape, **{**self.options, **options})

    def images(self, batch_size: int = 2) -> Tensor:
        """Waves, not random numbers: the same on every machine."""
        count = batch_size * self.in_channels * self.image_size**2
        waves = torch.linspace(0, 50, count, dtype=torch.float64).sin().float()
        return waves.view(batch_size, self.in_channels, self.image_size, self.image_size)


CASES = {
    case.name: case
    for case in (
        Case("lenet", {"dropout": 0.1}, 1, 16),
        Case("lenet5", {"dropout": 0.1}, 1, 12),
        Case("mlp", {"hidden": [7, 5], "dropout": 0.1}, 1, 4),
        Case("resnet20", {}, 3, 8),
        Case("resnet18", {}, 3, 8),
        Case("preactresnet18", {}, 3, 8),
        Case("densenet121", {"stem": "cifar"}, 3, 8),
        Case("wrn", {"depth": 10, "width": 1, "dropout": 0.1}, 3, 8),
        Case("pyramidnet", {"depth": 29, "alpha": 9}, 3, 8),
        Case("efficientnet_b0", {}, 1, 32),
        Case("timm/test_resnet", {}, 1, 32),
        Case("torchvision/mobilenet_v3_small", {}, 1, 32),
    )
}
