"""torch.optim without torch._dynamo, whose import takes longer than that of torch and which only torch.compile needs.

torch.optim imports it at the first construction of an optimizer and again in every step, to tell the compiler what it
must not trace. Both marks are left out here as long as nobody has imported the compiler: then there is nothing to tell.
Where a version of torch looks different, nothing happens but the import.
"""

from __future__ import annotations

import inspect
import sys

import torch
from torch.optim import Optimizer

# Methods of Optimizer that torch wraps in `torch._disable_dynamo`, which keeps the untraced version in this attribute.
MARKED, ATTRIBUTE = ("add_param_group", "load_state_dict", "state_dict", "zero_grad"), "__dynamo_disable"


def leave_out_dynamo() -> None:
    """Let the marked methods call themselves unwrapped, unless torch._dynamo is there already."""
    if "torch._dynamo" not in sys.modules:
        for name in MARKED:
            method = inspect.unwrap(getattr(Optimizer, name))
            if not hasattr(method, ATTRIBUTE):
                setattr(method, ATTRIBUTE, method)


@torch.no_grad()
def step(optimizer: Optimizer) -> None:
    """One step of an optimizer of torch.optim; hooks registered on it are called when torch._dynamo is there."""
    if "torch._dynamo" in sys.modules or optimizer.defaults.get("differentiable"):
        optimizer.step()
    else:
        inspect.unwrap(type(optimizer).step)(optimizer)
