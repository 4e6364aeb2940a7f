"""Networks small enough for theory: committee machines and perceptrons, and their local entropy, exactly."""

from sacreddnn.shallow.committee import error, local_energy, normalized
from sacreddnn.shallow.curve import LocalEntropyCurve
from sacreddnn.shallow.local_entropy import local_entropy_curve

__all__ = ["LocalEntropyCurve", "error", "local_energy", "local_entropy_curve", "normalized"]
