"""10,000 runs with 1,000,000 points are read back, as two tables, in less than 5 seconds.

Runs of ten metrics of ten points each, copies of a recorded one, in the embedded database (without it there
is nothing to measure). Read are: all configs and results as one DataFrame; all points as another; both by `load`, in
two queries; the hundred runs that match a condition on a config key.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import measure

from sacreddnn.config import check
from sacreddnn.tracking import database, server
from sacreddnn.tracking.mirror import mirror
from sacreddnn.tracking.packed import pack, unpack
from sacreddnn.tracking.recorder import Recorder
from sacreddnn.tracking.runs import frame, load, metrics

NUM_METRICS, NUM_POINTS = 10, 10
FIRST_SEED, NUM_SEEDS, SEED = 0, 100, 7  # of the recorded run, of its copies, of the runs that are looked for


def record(root: Path) -> Path:
    """The folder of a recorded run: a training's whole config, its metrics and results."""
    recorder = Recorder(root)
    recorder.start(check({"algorithm": {"name": "rsgd"}, "seed": FIRST_SEED}).model_dump())
    for step in range(NUM_POINTS):
        for m in range(NUM_METRICS):
            recorder.log(f"test/center/{m}", 0.1 * step + m, step, 469 * step)
    recorder.result({f"test/center/{m}": 0.9 + m for m in range(NUM_METRICS)})
    recorder.finish()
    return recorder.folder


def fill(db: Any, root: Path, num_runs: int) -> None:
    """A recorded run, and copies of its documents under other numbers and seeds."""
    mirror(record(root), db)
    run, packed, series = db.runs.find_one(), db.packed.find_one(), list(db.metrics.find({}, {"_id": 0}))
    fields, points = unpack(packed["data"])
    for first in range(2, num_runs + 1, 500):
        ids = range(first, min(first + 500, num_runs + 1))
        names = {i: uuid.uuid4().hex for i in ids}
        db.runs.insert_many(
            run | {"_id": i, "uuid": names[i], "config": run["config"] | {"seed": i % NUM_SEEDS}} for i in ids
        )
        db.metrics.insert_many(one | {"run_id": i} for i in ids for one in series)
        copies = {
            i: pack(fields | {"uuid": names[i], "config": fields["config"] | {"seed": i % NUM_SEEDS}}, points)
            for i in ids
        }
        db.packed.insert_many(packed | {"_id": i, "data": data} for i, data in copies.items())


def check_answers(db: Any, num_runs: int) -> None:
    """The copies are runs of their own, or fewer things would be read than is said.

    Raises:
        RuntimeError: an answer has other runs or other seeds than were written.
    """
    for query in ({}, {"config.seed": SEED}):
        seeds = {1: FIRST_SEED} | {i: i % NUM_SEEDS for i in range(2, num_runs + 1)}
        expected = {i: seed for i, seed in seeds.items() if not query or seed == SEED}
        records = load(db, query=query)
        if {one.run_id: one.config["seed"] for one in records} != expected:
            raise RuntimeError(f"query {query}: {len(records)} runs, not the {len(expected)} runs and seeds written")
        if len({one.uuid for one in records}) != len(records):
            raise RuntimeError(f"query {query}: runs with the same uuid")


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
            fill(db, folder / "runs", num_runs)
            check_answers(db, num_runs)
            found: list[Any] = []

            def read() -> None:
                found[:] = load(db)

            def both() -> None:
                records = load(db)
                frame(records)
                metrics(records)

            calls = {
                "load: two queries": read,
                "the same as two DataFrames": both,
                "a hundredth of the runs, by seed": lambda: load(db, query={"config.seed": SEED}),
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
