"""Base optimizers: any optimizer of torch.optim, by name, on flat vectors."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import Parameter

_OPTIMIZERS = {
    name.lower(): cls
    for name, cls in vars(torch.optim).items()
    if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
}
# These need sparse gradients, a matrix's two dimensions or several closures a step: none of which a flat vector has.
for _name in ("sparseadam", "lbfgs", "muon"):
    _OPTIMIZERS.pop(_name, None)


def find_optimizer(name: str) -> type[torch.optim.Optimizer]:
    """The class of that name, in lower case, in torch.optim.

    Raises:
        ValueError: unknown name.
    """
    if name not in _OPTIMIZERS:
        near = difflib.get_close_matches(name, _OPTIMIZERS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"optimizer: {name!r} is unknown, {hint}allowed: {', '.join(sorted(_OPTIMIZERS))}")
    return _OPTIMIZERS[name]


def takes(name: str, option: str) -> bool:
    """Whether the optimizer of that name has the option."""
    return option in inspect.signature(find_optimizer(name)).parameters


def base_optimizer(name: str, vectors: Sequence[Parameter], lr: float, **options: Any) -> torch.optim.Optimizer:
    """The optimizer `name` of torch.optim over flat vectors.

    Args:
        name: as in torch.optim, in lower case: sgd, adam, adamw, rmsprop ..
        vectors: the parameters, each a flat vector.
        lr: learning rate.
        options: the optimizer's own (momentum, nesterov, weight_decay, betas ..).

    Raises:
        ValueError: unknown name or option, or a value the optimizer refuses.
    """
    cls = find_optimizer(name)
    known = inspect.signature(cls).parameters
    for option in options:
        if option not in known:
            allowed = ", ".join(
                sorted(set(known) - {"params", "lr", "foreach", "fused", "capturable", "differentiable"})
            )
            raise ValueError(f"{option}: {name} has no such option; it takes {allowed}")
    if options.get("momentum") == 0 and options.get("nesterov"):
        options = {**options, "nesterov": False}  # without momentum the two are the same
    if "fused" in known and "foreach" not in options and vectors[0].device.type in ("cpu", "cuda"):
        options = {"fused": True, **options}  # one pass over the vectors instead of four
    return cls(vectors, **{"lr": lr, **options})
