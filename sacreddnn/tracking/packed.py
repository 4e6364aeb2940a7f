"""All metrics of a finished run in one document: thousands of runs are read in seconds, not a document a metric.

    packed    _id: the run's number
              data: zlib of JSON {name: [steps, values, gradient_evaluations, times in ms]}
              digest: the state of the run folder that it has; it counts only while `runs.spool.digest` is the same

It repeats what the collection `metrics` has, which Omniboard reads and which grows with a running run.
"""

import json
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from sacreddnn.tracking.folder import Series

MAX_POINTS = 20_000  # of a run, about 200 kB; a longer one is read from `metrics`
EPOCH = datetime(1970, 1, 1)
MILLISECOND = timedelta(milliseconds=1)


def pack(metrics: Mapping[str, Series]) -> bytes | None:
    """The metrics as bytes, None if they are too many."""
    if sum(len(series.steps) for series in metrics.values()) > MAX_POINTS:
        return None
    columns = {
        name: [one.steps, one.values, one.gradient_evaluations, [(t - EPOCH) // MILLISECOND for t in one.times]]
        for name, one in metrics.items()
    }
    return zlib.compress(json.dumps(columns, separators=(",", ":")).encode(), level=1)


def unpack(data: bytes) -> dict[str, Series]:
    """What `pack` was given."""
    return {
        name: Series(steps, values, evaluations, [EPOCH + ms * MILLISECOND for ms in times])
        for name, (steps, values, evaluations, times) in json.loads(zlib.decompress(data)).items()
    }
