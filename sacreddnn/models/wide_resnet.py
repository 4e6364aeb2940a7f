"""Wide residual networks."""

from __future__ import annotations

from torch import Tensor, nn

from sacreddnn.models import checks
from sacreddnn.models.initialization import initialize


class WideBlock(nn.Module):
    """Pre-activation block: shortcut(x) + conv(dropout(relu(BN(conv(relu(BN(x))))))).

    Args:
        in_channels: of the input.
        channels: of the output.
        stride: of the first convolution, 1 or 2.
        dropout: rate between the convolutions, in [0, 1).
    """

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.projection: nn.Module | None = None
        if stride > 1 or in_channels != channels:
            self.projection = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, ceil(H / stride), ceil(W / stride)) from (B, in_channels, H, W)."""
        active = self.relu1(self.bn1(x))
        # a projected shortcut starts behind the activation, an identity before it
        shortcut = x if self.projection is None else self.projection(active)
        return shortcut + self.conv2(self.dropout(self.relu2(self.bn2(self.conv1(active)))))


def wide_resnet(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    depth: int = 28,
    width: int = 10,
    dropout: float = 0.0,
) -> nn.Module:
    """WRN-depth-width of Zagoruyko and Komodakis 2016 (arXiv 1605.07146); `wrn16_4` is depth 16, width 4.

    Drawn as there from N(0, 2 / fan_out). WRN-28-10 has 36.5M weights with 3 channels and 10 classes.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        image_size: (height, width) of the images, any.
        depth: 6n + 4 with n >= 1.
        width: factor of the channels 16, 32 and 64 of the three stages.
        dropout: rate between the two convolutions of a block, in [0, 1); the paper's is 0.3.
    """
    if checks.count("depth", depth, 10) % 6 != 4:
        raise ValueError(f"model.depth: {depth} is not allowed; give 6n + 4: 10, 16, 22, 28, 40 ..")
    checks.count("width", width)
    checks.rate("dropout", dropout)
    layers: list[nn.Module] = [nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)]
    channels = 16
    for stage, base in enumerate((16, 32, 64)):
        for block in range((depth - 4) // 6):
            stride = 2 if stage and not block else 1
            layers.append(WideBlock(channels, base * width, stride, dropout))
            channels = base * width
    layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(channels, num_classes))
    initialize(network, "he_fan_out")
    return network
