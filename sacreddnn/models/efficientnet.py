"""EfficientNets: timm's, with the dropout rates of the paper."""

from __future__ import annotations

from torch import nn

from sacreddnn.models import checks, stems, timm_networks

DROPOUT = (0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5)  # of B0 to B7


def efficientnet(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    scale: int,
    stem: str = "imagenet",
    dropout: float | None = None,
    drop_path: float = 0.2,
    pretrained: bool | str = False,
) -> nn.Module:
    """EfficientNet-B`scale` of Tan and Le 2019 (arXiv 1905.11946); B0 has 5.3M weights with 1000 classes.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        image_size: (height, width) of the images, any; the ImageNet stem is meant for 224 and more.
        scale: 0 to 7.
        stem: "imagenet" (first convolution of stride 2) or "cifar" (of stride 1).
        dropout: rate before the classifier, in [0, 1); None is the paper's, 0.2 for B0 to 0.5 for B7.
        drop_path: rate of stochastic depth, in [0, 1).
        pretrained: as for `timm/NAME`; with the ImageNet stem only.
    """
    small = stems.check(stem, pretrained)
    network = timm_networks.create(
        f"efficientnet_b{scale}",
        num_classes,
        in_channels,
        image_size,
        pretrained,
        drop_rate=DROPOUT[scale] if dropout is None else checks.rate("dropout", dropout),
        drop_path_rate=checks.rate("drop_path", drop_path),
    )
    if small:
        network.conv_stem.stride = (1, 1)
    return network
