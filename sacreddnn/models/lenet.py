"""LeNet-like convolutional networks: the paper's SmallConvNet, and LeNet-5.

Pooling comes before the ReLU. That is the same function with the same gradient, since the ReLU never decreases, at less
cost, since the ReLU sees a quarter of the values. An activation that also decreases (`activation`: gelu, silu,
quadratic ..) acts on the pooled values, as LeNet-5 had its own after the pooling.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from sacreddnn.models import checks


def lenet(*, num_classes: int, in_channels: int, image_size: tuple[int, int], dropout: float = 0.0) -> nn.Module:
    """The paper's SmallConvNet: conv 5x5 (20), max pooling, conv 5x5 (50), max pooling, 500 hidden units.

    Called `lenet` by the reference implementation. With 10 classes it has 431,080 weights for 28x28x1 images
    and 657,080 for 32x32x3.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        image_size: (height, width) of the images, at least 16.
        dropout: rate behind the hidden layer, in [0, 1).
    """
    checks.at_least("lenet", image_size, 16)
    # a 5x5 convolution takes 4 pixels, a pooling halves; twice
    height, width = (((side - 4) // 2 - 4) // 2 for side in image_size)
    layers = OrderedDict(
        conv1=nn.Conv2d(in_channels, 20, 5),
        pool1=nn.MaxPool2d(2),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(20, 50, 5),
        pool2=nn.MaxPool2d(2),
        relu2=nn.ReLU(),
        flatten=nn.Flatten(),
        hidden=nn.Linear(50 * height * width, 500),
        relu3=nn.ReLU(),
        dropout=nn.Dropout(checks.rate("dropout", dropout)),
        classifier=nn.Linear(500, num_classes),
    )
    return nn.Sequential(layers)


def lenet5(*, num_classes: int, in_channels: int, image_size: tuple[int, int], dropout: float = 0.0) -> nn.Module:
    """LeNet-5 of LeCun et al. 1998 with max pooling and ReLU: 6 and 16 filters, 120 and 84 units.

    As there, 28x28 images are padded to 32x32: 61,706 weights for one channel and 10 classes.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        image_size: (height, width) of the images, at least 12; those below 32 are padded by 2 pixels on each
            side.
        dropout: rate behind each of the two hidden layers, in [0, 1).
    """
    checks.at_least("lenet5", image_size, 12)
    checks.rate("dropout", dropout)
    padding = 2 if min(image_size) < 32 else 0
    height, width = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in image_size)
    layers = OrderedDict(
        conv1=nn.Conv2d(in_channels, 6, 5, padding=padding),
        pool1=nn.MaxPool2d(2),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(6, 16, 5),
        pool2=nn.MaxPool2d(2),
        relu2=nn.ReLU(),
        flatten=nn.Flatten(),
        hidden1=nn.Linear(16 * height * width, 120),
        relu3=nn.ReLU(),
        dropout1=nn.Dropout(dropout),
        hidden2=nn.Linear(120, 84),
        relu4=nn.ReLU(),
        dropout2=nn.Dropout(dropout),
        classifier=nn.Linear(84, num_classes),
    )
    return nn.Sequential(layers)
