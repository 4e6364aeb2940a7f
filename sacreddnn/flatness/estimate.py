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

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference of two estimates that share their random numbers, over the draws that both have.

        What a draw does to both cancels: the standard error is that of the differences, smaller than that of
        independent estimates where the draws go together.

        Raises:
            ValueError: samples of different shapes.

        >>> import torch
        >>> one = Estimate.of(torch.tensor([1.0, 5.0, 3.0]))
        >>> difference = one.minus(Estimate.of(torch.tensor([0.0, 4.0, 2.0, 9.0])))
        >>> difference.mean.item(), difference.standard_error.item()
        (1.0, 0.0)
        """
        if self.samples.shape[1:] != other.samples.shape[1:]:
            raise ValueError(
                f"other: its draws have shape {tuple(other.samples.shape[1:])}, not {tuple(self.samples.shape[1:])}"
            )
        num = min(len(self.samples), len(other.samples))
        return Estimate.of(self.samples[:num] - other.samples[:num])
