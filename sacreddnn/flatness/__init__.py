"""Measures of flatness and of curvature, for any network."""

from sacreddnn.flatness.estimate import Estimate
from sacreddnn.flatness.hessian import Eigenpairs, hessian_eigenvalues, hessian_trace
from sacreddnn.flatness.landscape import Barrier, barrier, line, plane, random_cut
from sacreddnn.flatness.landscape_grid import Landscape
from sacreddnn.flatness.local_energy import local_energy
from sacreddnn.flatness.local_entropy import LocalEntropy, local_entropy
from sacreddnn.flatness.loss_surface import LossSurface
from sacreddnn.flatness.margins import Margins, margins
from sacreddnn.flatness.norms import frobenius_norm, path_norm, spectral_norms
from sacreddnn.flatness.pac_bayes import PacBayesSigma, pac_bayes_sigma
from sacreddnn.flatness.quantities import error, error_and_loss, loss
from sacreddnn.flatness.sharpness import Sharpness, sharpness
from sacreddnn.flatness.spectral_density import SpectralDensity, spectral_density

__all__ = [
    "Barrier",
    "Eigenpairs",
    "Estimate",
    "Landscape",
    "LocalEntropy",
    "LossSurface",
    "Margins",
    "PacBayesSigma",
    "Sharpness",
    "SpectralDensity",
    "barrier",
    "error",
    "error_and_loss",
    "frobenius_norm",
    "hessian_eigenvalues",
    "hessian_trace",
    "line",
    "local_energy",
    "local_entropy",
    "loss",
    "margins",
    "pac_bayes_sigma",
    "path_norm",
    "plane",
    "random_cut",
    "sharpness",
    "spectral_density",
    "spectral_norms",
]
