"""Random state: every draw of a training step is a function of (seed, stream, step); the rest is saved and restored."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from sacreddnn.data.seeds import derive_seed


def seed_step(seed: int, stream: int, step: int, part: int = 0) -> None:
    """Seed torch's global generators (dropout, ShakeDrop ..) for one replica's forward pass of one step.

    So a resumed run draws what it would have drawn, and so does a replica whichever process computes it. Processes
    that share a minibatch draw independently for their parts of it, not what one process would draw for the whole.
    """
    value = derive_seed(seed, "step", stream, step, *([part] if part else []))
    # not torch.manual_seed: without a GPU it formats the call stack for each kind of device, a tenth of a LeNet step
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(value)


def random_state() -> dict[str, Any]:
    """The state of every global generator, as tensors and numbers."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys, np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Take back what `random_state` returned; generators of devices that are no longer there are left alone."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
