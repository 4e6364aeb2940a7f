"""Runs deleted and artifacts copied, on both servers."""

import contextlib
import io

import gridfs
import pytest

from sacreddnn.report import command
from sacreddnn.tracking import removal
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
    assert "[y/N] nothing deleted" in capsys.readouterr().out
    assert (tmp_path / "1").is_dir()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert command.main(words) == 0
    assert "run 1: deleted from disk and database" in capsys.readouterr().out
    assert command.main([*words, "--yes"]) == 0
    assert "run 1: was not there" in capsys.readouterr().out
    assert database.runs.count_documents({}) == 0


def test_a_run_that_has_another_number_in_the_database_is_the_one_deleted(
    tmp_path, connect, database, monkeypatch, capsys
):
    """Two machines share a database: run 1 of the second is run 2 there."""
    for machine in ("one", "two"):
        record(tmp_path / machine, connect).finish()
    first, second = sorted(database.runs.find(), key=lambda one: one["_id"])
    monkeypatch.setattr(command, "opened", lambda arguments: contextlib.nullcontext(database))
    assert command.main(["delete", "1", "--yes", "--root", str(tmp_path / "two")]) == 0
    assert "deleted from disk and database" in capsys.readouterr().out
    assert [one["uuid"] for one in database.runs.find()] == [first["uuid"]]
    assert second["_id"] == 2
    assert {one["run_id"] for one in database.metrics.find()} == {1}
    assert (tmp_path / "one" / "1").is_dir()
