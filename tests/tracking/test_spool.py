import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from sacreddnn.tracking import folder as files
from sacreddnn.tracking.spool import RunBusyError, Spool, close_stale, reserve

CONFIG = {"algorithm": {"name": "rsgd", "replicas": 3}, "training": {"lr": 1e-5, "gain": math.inf}, "seed": 1}


@pytest.fixture
def spool(tmp_path):
    one = Spool.create(tmp_path / "runs", CONFIG, command="main")
    yield one
    one.close()


def kill_a_writer(root, *lines):
    """A run whose process was killed by SIGKILL after these lines of Python."""
    code = "import os, signal\nfrom sacreddnn.tracking.spool import Spool\n"
    code += f"spool = Spool.create({str(root)!r}, {{'a': 1}})\n" + "\n".join(lines)
    code += "\nos.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_is_written_is_read(spool):
    for epoch in range(3):
        spool.log("train/center/loss", 1 / (epoch + 1), epoch, 100 * epoch)
    spool.log("test/center/error", np.float32(12.5), np.int64(2), torch.tensor(200))
    spool.result({"test": {"center": {"error": np.float64(12.5)}}, "diverged": math.nan})
    spool.output("hello\n")
    spool.end("COMPLETED")
    assert files.read_config(spool.folder) == CONFIG
    series = files.read_metrics(spool.folder)
    assert series["train/center/loss"].values == [1.0, 1 / 2, 1 / 3]
    assert series["train/center/loss"].gradient_evaluations == [0, 100, 200]
    assert (series["test/center/error"].steps, series["test/center/error"].values) == ([2], [12.5])
    assert files.read_result(spool.folder) == {"test/center/error": 12.5, "diverged": None}
    assert files.read_output(spool.folder) == "hello\n"
    run = files.read_run(spool.folder)
    assert (run["status"], run["run_id"], len(run["attempts"])) == ("COMPLETED", 1, 1)
    assert spool.num_points == 4


def test_the_last_of_two_points_counts(spool):
    for step, value in ((1, 1.0), (2, 2.0), (1, 3.0), (3, 4.0)):
        spool.log("a", value, step)
    series = files.read_metrics(spool.folder)["a"]
    assert (series.steps, series.values) == ([1, 2, 3], [3.0, 2.0, 4.0])
    assert spool.num_points == 3


def test_values_that_are_not_finite_are_counted(spool):
    for step, value in enumerate((1.0, math.nan, torch.tensor(math.inf), 2.0)):
        spool.log("train/loss", value, step, step)
    assert "NaN" not in (spool.folder / files.METRICS).read_text()
    series = files.read_metrics(spool.folder)
    assert series["train/loss"].steps == [0, 3]
    assert (series["train/loss/num_nonfinite"].steps, series["train/loss/num_nonfinite"].values) == (
        [1, 2],
        [1.0, 2.0],
    )
    spool.close()
    again = Spool.resume(spool.folder)
    again.log("train/loss", -math.inf, 4)
    again.close()
    assert files.read_metrics(spool.folder)["train/loss/num_nonfinite"].values == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("test/error", np.ones(3), 1), "metric 'test/error': ndarray of shape .3,."),
        (("test/error", "low", 1), "metric 'test/error': str 'low'"),
        (("test/error", 1.0, 1.5), "metric 'test/error': step 1.5"),
        (("test/error", 1.0, 1, "many"), "metric 'test/error': gradient_evaluations 'many'"),
        (("", 1.0, 1), "metric '': the name"),
    ],
)
def test_bad_points_are_refused_by_name(spool, arguments, message):
    with pytest.raises(ValueError, match=message):
        spool.log(*arguments)
    assert files.read_metrics(spool.folder) == {}


def test_log_after_close_is_refused(spool):
    spool.close()
    with pytest.raises(ValueError, match="run 1 is closed"):
        spool.log("a", 1.0, 1)


@pytest.mark.parametrize(
    "torn", [b'{"name": "a", "step": 9', b'{"name": "a", "step": 9, "value": 1, "time": 0}', b"\xff"]
)
def test_torn_last_line(spool, torn):
    spool.log("a", 1.0, 1)
    spool.close()
    with (spool.folder / files.METRICS).open("ab") as file:
        file.write(torn)
    assert files.read_metrics(spool.folder)["a"].steps == [1]
    again = Spool.resume(spool.folder)
    again.log("a", 2.0, 2)
    again.close()
    assert files.read_metrics(spool.folder)["a"].steps == [1, 2]
    assert all(json.loads(line) for line in (spool.folder / files.METRICS).read_text().splitlines())


