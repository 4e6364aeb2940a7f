"""Options that cannot be right are refused in one line that names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def require(key: str, value: Any, allowed: str, holds: Callable[[Any], bool]) -> None:
    """Raise ValueError unless the value fulfils the condition.

    Args:
        key: name of the option.
        value: what was given.
        allowed: the condition in words, e.g. ">= 0".
        holds: the condition; a TypeError in it (a string where a number belongs) means no.

    >>> require("rho", -1, ">= 0", lambda rho: rho >= 0)
    Traceback (most recent call last):
    ...
    ValueError: rho: -1 is not allowed, it must be >= 0
    """
    try:
        ok = holds(value)
    except TypeError:
        ok = False
    if not ok:
        raise ValueError(f"{key}: {value!r} is not allowed, it must be {allowed}")
