"""Eight runs record at once while the database is killed every few seconds: no point is lost, none is there twice.

Eight processes log five metrics at 200 points a second each for a minute into run folders, and mirror them into one
embedded database that gets SIGKILL every three to six seconds and is started again by whoever needs it next. Then a
replay. Every point that was logged must be in the run folder, and in the database exactly once. Counted, too: what
the database lacked before the replay, and how often the server was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import measure

from sacreddnn.tracking import database, server
from sacreddnn.tracking.mirror import replay
from sacreddnn.tracking.recorder import Recorder
from sacreddnn.tracking.runs import load, load_spool

NUM_RUNS, NUM_METRICS, POINTS_A_SECOND = 8, 5, 200


def record(folder: Path, seconds: float) -> None:
    """One run, in a process of its own; prints how many points it logged."""
    connect = partial(database.connect, None, folder=folder / "database")
    recorder = Recorder(folder / "runs", connect=connect, beat_seconds=1.0)
    recorder.start({"seed": os.getpid()})
    start, step = time.monotonic(), 0
    while (now := time.monotonic() - start) < seconds:
        if step < now * POINTS_A_SECOND / NUM_METRICS:
            for m in range(NUM_METRICS):
                recorder.log(f"test/center/{m}", step + m / 10, step, step)
            step += 1
        else:
            time.sleep(0.005)
    recorder.finish()
    print(json.dumps({"run": recorder.run_id, "points": step * NUM_METRICS}))


def points(db: Any) -> Counter[tuple[str, str, int, float]]:
    """How often the database has every point."""
    uuids = {entry["_id"]: entry["uuid"] for entry in db.runs.find({}, {"uuid": 1})}
    found: Counter[tuple[str, str, int, float]] = Counter()
    for entry in db.metrics.find():
        for step, value in zip(entry["steps"], entry["values"], strict=True):
            found[uuids[entry["run_id"]], entry["name"], step, value] += 1
    return found


def on_disk(runs: Path) -> Counter[tuple[str, str, int, float]]:
    """How often the run folders have every point."""
    found: Counter[tuple[str, str, int, float]] = Counter()
    for folder in runs.iterdir():
        uuid = json.loads((folder / "run.json").read_text())["uuid"]
        for line in (folder / "metrics.jsonl").read_text().splitlines():
            point = json.loads(line)
            found[uuid, point["name"], point["step"], point["value"]] += 1
    return found


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--record", type=Path, help="be one of the runs, in this folder")
    parser.add_argument("--seconds", type=float, help="that the runs log; a minute")
    options = parser.parse_args()
    seconds = options.seconds or (4.0 if options.toy else 60.0)
    if options.record:
        return record(options.record, seconds)
    bench = measure.start(__doc__, "load", options)
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, __file__, "--record", name, "--seconds", str(seconds)]
        runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(NUM_RUNS)]
        kills = 0
        while any(run.poll() is None for run in runs):
            time.sleep(chance.uniform(0.5, 1.0) if bench.toy else chance.uniform(3.0, 6.0))
            with contextlib.suppress(ProcessLookupError, KeyError, TypeError):
                if (status := server.status(folder / "database"))["running"]:
                    os.kill(status["pid"], signal.SIGKILL)
                    kills += 1
        logged = sum(json.loads(run.communicate()[0].splitlines()[-1])["points"] for run in runs)
        disk = on_disk(folder / "runs")
        db = database.connect(folder=folder / "database")
        try:
            before = points(db)
            replay(folder / "runs", db)
            after = points(db)
            read = load(db), load_spool(folder / "runs")
        finally:
            database.close(db)
            server.stop(folder / "database")
    bench.row("times the database was killed", [kills], "kills", at_least=1)
    bench.row("points logged", [logged], "points")
    bench.row("points logged that are not in the run folders", [logged - disk.total()], "points", at_most=0)
    bench.row("points that the database lacked before the replay", [(disk - before).total()], "points")
    bench.row("points that it lacks after the replay", [(disk - after).total()], "points", at_most=0)
    bench.row("points that it has too often after the replay", [(after - disk).total()], "points", at_most=0)
    bench.row("runs that read back differently", [sum(a != b for a, b in zip(*read, strict=True))], "runs", at_most=0)
    bench.finish()


if __name__ == "__main__":
    main()
