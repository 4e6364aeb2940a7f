import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest

from sacreddnn.tracking import database as databases
from sacreddnn.tracking import folder as files
from sacreddnn.tracking import provenance
from sacreddnn.tracking.live import LiveMirror
from sacreddnn.tracking.mirror import replay
from sacreddnn.tracking.recorder import Recorder
from sacreddnn.tracking.runs import load, load_spool

CONFIG = {"algorithm": {"name": "sgd"}, "seed": 1}


def recorder(root, connect, **options):
    return Recorder(root, connect=connect, **{"beat_seconds": 0.05, "flush_seconds": 5.0, **options})


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.02)


def in_database_exactly_once(root, connect):
    database = connect()
    records = load(database)
    assert database.metrics.count_documents({}) == sum(len(one.series) for one in records)
    assert database.packed.count_documents({}) == sum(one.status != "RUNNING" for one in records)
    database.packed.delete_many({})
    assert records == load(database) == load_spool(root)  # packed or not
    database.client.close()


def test_a_run_appears_and_grows_while_it_runs(tmp_path, connect):
    one = recorder(tmp_path, connect)
    assert one.start(CONFIG) == 1
    database = connect()
    wait_until(lambda: database.runs.find_one({"_id": 1, "status": "RUNNING"}))
    one.log("test/center/error", 9.0, 1, 100)
    wait_until(lambda: database.metrics.find_one({"name": "test/center/error", "steps": [1]}))
    first = database.runs.find_one()["heartbeat"]
    wait_until(lambda: database.runs.find_one()["heartbeat"] > first)
    one.result({"test/center/error": np.float32(9.0)})
    one.info["note"] = "x"
    assert not one.finish()
    entry = database.runs.find_one()
    assert (entry["status"], entry["result"], entry["info"]["note"]) == ("COMPLETED", {"test/center/error": 9.0}, "x")
    database.client.close()
    in_database_exactly_once(tmp_path, connect)


def test_away_before_the_start(tmp_path, connect, db_server, capsys):
    db_server.kill()
    one = recorder(tmp_path, connect)
    one.start(CONFIG)
    one.log("a", 1.0, 1)
    wait_until(lambda: "the run goes on" in capsys.readouterr().err)
    db_server.start()
    one.log("a", 2.0, 2)
    assert not one.finish()
    in_database_exactly_once(tmp_path, connect)


def test_killed_in_the_middle(tmp_path, connect, db_server):
    one = recorder(tmp_path, connect)
    one.start(CONFIG)
    for step in range(30):
        one.log("a", step, step)
        if step in (10, 20):
            db_server.kill()
        if step in (15, 25):
            db_server.start()
        time.sleep(0.05)
    assert not one.finish()
    in_database_exactly_once(tmp_path, connect)


def test_away_at_the_end(tmp_path, connect, db_server, capsys):
    one = recorder(tmp_path, connect, flush_seconds=0.7)
    one.start(CONFIG)
    database = connect()
    one.log("a", 1.0, 1)
    wait_until(lambda: database.metrics.find_one({"name": "a"}))
    database.client.close()
    wait_until(lambda: one._live._points == 1)
    db_server.kill()
    for step in range(2, 12):
        one.log("a", step, step)
    pending = one.finish()
    assert (pending.runs, pending.points) == (1, 10)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "10 metric points" in line]
    assert "wait for a replay" in line
    assert one.finish() is pending
    wait_until(lambda: not one._live._thread.is_alive())
    db_server.start()
    database = connect()
    for _ in range(2):
        replay(tmp_path, database)
    database.client.close()
    in_database_exactly_once(tmp_path, connect)


def test_a_database_that_hangs_does_not_hold_the_run(tmp_path, capsys):
    release = threading.Event()

    def hang():
        release.wait(20)
        raise OSError("away")

    one = recorder(tmp_path, hang, flush_seconds=0.2)
    one.start(CONFIG)
    one.log("a", 1.0, 1)
    pending = one.finish()
    assert one._live._thread.is_alive()  # still hanging, and nobody waits for it
    assert (pending.points, pending.reason) == (1, "the database does not answer in time")
    release.set()
    one._live._thread.join()


