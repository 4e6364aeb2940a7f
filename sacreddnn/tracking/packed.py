"""What `runs.load` reads of a finished run, in one short document: thousands of runs are read in seconds.

    packed    _id: the run's number
              data: zlib of JSON {"run": what `fields` reads, "metrics": {name: [steps, values, gradient evaluations,
                  times in ms]}}; None if that is too long
              format: of the data, FORMAT
              digest: the state of the run folder that it has; it counts only while `runs.spool.digest` is the same

It repeats what is in the collections `runs` and `metrics`, which Omniboard reads and which grow with a running run.
From them a database takes ten times as long: a run document is long, and there is one of every metric.
"""

import json
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sacreddnn.tracking import folder as files
from sacreddnn.tracking.folder import Series

FORMAT = 2
MAX_POINTS = 20_000  # of a run, about 200 kB; a longer one is read from `runs` and `metrics`
MAX_BYTES = 1_000_000  # of a document; a run whose config or result is longer, too
EPOCH = datetime(1970, 1, 1)
MILLISECOND = timedelta(milliseconds=1)


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
    columns = {
        name: [one.steps, one.values, one.gradient_evaluations, [(t - EPOCH) // MILLISECOND for t in one.times]]
        for name, one in metrics.items()
    }
    text = json.dumps({"run": run, "metrics": columns}, separators=(",", ":"))
    data = zlib.compress(text.encode(), level=1)
    return data if len(data) <= MAX_BYTES else None


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Series]]:
    """What `pack` was given."""
    packed = json.loads(zlib.decompress(data))
    return packed["run"], {
        name: Series(steps, values, evaluations, [EPOCH + ms * MILLISECOND for ms in times])
        for name, (steps, values, evaluations, times) in packed["metrics"].items()
    }
