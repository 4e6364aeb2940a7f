"""Data sets decoded once: their tensors in one checksummed file beside the data.

Layout of the file: a line that names the format, a line of JSON (fingerprint of the source files, checksum,
names, dtypes and shapes of the arrays, class names), then the arrays. The checksum covers the arrays and what
the line of JSON says of them. No pickle. A file that does not match, in whatever way, counts as missing and is
written anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sacreddnn.data.dataset import Raw, Split

MAGIC = b"sacreddnn cache 2\n"
_DTYPES = {"uint8": torch.uint8, "int64": torch.int64}
_log = logging.getLogger(__name__)


def cached(path: Path, sources: Iterable[Path], decode: Callable[[], Raw]) -> Raw:
    """Returns `decode()`, from the cache where it holds the result for these source files.

    Of several processes starting at once one decodes and the others wait for it. The cache is written aside
    and renamed, so that it is whole or absent. Where the folder cannot be written, everything works without a
    cache.

    Args:
        path: the cache file; its folder is made where it is missing.
        sources: the files that are decoded; a change of their sizes, times or paths below their
            common folder invalidates the cache, moving or renaming that folder does not.
        decode: reads the source files; its exceptions leave the cache as it was.
    """
    fingerprint = _fingerprint(sources)
    found = _read(path, fingerprint)
    if found is not None:
        return found
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path.with_name(path.name + ".lock")))
        except OSError as error:
            _log.info("%s: no cache (%s)", path, error)
            return decode()
        found = _read(path, fingerprint)  # another process may have written it while this one waited
        if found is None:
            found = decode()
            try:
                _write(path, fingerprint, found)
            except OSError as error:
                _log.info("%s: no cache (%s)", path, error)
        return found


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file, which is made and left in place; released also when the process dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fingerprint(sources: Iterable[Path]) -> str:
    # the folders count, not only the names: an image's folder is its class
    paths = sorted(os.path.abspath(source) for source in sources)
    common = os.path.commonpath({os.path.dirname(path) for path in paths})
    digest = hashlib.sha256()
    for path in paths:
        status = os.stat(path)
        digest.update(os.fsencode(f"{path[len(common) :]}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return digest.hexdigest()


def _digest(header: dict[str, Any], parts: Iterable[Any]) -> str:
    """Returns the checksum of the bytes of the arrays and of what the header says of them."""
    digest = hashlib.sha256(json.dumps([header["classes"], header["arrays"]]).encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _arrays(raw: Raw) -> dict[str, Tensor]:
    arrays = {}
    for name, split in (("train", raw.train), ("test", raw.test)):
        arrays[f"{name} images"] = split.images.permute(0, 2, 3, 1)  # contiguous: see Split
        arrays[f"{name} labels"] = split.labels.contiguous()
    return arrays


def _write(path: Path, fingerprint: str, raw: Raw) -> None:
    arrays = _arrays(raw)
    header: dict[str, Any] = {
        "fingerprint": fingerprint,
        "classes": list(raw.classes),
        "arrays": [[name, str(a.dtype).removeprefix("torch."), list(a.shape)] for name, a in arrays.items()],
    }
    header["sha256"] = _digest(header, (array.numpy().data for array in arrays.values()))
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            file.write(MAGIC + json.dumps(header).encode() + b"\n")
            for array in arrays.values():
                array.numpy().tofile(file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _read(path: Path, fingerprint: str) -> Raw | None:
    """Returns what the cache holds, or None where it is missing, damaged, or made from other files."""
    try:
        with path.open("rb") as file:
            if file.readline(len(MAGIC)) != MAGIC:
                return None
            header = json.loads(file.readline(1 << 20))
            if header["fingerprint"] != fingerprint:
                return None
            payload = bytearray(os.fstat(file.fileno()).st_size - file.tell())
            file.readinto(payload)
        if _digest(header, [payload]) != header["sha256"]:
            _log.warning("%s: the checksum is wrong, decoding again", path)
            return None
        arrays, offset = {}, 0
        for name, dtype, shape in header["arrays"]:
            count = math.prod(shape)
            flat = torch.frombuffer(payload, dtype=_DTYPES[dtype], count=count, offset=offset)
            arrays[name], offset = flat.view(shape), offset + flat.nbytes
        if offset != len(payload):
            return None
        splits = [Split(arrays[f"{s} images"].permute(0, 3, 1, 2), arrays[f"{s} labels"]) for s in ("train", "test")]
        return Raw(splits[0], splits[1], tuple(header["classes"]))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None
