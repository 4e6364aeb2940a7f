"""ResNets of He et al. for ImageNet, plain and pre-activated: timm's, with a stem for small images."""

from __future__ import annotations

from torch import nn

from sacreddnn.models import checks, stems, timm_networks


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
    """ResNet of He et al. 2016 (arXiv 1512.03385), the same network as torchvision's.

    Which stem the paper used for its ResNet-18 on CIFAR-10 is open; ours defaults to the one that keeps the
    resolution.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        image_size: (height, width) of the images, any.
        depth: 18, 34, 50, 101 or 152.
        stem: "imagenet" (7x7 convolution of stride 2, max pooling) or "cifar" (3x3 convolution of stride 1).
        zero_init: start the last batch norm of each block at scale 0, every block as the identity.
        dropout: rate before the classifier, in [0, 1).
        drop_path: rate of stochastic depth, in [0, 1).
        pretrained: as for `timm/NAME`; with the ImageNet stem only.
    """
    small = stems.check(stem, pretrained)
    network = timm_networks.create(
        f"resnet{depth}",
        num_classes,
        in_channels,
        image_size,
        pretrained,
        zero_init_last=checks.flag("zero_init", zero_init),
        drop_rate=checks.rate("dropout", dropout),
        drop_path_rate=checks.rate("drop_path", drop_path),
    )
    if small:
        network.conv1, network.maxpool = stems.small_convolution(in_channels, 64), nn.Identity()
    return network


def preact_resnet(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    depth: int,
    stem: str = "cifar",
    dropout: float = 0.0,
    drop_path: float = 0.0,
    pretrained: bool | str = False,
) -> nn.Module:
    """Pre-activation ResNet of He et al. 2016 (arXiv 1603.05027): batch norm and ReLU come first.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        image_size: (height, width) of the images, any.
        depth: 18, 34 or 50.
        stem: "imagenet" (7x7 convolution of stride 2, max pooling) or "cifar" (3x3 convolution of stride 1).
        dropout: rate before the classifier, in [0, 1).
        drop_path: rate of stochastic depth, in [0, 1).
        pretrained: as for `timm/NAME`; with the ImageNet stem only.
    """
    small = stems.check(stem, pretrained)
    network = timm_networks.create(
        f"resnetv2_{depth}",
        num_classes,
        in_channels,
        image_size,
        pretrained,
        drop_rate=checks.rate("dropout", dropout),
        drop_path_rate=checks.rate("drop_path", drop_path),
    )
    if small:
        network.stem.conv, network.stem.pool = stems.small_convolution(in_channels, 64), nn.Identity()
    return network