def test_a_full_disk_costs_one_point(spool, monkeypatch):
    write, full = os.write, [False]

    def failing(descriptor, line):
        if full[0]:
            write(descriptor, line[:7])
            raise OSError(28, "No space left on device")
        return write(descriptor, line)

    monkeypatch.setattr(os, "write", failing)
    spool.log("a", 1.0, 1)
    full[0] = True
    with pytest.raises(OSError, match="No space"):
        spool.log("a", 2.0, 2)
    full[0] = False
    spool.log("a", 3.0, 3)
    assert files.read_metrics(spool.folder)["a"].steps == [1, 3]


def test_ids_are_unique_among_processes(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        ids = pool.map(reserve, [tmp_path / "runs"] * 40)
    assert sorted(ids) == list(range(1, 41))


def test_reserved_and_chosen_ids(tmp_path):
    first = Spool.create(tmp_path, {}, run_id=reserve(tmp_path))
    chosen = Spool.create(tmp_path, {}, run_id=7)
    after = Spool.create(tmp_path, {})
    assert [one.run["run_id"] for one in (first, chosen, after)] == [1, 7, 8]
    for one in (first, chosen, after):
        one.close()
    with pytest.raises(ValueError, match="run 7: exists"):
        Spool.create(tmp_path, {}, run_id=7)


def test_a_second_writer_is_refused(spool):
    with pytest.raises(RunBusyError, match=f"run 1: process {os.getpid()} on .* is writing"):
        Spool.resume(spool.folder)
    code = f"from sacreddnn.tracking.spool import Spool\nSpool.resume({str(spool.folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "RunBusyError: run 1" in done.stderr
    spool.close()
    Spool.resume(spool.folder).close()


def test_resume_keeps_the_run(spool):
    spool.log("a", 1.0, 1)
    spool.output("first\n")
    spool.end("FAILED", fail_trace=["boom\n"])
    spool.close()
    before = files.read_run(spool.folder)
    again = Spool.resume(spool.folder, {**CONFIG, "seed": 2})
    again.output("second\n")
    again.log("a", 2.0, 2)
    run = files.read_run(spool.folder)
    again.close()
    assert [run[key] for key in ("run_id", "uuid", "start_time")] == [
        before[key] for key in ("run_id", "uuid", "start_time")
    ]
    assert (run["status"], run["stop_time"], run["fail_trace"]) == ("RUNNING", None, None)
    assert [attempt.get("status") for attempt in run["attempts"]] == ["FAILED", None]
    assert run["attempts"][0]["config"]["seed"] == 1
    assert files.read_config(spool.folder)["seed"] == 2
    assert files.read_metrics(spool.folder)["a"].steps == [1, 2]
    output = files.read_output(spool.folder)
    assert output.startswith("first\n")
    assert output.endswith("second\n")


def test_each_attempt_keeps_where_its_numbers_come_from(tmp_path):
    def fields(commit):
        return {"git": {"commit": commit}, "versions": {"torch": commit}, "argv": [commit], "host": {"gpu": commit}}

    spool = Spool.create(tmp_path, CONFIG, **fields("A"))
    spool.close()
    again = Spool.resume(tmp_path / "1", CONFIG, **fields("B"))
    again.update(host={"gpu": "C"})
    again.close()
    run = files.read_run(tmp_path / "1")
    first, second = ({key: attempt[key] for key in fields("")} for attempt in run["attempts"])
    assert (first, second) == (fields("A"), fields("B") | {"host": {"gpu": "C"}})
    assert {key: run[key] for key in second} == second


def test_config_hash_is_the_callers_or_of_the_whole_config(tmp_path):
    def hashes(folder):
        run = files.read_run(folder)
        return [run["config_hash"], *(attempt["config_hash"] for attempt in run["attempts"])]

    for config in ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}, {"a": 1}):
        Spool.create(tmp_path, config).close()
    one, reordered, other = (hashes(tmp_path / name)[0] for name in "123")
    assert one == reordered != other
    Spool.create(tmp_path, {"a": 1}, config_hash="mine").close()
    Spool.resume(tmp_path / "4").close()
    assert hashes(tmp_path / "4") == ["mine"] * 3
    Spool.resume(tmp_path / "4", {"a": 2}, config_hash="mine").close()
    assert hashes(tmp_path / "4") == ["mine"] * 4
    # what the hash does not see is still a change of the config
    assert [attempt.get("config") for attempt in files.read_run(tmp_path / "4")["attempts"]] == [None, {"a": 1}, None]


