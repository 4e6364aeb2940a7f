"""Activation functions by name, and their replacement in a network that was built with others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sacreddnn.models import checks
from sacreddnn.models.probe import output_shape


class Quadratic(nn.Module):
    """x^2, the activation of quadratic networks."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape and dtype as the input's."""
        return x.square()


class ReQU(nn.Module):
    """max(0, x)^2, the rectified quadratic unit."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape and dtype as the input's."""
        return x.clamp(min=0).square()


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "swish": nn.SiLU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "gelu": nn.GELU,
    "quadratic": Quadratic,
    "requ": ReQU,
}

# What counts as an activation to replace. Sigmoids do not: in networks they are gates.
_REPLACEABLE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Softplus, nn.Hardswish, nn.Hardtanh, Quadratic, ReQU),
)
_FUNCTIONS = {
    "relu",
    "relu_",
    "relu6",
    "leaky_relu",
    "leaky_relu_",
    "elu",
    "elu_",
    "celu",
    "selu",
    "softplus",
} | {"gelu", "silu", "silu_", "mish", "tanh", "tanh_", "hardswish", "hardtanh", "prelu"}


def activation(name: str) -> nn.Module:
    """A new activation module of that name, one of `ACTIVATIONS`; ValueError otherwise."""
    return ACTIVATIONS[checks.choice("activation", name, list(ACTIVATIONS))]()


def replace_activations(network: nn.Module, name: str, in_channels: int, size: tuple[int, int]) -> int:
    """Number of activation modules that were replaced, in place, by the named one.

    Gates (sigmoids) stay. A network that calls an activation as a function, out of reach of a replacement, is
    refused, rather than left with two kinds of it: a forward pass without data (device "meta") finds out.

    Args:
        network: changed in place.
        name: one of `ACTIVATIONS`.
        in_channels: of its input, for the forward pass.
        size: (height, width) of its input.

    Raises:
        ValueError: an unknown activation; a network without activation modules, or with activations called as
            functions.
    """
    targets = [label for label, m in network.named_modules(remove_duplicate=False) if _is_activation(m)]
    for label in targets:
        network.set_submodule(label, activation(name))
    calls = _RecordActivations()
    with calls:
        activation(name)(next(network.parameters()).new_zeros(1))
    allowed = set(calls.seen)
    with calls:
        output_shape(network, in_channels, size)
    left = sorted(calls.seen - allowed)
    if not targets or left:
        what = f"calls {', '.join(left)} as a function" if left else "has no activation module"
        raise ValueError(
            f"model.activation: {type(network).__name__} {what}, which {name!r} cannot replace; leave it out"
        )
    return len(targets)


def disable_inplace(network: nn.Module) -> None:
    """Make every activation and dropout of the network write its output beside its input, not over it.

    Hooks, captured features and function transforms then see what was computed; behind a batch norm it costs
    no memory, because nothing keeps the input of the activation.
    """
    for module in network.modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False  # type: ignore[assignment]


def _is_activation(module: nn.Module) -> bool:
    # timm's own versions of swish, mish, gelu.. are modules of two of its files, next to its sigmoids
    theirs = type(module).__module__.startswith("timm.layers.activations")
    return isinstance(module, _REPLACEABLE) or (theirs and "Sigmoid" not in type(module).__name__)


class _RecordActivations(TorchFunctionMode):
    """Notes which activation functions are called while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _FUNCTIONS:
            self.seen.add(name)
        return func(*args, **(kwargs or {}))
