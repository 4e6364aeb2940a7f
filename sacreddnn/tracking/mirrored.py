"""What a run folder knows of the databases that have it, so that it can be asked without one.

`database.json` has, by the address of a database, `run_id`, the number of the run there, which it keeps after that
database was lost, and `digest`, the last state after its end that this database was given in full.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sacreddnn.tracking import folder as files
from sacreddnn.tracking.folder import Metrics
from sacreddnn.tracking.plain import write_atomic

MIRRORED = "database.json"


def read(folder: Path) -> dict[str, Any]:
    """The notes by address, empty where they are damaged: the databases themselves know."""
    try:
        return files.read_json(folder / MIRRORED)
    except ValueError:
        return {}


def note(folder: Path, address: str, run_id: int, digest: str | None = None) -> None:
    """Note the number of the run in a database and, if it has ended, which state is there; twice writes once.

    Args:
        folder: the run folder.
        address: of the database.
        run_id: its number there.
        digest: of the state that is there; None leaves what is noted.
    """
    notes = read(folder)
    before = notes.get(address, {})
    notes[address] = before | {"run_id": run_id} | ({} if digest is None else {"digest": digest})
    if notes[address] != before:
        with contextlib.suppress(OSError):  # an archive on a read-only disk
            write_atomic(folder / MIRRORED, json.dumps(notes, indent=1) + "\n")


def is_mirrored(folder: Path, is_meant: Callable[[str], bool] = lambda address: True) -> bool:
    """Whether the state of this folder was brought into a database after the run had ended.

    Args:
        folder: the run folder.
        is_meant: whether a database with this address will do; by default any.
    """
    digest = digest_of(folder)
    return any(one.get("digest") == digest and is_meant(address) for address, one in read(folder).items())


def digest_of(folder: Path) -> str:
    """The digest of the present state of a run folder."""
    metrics, texts = Metrics(folder), small_files(folder)
    metrics.refresh()
    return digest(texts, metrics)


def small_files(folder: Path) -> list[bytes]:
    """The files of a run that are written as a whole; empty where they are not there."""
    paths = (folder / name for name in (files.RUN, files.CONFIG, files.RESULT, files.OUTPUT))
    return [path.read_bytes() if path.is_file() else b"" for path in paths]


def digest(texts: list[bytes], metrics: Metrics) -> str:
    """The digest of the state that consists of these `small_files` and metrics."""
    parts = [hashlib.sha256(text).hexdigest() for text in texts] + [metrics.digest]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
