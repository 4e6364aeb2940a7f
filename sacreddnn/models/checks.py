"""Checks of the options of networks; every refusal is one line: option, value, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

FROM_ELSEWHERE = (
    "num_classes",
    "in_channels",
    "image_size",
    "seed",
)  # of the data or the run, not of the model


def key(option: str) -> str:
    """The key under which a run's config has the option, as errors name it."""
    return option if option in FROM_ELSEWHERE else f"model.{option}"


def unknown(kind: str, name: object, known: Iterable[str], note: str = "") -> ValueError:
    """The error for a name that is not among the known ones, with the nearest of them.

    Args:
        kind: what is being named, for example "model.name".
        name: what was given.
        known: what may be given; at most eight nearest of them are shown.
        note: appended, for example where to find the whole list.
    """
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=4, cutoff=0.5)
    if near:
        advice = "did you mean " + ", ".join(near) + "?"
    elif len(known) <= 16:
        advice = "choose from " + ", ".join(known)
    else:
        advice = "nothing of a similar name is known"
    return ValueError(f"{kind}: {name!r} is unknown; {advice}{note}")


def choice(option: str, value: object, allowed: Sequence[str]) -> str:
    """The value, if it is one of the allowed words; ValueError otherwise."""
    if not isinstance(value, str) or value not in allowed:
        raise unknown(key(option), value, allowed)
    return value


def count(option: str, value: object, minimum: int = 1) -> int:
    """The value, if it is an integer of at least `minimum`; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{key(option)}: {value!r} is not allowed; give an integer of at least {minimum}")
    return value


def number(option: str, value: object, minimum: float, below: float | None = None) -> float:
    """The value as a float, if minimum <= value < below; ValueError otherwise."""
    limit = float("inf") if below is None else below
    if isinstance(value, int | float) and not isinstance(value, bool) and minimum <= value < limit:
        return float(value)
    bound = f"from {minimum:g}" + ("" if below is None else f" to below {below:g}")
    raise ValueError(f"{key(option)}: {value!r} is not allowed; give a number {bound}")


def rate(option: str, value: object) -> float:
    """The value as a float, if it is a rate in [0, 1), as of dropout; ValueError otherwise."""
    return number(option, value, 0.0, 1.0)


def image_size(value: object) -> tuple[int, int]:
    """(height, width) in pixels of a size given as one integer or as a pair; ValueError otherwise."""
    if isinstance(value, int):
        value = (value, value)
    sizes = list(value) if isinstance(value, list | tuple) else []
    if len(sizes) != 2:
        raise ValueError(f"image_size: {value!r} is not allowed; give one integer or the pair (height, width)")
    return count("image_size", sizes[0]), count("image_size", sizes[1])


# what to do about it
OTHER_SIZE = "resize the images (dataset.augmentation=[{resize: 224}] or another size), or take another network"


class ImageSizeError(ValueError):
    """Images whose size does not fit the network, whatever its options."""


def at_least(network: str, size: tuple[int, int], minimum: int) -> None:
    """Raise ImageSizeError if images of that size, in pixels, vanish inside the network."""
    if min(size) < minimum:
        raise ImageSizeError(
            f"image_size: {network} needs images of at least {minimum}x{minimum} pixels, "
            f"got {size[0]}x{size[1]}; take another network (mlp fits any size) or resize the images"
        )


def survival(option: str, value: object) -> float:
    """The value as a float, if it is a probability in (0, 1]; ValueError otherwise."""
    probability = number(option, value, 0.0)
    if not 0.0 < probability <= 1.0:
        raise ValueError(f"{key(option)}: {value!r} is not allowed; give a probability above 0, at most 1")
    return probability


def flag(option: str, value: object) -> bool:
    """The value, if it is true or false; ValueError otherwise."""
    if not isinstance(value, bool):
        raise ValueError(f"{key(option)}: {value!r} is not allowed; give true or false")
    return value
