"""What the tests of sweeps share: a tiny sweep, trials on processes without Ray, a training that is no training."""

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import yaml

from sacreddnn.sweeps.grid import expand
from sacreddnn.sweeps.sweep_file import read_sweep
from sacreddnn.sweeps.trial import Outcome, parse

REPOSITORY = Path(__file__).parents[2]
TINY = {
    "base": ["synthetic", "mlp", "on_disk"],
    "fixed": {
        "dataset.options.train_samples": 128, "dataset.options.test_samples": 64, "dataset.options.image_size": 8,
        "training.epochs": 2, "training.batch_size": 32, "training.device": "cpu",
        "evaluation.flatness.num_samples": 2,
    },
    "seeds": 2,
}  # fmt: skip

# Called as a training is, `with FILE.yaml` or `with resume=FOLDER`: a record like that of a run, without torch.
# The seed says what happens: 0 completes, 1 fails, 2 works until it is stopped, 3 hangs, 4 is killed the first time;
# 2 and 3 complete once there is a file `go` beside the folder of runs. 10 to 19: not all of it is in the database.
STUB = """
import os, signal, sys, time
from pathlib import Path
from sacreddnn.config import check
from sacreddnn.run_config import config_hash
from sacreddnn.tracking.folder import read_config
from sacreddnn.tracking.spool import Spool
from sacreddnn.yaml_file import read_yaml

resume, _, folder = sys.argv[2].partition("resume=")
config = check(read_config(Path(folder)) if folder else read_yaml(resume))
if folder:
    spool = Spool.resume(folder, config.model_dump(), config_hash=config_hash(config))
else:
    spool = Spool.create(config.tracking.root, config.model_dump(), config_hash=config_hash(config))
seed, tries = config.seed % 10, len(spool.run["attempts"])
def stop(signum, frame):
    (spool.folder / "saved").touch()
    spool.end("INTERRUPTED")
    os._exit(143)
signal.signal(signal.SIGTERM, stop if seed == 2 else signal.SIG_IGN)
spool.log("train/minibatch/loss", 1.0, 1)
if seed == 1:
    spool.end("FAILED", fail_trace=["Traceback", f"OSError: no luck in try {tries}"])
    sys.exit(f"OSError: no luck in try {tries}")
if seed == 4 and tries == 1:
    os.kill(os.getpid(), signal.SIGKILL)
go = Path(config.tracking.root).parent / "go"
while seed in (2, 3) and not go.exists():
    time.sleep(0.1)
spool.result({"test/center/error": 12.5})
spool.end("COMPLETED")
sys.exit(75 if 10 <= config.seed < 20 else 0)
"""


def write_sweep(folder, name="tiny", **values):
    """A sweep file whose runs are recorded in a folder of the test."""
    values = TINY | values
    values["fixed"] = TINY["fixed"] | {"tracking.root": str(folder / "runs")} | values.get("fixed", {})
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def runs_of(folder, **values):
    path = write_sweep(folder, **values)
    return expand(read_sweep(path), path.stem)


def start_trial(trial):
    """The module `trial` as a process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sacreddnn.sweeps.trial"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True, cwd=REPOSITORY,
    )  # fmt: skip
    process.stdin.write(json.dumps(asdict(trial)).encode() + b"\n")
    process.stdin.flush()
    return process


class Processes:
    """An engine without Ray: so many processes on this machine."""

    def __init__(self, num=2):
        self.num, self.trials, self.tokens = num, [], {}

    def capacity(self):
        return self.num

    def submit(self, trial):
        self.trials.append(trial.hash)
        process = start_trial(trial)
        self.tokens[trial.token] = process
        return process

    def wait(self, handles, seconds):
        deadline = time.monotonic() + seconds
        while not (ended := [p for p in handles if p.poll() is not None]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return [(process, self._outcome(process)) for process in ended]

    def _outcome(self, process) -> Outcome:
        with process.stdin, process.stdout:
            return parse(process.stdout.read())


def wait_for(condition, seconds=90, why=lambda: "it did not happen in time"):
    """Until the condition holds; its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)
    return value
