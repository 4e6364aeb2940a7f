"""A database that answers when a command of the report begins, and is gone before the command has ended."""

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect

from sacreddnn.report import command
from sacreddnn.tracking import database as databases
from sacreddnn.tracking.recorder import Recorder


def test_every_command_says_so_in_one_line(tmp_path, db_server, monkeypatch, capsys):
    recorder = Recorder(tmp_path / "runs")
    recorder.start({"seed": 1})
    recorder.finish()
    url = db_server.url("away")
    db_server.kill()
    # a client that has not looked yet, as if the server had died after it had answered
    monkeypatch.setattr(databases, "connect", lambda *a, **b: MongoClient(url, serverSelectionTimeoutMS=100)["away"])
    root = ["--root", str(tmp_path / "runs")]
    for words in (["runs"], ["replay"], ["artifacts", "1", "--out", str(tmp_path)], ["delete", "1", "--yes"]):
        assert command.main([*words, *root]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("report: the database went away: ")
    assert (tmp_path / "runs" / "1").is_dir()


@pytest.mark.parametrize("said", ["", "connection closed"])
def test_an_error_without_words_has_its_type(said):
    assert databases.reason(AutoReconnect(said)) == (said or "AutoReconnect")
