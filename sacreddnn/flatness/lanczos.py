"""Lanczos tridiagonalisation of a symmetric operator, with full reorthogonalisation.

After m steps from a unit vector v the operator is A Q = Q T + beta_m q_(m+1) e_m^T, with orthonormal columns Q and a
tridiagonal T (Golub and Van Loan, Matrix Computations, chapter 10). Eigenvalues of T approach the outer ones of A; the
last row of T's eigenvectors times beta_m bounds their distance from an eigenvalue of A.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Tridiagonal:
    """What Lanczos leaves after m steps.

    Attributes:
        basis: orthonormal rows, shape (m, N).
        diagonal: alpha, shape (m,), float64.
        off_diagonal: beta, shape (m,), float64; the last couples to the vector that would come next.
    """

    basis: Tensor
    diagonal: Tensor
    off_diagonal: Tensor

    def eigen(self) -> tuple[Tensor, Tensor, Tensor]:
        """Eigenvalues of T in rising order, its eigenvectors as columns, and the bound of each one's residual."""
        beta = self.off_diagonal[:-1]
        T = torch.diag(self.diagonal) + torch.diag(beta, 1) + torch.diag(beta, -1)
        values, vectors = torch.linalg.eigh(T)
        return values, vectors, (self.off_diagonal[-1] * vectors[-1]).abs()


def lanczos(
    product: Product,
    start: Tensor,
    num_steps: int,
    *,
    done: Callable[[Tridiagonal], bool] = lambda tridiagonal: False,
    restart: Callable[[], Tensor] | None = None,
) -> Tridiagonal:
    """Lanczos on a symmetric operator.

    Args:
        product: v -> A v, both of shape (N,).
        start: first vector, shape (N,), of any length but zero.
        num_steps: upper bound of the products; never more than N are made.
        done: asked after every step whether it is enough.
        restart: draws a new vector where an invariant subspace is exhausted (eigenvalues that occur several times need
            it); by default that ends the process.

    Returns:
        The tridiagonal matrix and its basis.

    Raises:
        ValueError: a product that is not finite.

    Cost: m products and 4 m^2 N operations of reorthogonalisation; memory m + 2 vectors.
    """
    num_steps = min(num_steps, start.numel())
    basis = start.new_empty(num_steps, start.numel())
    alpha = torch.zeros(num_steps, dtype=torch.float64)
    beta = torch.zeros(num_steps, dtype=torch.float64)
    basis[0] = start / start.norm()
    scale, tiny = 0.0, 10 * torch.finfo(start.dtype).eps
    for j in range(num_steps):
        r = product(basis[j])
        alpha[j] = (r @ basis[j]).item()
        r = _orthogonal(r, basis[: j + 1])
        beta[j] = r.norm().item()
        if not torch.isfinite(alpha[j] + beta[j]):
            raise ValueError("hessian: its product with a vector is not finite, the loss has no curvature here")
        scale = max(scale, abs(alpha[j].item()) + beta[j].item())
        exhausted = beta[j].item() <= tiny * scale
        if exhausted:
            beta[j] = 0.0
        so_far = Tridiagonal(basis[: j + 1], alpha[: j + 1], beta[: j + 1])
        if j + 1 == num_steps or (exhausted and restart is None) or done(so_far):
            return so_far
        if exhausted and restart is not None:
            r = _orthogonal(restart(), basis[: j + 1])
        basis[j + 1] = r / r.norm()
    raise AssertionError("the last step returns")


def _orthogonal(r: Tensor, basis: Tensor) -> Tensor:
    for _ in range(2):  # "twice is enough" (Kahan)
        r = r - basis.mT @ (basis @ r)
    return r
