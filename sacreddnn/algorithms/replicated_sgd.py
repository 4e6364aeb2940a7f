r"""Replicated-SGD: y replicas attracted to their center (Baldassi et al. 2016; Pittorino et al. 2021).

It descends the replicated loss L_R = sum_a L(w^a) + gamma sum_a d(w^a, wbar), wbar = 1/y sum_a w^a:

    for each replica a:
        g^a <- grad L(w^a; its own minibatch)
        every K steps:  g^a <- g^a + K gamma (w^a - wbar)            coupling_form = "gradient"
        w^a <- w^a - eta g^a                                         (the base optimizer)
        every K steps:  w^a <- wbar + exp(-K eta gamma) (w^a - wbar) coupling_form = "relaxation", the default

Both forms agree to first order in eta gamma; the gradient form goes through the base optimizer's momentum and diverges
once gamma has grown, the relaxation is the exact solution of the same flow and is stable for every gamma.

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
from sacreddnn.algorithms.coupling import SCHEDULES, distance, relax_, schedule
from sacreddnn.collective import Group

FORMS = ("relaxation", "gradient")


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
        group: Group | None = None,
        optimizer: str = "sgd",
        **options: Any,
    ) -> None:
        for key, value, allowed, ok in (
            (
                "coupling",
                coupling,
                ">= 0 or 'auto'",
                coupling == "auto" or (not isinstance(coupling, str) and coupling >= 0),
            ),
            ("coupling_growth", coupling_growth, "> 0", coupling_growth > 0),
            (
                "coupling_schedule",
                coupling_schedule,
                f"one of {', '.join(SCHEDULES)}",
                coupling_schedule in SCHEDULES,
            ),
            (
                "coupling_updates",
                coupling_updates,
                ">= 1 or None",
                coupling_updates is None or coupling_updates >= 1,
            ),
            ("coupling_period", coupling_period, ">= 1", coupling_period >= 1),
            ("coupling_form", coupling_form, f"one of {', '.join(FORMS)}", coupling_form in FORMS),
        ):
            if not ok:
                raise ValueError(f"{key}: {value!r} is not allowed, it must be {allowed}")
        super().__init__(replicas, lr, group=group, optimizer=optimizer, **options)
        self.coupling_start = None if isinstance(coupling, str) else float(coupling)
        self.coupling_growth, self.coupling_schedule = coupling_growth, coupling_schedule
        self.coupling_updates, self.coupling_period = coupling_updates, coupling_period
        self.coupling_form = coupling_form
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
            center = self.center()
            for w, g in zip(W, G, strict=True):  # row by row: the same bits for any number of rows
                g.add_(w - center, alpha=strength)
        self.step_base()
        if couple and self.coupling_form == "relaxation":
            relax_(W, self.center(), self.lr * strength)
        return losses

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
        """wbar, the mean of the replicas."""
        return self.group.mean(self.weights.values)

    def metrics(self) -> dict[str, float]:
        """The coupling gamma, the mean distance d of the replicas to the center, and the center's norm."""
        center = self.center()
        return {
            "coupling": self.coupling,
            "distance": self.group.gather(distance(self.weights.values, center)).mean().item(),
            "center_norm": math.sqrt(center.square().sum().item()),
        }

    def extra_state(self) -> dict[str, Any]:
        """gamma_0 and the step counter; the replicas are the networks' weights."""
        return {"coupling_start": self.coupling_start, "num_steps": self.num_steps}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` returned."""
        self.coupling_start, self.num_steps = state["coupling_start"], state["num_steps"]
