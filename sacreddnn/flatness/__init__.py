"""Measures of flatness, for any network."""

from sacreddnn.flatness.estimate import Estimate
from sacreddnn.flatness.local_energy import error, error_and_loss, local_energy, loss

__all__ = ["Estimate", "error", "error_and_loss", "local_energy", "loss"]
