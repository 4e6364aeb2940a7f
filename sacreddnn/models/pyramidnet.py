"""PyramidNet: residual networks whose width grows by a little in every block, with ShakeDrop."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from sacreddnn.models import checks
from sacreddnn.models.initialization import initialize
from sacreddnn.models.shakedrop import LEVELS, ShakeDrop, linear_decay

BLOCKS = ("bottleneck", "basic")
STEM_WIDTH = 16


class PyramidBlock(nn.Module):
    """shortcut(x) + ShakeDrop(residual(x)); the shortcut, without weights, pools and adds zero channels.

    Args:
        in_channels: of the input.
        width: of the block; its output has as many channels, or four times as many in a bottleneck.
        stride: 1 or 2.
        bottleneck: 1x1, 3x3, 1x1 convolutions instead of two of 3x3.
        shake: the layer behind the residual branch.
    """

    def __init__(self, in_channels: int, width: int, stride: int, bottleneck: bool, shake: ShakeDrop) -> None:
        super().__init__()
        self.out_channels = 4 * width if bottleneck else width
        if bottleneck:
            convolutions = [
                nn.Conv2d(in_channels, width, 1, bias=False),
                nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
                nn.Conv2d(width, self.out_channels, 1, bias=False),
            ]
        else:
            convolutions = [
                nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
            ]
        # batch norm before each convolution and at the end; no ReLU before the first convolution
        layers: list[nn.Module] = [nn.BatchNorm2d(in_channels), convolutions[0]]
        for convolution in convolutions[1:]:
            layers += [nn.BatchNorm2d(width), nn.ReLU(), convolution]
        self.residual = nn.Sequential(*layers, nn.BatchNorm2d(self.out_channels))
        self.shake = shake
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if stride > 1 else nn.Identity()
        self.new_channels = self.out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, out_channels, ceil(H / stride), ceil(W / stride)) from (B, in_channels, H, W)."""
        shortcut = F.pad(self.pool(x), (0, 0, 0, 0, 0, self.new_channels))
        return shortcut + self.shake(self.residual(x))


def pyramidnet(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    depth: int = 272,
    alpha: float = 200,
    block: str = "bottleneck",
    survival: float = 0.5,
    shakedrop_level: str = "image",
    dropout: float = 0.0,
) -> nn.Module:
    """PyramidNet of Han et al. 2017 (arXiv 1610.02915) with ShakeDrop; by default PyramidNet-272-200.

    The width of block k of N is floor(16 + alpha k / N), eq. 3. Drawn as there from N(0, 2 / fan_out).
    PyramidNet-272-200 has 26.0M weights with 3 channels and 10 classes.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        image_size: (height, width) of the images, any.
        depth: 9n + 2 with bottleneck blocks, 6n + 2 with basic ones, n >= 1.
        alpha: widening, what the last block is wider than the first convolution, >= 0.
        block: "bottleneck" or "basic".
        survival: probability, in (0, 1], that ShakeDrop leaves the last block alone; it falls linearly from 1
            to this. 1 turns ShakeDrop off.
        shakedrop_level: what shares ShakeDrop's random factors, "image" or "batch".
        dropout: rate before the classifier, in [0, 1).
    """
    bottleneck = checks.choice("block", block, BLOCKS) == "bottleneck"
    layers_per_block = 9 if bottleneck else 6
    if checks.count("depth", depth, layers_per_block + 2) % layers_per_block != 2:
        raise ValueError(f"model.depth: {depth} is not allowed; {block} blocks make {layers_per_block}n + 2")
    checks.number("alpha", alpha, 0.0)
    checks.choice("shakedrop_level", shakedrop_level, LEVELS)
    survivals = linear_decay(3 * ((depth - 2) // layers_per_block), checks.survival("survival", survival))

    layers: list[nn.Module] = [nn.Conv2d(in_channels, STEM_WIDTH, 3, padding=1, bias=False)]
    layers.append(nn.BatchNorm2d(STEM_WIDTH))
    channels = STEM_WIDTH
    for k, probability in enumerate(survivals):
        # the second and the third stage start with half the resolution
        stride = 2 if k and k % (len(survivals) // 3) == 0 else 1
        width = int(STEM_WIDTH + alpha * (k + 1) / len(survivals))
        shake = ShakeDrop(probability, shakedrop_level)
        pyramid = PyramidBlock(channels, width, stride, bottleneck, shake)
        layers.append(pyramid)
        channels = pyramid.out_channels
    layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers.append(nn.Dropout(checks.rate("dropout", dropout)))
    network = nn.Sequential(*layers, nn.Linear(channels, num_classes))
    initialize(network, "he_fan_out")
    return network
