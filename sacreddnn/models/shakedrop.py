"""ShakeDrop: residual branches of random sign and size, with another random size in the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sacreddnn.models import checks

LEVELS = ("image", "batch")


class _Scale(torch.autograd.Function):
    """x * forward_factor, whose gradient is multiplied by backward_factor instead."""

    generate_vmap_rule = True  # per-sample gradients through torch.func

    @staticmethod
    def forward(x: Tensor, forward_factor: Tensor, backward_factor: Tensor) -> Tensor:
        return x * forward_factor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (backward_factor,) = ctx.saved_tensors
        return gradient * backward_factor, None, None


class ShakeDrop(nn.Module):
    """A random multiple of its input F, Yamada et al. 2018 (arXiv 1802.02375), eq. 6 without shortcut.

    Training: forward (b + a - b a) F, backward (b + c - b c) times the gradient, with b ~
        Bernoulli(survival),
    a ~ U[-1, 1], c ~ U[0, 1]: an undisturbed layer where b = 1, forward factor a and backward factor c where
    b = 0.
    Evaluation: the expectation of the forward factor, `survival` F.

    b is drawn for the whole batch, a and c for each image, as in AutoAugment's implementation of the network;
    "batch" draws one a and one c for the batch. All come from torch's global generator of the device, the
    same number of draws in every pass.

    Args:
        survival: probability that the layer is undisturbed, in (0, 1]; 1 is the identity.
        level: what shares one a and one c, "image" or "batch".
    """

    def __init__(self, survival: float, level: str = "image") -> None:
        super().__init__()
        self.survival = checks.survival("survival", survival)
        self.level = checks.choice("shakedrop_level", level, LEVELS)

    def forward(self, x: Tensor) -> Tensor:
        """Shape and dtype as those of x, (B, ..)."""
        if self.survival == 1.0:
            return x
        if not self.training:
            return x * self.survival
        num_draws = x.shape[0] if self.level == "image" else 1
        shape = (num_draws, *(1 for _ in x.shape[1:]))
        undisturbed = torch.rand((), device=x.device) < self.survival
        # drawn in float32, so that bfloat16 does not coarsen the law before the product
        a = torch.rand(shape, device=x.device) * 2 - 1
        c = torch.rand(shape, device=x.device)
        one = torch.ones((), device=x.device)
        factors = (torch.where(undisturbed, one, factor).to(x.dtype) for factor in (a, c))
        return _Scale.apply(x, *factors)

    def extra_repr(self) -> str:
        """What `print` shows of the layer."""
        return f"survival={self.survival:.4f}, level={self.level!r}"


def linear_decay(num_blocks: int, last: float) -> list[float]:
    """Survival probabilities p_l = 1 - l/L (1 - p_L) of the blocks l = 1..L, eq. 4 of the paper.

    >>> linear_decay(2, 0.5)
    [0.75, 0.5]
    """
    return [1.0 - block / num_blocks * (1.0 - last) for block in range(1, num_blocks + 1)]
