"""The ResNets of He et al. for CIFAR: 20, 32, 44, 56, 110 layers of 16, 32 and 64 channels."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from sacreddnn.models import checks
from sacreddnn.models.initialization import initialize

WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """relu(shortcut(x) + BN(conv(relu(BN(conv(x)))))) with a shortcut that has no weights.

    Args:
        in_channels: of the input.
        channels: of the output.
        stride: of the first convolution, 1 or 2.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.stride, self.new_channels = stride, channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, ceil(H / stride), ceil(W / stride)) from (B, in_channels, H, W)."""
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.stride > 1 or self.new_channels:
            # option A of the paper: every other pixel, new channels are zero
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return self.relu2(out + x)


def resnet(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    depth: int,
    dropout: float = 0.0,
) -> nn.Module:
    """ResNet of 6n + 2 layers of He et al. 2016 (arXiv 1512.03385), section 4.2, with shortcuts of option A.

    Drawn as there from N(0, 2 / fan_in). 0.27M weights for depth 20, 1.7M for 110, with 3 channels and 10
    classes.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        image_size: (height, width) of the images, any.
        depth: 6n + 2 with n >= 1.
        dropout: rate before the classifier, in [0, 1).
    """
    if checks.count("depth", depth, 8) % 6 != 2:
        raise ValueError(f"model.depth: {depth} is not allowed; give 6n + 2: 20, 32, 44, 56, 110 ..")
    layers: list[nn.Module] = [nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)]
    layers += [nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()]
    width = WIDTHS[0]
    for stage, channels in enumerate(WIDTHS):
        for block in range((depth - 2) // 6):
            layers.append(BasicBlock(width, channels, stride=2 if stage and not block else 1))
            width = channels
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(checks.rate("dropout", dropout))]
    network = nn.Sequential(*layers, nn.Linear(width, num_classes))
    initialize(network, "he")
    return network
