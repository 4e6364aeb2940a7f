"""The mean of a correlated series, as a Markov chain makes it, with an honest error bar."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

WINDOW = 5.0  # correlation times summed over (Sokal): bias exp(-5) of the time, noise still small


@dataclass(frozen=True)
class SeriesMean:
    """Mean of a stationary series.

    Attributes:
        mean: the average.
        standard_error: sqrt(variance * time / n).
        time: integrated autocorrelation time in steps, >= 1: so many steps count as one independent sample.
    """

    mean: float
    standard_error: float
    time: float


def autocorrelation_time(series: Tensor) -> float:
    """The integrated autocorrelation time of a stationary series, in steps.

        tau = 1 + 2 sum_(t >= 1) rho(t),    summed up to the first lag W >= 5 tau(W)

    (Sokal 1989, "Monte Carlo methods in statistical mechanics"), not below 1: a series that oscillates around its mean
    is better than independent draws, but not counted as such. The estimate needs a series of some 50 tau; a shorter
    one underestimates it.

    Args:
        series: shape (n,), n >= 2.

    >>> import torch
    >>> autocorrelation_time(torch.tensor([1.0, -1.0] * 50))
    1.0
    """
    x = series.double() - series.double().mean()
    n = len(x)
    spectrum = torch.fft.rfft(x, n=2 * n)  # padded: no wrap around
    covariance = torch.fft.irfft(spectrum.abs().square(), n=2 * n)[:n]
    if not covariance[0] > 0:
        return 1.0  # a constant series has no error to scale
    times = 2 * torch.cumsum(covariance / covariance[0], 0) - 1
    lags = torch.arange(n, dtype=torch.float64)
    inside = (lags >= WINDOW * times).nonzero()
    return max(1.0, times[inside[0] if len(inside) else -1].item())


def series_mean(series: Tensor) -> SeriesMean:
    """The mean of a stationary series, shape (n,), with its standard error from the autocorrelation.

    Bias: none in the mean; the standard error is too small where n is not many correlation times.
    """
    time = autocorrelation_time(series)
    variance = series.double().var(correction=1).item() if len(series) > 1 else math.nan
    return SeriesMean(series.double().mean().item(), math.sqrt(variance * time / len(series)), time)
