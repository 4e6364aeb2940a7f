r"""Directions in weight space along which a network is perturbed: w + sigma * direction(w, z), z ~ N(0, I).

multiplicative   z_i w_i: noise in proportion to each weight (Pittorino et al. 2021). Invariant wherever the network is
                 invariant to rescaling its weights.
additive         z_i: the same noise for every weight. Depends on the scale of the weights, which ReLU and batch norm
                 leave open: compare only networks whose layers have equal scales.
filter           |w_f| z_f / |z_f| for each filter f, the first index of a tensor of two or more dimensions; tensors of
                 one dimension (biases, batch norm) count as one filter (Li et al. 2018, arXiv 1712.09913, who leave
                 those out: subset "weights").

Subsets of the parameters that move: "all", or "weights", those of two or more dimensions (neither biases nor the
parameters of normalisation layers).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NOISES = ("multiplicative", "additive", "filter")
SUBSETS = ("all", "weights")


def draw(weights: Sequence[Tensor], noise: str, subset: str, generator: torch.Generator) -> list[Tensor]:
    """One direction, a tensor for each parameter; zeros where a parameter does not move.

    The numbers z are drawn for every parameter, moving or not, in the logical order of its elements: the same draws
    for every noise, subset and memory format (common random numbers).
    """
    directions = []
    for w in weights:
        z = torch.empty_like(w).copy_(torch.empty(w.shape, dtype=w.dtype, device=w.device).normal_(generator=generator))
        if subset == "weights" and w.ndim < 2:
            z.zero_()
        elif noise == "multiplicative":
            z.mul_(w)
        elif noise == "filter":
            z.mul_(_filter_norm(w) / _filter_norm(z))
        directions.append(z)
    return directions


def _filter_norm(w: Tensor) -> Tensor:
    dims = tuple(range(1 if w.ndim > 1 else 0, w.ndim))
    return w.square().sum(dims, keepdim=True).sqrt()
