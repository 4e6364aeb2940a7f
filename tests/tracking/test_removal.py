"""Runs deleted and artifacts copied, on both servers."""

import contextlib
import io

import gridfs
import pytest

from sacreddnn.report import command
from sacreddnn.tracking import removal
from sacreddnn.tracking.folder import read_run
from sacreddnn.tracking.recorder import Recorder


def record(root, connect=None, **fields):
    recorder = Recorder(root, connect=connect, **fields)
    recorder.start({"seed": 1})
    for step in range(3):
        recorder.log("loss", 1.0 / (step + 1), step)
    made = recorder.folder / "figure.png"
    made.write_bytes(b"a picture")
    recorder.artifact(made)
    return recorder


def test_a_run_is_deleted_with_all_that_belongs_to_it(tmp_path, connect, database):
    for _ in range(2):
        record(tmp_path, connect).finish()
    assert removal.delete_from_database(database, 1)
    assert not removal.delete_from_database(database, 1)
    assert [one["_id"] for one in database.runs.find()] == [2]
    assert {one["run_id"] for one in database.metrics.find()} == {2}
    assert {one["_id"] for one in database.packed.find()} == {2}
    kept = {entry["file_id"] for one in database.runs.find() for entry in one["artifacts"]}
    assert {one["_id"] for one in database.fs.files.find()} == kept
    assert {one["files_id"] for one in database.fs.chunks.find()} == kept


def test_artifacts_come_back_and_stay_in_their_folder(tmp_path, connect, database):
    record(tmp_path / "runs", connect).finish()
    written = removal.copy_artifacts(database, 1, tmp_path / "out")
    assert (tmp_path / "out" / "figure.png").read_bytes() == b"a picture"
    assert tmp_path / "out" / "figure.png" in written
    file_id = gridfs.GridFS(database).put(io.BytesIO(b"x"))
    database.runs.update_one({"_id": 1}, {"$set": {"artifacts": [{"name": "../evil", "file_id": file_id}]}})
    with pytest.raises(ValueError, match=r"artifact '../evil' would leave"):
        removal.copy_artifacts(database, 1, tmp_path / "out")
    assert not (tmp_path / "evil").exists()
    with pytest.raises(ValueError, match="run 9: is not in the database"):
        removal.copy_artifacts(database, 9, tmp_path / "out")


def test_a_running_run_is_not_deleted(tmp_path):
    running = record(tmp_path)
    with pytest.raises(ValueError, match="run 1: is running"):
        removal.delete_from_disk(tmp_path, 1)
    running.finish()
    assert removal.delete_from_disk(tmp_path, 1)
    assert not removal.delete_from_disk(tmp_path, 1)
    assert not list(tmp_path.glob("*1"))


def test_delete_asks_first(tmp_path, connect, database, db_server, monkeypatch, capsys):
    record(tmp_path, connect).finish()
    words = ["delete", "1", "--root", str(tmp_path), "--mongo-url", db_server.url(database.name)]
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert command.main(words) == 0
    said = capsys.readouterr().out
    assert "[y/N] nothing deleted" in said
    run = read_run(tmp_path / "1")
    started = run["start_time"][:16].replace("T", " ")
    assert f"run 1: uuid {run['uuid']}, config hash {run['config_hash'] or '-'}, started {started} UTC" in said
    assert (tmp_path / "1").is_dir()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert command.main(words) == 0
    assert "run 1: deleted from disk and database" in capsys.readouterr().out
    assert command.main([*words, "--yes"]) == 0
    assert "run 1: was not there" in capsys.readouterr().out
    assert database.runs.count_documents({}) == 0


def test_a_number_that_is_another_run_in_the_database_is_refused_and_its_uuid_taken(
    tmp_path, connect, database, monkeypatch, capsys
):
    """Two machines share a database: run 1 of the second is run 2 there."""
    for machine in ("one", "two"):
        record(tmp_path / machine, connect).finish()
    first, second = sorted(database.runs.find(), key=lambda one: one["_id"])
    monkeypatch.setattr(command, "opened", lambda arguments: contextlib.nullcontext(database))
    words = ["delete", "--yes", "--root", str(tmp_path / "two")]
    assert command.main([*words, "2", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"run 1: is {second['uuid']} in {tmp_path / 'two' / '1'}, but {first['uuid']} in the database" in line
    assert database.runs.count_documents({}) == 2
    assert (tmp_path / "two" / "1").is_dir()
    assert command.main([*words, second["uuid"]]) == 0
    assert f"run {second['uuid']}: deleted from disk and database" in capsys.readouterr().out
    assert not (tmp_path / "two" / "1").exists()
    assert [one["uuid"] for one in database.runs.find()] == [first["uuid"]]
    assert second["_id"] == 2
    assert {one["run_id"] for one in database.metrics.find()} == {1}
    assert (tmp_path / "one" / "1").is_dir()


def test_a_number_of_the_database_alone_takes_the_folder_of_that_run_along(
    tmp_path, connect, database, monkeypatch, capsys
):
    for machine in ("one", "two"):
        record(tmp_path / machine, connect).finish()
    monkeypatch.setattr(command, "opened", lambda arguments: contextlib.nullcontext(database))
    assert command.main(["delete", "2", "--yes", "--root", str(tmp_path / "two")]) == 0
    assert "run 2: deleted from disk and database" in capsys.readouterr().out
    assert not (tmp_path / "two" / "1").exists()  # a replay would have brought it back
    assert [one["_id"] for one in database.runs.find()] == [1]
    database.runs.insert_one({"_id": 7, "status": "COMPLETED"})  # of another program
    assert command.main(["delete", "7", "--yes", "--root", str(tmp_path / "two")]) == 0
    assert "run 7: deleted from database" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["delete", "seven", "--yes"])
    assert "argument ID: seven: must be the number of a run or its uuid" in capsys.readouterr().err
