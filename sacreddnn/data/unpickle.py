"""Pickled data files read without running what they say.

A pickle may name any function to be called while it is read. This reader makes lists, dictionaries, strings,
numbers and one kind of array, which is all that the files of CIFAR hold, and refuses every other name.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from sacreddnn.data.dataset import DataError


class PickledArray:
    """What stands for a numpy array while unpickling: shape and bytes, no numpy code is called."""

    shape: tuple[int, ...] = ()
    content: bytes = b""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if fortran or not isinstance(dtype, _Dtype) or dtype.name != "u1":
            raise pickle.UnpicklingError("an array that is not of unsigned bytes in row-major order")
        content = content.encode("latin1") if isinstance(content, str) else content
        self.shape, self.content = tuple(shape), bytes(content)

    def array(self, name: str) -> np.ndarray:
        """Returns the numpy array."""
        if len(self.content) != int(np.prod(self.shape)):
            raise DataError(f"{name}: an array of shape {self.shape} holds {len(self.content)} bytes: truncated")
        return np.frombuffer(self.content, np.uint8).reshape(self.shape)


class _Dtype:
    def __init__(self, name: Any = None, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode(encoding)


# What a pickled array of bytes refers to, and what is made in its place. `_codecs.encode` is how Python 3
# writes bytes in the old protocols.
_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: PickledArray(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: PickledArray(),
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data file needs")
        return _STAND_INS[module, name]


def unpickle(content: bytes, name: str) -> Any:
    """Returns what a pickle of plain containers and arrays of bytes holds.

    Args:
        content: the pickle.
        name: of the file, for error messages.

    Raises:
        DataError: damaged, or it refers to anything that is not data.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(f"{name}: not a readable data file ({error}); delete it and get it again") from error
