"""What is started, tried again, left alone and stopped: processes in place of a cluster, a stub in place of torch."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from sweep_cases import REPOSITORY, STUB, Processes, runs_of, start_trial, wait_for

from sacreddnn.sweeps import command, state
from sacreddnn.sweeps import launch as launching
from sacreddnn.sweeps.grid import Run
from sacreddnn.sweeps.launch import Launch, in_rounds
from sacreddnn.sweeps.state import Records, place
from sacreddnn.sweeps.sweep_file import TrialConfig
from sacreddnn.sweeps.trial import Outcome, Trial
from sacreddnn.tracking import locks, mirrored
from sacreddnn.tracking.folder import folders, read_json, read_run


class Said:
    """A view that keeps what it is told."""

    def __init__(self):
        self.lines, self.ends, self.ticks = [], [], 0

    def says(self, line):
        self.lines.append(line)

    def ended(self, run, outcome, again):
        self.ends.append((run.config.seed, outcome, again))

    def tick(self, states):
        self.ticks += 1


@pytest.fixture
def launch_of(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    (tmp_path / "stub.py").write_text(STUB)

    def launch_of(seeds, engine=None, fixed=None, **options):
        config = TrialConfig(**{"grace": 30.0, "patience": 600.0} | options)
        runs = runs_of(tmp_path, seeds=seeds, fixed=fixed or {})
        command = [sys.executable, str(tmp_path / "stub.py")]
        return Launch("tiny", runs, config, engine or Processes(), Said(), command, tmp_path / "runs")

    return launch_of


def kinds(launch, states):
    return {run.config.seed: states[run.hash].kind for run in launch.runs}


def trial_of(launch, run, **fields):
    made = launch._trial(run)
    return Trial(**{**made.__dict__, **fields})


def test_what_is_done_is_not_run_again_what_failed_is_listed_and_tried_as_often_as_asked(launch_of):
    first = launch_of([0, 1, 10])
    assert kinds(first, states := first.run()) == {0: "done", 1: "failed", 10: "done"}
    assert states[first.runs[0].hash].line == "test error 12.50 %"
    assert states[first.runs[1].hash].line == "OSError: no luck in try 1"
    assert first.pending == {first.runs[2].hash}  # exit status 75
    assert len(first.engine.trials) == 3
    watcher = start_trial(trial_of(first, first.runs[2]))
    assert json.loads(watcher.communicate(timeout=60)[0])["recorded"] is False  # still
    again = launch_of([0, 1, 10])
    assert kinds(again, again.run()) == {0: "done", 1: "failed", 10: "done"}
    assert again.engine.trials == []
    more = launch_of([0, 1, 10], retries=2)
    assert more.run()[first.runs[1].hash].line == "OSError: no luck in try 3"
    assert more.engine.trials == 2 * [first.runs[1].hash]
    assert [again for seed, _, again in more.view.ends] == [True, False]
    assert len(folders(more.root)) == 3  # the same number in every try


def test_what_is_not_in_the_database_is_said_until_it_is_there(launch_of, tmp_path, capsys):
    url = "mongodb://me@lab.example/runs?tls=true"
    launch = launch_of([0, 10], fixed={"tracking.database": True, "tracking.mongo_url": url})
    launch.run()
    sweep = str(tmp_path / "tiny.yaml")
    folder = launch.records.states(launch.hashes)[launch.runs[1].hash].folder
    for other in (None, "127.0.0.1:27017/sacreddnn", "127.0.0.1:27017/runs", "lab.example:27017/others"):
        if other:  # as a replay into another database does
            mirrored.note(folder, other, 2, mirrored.digest_of(folder))
        assert command.main([sweep]) == command.NOT_IN_DATABASE
        replay = f"python scripts/report.py replay --root {tmp_path}/runs --mongo-url '{url}'\n"
        assert f"1 runs are not yet all in the database; later: {replay}" in capsys.readouterr().out
        watcher = start_trial(trial_of(launch, launch.runs[1]))
        assert json.loads(watcher.communicate(timeout=60)[0])["recorded"] is False
    mirrored.note(folder, "lab.example:27017/runs", 2, mirrored.digest_of(folder))
    assert command.main([sweep]) == command.ALL_DONE
    assert "database" not in capsys.readouterr().out
    watcher = start_trial(trial_of(launch, launch.runs[1]))
    assert json.loads(watcher.communicate(timeout=60)[0])["recorded"] is True


def test_a_killed_training_is_tried_again_and_a_watcher_that_is_killed_does_not_count_as_a_failure(launch_of):
    launch = launch_of([4], retries=1)
    assert kinds(launch, launch.run()) == {4: "done"}
    assert [(o.kind, again) for _, o, again in launch.view.ends] == [("failed", True), ("done", False)]
    assert "killed by SIGKILL, out of memory?" in launch.view.ends[0][1].line

    launch = launch_of([2])
    thread = threading.Thread(target=launch.run)
    thread.start()
    owner = place(launch.root, launch.hashes[0]) / "owner.json"
    wait_for(lambda: len(folders(launch.root)) == 2)
    first = read_json(owner)["pid"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: read_json(owner)["pid"] != first and state.is_busy(launch.root, launch.hashes[0]))
    launch.stop.asked = True
    thread.join(90)
    assert [o.kind for _, o, _ in launch.view.ends] == ["lost", "interrupted"]


def test_stopping_saves_and_the_same_sweep_goes_on_under_the_same_number(launch_of, tmp_path):
    launch = launch_of([2, 12, 0], Processes(2))
    thread = threading.Thread(target=launch.run)
    thread.start()
    wait_for(lambda: len(folders(launch.root)) == 2)
    wait_for(lambda: all((folder / "metrics.jsonl").stat().st_size for folder in folders(launch.root)))
    launch.stop.asked = True
    thread.join(90)
    assert not thread.is_alive()
    assert all((folder / "saved").exists() for folder in folders(launch.root))
    assert kinds(launch, launch.records.states(launch.hashes)) == {2: "interrupted", 12: "interrupted", 0: "missing"}
    assert sum("stopping: 2 runs" in line for line in launch.view.lines) == 1
    assert not list(tmp_path.rglob("stop-*"))
    (tmp_path / "stub.py").write_text(STUB.replace("seed in (2, 3)", "False"))
    again = launch_of([2, 12, 0])
    assert set(kinds(again, again.run()).values()) == {"done"}
    assert [len(read_run(folder)["attempts"]) for folder in folders(again.root)] == [2, 2, 1]


def test_a_training_that_hangs_is_ended(launch_of):
    launch = launch_of([3], patience=1.0, grace=0.5)  # it ignores SIGTERM
    states = launch.run()
    assert kinds(launch, states) == {3: "failed"}
    assert "no sign of progress for 1 s" in states[launch.runs[0].hash].line


def test_a_run_that_another_sweep_is_at_is_left_to_it_with_a_line(launch_of, monkeypatch):
    monkeypatch.setattr(launching, "BUSY_SECONDS", 1.0)
    launch = launch_of([0, 1])
    where = place(launch.root, launch.runs[0].hash)
    where.mkdir(parents=True)
    (where / "owner.json").write_text(json.dumps({"sweep": "theirs", "pid": 7, "hostname": "there", "token": "x"}))
    lock = locks.take(where / "lock")
    try:
        assert kinds(launch, launch.run()) == {0: "running", 1: "failed"}
        busy = start_trial(trial_of(launch, launch.runs[0]))
        said, _ = busy.communicate(timeout=60)
        assert json.loads(said)["kind"] == "busy"
    finally:
        os.close(lock)
    assert launch.engine.trials == [launch.runs[1].hash]
    assert any("left to sweep theirs (process 7 on there)" in line for line in launch.view.lines)
    assert kinds(launch, launch_of([0, 1]).run()) == {0: "done", 1: "failed"}


def test_a_trial_saves_and_stops_when_whoever_started_it_is_gone(launch_of):
    launch = launch_of([2])
    process = start_trial(trial_of(launch, launch.runs[0]))
    wait_for(lambda: [f for f in folders(launch.root) if (f / "metrics.jsonl").stat().st_size])
    process.stdin.close()
    with process.stdout:
        outcome = json.loads(process.stdout.read())
    process.wait(60)
    assert (outcome["kind"], outcome["line"]) == ("interrupted", "stopped by the end of the process that started it")
    assert kinds(launch, launch.records.states(launch.hashes)) == {2: "interrupted"}
    assert (folders(launch.root)[0] / "saved").exists()


def test_a_lost_node_gives_its_run_back_and_is_asked_to_stop(launch_of, monkeypatch):
    """The engine says that the node is gone while the trial goes on there: it must stop before the run starts again."""

    class Cut(Processes):
        def wait(self, handles, seconds):
            if len(self.trials) == 1 and len(folders(launch.root)) == 1:
                wait_for(lambda: read_json(place(launch.root, launch.hashes[0]) / "owner.json"))
                self.first = handles[0]
                return [(handles[0], Outcome("lost", "NodeDiedError"))]
            return super().wait(handles, seconds)

    launch = launch_of([2], Cut(), grace=10.0)
    thread = threading.Thread(target=launch.run)
    thread.start()
    wait_for(lambda: len(launch.engine.trials) == 2)
    assert launch.engine.first.wait(60) == 0
    with launch.engine.first.stdin, launch.engine.first.stdout:
        assert json.loads(launch.engine.first.stdout.read())["kind"] == "interrupted"
    wait_for(lambda: len(read_run(folders(launch.root)[0])["attempts"]) == 2)
    launch.stop.asked = True
    thread.join(90)
    assert [outcome.kind for _, outcome, _ in launch.view.ends] == ["lost", "interrupted"]
    assert len(folders(launch.root)) == 1


def test_states_are_read_from_disk_and_follow_it(launch_of):
    launch = launch_of([0, 1])
    records = Records(launch.root)
    assert [one.kind for one in records.states(launch.hashes).values()] == ["missing", "missing"]
    launch.run()
    done, failed = (records.states(launch.hashes)[name] for name in launch.hashes)
    assert (done.kind, done.progress, failed.kind) == ("done", 1.0, "failed")
    assert failed.progress == 0.5  # one epoch of two
    run = Path(failed.folder) / "run.json"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"status": "RUNNING"}))
    (place(launch.root, launch.hashes[1]) / "outcome.json").unlink()
    assert records.states(launch.hashes)[launch.hashes[1]].kind == "interrupted"  # RUNNING, but nobody holds its lock
    lock = locks.take(failed.folder / "lock")
    assert records.states(launch.hashes)[launch.hashes[1]].kind == "running"
    os.close(lock)


def test_every_case_runs_once_before_any_runs_twice():
    runs = [Run(case, {"seed": seed}, None, f"{case}{seed}") for case in ("a", "b", "c") for seed in range(3)]
    assert [run.hash for run in in_rounds([*runs, Run("a", {"seed": 3}, None, "a3")])] == [
        "a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2", "a3",
    ]  # fmt: skip


def test_a_config_with_a_password_is_not_written_down(launch_of):
    launch = launch_of([0])
    run = launch.runs[0]
    config = run.config.model_dump()
    config["dataset"]["options"]["api_token"] = "hunter22"
    process = start_trial(trial_of(launch, run, config=config))
    outcome = json.loads(process.communicate(timeout=60)[0])
    assert (outcome["kind"], outcome["again"]) == ("failed", False)
    assert "dataset.options.api_token: holds a password" in outcome["line"]
    assert not any(b"hunter22" in path.read_bytes() for path in launch.root.rglob("*") if path.is_file())
    assert kinds(launch, launch.records.states(launch.hashes)) == {0: "failed"}
