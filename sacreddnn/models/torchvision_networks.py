"""Networks of torchvision by its own names, adapted to the images and classes of a data set."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn

from sacreddnn.models import checks, pretrained_weights
from sacreddnn.models.probe import check_output


@cache
def architectures() -> list[str]:
    """The names of all classification networks of torchvision."""
    import torchvision.models

    return torchvision.models.list_models(module=torchvision.models)


def build(
    *,
    architecture: str,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    dropout: float | None = None,
    pretrained: bool | str = False,
) -> nn.Module:
    """A network of torchvision.

    Args:
        architecture: torchvision's name.
        num_classes: number of outputs; pretrained weights of another number of classes leave the classifier
            random.
        in_channels: channels of the images; pretrained weights of the first layer are summed or repeated to
            fit.
        image_size: (height, width); networks of a fixed size are built for it.
        dropout: rate in [0, 1), for the architectures that take one; None leaves torchvision's.
        pretrained: True downloads torchvision's best weights; a path reads a state dict from disk. They were
            trained on images normalised as by dataset.normalization=imagenet: set it. Those of googlenet and
            inception_v3, downloaded or on disk, want (x - 0.5) / 0.5 of pixels x in [0, 1]: as torchvision does,
            the network makes this of its inputs itself, which it takes to be normalised as by "imagenet".

    Raises:
        ValueError: an option that this architecture does not take, images that do not fit it.
        OSError: pretrained weights that cannot be read or downloaded.
    """
    import torchvision.models

    options: dict[str, Any] = {"num_classes": num_classes}
    if dropout is not None:
        options["drop_rate" if architecture.startswith("densenet") else "dropout"] = checks.rate("dropout", dropout)
    if architecture.startswith("vit_"):
        options["image_size"] = image_size[0]
    elif architecture.startswith("maxvit"):
        options["input_size"] = image_size
    elif architecture in ("googlenet", "inception_v3"):
        if pretrained and in_channels != 3:
            raise ValueError(
                f"model.pretrained: torchvision/{architecture} rescales 3 channels as its weights want them, the "
                f"images have {in_channels}; set pretrained to false or take another network"
            )
        # without the auxiliary classifiers, which make three outputs in training
        options |= {"aux_logits": False, "init_weights": True, "transform_input": bool(pretrained)}
    try:
        network = torchvision.models.get_model(architecture, weights=None, **options)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        if dropout is not None and "unexpected keyword argument 'drop" in str(error):
            raise ValueError(f"model.dropout: torchvision/{architecture} has none; leave it out") from error
        reason = " ".join(str(error).split())[:200]
        line = f"model.name: torchvision/{architecture} cannot be built with {options}: {reason}"
        if options.keys() & {"image_size", "input_size"} and not isinstance(error, TypeError):
            raise checks.ImageSizeError(f"{line}; {checks.OTHER_SIZE}") from error
        raise ValueError(line) from error
    _replace_first_layer(network, in_channels)
    check_output(network, num_classes, in_channels, image_size)
    if pretrained is True:
        weights: Any = torchvision.models.get_model_weights(architecture)
        with pretrained_weights.downloading(f"torchvision/{architecture}"):
            state = weights.DEFAULT.get_state_dict(progress=False, check_hash=True, weights_only=True)
        pretrained_weights.fit(network, _without_auxiliary(state), f"torchvision/{architecture}")
    elif isinstance(pretrained, str):
        pretrained_weights.fit(network, _without_auxiliary(pretrained_weights.read(pretrained)), pretrained)
    else:
        pretrained_weights.load(network, pretrained)
    return network


def _without_auxiliary(state: dict[str, Any]) -> dict[str, Any]:
    """The weights without those of auxiliary classifiers."""
    return {name: tensor for name, tensor in state.items() if not name.lower().startswith("aux")}


def _replace_first_layer(network: nn.Module, in_channels: int) -> None:
    """Give the first convolution that number of input channels, drawn anew from N(0, 2 / fan_out)."""
    name, conv = next((name, m) for name, m in network.named_modules() if isinstance(m, nn.Conv2d))
    if conv.in_channels == in_channels:
        return
    parent = network.get_submodule(name.rpartition(".")[0])
    fresh = nn.Conv2d(
        in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
    setattr(parent, name.rpartition(".")[2], fresh)
