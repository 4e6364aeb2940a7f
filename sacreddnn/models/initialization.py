"""Initial weights: by name as in the papers, rescaled, perturbed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sacreddnn.models import checks


def _he(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="relu")


def _he_fan_out(weight: Tensor) -> None:
    # a classifier of 10 classes would get a standard deviation of 0.45 from its fan-out
    nn.init.kaiming_normal_(weight, mode="fan_out" if weight.ndim > 2 else "fan_in", nonlinearity="relu")


def _lecun(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="linear")


INITIALIZERS: dict[str, Callable[[Tensor], object] | None] = {
    "default": None,  # what the network's own file does
    "he": _he,
    "he_fan_out": _he_fan_out,
    "xavier": nn.init.xavier_normal_,
    "lecun": _lecun,
    "orthogonal": nn.init.orthogonal_,
}

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


@torch.no_grad()
def initialize(network: nn.Module, name: str) -> None:
    """Draw the weights of all linear and convolutional layers anew, in place, from the global random state.

    =============  ==========================================================================================
    default        left as the network's own file has drawn them
    he             N(0, 2 / fan_in), He et al. 2015 (arXiv 1502.01852), eq. 10
    he_fan_out     N(0, 2 / fan_out) for convolutions, eq. 14 there, as ResNets use it; `he` for linear layers
    xavier         N(0, 2 / (fan_in + fan_out)), Glorot and Bengio 2010, for tanh
    lecun          N(0, 1 / fan_in), LeCun et al. 1998
    orthogonal     a random orthogonal matrix, Saxe et al. 2014
    =============  ==========================================================================================

    Biases become 0, scales of normalization layers 1. Parameters outside such layers (tokens, embeddings)
    stay.

    Args:
        network: changed in place.
        name: one of `INITIALIZERS`.

    Raises:
        ValueError: an unknown name.
    """
    draw = INITIALIZERS[checks.choice("init", name, list(INITIALIZERS))]
    if draw is None:
        return
    for module in network.modules():
        if isinstance(module, _LAYERS):
            draw(module.weight)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, _NORMS) and module.weight is not None:
            module.weight.fill_(1.0)
            if module.bias is not None:
                module.bias.zero_()


@torch.no_grad()
def rescale(network: nn.Module, scale: float) -> None:
    """Multiply the weights, not biases, of all linear and convolutional layers by `scale` > 0."""
    scale = checks.number("init_scale", scale, 1e-12)
    for module in network.modules():
        if scale != 1.0 and isinstance(module, _LAYERS):
            module.weight.mul_(scale)


@torch.no_grad()
def perturb(network: nn.Module, strength: float, generator: torch.Generator | None = None) -> None:
    """Move every parameter by the noise of local energy, w <- w (1 + strength z), z ~ N(0, 1).

    Replicas that should start close to one another are perturbed copies of one network.

    Args:
        network: changed in place; parameters that are 0 stay 0.
        strength: standard deviation relative to the weight, >= 0.
        generator: of the noise, on the CPU; the global random state without one.
    """
    strength = checks.number("perturb", strength, 0.0)
    if strength > 0.0:
        for parameter in network.parameters():
            # drawn on the CPU, so that a seed means the same weights on every device
            device = "meta" if parameter.device.type == "meta" else "cpu"
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype, device=device)
            parameter.mul_(1.0 + strength * noise.to(parameter.device))
