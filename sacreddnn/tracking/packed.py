"""What `runs.load` reads of a finished run, in one short document: thousands of runs are read in seconds.

    packed    _id: the run's number
              data: zlib of JSON {"run": what `fields` reads, "names": of the metrics, "lengths": their numbers of
                  points}, a NUL byte, and the columns of `Points` in its order, 8 bytes a number, little-endian;
                  None if that is too long
              format: of the data, FORMAT
              digest: the state of the run folder that it has; it counts only while `runs.spool.digest` is the same

It repeats what is in the collections `runs` and `metrics`, which Omniboard reads and which grow with a running run.
From them a database takes ten times as long: a run document is long, and there is one of every metric.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacreddnn.tracking import folder as files
from sacreddnn.tracking.folder import Series

FORMAT = 3
MAX_POINTS = 20_000  # of a run, about 200 kB; a longer one is read from `runs` and `metrics`
MAX_BYTES = 1_000_000  # of a document; a run whose config or result is longer, too
EPOCH = datetime(1970, 1, 1)
MILLISECOND = timedelta(milliseconds=1)
NOT_COUNTED = np.iinfo(np.int64).min  # stands for None in the column of gradient evaluations


class Points(Mapping[str, Series]):
    """All points of a run as columns, metric after metric by name; a `Series` is made when it is asked for.

    A million points are a hundred thousand Python lists otherwise, which takes longer than to read them. It is read
    only: what is changed in a `Series` is not kept.

    Attributes:
        names: of the metrics, sorted.
        lengths: their numbers of points, int64 of shape (metrics,).
        columns: by name of a field of `Series`, each of shape (points,): steps and gradient_evaluations int64, with
            NOT_COUNTED for None; values float64; times int64, milliseconds since 1970 in UTC.
    """

    def __init__(self, names: list[str], lengths: NDArray[np.int64], block: NDArray[np.int64]):
        self.names, self.lengths = names, lengths
        steps, values, evaluations, times = block.reshape(4, -1)
        ends = lengths.cumsum().tolist()
        self._parts = {name: slice(*ends) for name, ends in zip(names, pairwise([0, *ends]), strict=True)}
        self.columns: dict[str, NDArray[Any]] = {
            "steps": steps,
            "values": values.view("<f8"),
            "gradient_evaluations": evaluations,
            "times": times,
        }

    @classmethod
    def of(cls, metrics: Mapping[str, Series]) -> "Points":
        """The columns of these series; ValueError if one has not a number of each kind for every point."""
        if isinstance(metrics, cls):
            return metrics
        names = sorted(metrics)
        series = [metrics[name] for name in names]
        lengths = np.array([len(one.steps) for one in series], "<i8")
        block = np.empty((4, lengths.sum()), "<i8")
        for name, one, length in zip(names, series, lengths, strict=True):
            if not len(one.values) == len(one.gradient_evaluations) == len(one.times) == length:
                raise ValueError(f"metric {name!r}: {length} steps, but not as many values, evaluations and times")
        block[0] = [step for one in series for step in one.steps]
        block[1] = np.array([value for one in series for value in one.values], "<f8").view("<i8")
        block[2] = [NOT_COUNTED if n is None else n for one in series for n in one.gradient_evaluations]
        block[3] = [(time - EPOCH) // MILLISECOND for one in series for time in one.times]
        return cls(names, lengths, block)

    def __getitem__(self, name: str) -> Series:
        part = self._parts[name]
        steps, values, evaluations, times = (column[part].tolist() for column in self.columns.values())
        evaluations = [None if n == NOT_COUNTED else n for n in evaluations]
        return Series(steps, values, evaluations, [EPOCH + ms * MILLISECOND for ms in times])

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def fields(folder: Path) -> dict[str, Any]:
    """Of a run folder what a `runs.Record` says, but for number and metrics; times are ISO 8601."""
    run = files.read_run(folder)
    return {
        "uuid": run["uuid"],
        "status": run["status"],
        "start_time": run["start_time"],
        "stop_time": run.get("stop_time"),
        "config": files.read_config(folder),
        "config_hash": run["config_hash"],
        "result": files.read_result(folder),
        "info": run.get("info") or {},
        "git": run.get("git") or {},
        "host": run.get("host") or {},
    }


def pack(run: Mapping[str, Any], metrics: Mapping[str, Series]) -> bytes | None:
    """The `fields` and metrics of a run as bytes; None if that is too much for one short document."""
    if sum(len(series.steps) for series in metrics.values()) > MAX_POINTS:
        return None
    points = Points.of(metrics)
    head = {"run": run, "names": points.names, "lengths": points.lengths.tolist()}
    columns = b"".join(column.tobytes() for column in points.columns.values())
    text = json.dumps(head, separators=(",", ":")).encode() + b"\0" + columns  # NUL: in JSON it is an escape
    data = zlib.compress(text, level=1)
    return data if len(data) <= MAX_BYTES else None


def unpack(data: bytes) -> tuple[dict[str, Any], Points]:
    """What `pack` was given."""
    text, _, columns = zlib.decompress(data).partition(b"\0")
    head = json.loads(text)
    block = np.frombuffer(columns, "<i8")
    return head["run"], Points(head["names"], np.array(head["lengths"], "<i8"), block)
