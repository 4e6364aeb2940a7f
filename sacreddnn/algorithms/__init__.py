"""The algorithms, each a `torch.optim.Optimizer` on flat vectors that works in anyone's training loop."""

from sacreddnn.algorithms.base import Algorithm
from sacreddnn.algorithms.entropy_sgd import EntropySGD
from sacreddnn.algorithms.replicated_sgd import ReplicatedSGD
from sacreddnn.algorithms.sgd import SGD

# One line a registered algorithm: its name in configs and its class.
ALGORITHMS: dict[str, type[Algorithm]] = {
    "sgd": SGD,
    "esgd": EntropySGD,
    "rsgd": ReplicatedSGD,
}

__all__ = ["ALGORITHMS", "SGD", "Algorithm", "EntropySGD", "ReplicatedSGD"]
