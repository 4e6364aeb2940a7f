r"""Entropy-SGD: descend the local-entropy loss (Chaudhari et al. 2017, arXiv 1611.01838; Pittorino et al. 2021).

    w', mu <- w
    repeat L times:
        g  <- grad L(w'; minibatch) + gamma (w' - w)
        w' <- w' - eta' g + sqrt(eta') eps N(0, I)
        mu <- alpha mu + (1 - alpha) w'
    w <- w - eta gamma (w - mu)

The last line descends grad L_LE(w) = gamma (w - <w'>), mu being the running estimate of <w'>.

name here          paper      meaning
inner_steps        L          minibatches of one outer step
inner_lr           eta'       step of the Langevin dynamics of w'
noise              eps        strength of its noise
averaging          alpha      memory of the running average mu
coupling           gamma_0    at the first outer step
coupling_growth    gamma_1    gamma_t = min(gamma_0 (1 + gamma_1)^t, coupling_max), t counting outer steps
lr                 eta        of the outer step
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from sacreddnn.algorithms.base import Algorithm, Closure
from sacreddnn.algorithms.checks import require
from sacreddnn.algorithms.coupling import distance
from sacreddnn.weights import blocks

NOISE_CONVENTIONS = {"paper": 1.0, "reference": 2.0}  # the noise's variance in units of eta' eps^2
MOMENTS = ("first_inner", "first_outer")  # when an automatic coupling is taken


class EntropySGD(Algorithm):
    """Entropy-SGD. Every `step(closure)` is one inner step; each L-th also makes the outer step.

    So an outer step costs exactly L gradient evaluations and the optimizer fits any loop over minibatches. Between
    outer steps the network holds w'; the network to evaluate is the center w: use `with optimizer.at_center(): ...`.

    Args:
        params: the network's parameters.
        lr: eta of the outer step.
        inner_steps: L >= 1.
        inner_lr: eta' > 0, constant during training.
        inner_momentum: Nesterov momentum of the inner steps, in [0, 1); its buffer starts at zero in every outer step.
        inner_weight_decay: >= 0, of the inner steps.
        coupling: gamma_0 >= 0, or "auto": the loss divided by d(w'_L, w) at the end of the first L inner steps, so that
            both terms of the loss start out equal. The coupling is 0 until then.
        coupling_auto: "first_inner": the first outer step already has gamma_0; "first_outer": it still has 0, as in the
            reference implementation, so that scaled by the coupling it does not move w, and the second has
            gamma_0 (1 + gamma_1).
        coupling_growth: gamma_1 > -1, per outer step; coupling_max: upper bound of gamma.
        noise: eps >= 0; noise_convention: "paper" adds sqrt(eta') eps N(0, I), "reference" sqrt(2 eta') eps N(0, I).
        averaging: alpha in [0, 1).
        scale_by_coupling: outer step lr * gamma * (w - mu), the gradient of the local-entropy loss; False:
            lr * (w - mu), Chaudhari's form.
        generator: source of the noise, on the parameters' device; by default one seeded with 0.
        optimizer: base optimizer of the outer step by name, with its options ("adam" makes it Entropy-Adam). Its weight
            decay acts on w, at the rate of the outer step.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        *,
        inner_steps: int = 5,
        inner_lr: float = 0.1,
        inner_momentum: float = 0.9,
        inner_weight_decay: float = 1e-4,
        coupling: float | str = 0.5,
        coupling_auto: str = "first_inner",
        coupling_growth: float = 1e-4,
        coupling_max: float = math.inf,
        noise: float = 1e-4,
        noise_convention: str = "paper",
        averaging: float = 0.75,
        scale_by_coupling: bool = True,
        generator: torch.Generator | None = None,
        optimizer: str = "sgd",
        **options: Any,
    ) -> None:
        require("inner_steps", inner_steps, ">= 1", lambda x: x >= 1)
        require("inner_lr", inner_lr, "> 0", lambda x: x > 0)
        require("inner_momentum", inner_momentum, "in [0, 1)", lambda x: 0 <= x < 1)
        require("inner_weight_decay", inner_weight_decay, ">= 0", lambda x: x >= 0)
        require("coupling", coupling, ">= 0 or 'auto'", lambda x: x == "auto" or x >= 0)
        require("coupling_auto", coupling_auto, " or ".join(MOMENTS), lambda x: x in MOMENTS)
        require("coupling_growth", coupling_growth, "> -1", lambda x: x > -1)
        require("coupling_max", coupling_max, "> 0", lambda x: x > 0)
        require("noise", noise, ">= 0", lambda x: x >= 0)
        require("noise_convention", noise_convention, " or ".join(NOISE_CONVENTIONS), lambda x: x in NOISE_CONVENTIONS)
        require("averaging", averaging, "in [0, 1)", lambda x: 0 <= x < 1)
        super().__init__([params], lr, optimizer=optimizer, **options)
        self.inner_steps, self.inner_lr = inner_steps, inner_lr
        self.inner_momentum, self.inner_weight_decay = inner_momentum, inner_weight_decay
        self.coupling_start = None if isinstance(coupling, str) else float(coupling)
        self.coupling_auto = coupling_auto
        self.coupling_growth, self.coupling_max = coupling_growth, coupling_max
        self.noise_scale = math.sqrt(NOISE_CONVENTIONS[noise_convention] * inner_lr) * noise
        self.averaging, self.scale_by_coupling = averaging, scale_by_coupling
        live = self.weights.values[0]
        self.average = live.clone()
        self.scratch = torch.empty_like(live[: max(p.stop - p.start for p in blocks(live))])
        self.velocity = torch.zeros_like(live) if inner_momentum else None
        self.generator = generator or torch.Generator(live.device).manual_seed(0)
        self.inner_step = 0
        self.outer_step = 0

    def _base_parameters(self) -> list[Parameter]:
        # The outer step moves w, a vector of its own; the network holds w'.
        self.w = Parameter(self.weights.values[0].clone())
        self.w.grad = torch.zeros_like(self.w)
        return [self.w]

    @property
    def coupling(self) -> float:
        """Gamma of the current outer step; 0 while an automatic gamma_0 is not yet known."""
        if self.coupling_start is None:
            return 0.0
        try:
            grown = self.coupling_start * (1 + self.coupling_growth) ** self.outer_step
        except OverflowError:  # beyond the largest float
            grown = math.inf if self.coupling_start else 0.0
        return min(grown, self.coupling_max)

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """One inner step, and the outer step after every L of them."""
        loss = self.evaluate(closure)
        for part in blocks(self.w):
            self._inner_step(part)
        self.inner_step += 1
        if self.inner_step == self.inner_steps:
            start = self.coupling_start
            if start is None:
                start = (loss.mean() / distance(self.weights.values[0], self.w)).item()
            if self.coupling_auto == "first_inner":
                self.coupling_start = start
            self._outer_step()
            self.coupling_start = start
        return loss

    def _inner_step(self, part: slice) -> None:
        w, inner, average = self.w[part], self.weights.values[0, part], self.average[part]
        displacement = torch.sub(inner, w, out=self.scratch[: len(w)])
        g = torch.add(self.weights.gradients[0, part], displacement, alpha=self.coupling, out=displacement)
        if self.inner_weight_decay:
            g.add_(inner, alpha=self.inner_weight_decay)
        if self.velocity is not None:
            velocity = self.velocity[part].mul_(self.inner_momentum).add_(g)
            g.add_(velocity, alpha=self.inner_momentum)
        inner.add_(g, alpha=-self.inner_lr)
        if self.noise_scale:
            inner.add_(g.normal_(generator=self.generator), alpha=self.noise_scale)
        average.lerp_(inner, 1 - self.averaging)

    def _outer_step(self) -> None:
        torch.sub(self.w, self.average, out=self.w.grad)
        self.step_base(self.lr * self.coupling if self.scale_by_coupling else self.lr)
        self.weights.values[0].copy_(self.w)
        self.average.copy_(self.w)
        if self.velocity is not None:
            self.velocity.zero_()
        self.inner_step = 0
        self.outer_step += 1

    def center(self) -> Tensor:
        """w, the point whose neighbourhood the inner steps explore."""
        return self.w.detach()

    def metrics(self) -> dict[str, float]:
        """The coupling gamma."""
        return {"coupling": self.coupling}

    def extra_state(self) -> dict[str, Any]:
        """w, mu, inner momentum, counters, gamma_0 and the noise's random state."""
        return {
            "w": self.w.detach(),
            "average": self.average,
            "velocity": self.velocity,
            "inner_step": self.inner_step,
            "outer_step": self.outer_step,
            "coupling_start": self.coupling_start,
            "generator": self.generator.get_state(),
        }

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` returned."""
        self.w.data.copy_(state["w"])
        self.average.copy_(state["average"])
        if self.velocity is not None:
            self.velocity.copy_(state["velocity"])
        self.inner_step, self.outer_step = state["inner_step"], state["outer_step"]
        self.coupling_start = state["coupling_start"]
        self.generator.set_state(state["generator"].cpu())
