"""A Monte Carlo mean with its standard error."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """The mean of independent draws, its standard error, and the draws.

    Attributes:
        mean: average over draws, shape (..).
        standard_error: sqrt(sample variance / number of draws), same shape; NaN for a single draw.
        samples: the draws, shape (num_samples, ..).
    """

    mean: Tensor
    standard_error: Tensor
    samples: Tensor

    @classmethod
    def of(cls, samples: Tensor) -> Estimate:
        """The estimate from independent draws along the first dimension.

        >>> import torch
        >>> estimate = Estimate.of(torch.tensor([1.0, 2.0, 3.0]))
        >>> estimate.mean.item(), round(estimate.standard_error.item(), 4)
        (2.0, 0.5774)
        """
        num = samples.shape[0]
        error = samples.std(0, correction=1) / num**0.5 if num > 1 else samples[0] * float("nan")
        return cls(samples.mean(0), error, samples)
