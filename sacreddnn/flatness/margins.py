"""Margins: how far each sample is from being classified otherwise.

    m_mu = f_y(x_mu) - max_(j != y) f_j(x_mu)

in units of the outputs; negative for an error. Outputs of a ReLU network grow with its weights, so margins of different
networks compare only after division by a norm: the product of the layers' spectral norms (Bartlett et al. 2017, arXiv
1706.08498), an upper bound of how fast the outputs of a plain chain of layers change with the inputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sacreddnn.flatness.loss_surface import LossSurface
from sacreddnn.flatness.norms import spectral_norms
from sacreddnn.flatness.passes import Batches


@dataclass(frozen=True)
class Margins:
    """The margins of a data set.

    Attributes:
        values: margin of each sample in the order of the batches, shape (P,), float64.
        scale: what they were divided by; 1 for plain margins.
    """

    values: Tensor
    scale: float = 1.0

    def quantile(self, q: float) -> float:
        """The q-quantile, 0 <= q <= 1; 0.1 is the measure of Jiang et al. (2020), less noisy than the minimum.

        >>> Margins(torch.tensor([3.0, 1.0, 2.0])).quantile(0.5)
        2.0
        """
        if not 0 <= q <= 1:
            raise ValueError(f"q: {q} is not allowed, quantiles are from 0 to 1")
        position = q * (len(self.values) - 1)  # torch.quantile takes no more than 16 million values
        low = math.floor(position)
        ordered = self.values.sort().values
        high = min(low + 1, len(ordered) - 1)
        return torch.lerp(ordered[low], ordered[high], position - low).item()

    @property
    def error(self) -> float:
        """Fraction of the samples without a positive margin, in percent."""
        return 100 * (self.values <= 0).double().mean().item()


def margins(network: nn.Module, batches: Batches, *, normalized: bool = False) -> Margins:
    """The margin of every sample.

    Args:
        network: a classifier with outputs of shape (n, num_classes), two classes or more; measured in eval mode, never
            written to.
        batches: (inputs, classes); can be iterated over again and again.
        normalized: divide by the product of the spectral norms of all linear, convolutional and batch-norm layers.

    Returns:
        The margins.

    Raises:
        ValueError: no batches, outputs that are not finite, a single output, a norm of zero.

    Cost: two forward passes over the data; normalised, spectral norms as well (see there).
    """
    surface = LossSurface(network, batches)
    found = []
    for outputs, targets in surface.outputs():
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise ValueError(f"network: outputs of shape {tuple(outputs.shape)} have no margin, two classes are needed")
        if not outputs.isfinite().all():
            raise ValueError("network: its outputs on the batches are not finite, they have no margin")
        of_class = outputs.gather(1, targets[:, None]).squeeze(1)
        others = outputs.scatter(1, targets[:, None], -torch.inf).amax(1)
        found.append((of_class - others).double().cpu())
    scale = 1.0
    if normalized:
        inputs, _ = next(iter(batches))
        scale = math.prod(spectral_norms(network, inputs).values())
        if not 0 < scale < math.inf:
            raise ValueError(f"network: the product of its spectral norms is {scale}, margins cannot be divided by it")
    return Margins(torch.cat(found) / scale, scale)
