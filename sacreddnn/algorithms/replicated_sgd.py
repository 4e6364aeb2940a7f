r"""Replicated-SGD: y replicas attracted to their center (Baldassi et al. 2016; Pittorino et al. 2021).

It descends the replicated loss L_R = sum_a L(w^a) + gamma sum_a d(w^a, wbar), wbar = 1/y sum_a w^a:

    for each replica a:
        g^a <- grad L(w^a; its own minibatch)
        every K steps:  g^a <- g^a + K gamma (w^a - wbar)            coupling_form = "gradient"
        w^a <- w^a - eta g^a                                         (the base optimizer)
        every K steps:  w^a <- wbar + exp(-K eta gamma) (w^a - wbar) coupling_form = "relaxation", the default

Both forms agree to first order in eta gamma; the gradient form goes through the base optimizer's momentum and diverges
once gamma has grown, the relaxation is the exact solution of the same flow and is stable for every gamma. Momentum m
multiplies what a gradient does in the long run by 1 / (1 - m), and the gradient form goes through the momentum:
`relaxation_momentum`, the default, gives the relaxation the same factor, exp(-K eta gamma / (1 - m)).

With `use_center` the center is a vector x of its own (elastic averaging: Zhang, Choromanska, LeCun 2015, arXiv
1412.6651; the reference's use_center), and L_R = sum_a L(w^a) + gamma sum_a d(w^a, x) is descended in x too:

        every K steps, for a time K eta gamma:  dw^a/dt = -(w^a - x),  dx/dt = -y (x - wbar)

solved exactly; x starts at wbar. Eliminating x leaves the loss above.

name here            paper                 meaning
coupling             gamma_0               at the start; "auto": mean_a L(w^a) / mean_a d(w^a, wbar) at initialisation
coupling_growth      (1 + gamma_1)^epochs  total factor over the training
coupling_period      K                     steps between couplings
replicas             y                     number of rows of W
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from sacreddnn.algorithms.base import Algorithm, Closure
from sacreddnn.algorithms.checks import require
from sacreddnn.algorithms.coupling import SCHEDULES, distance, relax_, relax_with_center_, schedule
from sacreddnn.collective import Group

FORMS = ("relaxation", "gradient")
WEIGHT_DECAY_CONVENTIONS = ("replica", "reference")


@functools.lru_cache(maxsize=1024)
def growth_factor(stiffness: float, momentum: float, nesterov: bool, period: int) -> float:
    """Factor by which momentum SGD on the coupling term alone grows a replica's distance to the center, per coupling.

    The spectral radius of the linear map of (distance, velocity) over one period: `period - 1` free steps and one with
    gradient `stiffness / lr * distance`. Stable up to 1; without momentum that is stiffness <= 2, for period 1
    stiffness <= 2 (1 + m) / (1 + 2 m) with Nesterov momentum m and 2 (1 + m) with heavy-ball momentum.
    """

    def step_matrix(c: float) -> np.ndarray:
        # velocity' = m v + c x; x' = x - (velocity', with Nesterov c x + m velocity'); velocities in units of the step
        if nesterov:
            return np.array([[1 - c - momentum * c, -momentum * momentum], [c, momentum]])
        return np.array([[1 - c, -momentum], [c, momentum]])

    over_period = np.linalg.matrix_power(step_matrix(0.0), period - 1) @ step_matrix(stiffness)
    return float(np.abs(np.linalg.eigvals(over_period)).max())


class ReplicatedSGD(Algorithm):
    """Replicated-SGD. Cost: y gradient evaluations a step; inference costs one network, the center.

    Args:
        replicas: the parameters of each of the y replicas, e.g. `[network.parameters() for network in networks]`;
            of those in this process, when they are spread over several.
        lr: learning rate of each replica.
        coupling: gamma_0 >= 0, or "auto" (see above).
        coupling_growth: total factor > 0 by which gamma grows while `progress` goes from 0 to 1.
        coupling_schedule: "exponential", "linear", "cosine" or "constant".
        coupling_updates: how often gamma changes during the training; None: at every step.
        coupling_period: K >= 1.
        coupling_form: "relaxation" or "gradient".
        relaxation_momentum: count the base optimizer's momentum in the rate of the relaxation.
        use_center: a free center; with the relaxation only.
        weight_decay_convention: "replica": `weight_decay` acts on each replica as given; "reference": y times that, as
            in the reference implementation, which multiplies the learning rate of the mean loss by y.
        group: where all replicas are; by default in this process.
        optimizer: base optimizer by name, with its options; it acts on each replica separately.
    """

    def __init__(
        self,
        replicas: Sequence[Iterable[Parameter]],
        lr: float,
        *,
        coupling: float | str = "auto",
        coupling_growth: float = 1e4,
        coupling_schedule: str = "exponential",
        coupling_updates: int | None = None,
        coupling_period: int = 1,
        coupling_form: str = "relaxation",
        relaxation_momentum: bool = True,
        use_center: bool = False,
        weight_decay_convention: str = "replica",
        group: Group | None = None,
        optimizer: str = "sgd",
        **options: Any,
    ) -> None:
        require("coupling", coupling, ">= 0 or 'auto'", lambda x: x == "auto" or x >= 0)
        require("coupling_growth", coupling_growth, "> 0", lambda x: x > 0)
        require("coupling_schedule", coupling_schedule, f"one of {', '.join(SCHEDULES)}", lambda x: x in SCHEDULES)
        require("coupling_updates", coupling_updates, ">= 1 or None", lambda x: x is None or x >= 1)
        require("coupling_period", coupling_period, ">= 1", lambda x: x >= 1)
        require("coupling_form", coupling_form, f"one of {', '.join(FORMS)}", lambda x: x in FORMS)
        require("weight_decay_convention", weight_decay_convention, f"one of {', '.join(WEIGHT_DECAY_CONVENTIONS)}",
                lambda x: x in WEIGHT_DECAY_CONVENTIONS)  # fmt: skip
        num_replicas = group.num_replicas if group else len(replicas)
        if use_center and (num_replicas < 2 or coupling_form != "relaxation"):
            raise ValueError("use_center: True needs two or more replicas and coupling_form 'relaxation'")
        if weight_decay_convention == "reference" and "weight_decay" in options:
            options["weight_decay"] *= num_replicas
        super().__init__(replicas, lr, group=group, optimizer=optimizer, **options)
        self.coupling_start = None if isinstance(coupling, str) else float(coupling)
        self.coupling_growth, self.coupling_schedule = coupling_growth, coupling_schedule
        self.coupling_updates, self.coupling_period = coupling_updates, coupling_period
        self.coupling_form, self.relaxation_momentum = coupling_form, relaxation_momentum
        self.free_center = self.group.mean(self.weights.values) if use_center else None
        self.num_steps = 0

    @property
    def coupling(self) -> float:
        """Gamma at the current progress; 0 while an automatic gamma_0 is not yet known."""
        if self.coupling_start is None:
            return 0.0
        return schedule(
            self.coupling_schedule,
            self.coupling_start,
            self.coupling_growth,
            self.progress,
            self.coupling_updates,
        )

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """One step of every replica on its own minibatch, coupled at every K-th step."""
        losses = self.evaluate(closure)
        W, G = self.weights.values, self.weights.gradients
        if self.coupling_start is None:
            self.coupling_start = self._automatic_coupling(losses)
        self.num_steps += 1
        couple = self.group.num_replicas > 1 and self.num_steps % self.coupling_period == 0
        strength = self.coupling_period * self.coupling
        if couple and self.coupling_form == "gradient":
            self._check_stability(strength)
            for part in self.group.blocks(W):
                center = self.group.mean(W[:, part])
                for w, g in zip(W[:, part], G[:, part], strict=True):  # row by row: the same bits for any number
                    g.add_(w - center, alpha=strength)
        self.step_base()
        if couple and self.coupling_form == "relaxation":
            self._relax(self.lr * strength)
        return losses

    def _relax(self, rate: float) -> None:
        if self.relaxation_momentum:
            rate /= 1 - self.base.param_groups[0].get("momentum", 0.0)
        for part in self.group.blocks(self.weights.values):
            W = self.weights.values[:, part]
            mean = self.group.mean(W)
            if self.free_center is None:
                relax_(W, mean, rate)
            else:
                relax_with_center_(W, mean, self.free_center[part], self.group.num_replicas, rate)

    def _automatic_coupling(self, losses: Tensor) -> float:
        """gamma_0 at which loss and coupling term are equal, with the losses at the current (initial) weights."""
        spread = self.group.gather(distance(self.weights.values, self.center())).mean().item()
        if self.group.num_replicas > 1 and spread == 0:
            raise ValueError("coupling: 'auto' needs replicas that start at different weights; these are all equal")
        return self.group.gather(losses).mean().item() / spread if spread else 0.0

    def _check_stability(self, strength: float) -> None:
        """Refuse a gradient-form coupling whose own dynamics diverge (judged for sgd; other optimizers rescale it)."""
        group = self.base.param_groups[0]
        if not isinstance(self.base, torch.optim.SGD):
            return
        factor = growth_factor(self.lr * strength, group["momentum"], group["nesterov"], self.coupling_period)
        if factor > 1 + 1e-6:
            raise ArithmeticError(
                f"coupling_form: 'gradient' is unstable at coupling {self.coupling:.3g} (lr * coupling_period * "
                f"coupling = {self.lr * strength:.3g}): distances grow by {factor:.3g} a coupling; use coupling_form "
                "'relaxation', or a smaller lr or coupling_growth"
            )

    def center(self) -> Tensor:
        """wbar, the mean of the replicas, or the free center x."""
        return self.group.mean(self.weights.values) if self.free_center is None else self.free_center

    def metrics(self) -> dict[str, float]:
        """The coupling gamma, the mean distance d of the replicas to the center, and the center's norm."""
        center = self.center()
        return {
            "coupling": self.coupling,
            "distance": self.group.gather(distance(self.weights.values, center)).mean().item(),
            "center_norm": math.sqrt(center.square().sum().item()),
        }

    def extra_state(self) -> dict[str, Any]:
        """gamma_0, the step counter, the free center; the replicas are the networks' weights."""
        return {"coupling_start": self.coupling_start, "num_steps": self.num_steps, "free_center": self.free_center}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` returned."""
        self.coupling_start, self.num_steps = state["coupling_start"], state["num_steps"]
        if self.free_center is not None:
            self.free_center.copy_(state["free_center"])
