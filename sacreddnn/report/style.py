"""How tables and figures name and colour things: one name, colour and marker per algorithm, everywhere the same.

The colours are those of Okabe and Ito (2008), told apart with every common form of colour blindness; the markers tell
the lines apart in black and white.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Look:
    """Name, colour and marker of an algorithm."""

    name: str
    color: str
    marker: str


# In the order of rows and lines. "rsgd x y" is Replicated-SGD with the whole budget for each replica.
ALGORITHMS = {
    "sgd": Look("SGD", "#404040", "o"),
    "esgd": Look("Entropy-SGD", "#0072B2", "s"),
    "rsgd": Look("Replicated-SGD", "#D55E00", "^"),
    "rsgd x y": Look("Replicated-SGD ×y", "#CC79A7", "v"),
    "sam": Look("SAM", "#009E73", "D"),
    "asam": Look("ASAM", "#56B4E9", "d"),
    "swa": Look("SWA", "#E69F00", "P"),
    "ema": Look("EMA", "#882255", "X"),
    "lpf": Look("LPF-SGD", "#999933", "<"),
    "weight_noise": Look("Weight noise", "#AA4499", ">"),
}
_SPARE = ("#332288", "#117733", "#661100", "#6699CC")  # of algorithms that are not in the list
_NAMES = {
    "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "nadam": "NAdam", "radam": "RAdam",
    "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "kmnist": "KMNIST", "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100", "svhn": "SVHN", "tiny_imagenet": "Tiny ImageNet", "imagenet": "ImageNet",
    "lenet": "LeNet", "lenet5": "LeNet-5", "smallconvnet": "SmallConvNet", "mlp": "MLP", "pyramidnet": "PyramidNet",
}  # fmt: skip
_FAMILIES = {
    "preactresnet": "PreAct-ResNet-",
    "efficientnet_b": "EfficientNet-B",
    "densenet": "DenseNet-",
    "pyramidnet": "PyramidNet-",
    "resnet": "ResNet-",
}
_UNITS = {"error": "%", "loss": "nats"}
_MARKER_OF_OTHERS = "*"

# Every figure is drawn with these and matplotlib's own defaults, whatever the reader's matplotlibrc says.
FIGURE = {
    "figure.figsize": (6.0, 4.0),
    "figure.dpi": 160,
    "savefig.dpi": 160,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "xtick.labelcolor": "#262626",
    "ytick.labelcolor": "#262626",
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,  # text that can be searched and edited
}
LINE_STYLES = ("-", "--", ":", "-.")
NOTE_COLOR = "#595959"


def algorithm_key(config: Mapping[str, Any]) -> str:
    """What tells a run's algorithm from others: its key in `ALGORITHMS` or its own name, and another base optimizer.

    >>> algorithm_key({"algorithm": {"name": "esgd", "optimizer": "adam"}})
    'esgd with adam'
    """
    algorithm = config.get("algorithm", {})
    key = str(algorithm.get("name", "?"))
    if key == "rsgd" and algorithm.get("budget") == "per_replica":
        key = "rsgd x y"
    if key == "weight_noise" and algorithm.get("noise_scale") == "filter":
        key = "lpf"
    optimizer = str(algorithm.get("optimizer", "sgd")).lower()
    return key if optimizer == "sgd" else f"{key} with {optimizer}"


def algorithm_name(config: Mapping[str, Any]) -> str:
    """The name for people, with the base optimizer where it is not SGD.

    >>> algorithm_name({"algorithm": {"name": "esgd", "optimizer": "adam"}})
    'Entropy-Adam'
    >>> algorithm_name({"algorithm": {"name": "rsgd", "budget": "per_replica", "replicas": 3}})
    'Replicated-SGD ×3'
    """
    return look(algorithm_key(config)).name.replace("×y", f"×{config['algorithm'].get('replicas', 'y')}")


def algorithm_rank(key: str) -> int:
    """The place of an algorithm in tables and legends; algorithms that are not listed come last."""
    return [*ALGORITHMS, key].index(key)


def look(key: str) -> Look:
    """Name, colour and marker of an algorithm; one that is not listed gets a colour that depends on its name only."""
    if key in ALGORITHMS:
        return ALGORITHMS[key]
    algorithm, _, optimizer = key.partition(" with ")
    name = ALGORITHMS[algorithm].name if algorithm in ALGORITHMS else algorithm
    if optimizer:
        base = _NAMES.get(optimizer, optimizer)
        name = name.replace("SGD", base) if "SGD" in name else f"{name} with {base}"
    return Look(name, _SPARE[zlib.crc32(key.encode()) % len(_SPARE)], _MARKER_OF_OTHERS)


def network_look(source: Mapping[str, Any]) -> Look:
    """Of a measured network: that of the algorithm it was trained by, or with the name of its file where none is known.

    >>> network_look({"file": "resnet18.pt"}).name
    'resnet18.pt'
    """
    if "algorithm" in source:
        return look(algorithm_key(source))
    return Look(str(source.get("file", "network")), "#404040", "o")


def display_name(name: str) -> str:
    """The name of a data set or network for people; its own name when there is no other.

    >>> display_name("fashion_mnist"), display_name("resnet18"), display_name("vit_tiny")
    ('Fashion-MNIST', 'ResNet-18', 'vit_tiny')
    """
    if name in _NAMES:
        return _NAMES[name]
    for family, printed in _FAMILIES.items():
        if name.startswith(family) and name.removeprefix(family).isdecimal():
            return printed + name.removeprefix(family)
    return name


def title(datasets: Sequence[str], models: Sequence[str]) -> str:
    """What the runs have in common: "LeNet on Fashion-MNIST", or several of either."""
    return " on ".join(", ".join(map(display_name, dict.fromkeys(names))) for names in (models, datasets))


def metric_label(metric: str) -> str:
    """The axis label of a metric ``split/network/quantity``, with its unit.

    >>> metric_label("test/center/error"), metric_label("train/minibatch/loss"), metric_label("training/lr")
    ('Test error (%)', 'Train loss of the minibatches (nats)', 'Training lr')
    """
    parts = metric.split("/")
    split, network, quantity = parts if len(parts) == 3 else (parts[0], "", " ".join(parts[1:]))
    words = f"{split} {quantity}".replace("_", " ").strip()
    where = {"center": "", "": "", "minibatch": " of the minibatches", "replicas": ", mean of the replicas"}
    unit = f" ({_UNITS[quantity]})" if quantity in _UNITS else ""
    return words[:1].upper() + words[1:] + where.get(network, f" of {network}") + unit
