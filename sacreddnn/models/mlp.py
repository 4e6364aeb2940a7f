"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sacreddnn.models import checks


def mlp(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    hidden: Sequence[int] = (256, 256),
    dropout: float = 0.0,
) -> nn.Module:
    """A fully connected network with ReLU; the name `mlp_400_100` is one of 400 and 100 hidden units.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images.
        image_size: (height, width) of the images, any.
        hidden: units of each hidden layer; none makes a linear classifier.
        dropout: rate behind each hidden layer, in [0, 1).
    """
    if not isinstance(hidden, list | tuple):
        raise ValueError(f"model.hidden: {hidden!r} is not allowed; give a list of layer widths such as [256, 256]")
    checks.rate("dropout", dropout)
    layers: list[nn.Module] = [nn.Flatten()]
    width = in_channels * image_size[0] * image_size[1]
    for units in hidden:
        layers += [nn.Linear(width, checks.count("hidden", units)), nn.ReLU(), nn.Dropout(dropout)]
        width = units
    return nn.Sequential(*layers, nn.Linear(width, num_classes))
