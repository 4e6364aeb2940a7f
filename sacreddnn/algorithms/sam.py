r"""Sharpness-aware minimization: descend the loss at the worst point nearby.

SAM (Foret et al. 2021, arXiv 2010.01412) and ASAM (Kwon et al. 2021, arXiv 2102.11600) descend, to first order,
max over |T^-1 e| <= rho of L(w + e):

    g <- grad L(w; minibatch)
    e <- rho T^2 g / |T g|                SAM: T = 1; ASAM: T = diag(|w_i| + eta)
    g <- grad L(w + e; the same minibatch)
    w <- w - lr g                         (the base optimizer, at w)

name here   paper   meaning
rho         rho     radius of the neighbourhood; ASAM's is relative to the weights, hence about ten times SAM's
eta         eta     ASAM: keeps weights near zero movable
lr          eta     of the base optimizer

Weight decay belongs to the base optimizer and does not enter e. ASAM's T acts on all parameters (the authors' code
leaves T = 1 for biases, which a vector of weights cannot tell from the rest).
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
from sacreddnn.weights import blocks

TINY = 1e-12  # added to the norm of the gradient, which may be zero


class SAM(Algorithm):
    """SAM. Cost: two gradient evaluations a step.

    `step(closure)` calls the closure twice, at w and at w + e; both calls must use the same minibatch and, to be exact,
    the same dropout masks (seed the generator inside the closure). Batch norm's running statistics follow the first
    call only, if the optimizer is told whose they are: `SAM(network.parameters(), lr, networks=network)`. bfloat16
    autocast needs no gradient scaler, so there is none to unscale between the calls.

    Args:
        params: the network's parameters.
        lr: learning rate > 0.
        rho: radius >= 0; 0 is SGD at twice the cost.
        optimizer: base optimizer by name, with its options; `networks` as for every algorithm.
    """

    evaluations_per_step = 2

    def __init__(
        self, params: Iterable[Parameter], lr: float, *, rho: float = 0.05, optimizer: str = "sgd", **options: Any
    ) -> None:
        require("rho", rho, ">= 0", lambda x: 0 <= x < math.inf)
        super().__init__([params], lr, optimizer=optimizer, **options)
        self.rho = rho
        self.kept = torch.empty_like(self.weights.values)  # w, exactly, while the network is at w + e

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """One step of the base optimizer at w with the gradient at w + e; returns the loss at w."""
        W, G = self.weights.values, self.weights.gradients
        losses = self.evaluate(closure)
        scale = self.rho / (self.norm(W, G) + TINY)
        for part in blocks(W):
            self.kept[:, part].copy_(W[:, part])
            W[:, part].addcmul_(self.direction(W[:, part], G[:, part]), scale)
        try:
            self.evaluate(closure, frozen=True)
        finally:
            W.copy_(self.kept)
        self.step_base()
        return losses

    def norm(self, W: Tensor, G: Tensor) -> Tensor:
        """|T g|, shape (1, 1)."""
        return G.norm(dim=-1, keepdim=True)

    def direction(self, W: Tensor, G: Tensor) -> Tensor:
        """T^2 g, which leads to the worst point nearby, to first order, of the shape of W."""
        return G

    def center(self) -> Tensor:
        """The network itself."""
        return self.weights.values[0]


class ASAM(SAM):
    """ASAM, invariant where the network is invariant to rescaling its weights. Cost and closure as for SAM.

    Args:
        params: the network's parameters.
        lr: learning rate > 0.
        rho: radius >= 0, relative to the weights.
        eta: >= 0, added to the absolute weights.
        optimizer: base optimizer by name, with its options; `networks` as for every algorithm.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        *,
        rho: float = 0.5,
        eta: float = 0.01,
        optimizer: str = "sgd",
        **options: Any,
    ) -> None:
        require("eta", eta, ">= 0", lambda x: 0 <= x < math.inf)
        super().__init__(params, lr, rho=rho, optimizer=optimizer, **options)
        self.eta = eta

    def norm(self, W: Tensor, G: Tensor) -> Tensor:
        """|T g|, T = |w| + eta, shape (1, 1)."""
        norms = [self._scales(W[:, part]).mul_(G[:, part]).norm() for part in blocks(W)]
        return torch.stack(norms).norm().view(1, 1)

    def direction(self, W: Tensor, G: Tensor) -> Tensor:
        """T^2 g, of the shape of W."""
        T = self._scales(W)
        return (T * G).mul_(T)

    def _scales(self, W: Tensor) -> Tensor:
        return W.abs().add_(self.eta)
