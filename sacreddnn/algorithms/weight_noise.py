r"""Training with noise on the weights: descend the loss smoothed by a Gaussian, E_z L(w + sigma s z), z ~ N(0, I).

    g <- 1/M sum_{m=1..M} grad L(w + sigma s z_m; the minibatch)
    w <- w - lr g                                   (the base optimizer, at w)

The scale s of each weight is relative to what it belongs to:

filter   norm of its filter (first index of a tensor of two or more dimensions; of the whole tensor for vectors), as in
         LPF-SGD (Bisla, Wang, Choromanska 2022, arXiv 2201.08025) and its authors' code
tensor   root mean square of its tensor
weight   |w_i|: multiplicative noise, that of the local energy and of the reference implementation's noisy training

name here   LPF-SGD   meaning
noise       gamma     sigma >= 0, a standard deviation relative to s
num_draws   M         draws of the noise a step; all M see the same minibatch (the authors split it among them)
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

SCALES = ("filter", "tensor", "weight")


class WeightNoise(Algorithm):
    """LPF-SGD and its relatives. Cost: `num_draws` gradient evaluations a step.

    `step(closure)` calls the closure `num_draws` times. Batch norm's running statistics follow the first call only, if
    the optimizer is given `networks=network`. Between steps the network is at w.

    Args:
        params: the network's parameters.
        lr: learning rate > 0.
        noise: sigma >= 0; 0 is SGD.
        noise_scale: "filter", "tensor" or "weight".
        num_draws: M >= 1.
        generator: source of the noise, on the parameters' device; by default one seeded with 0.
        optimizer: base optimizer by name, with its options; `networks` as for every algorithm.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        *,
        noise: float = 0.002,
        noise_scale: str = "filter",
        num_draws: int = 1,
        generator: torch.Generator | None = None,
        optimizer: str = "sgd",
        **options: Any,
    ) -> None:
        require("noise", noise, ">= 0", lambda x: 0 <= x < math.inf)
        require("noise_scale", noise_scale, f"one of {', '.join(SCALES)}", lambda x: x in SCALES)
        require("num_draws", num_draws, "an integer >= 1", lambda x: x >= 1 and x == int(x))
        super().__init__([params], lr, optimizer=optimizer, **options)
        self.noise, self.noise_scale = noise, noise_scale
        self.evaluations_per_step = num_draws
        live = self.weights.values[0]
        self.kept, self.random = torch.empty_like(live), torch.empty_like(live)
        self.mean_gradient = torch.empty_like(live)
        self.generator = generator or torch.Generator(live.device).manual_seed(0)

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """One step of the base optimizer at w with the mean gradient around it; returns the first draw's loss."""
        w, g = self.weights.values[0], self.weights.gradients[0]
        self.kept.copy_(w)
        scale = self.scale().mul_(self.noise)
        self.mean_gradient.zero_()
        losses = None
        try:
            for _ in range(self.evaluations_per_step):
                torch.addcmul(self.kept, scale, self.random.normal_(generator=self.generator), out=w)
                drawn = self.evaluate(closure, frozen=losses is not None)
                losses = drawn if losses is None else losses
                self.mean_gradient.add_(g)
        finally:
            w.copy_(self.kept)
        torch.div(self.mean_gradient, self.evaluations_per_step, out=g)
        self.step_base()
        assert losses is not None
        return losses

    def scale(self) -> Tensor:
        """s, the scale of the noise of each weight, shape (N,)."""
        w = self.weights.values[0]
        if self.noise_scale == "weight":
            return w.abs()
        s = torch.empty_like(w)
        for p, view in zip(self.weights.views(w), self.weights.views(s), strict=True):
            if self.noise_scale == "tensor":
                view.copy_(p.square().mean().sqrt().expand_as(p))
            else:
                dims = tuple(range(1 if p.ndim > 1 else 0, p.ndim))
                view.copy_(p.square().sum(dims, keepdim=True).sqrt().expand_as(p))
        return s

    def center(self) -> Tensor:
        """w, the network itself."""
        return self.weights.values[0]

    def extra_state(self) -> dict[str, Any]:
        """The noise's random state."""
        return {"generator": self.generator.get_state()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` returned."""
        self.generator.set_state(state["generator"].cpu())
