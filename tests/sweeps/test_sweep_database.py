"""A sweep whose database goes away in the middle: the runs end, and what the database lacks is brought there later."""

import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from pymongo import MongoClient
from ray_cases import HELD_TRAINING, by_seed
from sweep_cases import REPOSITORY, Processes, runs_of, wait_for

from sacreddnn.sweeps import command
from sacreddnn.sweeps.launch import Launch
from sacreddnn.sweeps.sweep_file import TrialConfig
from sacreddnn.tracking import server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_database_that_goes_away_in_the_middle_loses_nothing(tmp_path, monkeypatch, capsys):
    pytest.importorskip("secantus", reason="needs the extra 'embedded'")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder, url = tmp_path / "database", server.start(tmp_path / "database")
    fixed = {"training.epochs": 7, "tracking.database": True, "tracking.mongo_url": url.replace("/?", "/runs?")}
    runs = runs_of(tmp_path, seeds=1, fixed=fixed)
    says = []
    view = SimpleNamespace(says=says.append, tick=lambda states: None, ended=lambda *about: None)
    train = [sys.executable, str(HELD_TRAINING)]
    launch = Launch("tiny", runs, TrialConfig(), Processes(1), view, train, tmp_path / "runs")
    thread = threading.Thread(target=launch.run)
    try:
        thread.start()
        wait_for(lambda: _epochs(tmp_path / "runs") == 5, 240)
        with MongoClient(url) as client:
            wait_for(lambda: client["runs"].runs.find_one({"status": "RUNNING"}), 240)
        os.kill(server.status(folder)["pid"], signal.SIGKILL)
        wait_for(lambda: not server.status(folder)["running"])
        (tmp_path / "go").touch()
        thread.join(300)
        assert not thread.is_alive()
        states = launch.records.states(launch.hashes)
        assert [one.kind for one in states.values()] == ["done"]
        assert launch.pending == set(launch.hashes)
        assert command._end(runs, states, launch.pending, False) == command.NOT_IN_DATABASE
        assert "1 runs are not yet all in the database; later: python scripts/report" in capsys.readouterr().out
        sweep = str(tmp_path / "tiny.yaml")
        assert command.main([sweep]) == command.NOT_IN_DATABASE  # and as often as it is asked

        server.start(folder)
        words = ["--root", tmp_path / "runs", "--mongo-url", fixed["tracking.mongo_url"]]
        replay = [sys.executable, "scripts/report.py", "replay", *words]
        done = subprocess.run(replay, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        with MongoClient(url) as client:
            (run,) = client["runs"].runs.find()
            assert run["status"] == "COMPLETED"
            loss = client["runs"].metrics.find_one({"name": "train/minibatch/loss"})
            assert loss["steps"] == [1, 2, 3, 4, 5, 6, 7]
        again = Launch("tiny", runs, TrialConfig(), Processes(1), view, train, tmp_path / "runs")
        again.run()
        assert again.engine.trials == []
        assert command.main([sweep]) == command.ALL_DONE
    finally:
        (tmp_path / "go").touch()
        thread.join(300)
        server.stop(folder)


def _epochs(root):
    for folder in by_seed(root).values():
        return (folder / "metrics.jsonl").read_text().count('"train/minibatch/loss"')
    return 0
