"""A sweep keeps its slots busy: with 20 short trials on two cores a tenth of their time at most goes elsewhere.

The whole command `sweep.py FILE.yaml`, started as people start it: checks, start of Ray, 20 trials of eight seconds (a
process that keeps a core busy and leaves the record of a run), end of Ray. A trial's seconds are those between the
first and the last line of its own process. The rows: what is missing to slots x wall time, over the whole command and
from the start of the first trial to the end of the last; the seconds before and after the trials; and those between
the end of a trial and the start of the next in the same slot.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure
import yaml

SLOTS = 2
DRIVER = """
import sys
from pathlib import Path
from sacreddnn.sweeps import command
command.TRAIN = Path(sys.argv[1])
sys.exit(command.main(sys.argv[2:]))
"""
TRIAL = """
import time
start = time.time()
import json, sys
from sacreddnn.config import check
from sacreddnn.run_config import config_hash
from sacreddnn.tracking.spool import Spool
from sacreddnn.yaml_file import read_yaml
config = check(read_yaml(sys.argv[2]))
spool = Spool.create(config.tracking.root, config.model_dump(), config_hash=config_hash(config))
while time.time() < start + SECONDS:
    sum(range(10_000))
spool.end("COMPLETED")
(spool.folder / "trial.json").write_text(json.dumps([start, time.time()]))
"""


def run(folder: Path, num_trials: int, seconds: float) -> tuple[float, float, list[tuple[float, float]]]:
    """Start and end of the command, and of every trial."""
    trial, sweep = folder / "trial.py", folder / "short.yaml"
    trial.write_text(TRIAL.replace("SECONDS", str(seconds)))
    fixed = {"dataset.options.train_samples": 64, "training.batch_size": 32, "tracking.root": str(folder / "runs")}
    sweep.write_text(yaml.safe_dump({"base": ["synthetic", "mlp", "on_disk"], "fixed": fixed, "seeds": num_trials}))
    begin = time.time()
    command = [sys.executable, "-c", DRIVER, str(trial), str(sweep), "--cpus", str(SLOTS)]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, check=True)
    end = time.time()
    times = [json.loads(path.read_text()) for path in (folder / "runs").glob("*/trial.json")]
    assert len(times) == num_trials
    return begin, end, sorted(map(tuple, times))


def gaps(times: list[tuple[float, float]]) -> list[float]:
    """Seconds for which a slot was free between two trials: each takes the slot that has been free longest."""
    free = sorted(end for _, end in times)
    return [start - end for (start, _), end in zip(times[SLOTS:], free, strict=False)]


def main() -> None:
    bench = measure.start(__doc__, "scheduling")
    if importlib.util.find_spec("ray") is None:
        print("Ray is not installed (pip install 'sacreddnn[sweep]'): nothing is measured")
        bench.finish()
        return
    num_trials, seconds = (3, 0.2) if bench.toy else (20, 8.0)
    with tempfile.TemporaryDirectory() as name:
        begin, end, times = run(Path(name), num_trials, seconds)
    first, last = times[0][0], max(stop for _, stop in times)
    busy = sum(stop - start for start, stop in times)
    what = f"{num_trials} trials of {seconds:g} s in {SLOTS} slots: part of the slots' time without a trial"
    bench.row(f"{what}, whole command", [1 - busy / SLOTS / (end - begin)], "ratio", at_most=0.1)
    bench.row(f"{what}, first start to last end", [1 - busy / SLOTS / (last - first)], "ratio", at_most=0.1)
    bench.row("from the command to the first trial", [first - begin], "s")
    bench.row("from the last trial to the end of the command", [end - last], "s")
    bench.row("from the end of a trial to the start of the next", gaps(times), "s")
    bench.finish()


if __name__ == "__main__":
    main()
