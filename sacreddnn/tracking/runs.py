"""Recorded runs, read back: from a database in two queries, or from the run folders; the same records.

>>> records = load(connect(), query={"config.algorithm.name": "rsgd"})  # doctest: +SKIP
>>> frame(records)[["test/center/error", "config.training.lr"]]                   # doctest: +SKIP
"""

import gc
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymongo.database import Database

from sacreddnn.tracking import folder as files
from sacreddnn.tracking.document import decoded, utc
from sacreddnn.tracking.folder import Series
from sacreddnn.tracking.packed import FORMAT, NOT_COUNTED, Points, fields, unpack
from sacreddnn.tracking.plain import flat

_WANTED = (
    "uuid",
    "status",
    "start_time",
    "stop_time",
    "config",
    "config_hash",
    "result",
    "info",
    "git",
    "host",
)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python's garbage collection waits: it would go again and again through millions of objects that all stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass
class Record:
    """One recorded run.

    Attributes:
        run_id: its number.
        uuid: the same in every database and on disk.
        status: RUNNING, COMPLETED, INTERRUPTED, TIMEOUT or FAILED.
        start_time: naive UTC.
        stop_time: naive UTC, None while it runs.
        config: nested.
        config_hash: equal for equal configs.
        result: the summary, one level: names to numbers and strings.
        info: anything else.
        git: the commit of the code, and whether it had changes on top.
        host: the machine.
        series: the metrics by name.
    """

    run_id: int
    uuid: str
    status: str
    start_time: datetime | None
    stop_time: datetime | None
    config: dict[str, Any]
    config_hash: str
    result: dict[str, Any]
    info: dict[str, Any]
    git: dict[str, Any] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    series: Mapping[str, Series] = field(default_factory=dict, repr=False)

    @property
    def metrics(self) -> pd.DataFrame:
        """All points: name, step, value, gradient_evaluations, time; ordered by name, then as logged."""
        return metrics([self]).drop(columns="run_id")


@_no_collection()
def load(
    database: Database[dict[str, Any]],
    ids: Iterable[int] | None = None,
    query: Mapping[str, Any] | None = None,
) -> list[Record]:
    """The runs in a database in the order of their numbers; two queries for any number of finished runs.

    Two more have the runs that are not packed: those that still run, and very long ones.

    Args:
        database: of `database.connect`.
        ids: only these numbers.
        query: only runs that match this MongoDB query, as ``{"config.dataset.name": "mnist"}``.

    Raises:
        pymongo.errors.PyMongoError: the database is away.
    """
    # runs of other programs have no uuid, and may have names in place of numbers
    wanted: dict[str, Any] = {"uuid": {"$exists": True}} | dict(query or {})
    everything = not query and ids is None
    chosen = None if ids is None else set(ids)
    if chosen is not None:
        wanted["_id"] = _among(chosen)
    # nothing else of the run documents: they are long, and take the embedded server five times the time
    found = database.runs.find(wanted, {"spool.digest": 1}, batch_size=100_000)
    digests = {
        one["_id"]: one.get("spool", {}).get("digest") for one in found if chosen is None or one["_id"] in chosen
    }
    records = {}
    for entry in database.packed.find({} if everything else {"_id": _among(digests)}, batch_size=100_000):
        run_id = entry["_id"]
        valid = entry["digest"] == digests.get(run_id) and entry.get("format") == FORMAT
        if run_id in digests and valid and entry["data"] is not None:
            records[run_id] = _record(run_id, *unpack(entry["data"]))
    missing = digests.keys() - records
    if missing:
        records |= _load_growing(database, missing)
    return [records[run_id] for run_id in sorted(records)]


