"""DenseNets: timm's, with the ImageNet stem or one for small images."""

from __future__ import annotations

from torch import nn

from sacreddnn.models import checks, stems, timm_networks


def densenet(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    depth: int,
    stem: str = "imagenet",
    dropout: float = 0.0,
    layer_dropout: float = 0.0,
    pretrained: bool | str = False,
) -> nn.Module:
    """DenseNet-BC of Huang et al. 2017 (arXiv 1608.06993), the same network as torchvision's.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        image_size: (height, width) of the images: at least 32 with the ImageNet stem, 8 with the other.
        depth: 121, 161, 169 or 201.
        stem: "imagenet" (7x7 convolution of stride 2, max pooling) or "cifar" (3x3 convolution of stride 1).
        dropout: rate before the classifier, in [0, 1).
        layer_dropout: rate behind each dense layer, in [0, 1), the paper's dropout.
        pretrained: as for `timm/NAME`; with the ImageNet stem only.
    """
    small = stems.check(stem, pretrained)
    checks.at_least(f"densenet{depth} with the {stem} stem", image_size, 8 if small else 32)
    network = timm_networks.create(
        f"densenet{depth}",
        num_classes,
        in_channels,
        image_size,
        pretrained,
        drop_rate=checks.rate("dropout", dropout),
        proj_drop_rate=checks.rate("layer_dropout", layer_dropout),
    )
    if small:
        features = network.features
        features.conv0 = stems.small_convolution(in_channels, features.conv0.out_channels)
        features.pool0 = nn.Identity()
    return network
