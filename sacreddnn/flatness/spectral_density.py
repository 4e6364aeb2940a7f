r"""The density of the Hessian's eigenvalues by stochastic Lanczos quadrature.

    rho(t) = 1/N sum_i delta(t - lambda_i)  =  E_v sum_j tau_j^2 delta(t - theta_j)

For a random unit vector v, m Lanczos steps give nodes theta_j (eigenvalues of the tridiagonal matrix) and weights
tau_j^2 (squares of its eigenvectors' first components) that integrate every polynomial of degree up to 2m - 1 exactly
against the spectral measure of v (Golub and Welsch 1969), whose mean over v is rho. As used for networks by Ghorbani,
Krishnan and Xiao (2019, arXiv 1901.10159) and in PyHessian (arXiv 1912.07145).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sacreddnn.flatness.estimate import Estimate
from sacreddnn.flatness.lanczos import lanczos
from sacreddnn.flatness.loss_surface import LossSurface, SampleLoss
from sacreddnn.flatness.passes import Batches
from sacreddnn.flatness.quantities import loss as cross_entropy


@dataclass(frozen=True)
class SpectralDensity:
    """The quadrature of each random vector. Everything is float64, on the CPU.

    Attributes:
        nodes: theta, shape (num_vectors, m).
        weights: tau^2 >= 0, shape (num_vectors, m); each row sums to 1. Where fewer than m steps exhausted the space,
            the row is filled up with nodes of weight 0.
        num_weights: N, the number of eigenvalues.
    """

    nodes: Tensor
    weights: Tensor
    num_weights: int

    def moment(self, power: int) -> Estimate:
        """The mean of lambda^power over all eigenvalues, unbiased up to power 2m - 1; tr H^power is N times that."""
        return Estimate.of((self.weights * self.nodes**power).sum(1))

    def fraction_above(self, threshold: float) -> Estimate:
        """The fraction of the eigenvalues above a threshold (good where it lies in a gap of the spectrum)."""
        return Estimate.of((self.weights * (self.nodes > threshold)).sum(1))

    def density(self, at: Tensor, width: float) -> Estimate:
        """The density convolved with a Gaussian of standard deviation `width` > 0, at the points `at`, shape (k,).

        The mean over vectors has shape (k,), unit 1/curvature; the quadrature is exact only where the density is
        smooth on the scale of the distance of neighbouring nodes, so a width below that draws the nodes, not rho.
        """
        if not 0 < width < math.inf:
            raise ValueError(f"width: {width} is not allowed, it must be finite and > 0")
        z = (at.double().view(-1, 1, 1) - self.nodes) / width
        kernel = torch.exp(-0.5 * z.square()) / (width * math.sqrt(2 * math.pi))
        return Estimate.of((self.weights * kernel).sum(2).mT)

    def grid(self, num_points: int = 512, width: float | None = None) -> tuple[Tensor, float]:
        """Points that cover all nodes with three widths beyond, and the width: by default 1/100 of the nodes' range."""
        low, high = self.nodes.min().item(), self.nodes.max().item()
        width = width or max((high - low) / 100, 1e-12 + 1e-3 * max(abs(low), abs(high)))
        return torch.linspace(low - 3 * width, high + 3 * width, num_points, dtype=torch.float64), width


def spectral_density(
    network: nn.Module,
    batches: Batches,
    *,
    num_steps: int = 50,
    num_vectors: int = 4,
    seed: int = 0,
    loss: SampleLoss = cross_entropy,
    dtype: torch.dtype | None = None,
) -> SpectralDensity:
    """The quadrature of the Hessian's spectrum.

    Args:
        network: any module with floating-point parameters; measured in eval mode, never written to.
        batches: (inputs, targets); can be iterated over again and again.
        num_steps: m >= 2, Lanczos steps a vector: resolution.
        num_vectors: >= 1 random vectors: statistical error, which shrinks like 1 / sqrt(N num_vectors) for
            bulk averages. Two or more for a standard error.
        seed: of the vectors.
        loss: (outputs, targets) -> loss of each sample, shape (n,).
        dtype: to compute in; by default the network's own.

    Returns:
        Nodes and weights, from which moments, counts and the density with its error bar follow.

    Raises:
        ValueError: an argument outside its range, no batches, a network whose loss or curvature is not finite.

    Cost: num_vectors * num_steps Hessian-vector products, about three gradients of the whole data set each; memory
    num_steps + 6 vectors of N weights.
    """
    if num_steps < 2:
        raise ValueError(f"num_steps: {num_steps} is not allowed, it must be >= 2")
    if num_vectors < 1:
        raise ValueError(f"num_vectors: {num_vectors} is not allowed, it must be >= 1")
    surface = LossSurface(network, batches, loss=loss, dtype=dtype)
    generator = surface.generator(seed)
    num_steps = min(num_steps, surface.num_weights)
    nodes = torch.zeros(num_vectors, num_steps, dtype=torch.float64)
    weights = torch.zeros_like(nodes)
    for row in range(num_vectors):
        # no restart: beyond the subspace of v its spectral measure has no weight
        values, vectors, _ = lanczos(surface.hessian_product, surface.normal(generator), num_steps).eigen()
        nodes[row, : len(values)] = values
        nodes[row, len(values) :] = values[-1]
        weights[row, : len(values)] = vectors[0].square()
    return SpectralDensity(nodes, weights, surface.num_weights)
