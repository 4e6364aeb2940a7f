"""Which runs a command of `scripts/report.py` is about, and where they are read from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sacreddnn.config import Config
from sacreddnn.tracking import conditions, database, runs
from sacreddnn.tracking.runs import Record

DEFAULTS = Config().tracking


def add_places(command: argparse.ArgumentParser) -> None:
    """The options that say where runs are."""
    command.add_argument("--root", default=DEFAULTS.root, help="folder of the runs on disk (%(default)s)")
    command.add_argument("--mongo-url", help="a MongoDB in place of the embedded database; no password in it")
    command.add_argument("--folder", default=DEFAULTS.folder, help="of the embedded database (%(default)s)")


def add_choice(command: argparse.ArgumentParser) -> None:
    """The options that say which of them."""
    command.add_argument("ids", nargs="*", type=int, help="run ids; all runs if neither ids nor a tag are given")
    command.add_argument("--tag", help="only runs whose tracking.tags hold it")
    command.add_argument("--from-disk", action="store_true", help="read the run folders, not the database")
    command.add_argument(
        "--where",
        nargs="+",
        default=[],
        metavar="COND",
        help="only runs that meet all of these, "
        "such as 'training.lr<0.1' algorithm.name=rsgd status=COMPLETED 'start_time>=2026-11-01' (< and > in quotes)",
    )


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Any]:
    """The database that the command line names."""
    with database.opened(arguments.mongo_url, folder=arguments.folder) as db:
        yield db


def read_records(arguments: argparse.Namespace) -> list[Record]:
    """The records that the command line asks for, in the order of their ids.

    Raises:
        ValueError: there are none, unless the command's `allow_none` says that it can do without.
    """
    ids = arguments.ids or None
    if arguments.from_disk:
        records = runs.load_spool(arguments.root, ids)
    else:
        with opened(arguments) as db:
            records = runs.load(db, ids)
    if arguments.tag:
        records = [r for r in records if arguments.tag in r.config.get("tracking", {}).get("tags", [])]
    if missing := set(arguments.ids) - {r.run_id for r in records}:
        raise ValueError(f"runs {sorted(missing)}: not recorded; `report.py runs` lists those that are")
    where = getattr(arguments, "where", [])
    if records and not (records := conditions.select(records, where)):
        raise ValueError(f"no run meets {' '.join(where)}")
    if not records and not getattr(arguments, "allow_none", False):
        tag = f" with tag {arguments.tag!r}" if arguments.tag else ""
        raise ValueError(f"no runs{tag} are recorded; scripts/train.py makes them")
    return records
