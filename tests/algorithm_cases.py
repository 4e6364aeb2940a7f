"""Every registered algorithm with options under which all of it happens within a few steps."""

from __future__ import annotations

import torch
from torch import nn

from sacreddnn.algorithms import ALGORITHMS, Algorithm

OPTIONS: dict[str, dict] = {
    "sgd": {},
    "esgd": {"inner_steps": 5, "noise": 0.01, "coupling": "auto", "lr": 0.5},
    "rsgd": {"coupling_period": 2, "use_center": True},
    "sam": {},
    "asam": {},
    "swa": {"start": 0.3, "period": 2},
    "ema": {"decay": 0.8},
    "weight_noise": {"noise": 0.05, "num_draws": 3},
}
MOMENTUM = {"momentum": 0.9, "nesterov": True}


def num_networks(name: str) -> int:
    return 3 if name == "rsgd" else 1


def make_algorithm(name: str, networks: list[nn.Module], **options) -> Algorithm:
    """The algorithm `name` with the options above, overridden by those given."""
    options = {"lr": 0.1, **MOMENTUM, **OPTIONS[name], **options, "networks": networks}
    parameters = [network.parameters() for network in networks]
    return ALGORITHMS[name](parameters if name == "rsgd" else parameters[0], **options)


def closure_of(algorithm: Algorithm, networks: list[nn.Module], batches, dtype: torch.dtype = torch.float32):
    """A closure as anyone would write it, one minibatch per network."""

    def closure():
        algorithm.zero_grad()
        losses = []
        for network, (x, y) in zip(networks, batches, strict=True):
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                losses.append(nn.functional.cross_entropy(network(x), y))
        sum(losses).backward()
        return torch.stack(losses).detach()

    return closure
