"""Runs deleted, from the database and from disk, and artifacts copied out of the database."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gridfs
from pymongo.database import Database

from sacreddnn.tracking import folder as files


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


def uuid_on_disk(root: str | Path, run_id: int) -> str | None:
    """The uuid of the run in the folder of that number, None without a folder."""
    return files.read_run(Path(root) / str(run_id)).get("uuid")


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
