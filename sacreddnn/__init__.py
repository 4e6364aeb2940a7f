"""Train networks toward wide flat minima, measure flatness and generalization, record everything.

The library part works in anyone's training loop, without configs, Sacred or a database:

    optimizer = sacreddnn.EntropySGD(network.parameters(), lr=0.5)
    optimizer = sacreddnn.ReplicatedSGD([n.parameters() for n in networks], lr=0.05)
    energy = sacreddnn.local_energy(network, batches, sigmas=[0.1, 0.3, 0.5])

and what was recorded comes back: `sacreddnn.load_run(7).network`.
"""

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sacreddnn.algorithms import ASAM, EMA, SAM, SGD, SWA, EntropySGD, ReplicatedSGD, WeightNoise
    from sacreddnn.flatness import Estimate, local_energy
    from sacreddnn.recorded_network import load_run

__version__ = "0.1.0"
__all__ = [
    "ASAM",
    "EMA",
    "SAM",
    "SGD",
    "SWA",
    "EntropySGD",
    "Estimate",
    "ReplicatedSGD",
    "WeightNoise",
    "load_run",
    "local_energy",
]

# Sacred imports pkg_resources (hence setuptools<82), which says so at every start.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)

_HOME = {
    **dict.fromkeys(
        ("SGD", "EntropySGD", "ReplicatedSGD", "SAM", "ASAM", "SWA", "EMA", "WeightNoise"),
        "algorithms",
    ),
    "Estimate": "flatness",
    "load_run": "recorded_network",
    "local_energy": "flatness",
}


def __getattr__(name: str) -> Any:
    # Imported when first used: a command line that only prints help or an error need not wait for torch.
    if name not in _HOME:
        raise AttributeError(f"module 'sacreddnn' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"sacreddnn.{_HOME[name]}"), name)
