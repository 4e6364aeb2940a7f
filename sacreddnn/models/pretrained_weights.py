"""Pretrained weights: read without running code from the file, fitted to other channels and classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WRAPPED_AS = ("state_dict", "model_state_dict", "model", "network", "net")  # in other people's checkpoints


@contextmanager
def downloading(name: str) -> Iterator[None]:
    """Turn whatever a library raises when it cannot download into one OSError line that says what to do."""
    try:
        yield
    except Exception as error:  # each library has its own errors for a missing network
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise OSError(
            f"model.pretrained: the weights of {name} could not be downloaded ({reason}); "
            "without a network put a state dict on disk and set pretrained to its path"
        ) from error


def load(network: nn.Module, source: bool | str) -> None:
    """Load a state dict from disk into the network, in place; nothing for False.

    Args:
        network: whose weights are replaced.
        source: False, or the path of a file written by `torch.save(network.state_dict())` or in the
            safetensors format.

    Raises:
        OSError: no such file, or not a state dict. ValueError: weights of another network.
    """
    if source is False:
        return
    if not isinstance(source, str):
        raise ValueError(f"model.pretrained: {source!r} is not allowed; give true, false or the path of a state dict")
    fit(network, read(source), source)


def read(path: str) -> dict[str, Tensor]:
    """The tensors of a state dict on disk, on the CPU. Code that hides in a pickle is refused, not run.

    Also that of a checkpoint that has one under a usual name (`state_dict`, `model`, `net` ..), and of a network that
    was wrapped for several devices or compiled (names that all begin with `module.` or `_orig_mod.`).
    """
    path = os.path.expanduser(path)
    if not Path(path).is_file():
        raise OSError(f"model.pretrained: {path} is no file; give true, false or the path of a state dict")
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors errors have no common base
        reason = " ".join(str(error).split())[:160]
        raise OSError(f"model.pretrained: {path} is not a state dict that can be read safely ({reason})") from error
    state = _unwrapped(state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise OSError(
            f"model.pretrained: {path} is not a state dict; write one by torch.save(network.state_dict(), ..)"
        )
    return state


def _unwrapped(state: Any) -> Any:
    if not isinstance(state, dict):
        return state
    state = next((state[key] for key in WRAPPED_AS if isinstance(state.get(key), dict)), state)
    for prefix in ("module.", "_orig_mod."):
        while state and all(isinstance(name, str) and name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def fit(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load a state dict whose first layer may have other channels and whose last other classes.

    The first layer's weights are summed over channels for one channel, else repeated and scaled so that the
    layer's response to gray images stays; a last layer of another size keeps its random weights.

    Raises:
        ValueError: any other parameter is missing, left over, or of another shape.
    """
    own = network.state_dict()
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    first, last = f"{layers[0]}.weight", {f"{layers[-1]}.weight", f"{layers[-1]}.bias"}
    state = dict(state)
    for name in own.keys() & state.keys():
        if state[name].shape == own[name].shape:
            continue
        if name in last:
            state[name] = own[name]
        elif name == first and state[name].ndim == 4:
            state[name] = _fit_channels(state[name], own[name].shape[1])
    wrong = sorted(own.keys() ^ state.keys()) or sorted(n for n in own if own[n].shape != state[n].shape)
    if wrong:
        raise ValueError(f"model.pretrained: {source} holds the weights of another network: {wrong[0]} does not match")
    network.load_state_dict(state)


def _fit_channels(weight: Tensor, channels: int) -> Tensor:
    given = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight.repeat(1, -(-channels // given), 1, 1)[:, :channels] * (given / channels)
