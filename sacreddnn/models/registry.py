"""The names of all networks, and where each is written.

To add a network, write a function in a file of this folder that takes the keywords num_classes, in_channels,
image_size and, each with its default, the network's own options, and returns a module; then add one line to
`NETWORKS`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from sacreddnn.models import checks

SHAPE = ("num_classes", "in_channels", "image_size")  # what every network is told


@dataclass(frozen=True)
class Network:
    """Where a network is written, "file.function" in this folder, and the options that its name fixes."""

    constructor: str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Callable[..., nn.Module]:
        """The function that builds it. Files are imported when first needed, so that starting stays quick."""
        file, function = self.constructor.split(".")
        return getattr(importlib.import_module(f"{__package__}.{file}"), function)

    def options(self) -> dict[str, Any]:
        """Its options and their defaults: the keywords of its function that the name does not fix."""
        parameters = inspect.signature(self.load()).parameters.values()
        return {p.name: p.default for p in parameters if p.name not in SHAPE and p.name not in self.fixed}


NETWORKS: dict[str, Network] = {
    "lenet": Network("lenet.lenet"),
    "smallconvnet": Network("lenet.lenet"),
    "lenet5": Network("lenet.lenet5"),
    "mlp": Network("mlp.mlp"),
    **{f"resnet{d}": Network("cifar_resnet.resnet", {"depth": d}) for d in (20, 32, 44, 56, 110)},
    **{f"resnet{d}": Network("resnet.resnet", {"depth": d}) for d in (18, 34, 50, 101, 152)},
    **{f"preactresnet{d}": Network("resnet.preact_resnet", {"depth": d}) for d in (18, 34, 50)},
    **{f"densenet{d}": Network("densenet.densenet", {"depth": d}) for d in (121, 161, 169, 201)},
    "wrn": Network("wide_resnet.wide_resnet"),
    "wrn28_10": Network("wide_resnet.wide_resnet", {"depth": 28, "width": 10}),
    "pyramidnet": Network("pyramidnet.pyramidnet"),
    "pyramidnet272": Network("pyramidnet.pyramidnet", {"depth": 272, "block": "bottleneck"}),
    **{f"efficientnet_b{b}": Network("efficientnet.efficientnet", {"scale": b}) for b in range(8)},
}

# Names with numbers in them: how they are written, their pattern, and the network that the numbers make.
FAMILIES: dict[str, tuple[str, Callable[[re.Match[str]], Network]]] = {
    "mlp_H1_H2": (
        r"mlp((?:_[1-9]\d*)+)",
        lambda match: Network("mlp.mlp", {"hidden": tuple(int(units) for units in match[1][1:].split("_"))}),
    ),
    "wrnD_K": (
        r"wrn(\d+)_(\d+)",
        lambda match: Network("wide_resnet.wide_resnet", {"depth": int(match[1]), "width": int(match[2])}),
    ),
    "pyramidnetD_A": (
        r"pyramidnet(\d+)_(\d+)",
        lambda match: Network("pyramidnet.pyramidnet", {"depth": int(match[1]), "alpha": int(match[2])}),
    ),
}

LIBRARIES = ("timm", "torchvision")


def find(name: str) -> Network:
    """The network of that name: of `NETWORKS`, of `FAMILIES`, `timm/NAME` or `torchvision/NAME`.

    Raises:
        ValueError: an unknown name, answered with the nearest ones of ours and of both libraries.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    for pattern, network in FAMILIES.values():
        if match := re.fullmatch(pattern, str(name)):
            return network(match)
    library, _, architecture = str(name).partition("/")
    if library in LIBRARIES and architecture.partition(".")[0] in _library_names(library):
        return Network(f"{library}_networks.build", {"architecture": architecture})
    raise _unknown_network(str(name))


def names() -> list[str]:
    """The names of our networks, then the patterns of names with numbers, which are capitals in them."""
    return [*NETWORKS, *FAMILIES]


def _library_names(library: str) -> list[str]:
    return importlib.import_module(f"{__package__}.{library}_networks").architectures()


def _unknown_network(name: str) -> ValueError:
    theirs = {library: _library_names(library) for library in LIBRARIES}
    same = [f"{library}/{name}" for library in LIBRARIES if name in theirs[library]]
    known = [
        *names(),
        *(f"{library}/{architecture}" for library in LIBRARIES for architecture in theirs[library]),
    ]
    return checks.unknown("model.name", name, same or known)