def _load_growing(database: Database[dict[str, Any]], ids: Collection[int]) -> dict[int, Record]:
    """The runs of `ids` from the documents that grow while they run."""
    records = {}
    for entry in database.runs.find({"_id": _among(ids)}, dict.fromkeys(_WANTED, 1), batch_size=100_000):
        if entry["_id"] not in ids:
            continue
        info = entry["info"]
        info.pop("metrics", None)  # where Omniboard finds the metrics; not the run's own
        records[entry["_id"]] = Record(
            run_id=entry["_id"],
            uuid=entry["uuid"],
            status=entry["status"],
            start_time=entry["start_time"],
            stop_time=entry["stop_time"],
            config=decoded(entry["config"]),
            config_hash=entry["config_hash"],
            result=decoded(entry["result"] or {}),
            info=decoded(info),
            git=entry.get("git") or {},
            host=decoded(entry.get("host") or {}),
        )
    found: dict[int, dict[str, Series]] = {}
    # whole documents: taking fields out costs the embedded server three times the time of the query
    for entry in database.metrics.find({"run_id": _among(records)}, batch_size=100_000) if records else ():
        if entry["run_id"] in records:
            steps = entry["steps"]
            evaluations = entry.get("gradient_evaluations") or [None] * len(steps)
            series = Series(steps, entry["values"], evaluations, entry["timestamps"])
            found.setdefault(entry["run_id"], {})[entry["name"]] = series
    for run_id, series_of_run in found.items():
        records[run_id].series = series_of_run
    return records


def _among(ids: Collection[int]) -> dict[str, Any]:
    """The query for these numbers; for many, their range, because the embedded server goes through a list slowly."""
    if len(ids) <= 100:
        return {"$in": sorted(ids)}
    return {"$gte": min(ids), "$lte": max(ids)}


def load_spool(root: str | Path, ids: Iterable[int] | None = None) -> list[Record]:
    """The runs in the folders under `root` in the order of their ids.

    Args:
        root: the folder that holds all runs.
        ids: only these.

    Raises:
        FileNotFoundError: one of `ids` is not there.
        ValueError: a file of a run cannot be read.
    """
    chosen = files.folders(root) if ids is None else [files.find(one, root) for one in sorted(set(ids))]
    return [read_folder(folder) for folder in chosen]


def read_folder(folder: Path) -> Record:
    """The run in a folder, as far as it is recorded."""
    return _record(files.read_run(folder)["run_id"], fields(folder), files.read_metrics(folder))


def _record(run_id: int, run: dict[str, Any], series: Mapping[str, Series]) -> Record:
    times = {key: utc(run[key]) for key in ("start_time", "stop_time")}
    return Record(run_id=run_id, **run | times, series=series)


@_no_collection()
def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a run, indexed by run id: status, times, every config key as ``config.a.b``, every result."""
    rows = [
        {"run_id": one.run_id, "status": one.status, "start_time": one.start_time, "stop_time": one.stop_time}
        | flat(one.config, ".", "config")
        | one.result
        for one in records
    ]
    return pd.DataFrame(rows, columns=None if rows else ["run_id"]).set_index("run_id")


def provenance(records: Iterable[Record]) -> pd.DataFrame:
    """One row a run: what is needed to make it again, and where it was made."""
    rows = [
        {
            "run_id": one.run_id,
            "config_hash": one.config_hash,
            "seed": one.config.get("seed"),
            "commit": one.git.get("commit", ""),
            "uncommitted_changes": one.git.get("dirty"),
            "started_utc": one.start_time,
            "machine": one.host.get("cpu", ""),
            "num_cpus": one.host.get("num_cpus"),
            "device": one.info.get("device_name", ""),
            "precision": one.info.get("precision", ""),
        }
        for one in records
    ]
    return pd.DataFrame(rows, columns=None if rows else ["run_id"]).set_index("run_id")


def metrics(records: Iterable[Record]) -> pd.DataFrame:
    """One row a point: run_id, name, step, value, gradient_evaluations, time; by run, then name."""
    parts = [(one.run_id, Points.of(one.series)) for one in records]

    def joined(column: str, dtype: str = "int64") -> NDArray[Any]:
        return np.concatenate([np.empty(0, dtype), *(points.columns[column] for _, points in parts)])

    # of every metric: its run, its name, its number of points
    run_ids = np.repeat(np.array([run_id for run_id, _ in parts], "int64"), [len(points) for _, points in parts])
    names = pd.array([name for _, points in parts for name in points], dtype="str")
    lengths = np.concatenate([np.empty(0, "int64"), *(points.lengths for _, points in parts)])
    evaluations = joined("gradient_evaluations")
    return pd.DataFrame(
        {
            "run_id": run_ids.repeat(lengths),
            "name": names.repeat(lengths),
            "step": joined("steps"),
            "value": joined("values", "float64"),
            "gradient_evaluations": pd.arrays.IntegerArray(evaluations, evaluations == NOT_COUNTED),
            "time": joined("times").astype("datetime64[ms]"),
        }
    )
