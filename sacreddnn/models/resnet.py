"""ResNets with basic and bottleneck blocks: timm's, with the ImageNet stem or one for small images."""

from __future__ import annotations

from torch import nn

from sacreddnn.models import checks, timm_networks

STEMS = ("cifar", "imagenet")


def resnet(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    depth: int,
    stem: str = "cifar",
    zero_init: bool = False,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    pretrained: bool | str = False,
) -> nn.Module:
    """ResNet of depth 18, 34 or 50 of He et al. 2016 (arXiv 1512.03385), the same network as torchvision's.

    Which stem the paper used for its ResNet-18 on CIFAR-10 is open; ours defaults to the one that keeps the resolution.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        image_size: (height, width) of the images, any.
        depth: 18, 34 or 50.
        stem: "imagenet" (7x7 convolution of stride 2 and max pooling) or "cifar" (3x3 convolution of stride 1).
        zero_init: start the last batch norm of each block at scale 0, so that every block starts as the identity.
        dropout: rate before the classifier, in [0, 1).
        drop_path: rate of stochastic depth, in [0, 1).
        pretrained: as for `timm/NAME`; with the ImageNet stem only.
    """
    checks.stem(stem, STEMS, pretrained)
    network = timm_networks.create(
        f"resnet{depth}",
        num_classes,
        in_channels,
        image_size,
        pretrained,
        zero_init_last=bool(zero_init),
        drop_rate=checks.rate("dropout", dropout),
        drop_path_rate=checks.rate("drop_path", drop_path),
    )
    if stem == "cifar":
        network.conv1 = nn.Conv2d(in_channels, 64, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    return network
