"""10,000 runs with 1,000,000 points are read back, as two tables, in less than 5 seconds.

Runs of ten metrics of ten points each, in the documents of recorded ones, in the embedded database (without it there
is nothing to measure). Read are: all configs and results as one DataFrame; all points as another; both by `load`, in
two round trips; the hundred runs that match a condition on a config key.
"""

from __future__ import annotations

import datetime
import importlib.util
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import measure

from sacreddnn.tracking import database, server
from sacreddnn.tracking.folder import Series
from sacreddnn.tracking.packed import pack
from sacreddnn.tracking.runs import frame, load, metrics

NUM_METRICS, NUM_POINTS = 10, 10


def fill(db: Any, num_runs: int) -> None:
    """Documents of the shape of recorded runs."""
    start = datetime.datetime(2026, 1, 1)
    times = [start + datetime.timedelta(seconds=20 * i) for i in range(NUM_POINTS)]
    for first in range(0, num_runs, 500):
        ids = range(first + 1, min(first + 500, num_runs) + 1)
        db.runs.insert_many(
            {"_id": i, "uuid": uuid.uuid4().hex, "status": "COMPLETED", "config_hash": f"{i:016x}",
             "start_time": start, "stop_time": times[-1], "info": {"precision": "bfloat16"}, "host": {}, "git": {},
             "config": {"seed": i % 100, "dataset": {"name": "fashion_mnist"}, "model": {"name": "lenet"},
                        "algorithm": {"name": "rsgd", "replicas": 3}, "training": {"lr": 0.1, "batch_size": 128}},
             "result": {f"test/center/{m}": i / num_runs + m for m in range(NUM_METRICS)}}
            for i in ids
        )  # fmt: skip
        steps = list(range(NUM_POINTS))
        db.metrics.insert_many(
            {"run_id": i, "name": f"test/center/{m}", "steps": steps, "values": NUM_POINTS * [i / num_runs],
             "timestamps": times, "gradient_evaluations": steps, "stride": 1}
            for i in ids
            for m in range(NUM_METRICS)
        )  # fmt: skip
        names = [f"test/center/{m}" for m in range(NUM_METRICS)]
        db.packed.insert_many(
            {"_id": i, "data": pack(dict.fromkeys(names, Series(steps, NUM_POINTS * [i / num_runs], steps, times)))}
            for i in ids
        )


def main() -> None:
    bench = measure.start(__doc__, "queries")
    if importlib.util.find_spec("secantus") is None:
        sys.exit("the embedded database is not installed: pip install 'sacreddnn[embedded]'")
    num_runs = 100 if bench.toy else 10_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        db = database.connect(folder=folder / "database")
        try:
            database.prepare(db)
            fill(db, num_runs)
            found: list[Any] = []

            def read() -> None:
                found[:] = load(db)

            def both() -> None:
                records = load(db)
                frame(records)
                metrics(records)

            calls = {
                "load: two round trips": read,
                "the same as two DataFrames": both,
                "a hundredth of the runs, by seed": lambda: load(db, query={"config.seed": 7}),
            }
            for what, seconds in bench.in_turn(calls, repeats=3, warm_up=1).items():
                bench.row(f"{num_runs} runs, {what}", seconds, "s", at_most=5)
            points = sum(len(series.steps) for one in found for series in one.series.values())
            bench.row("points in all", [points], "points", at_least=num_runs * NUM_METRICS * NUM_POINTS)
        finally:
            database.close(db)
            server.stop(folder / "database")
    bench.finish()


if __name__ == "__main__":
    main()
