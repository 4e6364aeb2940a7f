"""Seeds derived from a tuple by hashing, and the generator they start.

Adding numbers to a seed lets (seed 1, stream 2) and (seed 2, stream 1) share a sequence. Hashing the whole
tuple does not, so every random draw of training can be a pure function of what it is for.
"""

from __future__ import annotations

import hashlib
from functools import cache

import torch

_MASK = (1 << 64) - 1


def _splitmix64(state: int) -> int:
    """Returns what splitmix64 (Steele, Lea, Flood 2014) makes of a 64-bit state: a bijection."""
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


@cache
def _name_number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def derive_seed(*parts: int | str) -> int:
    """Returns one 63-bit seed for a tuple of integers and names, different for every tuple in practice.

    Args:
        parts: what the draw is for, for example `(seed, "train", stream, epoch, position)`; the order
            matters. Negative integers are allowed.

    Returns:
        An integer in [0, 2**63), what `torch.Generator.manual_seed` takes.

    >>> derive_seed(1, 2) == derive_seed(2, 1)
    False
    """
    state = len(parts)
    for part in parts:
        number = _name_number(part) if isinstance(part, str) else int(part)
        state = _splitmix64(state ^ (number & _MASK))
    return _splitmix64(state) >> 1


def generator_for(*parts: int | str) -> torch.Generator:
    """Returns a new CPU generator seeded by `derive_seed(*parts)`.

    Draws are made on the CPU whatever the device of the images, so that a run gives the same minibatches on
    any device.
    """
    return torch.Generator().manual_seed(derive_seed(*parts))