def test_ctrl_c_while_a_finished_run_waits_only_ends_the_wait(tmp_path, monkeypatch, capsys):
    release = threading.Event()

    def hang():
        release.wait(20)
        raise OSError("away")

    one = recorder(tmp_path, hang)
    one.start(CONFIG)
    one.log("a", 1.0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(one._live._over, "wait", lambda seconds: signal.raise_signal(signal.SIGINT))
        pending = one.finish()
    assert (pending.points, pending.reason) == (1, "Ctrl-C while it waited for the database")
    assert "wait for a replay" in capsys.readouterr().err
    one.interrupted_event(None, "INTERRUPTED")
    assert files.read_run(tmp_path / "1")["status"] == "COMPLETED"
    release.set()
    one._live._thread.join()


def test_an_end_that_was_broken_off_keeps_its_status(tmp_path, monkeypatch):
    one = recorder(tmp_path, None)
    one.start(CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(one._live, "end", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            one.finish()
    stop_time = files.read_run(tmp_path / "1")["stop_time"]
    one.interrupted_event(None, "INTERRUPTED")
    run = files.read_run(tmp_path / "1")
    assert (run["status"], run["attempts"][0]["status"], run["stop_time"]) == ("COMPLETED", "COMPLETED", stop_time)
    assert not files.is_running(tmp_path / "1")


def test_several_runs_while_the_database_dies(tmp_path, connect, db_server):
    recorders = [recorder(tmp_path, connect, flush_seconds=10.0) for _ in range(4)]
    for one in recorders:
        one.start(CONFIG)

    def train(one):
        for step in range(60):
            one.log(f"a/{step % 3}", step, step, step)
            time.sleep(0.01)

    threads = [threading.Thread(target=train, args=(one,)) for one in recorders]
    for thread in threads:
        thread.start()
    for _ in range(2):
        time.sleep(0.3)
        db_server.kill()
        time.sleep(0.1)
        db_server.start()
    for thread in threads:
        thread.join()
    for one in recorders:
        one.finish()
    database = connect()
    replay(tmp_path, database)
    database.client.close()
    in_database_exactly_once(tmp_path, connect)
    assert [sum(len(series.steps) for series in one.series.values()) for one in load_spool(tmp_path)] == [60] * 4


def test_the_embedded_server_is_started_again(tmp_path, embedded):
    one = recorder(tmp_path / "runs", partial(databases.connect, None, folder=embedded.folder))
    one.start(CONFIG)
    one.log("a", 1.0, 1)
    wait_until(lambda: one._live._points == 1)
    embedded.kill()
    one.log("a", 2.0, 2)
    assert not one.finish()
    database = databases.connect(folder=embedded.folder)
    assert database.name == "sacreddnn"
    assert load(database) == load_spool(tmp_path / "runs")
    database.client.drop_database("sacreddnn")
    database.client.close()


def test_without_a_database(tmp_path, capsys):
    one = recorder(tmp_path, None)
    one.start(CONFIG)
    one.log("a", 1.0, 1)
    pending = one.finish()
    assert (pending.runs, pending.points) == (1, 1)
    assert capsys.readouterr().err == ""


def test_resume_under_the_same_id(tmp_path, connect):
    one = recorder(tmp_path, connect)
    one.start(CONFIG)
    one.log("a", 1.0, 1)
    one.result({"a": 1})
    one.finish("INTERRUPTED")
    before = files.read_run(tmp_path / "1")
    two = recorder(tmp_path, connect, resume=1)
    assert two.start(CONFIG) == 1
    two.log("a", 9.0, 1)
    two.log("a", 2.0, 2)
    two.result({"b": 2})
    assert not two.finish()
    run = files.read_run(tmp_path / "1")
    assert (run["start_time"], run["uuid"]) == (before["start_time"], before["uuid"])
    assert [attempt["status"] for attempt in run["attempts"]] == ["INTERRUPTED", "COMPLETED"]
    assert files.read_result(tmp_path / "1") == {"a": 1, "b": 2}
    assert load_spool(tmp_path)[0].series["a"].values == [9.0, 2.0]
    in_database_exactly_once(tmp_path, connect)


def test_configure_sets_what_the_config_says(tmp_path):
    def configure(one, config):
        one.root = tmp_path / config["folder"]
        one.config = {**config, "resolved": True}

    one = Recorder("nowhere", configure=configure)
    one.start({"folder": "here"})
    one.finish()
    assert files.read_config(tmp_path / "here" / "1") == {"folder": "here", "resolved": True}


def test_config_hash_of_the_caller(tmp_path):
    def configure(one, config):
        one.config_hash = lambda values: f"seed {values['seed']}"

    one = Recorder(tmp_path, configure=configure)
    one.start({**CONFIG, "root": "a"})
    one.finish("INTERRUPTED")
    two = Recorder(tmp_path, configure=configure, resume=1)
    two.start({**CONFIG, "root": "b"})
    two.finish()
    run = files.read_run(tmp_path / "1")
    assert [one["config_hash"] for one in (run, *run["attempts"])] == ["seed 1"] * 3
    assert [attempt.get("config", {}).get("root") for attempt in run["attempts"]] == ["a", None]


def test_used_before_the_start_or_twice(tmp_path):
    one = Recorder(tmp_path)
    with pytest.raises(ValueError, match="no run yet"):
        one.log("a", 1.0, 1)
    one.start({})
    with pytest.raises(ValueError, match="was started before"):
        one.start({})
    one.finish()


def test_where_the_numbers_come_from(tmp_path, monkeypatch):
    repository = tmp_path / "code"
    repository.mkdir()
    git = ["git", "-C", str(repository), "-c", "user.name=n", "-c", "user.email=e@e"]
    (repository / "train.py").write_text("lr = 0.1\n")
    (repository / "results").mkdir()
    (repository / "results" / "table.csv").write_text("made by the code\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    (repository / "train.py").write_text("lr = 0.2\ntoken: int = 3\n")
    one = Recorder(tmp_path / "runs")
    one.start(CONFIG, experiment={"base_dir": str(repository)}, host={"ENV": {}})
    one.describe(host={"device": "cpu"})
    one.finish()
    run = files.read_run(tmp_path / "runs" / "1")
    assert len(run["git"]["commit"]) == 40
    assert run["git"]["dirty"] is True
    assert "+lr = 0.2\n+token: int = 3" in (tmp_path / "runs" / "1" / "changes.diff").read_text()
    assert [one["name"] for one in run["artifacts"]] == ["changes.diff"]
    assert {"torch", "numpy", "python"} <= set(run["versions"])
    assert run["host"]["device"] == "cpu"
    assert run["host"]["cpu"]
    assert run["argv"][0]
    assert len(run["config_hash"]) == 16
    subprocess.run([*git, "commit", "-q", "-a", "-m", "second"], check=True)
    (repository / "train.py").write_text("lr = 0.3\n")
    two = Recorder(tmp_path / "runs", resume=1)
    two.start(CONFIG, experiment={"base_dir": str(repository)})
    two.describe(host={"device": "cuda"})
    two.finish()
    resumed = files.read_run(tmp_path / "runs" / "1")
    first, second = resumed["attempts"]
    assert first["git"] == run["git"] != second["git"] == resumed["git"]
    assert [attempt["host"]["device"] for attempt in (first, second)] == ["cpu", "cuda"]
    assert first["versions"] == run["versions"]
    assert "+lr = 0.2" in (tmp_path / "runs" / "1" / "changes.diff").read_text()
    assert "+lr = 0.3" in (tmp_path / "runs" / "1" / "changes-2.diff").read_text()
    assert [one["name"] for one in resumed["artifacts"]] == ["changes.diff", "changes-2.diff"]
    subprocess.run([*git, "commit", "-q", "-a", "-m", "third"], check=True)
    (repository / "results" / "table.csv").write_text("made again\n")
    assert provenance.git(repository)[0]["dirty"] is False


def test_no_password_in_any_file(tmp_path, monkeypatch, capsys):
    url = "mongodb://me:swordfish@127.0.0.1:1/runs"
    monkeypatch.setitem(databases.TIMEOUTS, "serverSelectionTimeoutMS", 50)
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD", "marlin77")
    monkeypatch.setattr(
        sys, "orig_argv", ["python", "train.py", "with", f"tracking.mongo_url={url}", "password=swordfish"]
    )
    one = recorder(tmp_path, partial(databases.connect, url), flush_seconds=0.3)
    one.started_event(
        {"name": "x"},
        "main",
        {},
        None,
        {"tracking": {"mongo_url": url}, "note": ["marlin77"]},
        {"options": {"--mongo_db": url}},
        None,
    )
    one.info["url"] = url
    one.result({"where": url})
    one.heartbeat_event({"u": url}, f"connecting to {url} with marlin77\n", None, None)
    one.failed_event(None, [f"Error: {url} marlin77\n"])
    one._live._thread.join()
    assert one.pending
    written = {path: path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written) >= 5
    for path, text in {**written, "stderr": capsys.readouterr().err}.items():
        assert "swordfish" not in text, path
        assert "marlin77" not in text, path
    assert "mongodb://me:***@127.0.0.1:1/runs" in json.dumps(files.read_config(tmp_path / "1"))


def test_sacred_events_that_go_wrong_do_not_end_the_record(tmp_path, capsys):
    one = Recorder(tmp_path)
    one.started_event({"name": "x"}, "main", {}, None, {}, {}, None)
    one.log_metrics({"a": {"steps": [1, 2], "values": [np.ones(3), 2.0], "timestamps": [None, None]}}, {})
    one.artifact_event("missing", str(tmp_path / "missing"))
    one.resource_event(__file__)
    one.completed_event(None, 3.5)
    assert capsys.readouterr().err.count("not recorded") == 2
    assert load_spool(tmp_path)[0].series["a"].values == [2.0]
    assert files.read_result(tmp_path / "1") == {"result": 3.5}
    assert files.read_run(tmp_path / "1")["resources"][0][0] == __file__


def test_a_start_that_fails_is_no_run(tmp_path):
    one = Recorder(tmp_path, resume=5)
    with pytest.raises(FileNotFoundError, match="run '5': there are no runs"):
        one.started_event({"name": "x"}, "main", {}, None, {}, {}, None)
    one.failed_event(None, [])
    with pytest.raises(ValueError, match="run id 'abc'"):
        Recorder(tmp_path).started_event({"name": "x"}, "main", {}, None, {}, {}, "abc")


def test_an_outage_is_told_once(tmp_path, capsys):
    def away():
        raise OSError("gone fishing")

    live = LiveMirror(tmp_path, away, 0.01, lambda: None)
    time.sleep(0.2)
    live.end(0.1, 0)
    live._thread.join()
    assert capsys.readouterr().err.count("gone fishing") == 1


def test_a_run_gone_on_from_an_old_copy_says_that_the_database_is_further(tmp_path, connect, capsys):
    old = recorder(tmp_path, connect)
    old.start(CONFIG)
    shutil.copytree(tmp_path / "1", tmp_path / "old" / "1")
    old.finish("INTERRUPTED")
    new = recorder(tmp_path, connect, resume=1)
    new.start(CONFIG)
    for step in range(10):
        new.log("a", step, step)
    assert not new.finish()
    late = recorder(tmp_path / "old", connect, resume=1)  # has two attempts then, too, and fewer points
    late.start(CONFIG)
    pending = late.finish()
    assert (pending.runs, pending.reason) == (1, "the database has a later state of this run")
    assert capsys.readouterr().err.count("they wait for a replay") == 1
    in_database_exactly_once(tmp_path, connect)


def test_a_beat_that_fails_stops_neither_run_nor_mirror(tmp_path, connect, capsys):
    one = recorder(tmp_path, connect)
    one.start(CONFIG)
    wait_until(lambda: one._live._mirror)

    def beat():
        raise KeyError("of an unexpected kind")

    one._live._beat = beat
    wait_until(lambda: "heartbeat not written" in capsys.readouterr().err)
    one.log("a", 1.0, 1)
    assert not one.finish()
    in_database_exactly_once(tmp_path, connect)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mirror_that_died_is_told(tmp_path, connect, monkeypatch, capsys):
    one = recorder(tmp_path, connect)
    one.start(CONFIG)
    wait_until(lambda: one._live._mirror)
    monkeypatch.setattr(one._live, "_say", lambda text: sys.exit())  # ends the thread
    monkeypatch.setattr(one._live, "_beat", lambda: 1 / 0)
    wait_until(lambda: not one._live._thread.is_alive())
    one.log("a", 1.0, 1)
    assert one.finish().runs == 1
    one._live._close()
    assert "only in" in capsys.readouterr().err


def test_event_files_that_cannot_be_written_are_given_up_and_the_run_goes_on(tmp_path, connect, monkeypatch, capsys):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")

    def broken(*args, **kwargs):
        raise RuntimeError("no space")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.__init__", broken)
    one = recorder(tmp_path, connect)
    one.tensorboard = True
    one.start(CONFIG)
    one.log("a", 1.0, 1)
    assert not one.finish()
    assert "no more event files: no space" in capsys.readouterr().err
    in_database_exactly_once(tmp_path, connect)


@pytest.mark.parametrize("user", ["ghp_t0ken", "me:ghp_t0ken", "me@lab.example:ghp_t0ken", "ghp_t0ken:x", ""])
def test_a_token_in_the_address_of_the_repository_is_not_written_down(tmp_path, user):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@e"]
    remote = f"https://{user}{'@' if user else ''}github.example:8443/me/code.git"
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "m"], ["remote", "add", "origin", remote]):
        subprocess.run([*git, *words], check=True)
    assert provenance.git(tmp_path)[0]["url"] == "https://github.example:8443/me/code.git"
    subprocess.run([*git, "remote", "set-url", "origin", "git@github.example:me/code.git"], check=True)
    assert provenance.git(tmp_path)[0]["url"] == "git@github.example:me/code.git"
