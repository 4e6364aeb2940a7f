"""Networks by name: built, initialised and adapted in the one way that holds for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sacreddnn.models import checks, registry
from sacreddnn.models.activations import disable_inplace, replace_activations
from sacreddnn.models.initialization import initialize, perturb, rescale

COMMON: dict[str, Any] = {"init": "default", "init_scale": 1.0, "perturb": 0.0, "activation": None}


def options(name: str) -> dict[str, Any]:
    """The options that the named network takes, with their defaults: its own, then those that all take.

    >>> options("lenet")
    {'dropout': 0.0, 'init': 'default', 'init_scale': 1.0, 'perturb': 0.0, 'activation': None}
    """
    return {**registry.find(name).options(), **COMMON}


def build(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    image_size: int | tuple[int, int],
    seed: int | None = None,
    **options: Any,
) -> nn.Module:
    """A network that makes scores (batch, num_classes) of images (batch, in_channels, H, W).

    Args:
        name: one of `registry.names()`, `timm/NAME` or `torchvision/NAME`.
        num_classes: number of outputs, at least 1.
        in_channels: channels of the images, at least 1.
        image_size: height and width of the images in pixels, one integer if they are equal.
        seed: of the initial weights, which are a function of it alone; the global random state is then
            neither used nor changed. None draws from the global random state.
        **options: the network's own options (`options(name)` lists them, the function of the network explains
            them), and

            - init: how weights are drawn, one of `initialization.INITIALIZERS`; "default" is the network's
              own way.
            - init_scale: factor > 0 of the drawn weights.
            - perturb: relative strength >= 0 of multiplicative noise on all parameters after that.
            - activation: one of `activations.ACTIVATIONS` in place of the network's own; None keeps it.

    Returns:
        The network in training mode, float32, on the CPU (or on "meta" under `torch.device("meta")`), without
        in-place activations.

    Raises:
        ValueError: an unknown network or option, a value out of range, images that the network does not take.
        OSError: pretrained weights that cannot be read or downloaded.
    """
    network_options, common = _split(name, options)
    num_classes, in_channels = (
        checks.count("num_classes", num_classes),
        checks.count("in_channels", in_channels),
    )
    size = checks.image_size(image_size)
    constructor = registry.find(name).load()
    # on the CPU even where the default device is another: a seed means the same weights on every machine
    device = "meta" if torch.get_default_device().type == "meta" else "cpu"
    with _seeded(seed), torch.device(device):
        network = constructor(num_classes=num_classes, in_channels=in_channels, image_size=size, **network_options)
        if common["activation"] is not None:
            replace_activations(network, common["activation"], in_channels, size)
        disable_inplace(network)
        initialize(network, common["init"])
        rescale(network, common["init_scale"])
        perturb(network, common["perturb"])
    return network.train()


def count_parameters(network: nn.Module) -> int:
    """Number of trainable weights of a network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _split(name: str, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options for the network's function (with those its name fixes), and the common ones."""
    network = registry.find(name)
    known = {**network.options(), **COMMON}
    for option in given:
        if option not in known:
            fixed = f"; {name} fixes it" if option in network.fixed else ""
            raise ValueError(f"model.{option}: {name} takes no such option{fixed}; it takes {', '.join(known)}")
    own = {option: value for option, value in given.items() if option not in COMMON}
    return {**network.fixed, **own}, {**COMMON, **{o: v for o, v in given.items() if o in COMMON}}


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Random numbers follow the seed inside; the global state is as before outside. None changes nothing."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which would seed the accelerators too
        torch.default_generator.manual_seed(checks.count("seed", seed, minimum=0))
        yield