def test_a_killed_run_is_stale_and_loses_nothing(tmp_path):
    kill_a_writer(tmp_path, "for i in range(100): spool.log('a', i, i)")
    assert files.read_run(tmp_path / "1")["status"] == "RUNNING"
    assert not files.is_running(tmp_path / "1")
    assert close_stale(tmp_path) == [1]
    run = files.read_run(tmp_path / "1")
    assert (run["status"], run["attempts"][0]["status"]) == ("INTERRUPTED", "INTERRUPTED")
    assert run["stop_time"] == run["heartbeat"]
    assert len(files.read_metrics(tmp_path / "1")["a"].steps) == 100
    assert close_stale(tmp_path) == []


def test_a_living_run_is_not_stale(spool):
    assert files.is_running(spool.folder)
    assert close_stale(spool.folder.parent) == []


def test_other_users_of_a_shared_folder_may_ask_whether_a_run_is_running(tmp_path):
    before = os.umask(0o022)
    try:
        Spool.create(tmp_path, {}).close()
    finally:
        os.umask(before)
    assert (tmp_path / "1" / "lock").stat().st_mode & 0o777 == 0o644


def test_a_run_that_cannot_be_opened_does_not_stay_locked(tmp_path, monkeypatch):
    Spool.create(tmp_path, {}).close()

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sacreddnn.tracking.spool.write_atomic", full)
    assert close_stale(tmp_path) == []
    assert not files.is_running(tmp_path / "1")
    monkeypatch.undo()
    assert close_stale(tmp_path) == [1]


def test_output_is_capped(spool):
    spool.output("begin" + "x" * 3_000_000 + "end")
    output = files.read_output(spool.folder)
    assert len(output) < 1_100_000
    assert output.startswith("begin")
    assert output.endswith("end")
    assert "characters cut" in output


def test_artifacts(spool, tmp_path):
    outside = tmp_path / "profile.json"
    outside.write_text("{}")
    stored = spool.artifact(outside)
    assert stored.read_text() == "{}"
    inside = spool.folder / "figures" / "curve.png"
    inside.parent.mkdir()
    inside.write_bytes(b"png")
    assert spool.artifact(inside) == inside
    outside.write_text("{1}")
    spool.artifact(outside)
    entries = {one["name"]: one for one in files.read_run(spool.folder)["artifacts"]}
    assert {name: one["path"] for name, one in entries.items()} == {
        "profile.json": "artifacts/profile.json",
        "curve.png": "figures/curve.png",
    }
    assert stored.read_text() == "{1}"
    assert entries["curve.png"]["content_type"] == "image/png"
    with pytest.raises(ValueError, match="must not lead out"):
        spool.artifact(outside, "../../x")
    with pytest.raises(FileNotFoundError, match="no such file"):
        spool.artifact(tmp_path / "missing")


def test_find(tmp_path):
    with pytest.raises(FileNotFoundError, match="no runs under"):
        files.find(1, tmp_path)
    for run_id in (1, 2, 30):
        Spool.create(tmp_path, {}, run_id=run_id).close()
    assert files.find(2, tmp_path) == files.find("2", tmp_path) == tmp_path / "2"
    assert files.find(tmp_path / "30", "elsewhere") == tmp_path / "30"
    with pytest.raises(FileNotFoundError, match=r"run '25': .* the nearest is 30, there are 3: 1 to 30"):
        files.find(25, tmp_path)
    with pytest.raises(FileNotFoundError, match="run 'latest'"):
        files.find("latest", tmp_path)


def test_a_broken_file_is_named(spool):
    (spool.folder / files.RESULT).write_text("{")
    with pytest.raises(ValueError, match=r"result\.json: not JSON"):
        files.read_result(spool.folder)
