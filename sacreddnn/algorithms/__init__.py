"""The algorithms, each a `torch.optim.Optimizer` on flat vectors that works in anyone's training loop.

To add one: a file here with a class derived from `Algorithm` (its docstring has the equation, the paper's names and the
cost), a line in ALGORITHMS, and a class of its options in `sacreddnn/algorithm_config.py`. Everything else follows
from these: the command line, the training loop, checkpoints, and tests/algorithms/test_every_algorithm.py, which runs
over the registry. A YAML file in configs/algorithm/ gives it a name after `with`.
"""

from sacreddnn.algorithms.averaging import EMA, SWA
from sacreddnn.algorithms.base import Algorithm
from sacreddnn.algorithms.entropy_sgd import EntropySGD
from sacreddnn.algorithms.replicated_sgd import ReplicatedSGD
from sacreddnn.algorithms.sam import ASAM, SAM
from sacreddnn.algorithms.sgd import SGD
from sacreddnn.algorithms.statistics import frozen_statistics
from sacreddnn.algorithms.weight_noise import WeightNoise

# One line a registered algorithm: its name in configs and its class.
ALGORITHMS: dict[str, type[Algorithm]] = {
    "sgd": SGD,
    "esgd": EntropySGD,
    "rsgd": ReplicatedSGD,
    "sam": SAM,
    "asam": ASAM,
    "swa": SWA,
    "ema": EMA,
    "weight_noise": WeightNoise,
}

__all__ = [
    "ALGORITHMS",
    "ASAM",
    "EMA",
    "SAM",
    "SGD",
    "SWA",
    "Algorithm",
    "EntropySGD",
    "ReplicatedSGD",
    "WeightNoise",
    "frozen_statistics",
]
