"""Learning-rate schedules: pure functions of the progress of the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

LrSchedule = Callable[[float], float]
NAMES = ("constant", "milestones", "step", "cosine")


def lr_schedule(
    name: str,
    epochs: float,
    *,
    milestones: Sequence[float] = (),
    every: float = 30,
    decay: float = 0.1,
    warmup: float = 0,
    warmup_start: float = 0.1,
) -> LrSchedule:
    """The factor on the base learning rate as a function of progress in [0, 1].

    constant: 1; milestones: decay^(number of milestones passed); step: decay^floor(epoch / every);
    cosine: (1 + cos(pi progress)) / 2. During the first `warmup` epochs it is multiplied by a factor that rises
    linearly from `warmup_start` to 1.

    Args:
        name: one of NAMES.
        epochs: length of the training; milestones, every and warmup are in the same unit.
        milestones: where "milestones" decays.
        every: distance between the decays of "step".
        decay: factor of one decay.
        warmup: length of the warm-up, 0 for none.
        warmup_start: its first factor.

    >>> schedule = lr_schedule("milestones", 300, milestones=[150, 225])
    >>> [round(schedule(p), 3) for p in (0.0, 0.499, 0.5, 0.75)]
    [1.0, 1.0, 0.1, 0.01]
    """
    if name not in NAMES:
        raise ValueError(f"lr_schedule.name: {name!r} is unknown, allowed: {', '.join(NAMES)}")

    def factor(progress: float) -> float:
        epoch = progress * epochs + 1e-9  # a boundary belongs to what comes after it
        value = 1.0
        if name == "milestones":
            value = decay ** sum(epoch >= milestone for milestone in milestones)
        elif name == "step":
            value = decay ** math.floor(epoch / every)
        elif name == "cosine":
            value = (1 + math.cos(math.pi * progress)) / 2
        if epoch < warmup:
            value *= warmup_start + (1 - warmup_start) * epoch / warmup
        return value

    return factor
