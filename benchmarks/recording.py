"""Recording costs less than 1 % of a step of LeNet, however many runs there are and however long the run is.

One point of a metric logged to a run's folder, against a training step of LeNet on a minibatch of 128 (a run logs
some ten points an epoch, hence far less than one a step); the same after 100,000 points. And what a live run writes
into the database at a heartbeat, from a thread of its own, in databases that hold 1, 100 and 10,000 runs of ten
metrics each: with the indexes its time does not grow. The embedded server; without it those rows are left out.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import uuid
from pathlib import Path
from typing import Any

import measure
from training import LENET, Ours, config_of

from sacreddnn.tracking import database, server
from sacreddnn.tracking.mirror import Mirror
from sacreddnn.tracking.spool import Spool

NUM_METRICS = 10


def per_step(bench: measure.Benchmark) -> None:
    """The rows of the run folder."""
    ours = Ours(config_of(LENET, "sgd", 16 if bench.toy else LENET.batch_size, bench.options.device))
    steps = 2 if bench.toy else 20
    lengths = (0, 200) if bench.toy else (0, 100_000)
    count = 0

    def log(number: int = 100) -> None:
        nonlocal count
        for _ in range(number):
            count += 1
            ours.recorder.log("train/minibatch/loss", 0.5, count, count)

    first: list[float] = []
    for length in lengths:
        log(length)
        times = bench.in_turn({"step": lambda: ours(steps), "log": log}, repeats=9)
        bench.ratio(f"after {length} points: a point logged / a step", times["log"], times["step"], steps / 100,
                    at_most=0.01)  # fmt: skip
        first = first or times["log"]
    grown = statistics.median(times["log"]) / statistics.median(first)
    bench.row(f"a point logged after {lengths[-1]} / after 0", [grown], "ratio", at_most=1.5)
    ours.close()


def fill(db: Any, num_runs: int) -> None:
    """Documents of other runs, of the shape of recorded ones."""
    have = db.runs.count_documents({})
    for start in range(have, num_runs, 500):
        ids = range(start, min(start + 500, num_runs))
        db.runs.insert_many(
            {"_id": 10**6 + i, "uuid": uuid.uuid4().hex, "status": "COMPLETED", "config_hash": f"{i:016x}",
             "config": {"seed": i, "training": {"lr": 0.1}}, "result": {"test/center/error": 9.0}}
            for i in ids
        )  # fmt: skip
        db.metrics.insert_many(
            {"run_id": 10**6 + i, "name": f"test/center/{m}", "steps": list(range(10)), "values": [0.1] * 10}
            for i in ids
            for m in range(NUM_METRICS)
        )


def in_database(bench: measure.Benchmark) -> None:
    """The rows of the database."""
    if importlib.util.find_spec("secantus") is None:
        print("the embedded database is not installed (pip install 'sacreddnn[embedded]'): its rows are left out")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        db = database.connect(folder=folder / "database")
        try:
            database.prepare(db)
            medians = []
            sizes = (1, 20) if bench.toy else (1, 100, 10_000)
            for size in sizes:
                fill(db, size)
                spool = Spool.create(folder / "runs", {"seed": size})
                mirror = Mirror(spool.folder, db)
                epoch = 0

                def beat(spool=spool, mirror=mirror) -> None:
                    nonlocal epoch
                    epoch += 1
                    for m in range(NUM_METRICS):
                        spool.log(f"test/center/{m}", 1.0, epoch, epoch)
                    spool.heartbeat()
                    mirror.push()

                seconds = bench.in_turn({"beat": beat}, repeats=15)["beat"]
                what = f"{size} runs in the database: a heartbeat with {NUM_METRICS} points"
                bench.row(what, [1e3 * s for s in seconds], "ms")
                medians.append(statistics.median(seconds))
                spool.end("COMPLETED")
                spool.close()
            bench.row(f"heartbeat with {sizes[-1]} runs / with {sizes[0]}", [medians[-1] / medians[0]], "ratio",
                      at_most=1.5)  # fmt: skip
        finally:
            database.close(db)
            server.stop(folder / "database")


def main() -> None:
    bench = measure.start(__doc__, "recording")
    per_step(bench)
    in_database(bench)
    bench.finish()


if __name__ == "__main__":
    main()
