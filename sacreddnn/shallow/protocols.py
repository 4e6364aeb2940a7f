r"""How the coupling gamma and the number of replicas y grow in focusing belief propagation: lists of pairs (gamma, y).

The names are those of Baldassi et al. (PNAS 2016). With rho rising in [0, 1),

    standard reinforcement   gamma = inf               y = 1/(1 - rho)
    pseudo-reinforcement     gamma = atanh(rho^x)      y = 1 + rho^(1 - 2x)/(1 - rho),     0 <= x <= 1/2
    scoping                  gamma as given            y fixed
    free scoping             as given

In the first two a weak field h comes back as rho/(1 - rho) h, so that h in all becomes h/(1 - rho): reinforcement.
x = 0 is the standard one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Protocol = list[tuple[float, float]]
RHOS = tuple(np.linspace(0.0, 0.99, 100).tolist())


def standard_reinforcement(rhos: Sequence[float] = RHOS) -> Protocol:
    """Replicas on one point, more and more of them.

    >>> standard_reinforcement([0.0, 0.5])
    [(inf, 1.0), (inf, 2.0)]
    """
    _check_rhos(rhos)
    return [(math.inf, 1 / (1 - rho)) for rho in rhos]


def pseudo_reinforcement(rhos: Sequence[float] = RHOS, x: float = 0.5) -> Protocol:
    """Replicas that come closer while there are more and more of them.

    >>> [(round(gamma, 4), round(y, 4)) for gamma, y in pseudo_reinforcement([0.0, 0.25])]
    [(0.0, 2.0), (0.5493, 2.3333)]
    """
    _check_rhos(rhos)
    if not 0 <= x <= 0.5:
        raise ValueError(f"x: {x} is not allowed, the exponent of pseudo-reinforcement lies in [0, 0.5]")
    if x == 0:
        return standard_reinforcement(rhos)
    return [(math.atanh(rho**x), 1 + rho ** (1 - 2 * x) / (1 - rho)) for rho in rhos]


def scoping(gammas: Sequence[float], y: float) -> Protocol:
    """A fixed number of replicas that come closer.

    >>> scoping([0.5, 1.0], 10)
    [(0.5, 10.0), (1.0, 10.0)]
    """
    return free_scoping([(gamma, y) for gamma in gammas])


def free_scoping(pairs: Sequence[tuple[float, float]]) -> Protocol:
    """Any pairs (gamma, y).

    Raises:
        ValueError: gamma below 0 or NaN, y below 1 or not finite, no pairs.
    """
    if not len(pairs):
        raise ValueError("protocol: it is empty, give at least one pair (gamma, y)")
    for gamma, y in pairs:
        if not (gamma >= 0 and 1 <= y < math.inf):
            raise ValueError(f"protocol: (gamma, y) = ({gamma}, {y}) is not allowed, give gamma >= 0 and finite y >= 1")
    return [(float(gamma), float(y)) for gamma, y in pairs]


def _check_rhos(rhos: Sequence[float]) -> None:
    if not len(rhos) or not all(0 <= rho < 1 for rho in rhos):
        raise ValueError(f"rhos: {list(rhos)} is not allowed, give numbers in [0, 1)")
