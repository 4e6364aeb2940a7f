"""What a network makes of images of a given shape, found without data or computation."""

from __future__ import annotations

import copy

import torch
from torch import nn

from sacreddnn.models import checks


def output_shape(network: nn.Module, in_channels: int, size: tuple[int, int], num_images: int = 2) -> tuple[int, ...]:
    """Shape of the network's output for so many images in training mode.

    A copy of the network runs on the device "meta", which knows shapes only. It is the training mode that is
    tried, because some networks return more than one tensor in it, and batch norm refuses single values.

    Args:
        network: left as it is.
        in_channels: of the images.
        size: (height, width) of the images in pixels.
        num_images: at least 1.

    Raises:
        ImageSizeError: the images do not fit the network.
        ValueError: its output is not one tensor.
    """
    label = f"{in_channels}x{size[0]}x{size[1]}"
    twin = copy.deepcopy(network).to("meta").train()
    dtype = next((p.dtype for p in twin.parameters()), torch.get_default_dtype())
    images = torch.empty(num_images, in_channels, *size, device="meta", dtype=dtype)
    try:
        with torch.no_grad():
            output = twin(images)
    except Exception as error:  # the libraries raise whatever they like for shapes that do not fit
        reason = " ".join(str(error).split())[:160]
        raise checks.ImageSizeError(
            f"image_size: {type(network).__name__} does not take images of {label} ({reason})"
        ) from error
    if not isinstance(output, torch.Tensor):
        raise ValueError(
            f"model.name: {type(network).__name__} returns {type(output).__name__}, not one tensor of scores"
        )
    return tuple(output.shape)


def check_output(network: nn.Module, num_classes: int, in_channels: int, size: tuple[int, int]) -> None:
    """Raise ValueError unless the network makes `num_classes` scores of each image of that shape."""
    shape = output_shape(network, in_channels, size)
    if shape != (2, num_classes):
        raise ValueError(
            f"model.name: {type(network).__name__} is not a classifier of {num_classes} classes: "
            f"2 images give an output of shape {shape}"
        )
