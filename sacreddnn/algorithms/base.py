"""What an algorithm is: an optimizer over the rows of the replica matrix W.

Each algorithm is a `torch.optim.Optimizer` whose `step(closure)` spends one gradient evaluation per replica, so that it
works in anyone's loop, learning-rate schedulers included. Its state is a few vectors and counters.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from sacreddnn.algorithms import lean_optim
from sacreddnn.algorithms.checks import require
from sacreddnn.algorithms.optimizers import base_optimizer
from sacreddnn.algorithms.statistics import frozen_statistics
from sacreddnn.collective import Group
from sacreddnn.weights import Weights

Closure = Callable[[], Tensor]


class Algorithm(torch.optim.Optimizer):
    """Base of all algorithms: the replica matrix, a base optimizer, the cost counter.

    Args:
        replicas: the parameters of each replica in this process (one for a single-network algorithm).
        lr: learning rate, per replica; a scheduler changes it through `param_groups`.
        group: where all replicas are; by default in this process.
        networks: the network or networks that the parameters belong to. Given, running statistics of batch norm follow
            only the first gradient evaluation of a step with several (SAM, weight noise); not needed otherwise.
        optimizer: name of the base optimizer in torch.optim, with its options.

    Attributes:
        progress: how much of the training is done, in [0, 1]; the training loop sets it, couplings are functions of it.
        gradient_evaluations: minibatches sent forward and backward so far, over all replicas.
    """

    evaluations_per_step = 1  # gradient evaluations of one replica in one step

    def __init__(
        self,
        replicas: Sequence[Iterable[Parameter]],
        lr: float,
        *,
        group: Group | None = None,
        networks: nn.Module | Sequence[nn.Module] = (),
        optimizer: str = "sgd",
        **options: Any,
    ) -> None:
        require("lr", lr, "> 0", lambda x: x > 0)
        lists = [list(parameters) for parameters in replicas]
        lean_optim.leave_out_dynamo()
        self.weights = Weights(lists)
        self.group = group or Group(len(lists))
        super().__init__([p for parameters in lists for p in parameters], {"lr": lr})
        self.base = base_optimizer(optimizer, self._base_parameters(), lr, **options)
        self.networks = [networks] if isinstance(networks, nn.Module) else list(networks)
        self.progress = 0.0
        self.gradient_evaluations = 0

    def _base_parameters(self) -> list[Parameter]:
        """What the base optimizer moves: the replicas, unless an algorithm says otherwise."""
        return self.weights.rows

    @property
    def num_streams(self) -> int:
        """Independent minibatch streams it reads: one per replica, over all processes."""
        return self.group.num_replicas

    @property
    def lr(self) -> float:
        """The current learning rate."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        self.param_groups[0]["lr"] = value

    @abstractmethod
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """One step.

        Args:
            closure: clears the gradients, computes the loss of each replica of this process on its own minibatch,
                calls `backward` on their sum and returns them, shape (y,) (a scalar for one network).

        Returns:
            What the closure returned (at its first call).
        """

    def evaluate(self, closure: Closure | None, *, frozen: bool = False) -> Tensor:
        """Call the closure; afterwards G holds the gradients at W. Costs one gradient evaluation a replica.

        Args:
            closure: see `step`.
            frozen: leave the buffers of `networks` (batch norm's running statistics) as they are.
        """
        if closure is None:
            raise ValueError(
                "closure: missing; call step(closure), closure() clears gradients, runs backward, returns the loss"
            )
        with torch.enable_grad(), frozen_statistics(self.networks if frozen else ()):
            losses = closure()
        self.weights.collect_gradients()
        self.gradient_evaluations += self.group.num_replicas
        return losses

    def step_base(self, lr: float | None = None) -> None:
        """One step of the base optimizer with the current learning rate (or the one given)."""
        for group in self.base.param_groups:
            group["lr"] = self.lr if lr is None else lr
        lean_optim.step(self.base)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients; they stay views into G whatever `set_to_none` says."""
        self.weights.zero_gradients()

    @abstractmethod
    def center(self) -> Tensor:
        """The network to evaluate and to keep, as a vector of shape (N,)."""

    @contextmanager
    def at_center(self) -> Iterator[None]:
        """Put the center into the first replica's network for as long as the context lasts, to evaluate it."""
        row = self.weights.values[0]
        live = row.clone()
        row.copy_(self.center())
        try:
            yield
        finally:
            row.copy_(live)

    def metrics(self) -> dict[str, float]:
        """What is worth recording of the algorithm itself (coupling, distances ..), by name."""
        return {}

    def vectors(self) -> list[Tensor]:
        """What an evaluation or a checkpoint is made of and must be finite: W, and what the base optimizer moves."""
        return [self.weights.values, *(p.detach() for group in self.base.param_groups for p in group["params"])]

    # ---- state: the live weights belong to the networks; everything else is here -----------------------------------

    def extra_state(self) -> dict[str, Any]:
        """Vectors and counters of the algorithm beyond the base optimizer's."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` returned."""

    def state_dict(self) -> dict[str, Any]:
        """Everything but the networks' weights: base optimizer, vectors, counters, coupling, random state."""
        return {
            "algorithm": type(self).__name__,
            "lr": self.lr,
            "progress": self.progress,
            "gradient_evaluations": self.gradient_evaluations,
            "base": self.base.state_dict(),
            "extra": self.extra_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned; the networks' weights are loaded by their owner."""
        if state_dict.get("algorithm") != type(self).__name__:
            raise ValueError(
                f"state_dict: written by {state_dict.get('algorithm')}, cannot be loaded into {type(self).__name__}"
            )
        self.lr = state_dict["lr"]
        self.progress = state_dict["progress"]
        self.gradient_evaluations = state_dict["gradient_evaluations"]
        self.base.load_state_dict(state_dict["base"])
        self.load_extra_state(state_dict["extra"])
