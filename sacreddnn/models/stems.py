"""First layers: the ImageNet stem of a network of timm, or one that keeps the resolution of small images."""

from __future__ import annotations

from torch import nn

from sacreddnn.models import checks

STEMS = ("cifar", "imagenet")


def check(stem: object, pretrained: bool | str) -> bool:
    """Whether the stem is to be replaced by the one for small images.

    Raises:
        ValueError: an unknown stem, or pretrained weights, which belong to the ImageNet stem, with another.
    """
    small = checks.choice("stem", stem, STEMS) == "cifar"
    if small and pretrained is not False:
        raise ValueError("model.pretrained: the weights belong to the ImageNet stem; set stem to imagenet")
    return small


def small_convolution(in_channels: int, channels: int) -> nn.Conv2d:
    """The first convolution for small images: 3x3, stride 1, without bias, drawn from N(0, 2 / fan_out)."""
    convolution = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
