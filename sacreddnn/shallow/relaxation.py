r"""The differentiable committee: tanh units and a loss that hardens, and both go to the sign machine in the limit.

    stability   Delta_k = y w_k . x / sqrt(N)
    output      x = 1/sqrt(K) sum_k tanh(beta Delta_k)                  beta -> infinity: sign units
    loss        f(x, omega) = 1/(2 omega) log(1 + exp(-2 omega x))      omega -> infinity: max(0, -x)

(Pittorino et al. 2021, shallow networks; recalled.) For small omega every pattern pulls with the same force 1/2, for
large omega only those that are wrong. Weights lie on the product of spheres |w_k|^2 = N. Everything is a batch: each
row has its own weights and its own minibatch, with the label absorbed into the pattern.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softplus


@dataclass(frozen=True)
class Growth:
    """A value that goes from `first` to `last` exponentially: first (last/first)^progress, progress in [0, 1].

    >>> Growth(1.0, 100.0).at(0.5)
    10.0
    """

    first: float
    last: float

    def __post_init__(self) -> None:
        valid = 0 < self.first < float("inf") and 0 < self.last < float("inf")
        if not valid and not self.first == self.last == 0:
            raise ValueError(
                f"growth: from {self.first} to {self.last} is not allowed, give two numbers > 0, or 0 twice"
            )

    def at(self, progress: float) -> float:
        """The value at a progress in [0, 1]."""
        return 0.0 if self.first == 0 else self.first * (self.last / self.first) ** progress


def loss(weights: Tensor, patterns: Tensor, beta: float, omega: float) -> Tensor:
    """The mean loss over the minibatch of each row, shape (R,).

    Args:
        weights: shape (R, K, N).
        patterns: label times pattern, shape (R, B, N).
        beta: > 0, slope of the units.
        omega: > 0, hardness of the loss.
    """
    num_units, num_inputs = weights.shape[1:]
    hidden = (beta / num_inputs**0.5 * (patterns @ weights.mT)).tanh()
    output = hidden.sum(2) / num_units**0.5
    return softplus(-2 * omega * output).mean(1) / (2 * omega)


def gradient(weights: Tensor, patterns: Tensor, beta: float, omega: float) -> Tensor:
    """The gradient of `loss` in the weights of each row, shape (R, K, N), in closed form; arguments as there.

    df/dw_k = - beta / sqrt(K N) mean_b [ sigmoid(-2 omega x) (1 - tanh^2) y x ]

    Cost: two matrix products.
    """
    num_units, num_inputs = weights.shape[1:]
    hidden = (beta / num_inputs**0.5 * (patterns @ weights.mT)).tanh_()  # (R, B, K)
    pull = (-2 * omega / num_units**0.5 * hidden.sum(2, keepdim=True)).sigmoid_()
    factor = -beta / (num_units * num_inputs) ** 0.5 / patterns.shape[1]
    return (hidden.square_().neg_().add_(1).mul_(pull)).mT @ patterns * factor


def to_spheres(weights: Tensor) -> Tensor:
    """The weights, in place, with every unit's on its sphere |w_k|^2 = N."""
    num_inputs = weights.shape[-1]
    return weights.mul_(num_inputs**0.5 / weights.norm(dim=-1, keepdim=True))


def num_errors(weights: Tensor, patterns: Tensor) -> Tensor:
    """How many patterns the sign machine of each row gets wrong, shape (R,); a field of 0 is no right vote.

    Args:
        weights: shape (R, K, N).
        patterns: label times pattern, the same for all rows, shape (P, N).
    """
    votes = (patterns @ weights.mT > 0).sum(2)
    return (votes <= weights.shape[1] // 2).sum(1)
