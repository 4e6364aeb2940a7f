"""The Hessian of the loss: its largest eigenvalues and its trace.

    H_ij = d^2 L / dw_i dw_j,    L(w) = 1/P sum_mu l(f(x_mu; w), y_mu)

The top eigenvalue is the curvature along the sharpest direction (what bounds a stable learning rate, 2 / lambda); the
trace is the sum over all, twice the rise of the loss under small Gaussian noise divided by its variance. Neither is
invariant under the rescaling of layers that leaves a ReLU network's function alone (Dinh et al. 2017, arXiv
1703.04933): compare networks of one architecture, trained alike, or use multiplicative noise (local energy).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from sacreddnn.flatness.estimate import Estimate
from sacreddnn.flatness.lanczos import Tridiagonal, lanczos
from sacreddnn.flatness.loss_surface import LossSurface, SampleLoss
from sacreddnn.flatness.passes import Batches
from sacreddnn.flatness.quantities import loss as cross_entropy

WHICH = ("largest", "smallest", "magnitude")


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues with the proof of how good they are.

    Attributes:
        values: shape (k,), float64, in the order asked for.
        residuals: |H v - lambda v| with |v| = 1, shape (k,), computed from one more product each: some eigenvalue of
            the Hessian lies within that distance.
        vectors: unit vectors, shape (k, N), laid out like `LossSurface.origin`.
        num_products: Hessian-vector products that were made.
        converged: whether every residual is within the tolerance.
    """

    values: Tensor
    residuals: Tensor
    vectors: Tensor
    num_products: int
    converged: bool


def hessian_eigenvalues(
    network: nn.Module,
    batches: Batches,
    num_eigenvalues: int = 1,
    *,
    which: str = "largest",
    tolerance: float = 1e-3,
    max_steps: int = 100,
    seed: int = 0,
    loss: SampleLoss = cross_entropy,
    dtype: torch.dtype | None = None,
) -> Eigenpairs:
    """The outermost eigenvalues of the Hessian, by Lanczos with full reorthogonalisation.

    The network is measured in eval mode and never written to.

    Args:
        network: any module with floating-point parameters.
        batches: (inputs, targets); can be iterated over again and again.
        num_eigenvalues: k, from 1 to N.
        which: "largest", "smallest" (most negative first) or "magnitude".
        tolerance: > 0, of each residual, relative to the largest absolute eigenvalue.
        max_steps: >= k, upper bound of the Lanczos steps.
        seed: of the first vector.
        loss: (outputs, targets) -> loss of each sample, shape (n,).
        dtype: to compute in, e.g. torch.float64; by default the network's own.

    Returns:
        Eigenvalues, residuals and eigenvectors.

    Raises:
        ValueError: an argument outside its range, no batches, a network whose loss or curvature is not finite.

    Cost: at most max_steps + k Hessian-vector products, each about three gradients of the whole data set; memory
    max_steps + k + 6 vectors of N weights.

    Error: each value is within its residual of an eigenvalue. A single starting vector can miss one that it is almost
    orthogonal to, and finds eigenvalues that occur several times only late; another seed tells.
    """
    if which not in WHICH:
        raise ValueError(f"which: {which!r} is unknown, allowed: {', '.join(WHICH)}")
    if not tolerance > 0:
        raise ValueError(f"tolerance: {tolerance} is not allowed, it must be > 0")
    surface = LossSurface(network, batches, loss=loss, dtype=dtype)
    if not 1 <= num_eigenvalues <= surface.num_weights:
        raise ValueError(
            f"num_eigenvalues: {num_eigenvalues} is not allowed, it must be from 1 to {surface.num_weights} (weights)"
        )
    if max_steps < num_eigenvalues:
        raise ValueError(f"max_steps: {max_steps} is not allowed, it must be >= num_eigenvalues, {num_eigenvalues}")
    generator = surface.generator(seed)
    small_enough = _converged(num_eigenvalues, which, tolerance)
    draw = partial(surface.normal, generator)
    found = lanczos(surface.hessian_product, draw(), max_steps, done=small_enough, restart=draw)
    ritz, coefficients, _ = found.eigen()
    chosen = _order(ritz, which)[:num_eigenvalues]
    vectors = coefficients[:, chosen].mT.to(found.basis) @ found.basis
    values = ritz[chosen]
    applied = surface.hessian_product(vectors)
    residuals = torch.stack([(a - t * v).norm() for a, t, v in zip(applied, values, vectors, strict=True)])
    residuals = residuals.double().cpu()
    scale = ritz.abs().max()
    return Eigenpairs(
        values=values,
        residuals=residuals,
        vectors=vectors,
        num_products=len(ritz) + num_eigenvalues,
        converged=bool((residuals <= tolerance * scale).all()),
    )


