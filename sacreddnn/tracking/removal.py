"""Runs deleted, from the database and from disk, and artifacts copied out of the database."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import gridfs
from pymongo.database import Database

from sacreddnn.tracking import folder as files
from sacreddnn.tracking.document import utc

UUID_LENGTH = 32  # hexadecimal digits


@dataclass(frozen=True)
class Located:
    """A run that somebody asked for, and where it lies.

    Attributes:
        name: the number or uuid that it was asked for by.
        folder: None where it is not on disk.
        number: in the database, None where it is not there.
        uuid: None for a run of another program, and for one that is nowhere.
        config_hash: of its config.
        start_time: naive UTC.
    """

    name: str
    folder: Path | None = None
    number: int | None = None
    uuid: str | None = None
    config_hash: str | None = None
    start_time: datetime | None = None

    def __str__(self) -> str:
        if self.folder is None and self.number is None:
            return f"run {self.name}: is not there"
        started = f"{self.start_time:%Y-%m-%d %H:%M} UTC" if self.start_time else "-"
        places = [f"in {self.folder} (checkpoints too)"] if self.folder else []
        places += [] if self.number is None else [f"in the database as run {self.number}"]
        about = f"uuid {self.uuid or '-'}, config hash {self.config_hash or '-'}, started {started}"
        return f"run {self.name}: {about}, {' and '.join(places)}"


def locate(root: str | Path, database: Database[dict[str, Any]], name: str) -> Located:
    """Find a run on disk and in a database, where it may have another number: the uuid says that it is the same.

    Args:
        root: the folder that holds all runs.
        database: prepared.
        name: number or uuid of the run.

    Raises:
        ValueError: the folder of this number and the run of this number in the database are two runs.
    """
    runs, fields = database.runs, {"uuid": 1, "config_hash": 1, "start_time": 1}
    if len(name) == UUID_LENGTH:
        folder, entry = _folder_of(root, name), runs.find_one({"uuid": name}, fields)
    else:
        folder, entry = Path(root) / name, runs.find_one({"_id": int(name)}, fields)
        if (folder / files.RUN).is_file():
            uuid = files.read_run(folder).get("uuid")
            if entry is None:
                entry = runs.find_one({"uuid": uuid}, fields) if uuid else None
            elif entry.get("uuid") != uuid:
                other = entry.get("uuid") or "a run of another program"
                raise ValueError(
                    f"run {name}: is {uuid} in {folder}, but {other} in the database, which others may share; "
                    "nothing is deleted; give the uuid of the one that you mean"
                )
        else:
            folder = _folder_of(root, entry["uuid"]) if entry and entry.get("uuid") else None
    run = files.read_run(folder) if folder else {}
    entry = entry or {}
    return Located(
        name=name,
        folder=folder,
        number=entry.get("_id"),
        uuid=run.get("uuid") or entry.get("uuid"),
        config_hash=run.get("config_hash") or entry.get("config_hash"),
        start_time=utc(run.get("start_time")) or entry.get("start_time"),
    )


def _folder_of(root: str | Path, uuid: str) -> Path | None:
    """The folder of the run with this uuid."""
    return next((one for one in files.folders(root) if files.read_run(one).get("uuid") == uuid), None)


def delete_from_database(database: Database[dict[str, Any]], run_id: int, uuid: str | None = None) -> bool:
    """Delete a run with its metrics and artifacts; whether it was there. Twice does no harm.

    The run's document goes last, so that what is cut short can be said again.

    Args:
        database: prepared.
        run_id: its number in the database, which counts where no uuid is given.
        uuid: of the run, where its folder is known: in a database of several machines it may have another number.
    """
    found = database.runs.find_one({"_id": run_id} if uuid is None else {"uuid": uuid}, {"artifacts": 1})
    if found is None:
        return False
    run_id = found["_id"]
    store = gridfs.GridFS(database)
    for artifact in found.get("artifacts") or []:
        store.delete(artifact["file_id"])
    database.metrics.delete_many({"run_id": run_id})
    database.packed.delete_one({"_id": run_id})
    database.runs.delete_one({"_id": run_id})
    return True


def delete_from_disk(root: str | Path, run_id: int) -> bool:
    """Delete the folder of a run, checkpoints included; whether it was there.

    Raises:
        ValueError: a process is writing the run.
    """
    folder = Path(root) / str(run_id)
    if not (folder / files.RUN).is_file():
        return False
    if files.is_running(folder):
        raise ValueError(f"run {run_id}: is running; stop it first")
    # out of the way in one step: a folder that is half deleted would look like a damaged run
    aside = folder.with_name(f".deleted-{run_id}")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(aside)
    return True


def copy_artifacts(database: Database[dict[str, Any]], run_id: int, out: Path) -> list[Path]:
    """Write the artifacts of a run into a folder; their paths.

    Raises:
        ValueError: there is no such run, or a name that would leave the folder.
    """
    found = database.runs.find_one({"_id": run_id}, {"artifacts": 1})
    if found is None:
        raise ValueError(f"run {run_id}: is not in the database; report.py runs lists those that are")
    store = gridfs.GridFS(database)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for artifact in found.get("artifacts") or []:
        path = (out / artifact["name"]).resolve()
        if not path.is_relative_to(out.resolve()):
            raise ValueError(f"run {run_id}: artifact {artifact['name']!r} would leave {out}")
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(path.name + ".tmp")
        with aside.open("wb") as file:
            shutil.copyfileobj(store.get(artifact["file_id"]), file)
        aside.replace(path)
        written.append(path)
    return written
