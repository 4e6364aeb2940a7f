"""The recorder on a real experiment of Sacred, in a process that ends in every way a process can end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sacreddnn.tracking import folder as files

SCRIPT = Path(__file__).with_name("sacred_script.py")


def run(root, mode, *rest):
    command = [sys.executable, str(SCRIPT), str(root), mode, *rest]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


@pytest.mark.parametrize(
    ("mode", "status"), [("complete", "COMPLETED"), ("fail", "FAILED"), ("interrupt", "INTERRUPTED")]
)
def test_every_end_keeps_everything(tmp_path, mode, status):
    done = run(tmp_path, mode)
    assert (done.returncode == 0) == (mode == "complete"), done.stderr
    assert "not recorded" not in done.stderr
    record = files.read_run(tmp_path / "1")
    assert record["status"] == status
    output = files.read_output(tmp_path / "1")
    assert output.count("first words") == output.count("last words") == output.count("from a child") == 1
    series = files.read_metrics(tmp_path / "1")
    assert series["test/center/error"].values == [9.0, 8.0]
    assert series["train.loss"].values == [0.5]
    assert files.read_config(tmp_path / "1") == {"seed": 3, "algorithm": {"name": "sgd", "replicas": 2}}
    assert record["experiment"]["mainfile"].endswith("sacred_script.py")
    assert files.read_result(tmp_path / "1") == ({"test/error": 8.0} if mode == "complete" else {})
    assert ("boom" in "".join(record["fail_trace"] or [])) == (mode == "fail")


def test_a_killed_run_is_resumed_under_its_id(tmp_path):
    assert run(tmp_path, "kill").returncode == -signal.SIGKILL
    before = files.read_run(tmp_path / "1")
    assert before["status"] == "RUNNING"
    assert "first words" in files.read_output(tmp_path / "1")
    assert run(tmp_path, "complete", "1").returncode == 0
    after = files.read_run(tmp_path / "1")
    assert [one["status"] for one in after["attempts"]] == ["INTERRUPTED", "COMPLETED"]
    assert (after["uuid"], after["start_time"]) == (before["uuid"], before["start_time"])
    assert [folder.name for folder in files.folders(tmp_path)] == ["1"]
    output = files.read_output(tmp_path / "1")
    assert output.count("first words") == 2
    assert "--- resumed" in output