def hessian_trace(
    network: nn.Module,
    batches: Batches,
    *,
    num_products: int = 60,
    seed: int = 0,
    loss: SampleLoss = cross_entropy,
    dtype: torch.dtype | None = None,
) -> Estimate:
    r"""The trace of the Hessian by Hutch++ (Meyer, Musco, Musco, Woodruff 2021, arXiv 2010.09649).

        tr H = tr(Q^T H Q) + E_g g^T (1 - QQ^T) H (1 - QQ^T) g

    Q is an orthonormal basis of H S for random S: it catches the few large eigenvalues of a network exactly, so that
    the random part, over vectors g of independent signs, is left with the small ones.

    Args:
        network: any module with floating-point parameters; measured in eval mode, never written to.
        batches: (inputs, targets); can be iterated over again and again.
        num_products: >= 6, Hessian-vector products, a third each for H S, H Q and the random part.
        seed: of S and g.
        loss: (outputs, targets) -> loss of each sample, shape (n,).
        dtype: to compute in; by default the network's own.

    Returns:
        Mean, standard error over the vectors g given Q, and one sample a vector, float64. Unbiased; the standard error
        is 0 where Q spans everything (N no more than num_products / 3).

    Raises:
        ValueError: too few products, no batches, a network whose loss or curvature is not finite.

    Cost: num_products Hessian-vector products (two gradients each where many share one pass); memory num_products
    vectors of N weights.
    """
    if num_products < 6:
        raise ValueError(f"num_products: {num_products} is not allowed, it must be >= 6 (two for each third)")
    surface = LossSurface(network, batches, loss=loss, dtype=dtype)
    generator = surface.generator(seed)
    third = num_products // 3
    Q = torch.linalg.qr(
        surface.hessian_product(_signs(surface, third, generator)).mT
    ).Q.mT  # rows, shape (min(third, N), N)
    caught = (Q * surface.hessian_product(Q)).sum()
    G = _signs(surface, third, generator)
    G -= (G @ Q.mT) @ Q
    rest = (G * surface.hessian_product(G)).sum(1)
    samples = caught.cpu().double() + rest.cpu().double()
    if not samples.isfinite().all():
        raise ValueError("hessian: its product with a vector is not finite, the loss has no curvature here")
    return Estimate.of(samples)


def _signs(surface: LossSurface, num: int, generator: torch.Generator) -> Tensor:
    """Rows of independent signs, shape (num, N)."""
    return torch.stack([torch.where(surface.normal(generator) < 0, -1, 1).to(surface.origin) for _ in range(num)])


def _order(values: Tensor, which: str) -> Tensor:
    """Indices of the eigenvalues, the wanted ones first."""
    key = {"largest": values, "smallest": -values, "magnitude": values.abs()}[which]
    return key.argsort(descending=True)


def _converged(num: int, which: str, tolerance: float) -> Callable[[Tridiagonal], bool]:
    def done(tridiagonal: Tridiagonal) -> bool:
        if len(tridiagonal.diagonal) < num:
            return False
        values, _, bounds = tridiagonal.eigen()
        if tridiagonal.off_diagonal[-1] == 0 and num > 1:
            return False  # an invariant subspace: what lies outside of it has not been seen yet
        return bool((bounds[_order(values, which)[:num]] <= 0.5 * tolerance * values.abs().max()).all())

    return done
