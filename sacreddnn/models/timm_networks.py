"""Networks of timm by its own names, adapted to the images and classes of a data set."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn

from sacreddnn.models import checks, pretrained_weights
from sacreddnn.models.probe import check_output


@cache
def architectures() -> list[str]:
    """The names of all architectures of timm, without the tags of their weights."""
    import timm

    return timm.list_models()


def build(
    *,
    architecture: str,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    dropout: float = 0.0,
    drop_path: float = 0.0,
    pretrained: bool | str = False,
) -> nn.Module:
    """A network of timm.

    Args:
        architecture: timm's name, with the tag of its weights after a dot if others than the default are
            meant.
        num_classes: number of outputs; pretrained weights of another number of classes leave the classifier
            random.
        in_channels: channels of the images; pretrained weights of the first layer are summed or repeated to
            fit.
        image_size: (height, width); networks of a fixed size are built for it.
        dropout: rate before the classifier, in [0, 1).
        drop_path: rate of stochastic depth, in [0, 1).
        pretrained: True downloads timm's weights; a path reads a state dict from disk.

    Raises:
        ValueError: an option that this architecture does not take, images that do not fit it.
        OSError: pretrained weights that cannot be read or downloaded.
    """
    options: dict[str, Any] = {}
    if checks.rate("dropout", dropout):
        options["drop_rate"] = dropout
    if checks.rate("drop_path", drop_path):
        options["drop_path_rate"] = drop_path
    network = create(architecture, num_classes, in_channels, image_size, pretrained, **options)
    check_output(network, num_classes, in_channels, image_size)
    return network


def create(
    architecture: str,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    pretrained: bool | str = False,
    **options: Any,
) -> Any:
    """The network timm makes of its own `options`; other arguments, and errors, as of `build`."""
    import timm

    base, _, tag = architecture.partition(".")
    if tag:
        checks.choice("name", architecture, timm.list_models(base + "*", include_tags=True))
    if getattr(timm.get_pretrained_cfg(architecture), "fixed_input_size", False):
        options["img_size"] = image_size
    options |= {"num_classes": num_classes, "in_chans": in_channels}
    try:
        network = timm.create_model(architecture, **options)
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        line = f"model.name: timm/{architecture} cannot be built with {options}: {reason}"
        if "img_size" in options and not isinstance(error, TypeError):
            raise checks.ImageSizeError(f"{line}; {checks.OTHER_SIZE}") from error
        raise ValueError(line) from error
    if pretrained is True:
        if not timm.is_model_pretrained(architecture):
            raise ValueError(f"model.pretrained: timm has no weights for {architecture}; set pretrained to false")
        with pretrained_weights.downloading(f"timm/{architecture}"):
            return timm.create_model(architecture, pretrained=True, **options)
    pretrained_weights.load(network, pretrained)
    return network
