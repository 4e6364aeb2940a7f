"""Checkpoints: written atomically, read without unpickling code, the last good one never lost."""

from __future__ import annotations

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

FORMAT = 1
log = logging.getLogger(__name__)


def save(folder: Path, state: dict[str, Any], step: int, keep: int = 2) -> Path:
    """Write `step-<step>.pt` aside, flush it to the disk, rename it into place; then drop all but the newest `keep`.

    Files of later steps, of which this training knows nothing, are neither counted nor dropped.

    Args:
        folder: made if missing.
        state: nested dicts and lists of tensors, numbers and strings.
        step: number of the training step, names the file.
        keep: how many to keep, >= 1; two or more survive a file that goes bad on disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:09d}.pt"
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            torch.save({"format": FORMAT, "step": step, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync_folder(folder)
    for old in [p for p in list_checkpoints(folder) if p <= path][keep:]:  # so never the one just written
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in the folder, newest first."""
    return sorted(folder.glob("step-*.pt"), reverse=True)


def load(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU.

    Raises:
        ValueError: unreadable, truncated, corrupted or not one of ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            if (member := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {member}")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and tensor errors of many types, all of which mean the same here
        raise ValueError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); delete it or use another"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path}: not a checkpoint of this program (format {FORMAT})")
    return state


def load_last(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, None if there is none at all.

    Newer ones that cannot be read are renamed to `step-<step>.pt.bad`, so that `save` does not count them among those
    it keeps. Without a good one all stay as they are: nobody shall take the folder for empty and begin anew.

    Raises:
        ValueError: there are checkpoints, but none can be read.
    """
    paths = list_checkpoints(folder)
    for num_bad, path in enumerate(paths):
        try:
            state = load(path)
        except ValueError as error:
            log.warning("%s", error)
            continue
        for bad in paths[:num_bad]:
            bad.replace(bad.with_name(f"{bad.name}.bad"))
        return state
    if paths:
        raise ValueError(f"{folder}: none of its {len(paths)} checkpoints can be read")
    return None


def _sync_folder(folder: Path) -> None:
    """Flush the rename itself; a folder cannot be opened on some systems, where this is not needed."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
