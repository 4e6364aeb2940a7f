"""Measures of flatness and of curvature, for any network."""

from sacreddnn.flatness.estimate import Estimate
from sacreddnn.flatness.hessian import Eigenpairs, hessian_eigenvalues, hessian_trace
from sacreddnn.flatness.local_energy import error, error_and_loss, local_energy, loss
from sacreddnn.flatness.local_entropy import LocalEntropy, local_entropy
from sacreddnn.flatness.loss_surface import LossSurface
from sacreddnn.flatness.pac_bayes import PacBayesSigma, pac_bayes_sigma
from sacreddnn.flatness.sharpness import Sharpness, sharpness
from sacreddnn.flatness.spectral_density import SpectralDensity, spectral_density

__all__ = [
    "Eigenpairs",
    "Estimate",
    "LocalEntropy",
    "LossSurface",
    "PacBayesSigma",
    "Sharpness",
    "SpectralDensity",
    "error",
    "error_and_loss",
    "hessian_eigenvalues",
    "hessian_trace",
    "local_energy",
    "local_entropy",
    "loss",
    "pac_bayes_sigma",
    "sharpness",
    "spectral_density",
]
