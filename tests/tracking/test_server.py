import json
import multiprocessing
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from pymongo import MongoClient

from sacreddnn.tracking import dashboard, database, locks, server


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("secantus", reason="needs the extra 'embedded'")
    yield tmp_path / "database"
    if pid := server.status(tmp_path / "database")["pid"]:
        os.kill(pid, 9)


def test_eight_starters_give_one_server(folder):
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        uris = pool.map(server.start, [folder] * 8)
    assert len(set(uris)) == 1
    assert uris[0].startswith("mongodb://127.0.0.1:")
    assert folder.stat().st_mode & 0o777 == 0o700
    about = server.status(folder)
    assert about["running"]
    assert about["bytes"] > 0
    assert server.stop(folder)
    assert not server.stop(folder)
    assert server.status(folder)["running"] is False


def test_after_a_crash_the_port_and_the_data_are_the_same(folder):
    one = database.connect(folder=folder)
    one.things.insert_many([{"_id": number} for number in range(100)])
    pid = server.status(folder)["pid"]
    os.kill(pid, 9)
    again = database.connect(folder=folder)
    assert server.status(folder)["pid"] != pid
    assert again.client.address == one.client.address
    assert again.things.count_documents({}) == 100
    assert one.things.count_documents({}) == 100  # a client from before finds it too
    one.client.close()
    again.client.close()


def test_a_port_that_was_taken_meanwhile(folder):
    server.start(folder)
    port = server.status(folder)["port"]
    server.stop(folder)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        uri = server.start(folder)
    assert f":{port}/" not in uri
    assert server.status(folder)["running"]


@pytest.fixture
def unknown(tmp_path):
    """A folder whose lock is held by a process of which nothing is written, and an unrelated process."""
    folder = tmp_path / "database"
    folder.mkdir()
    lock = locks.take(folder / "server.lock")
    holder = subprocess.Popen(["sleep", "600"], pass_fds=[lock])
    os.close(lock)
    other = subprocess.Popen(["sleep", "600"])
    yield folder, other
    for process in (holder, other):
        process.kill()
        process.wait()


@pytest.mark.parametrize("earlier", [False, True])
def test_a_server_of_which_nothing_is_written_is_left_alone_and_named_by_its_lock(
    unknown, monkeypatch, capsys, earlier
):
    folder, other = unknown
    if earlier:  # of a server that died; its process id is another program's by now
        about = {"pid": other.pid, "port": 9, "uri": "mongodb://127.0.0.1:9/?directConnection=true"}
        (folder / "server.json").write_text(json.dumps(about))
    monkeypatch.setattr(server, "START_SECONDS", 0.1)
    for call in (server.start, server.stop):
        with pytest.raises(server.ServerError, match=r"runs .*holds .*server\.lock \(fuser or lsof\)") as caught:
            call(folder)
        assert str(other.pid) not in str(caught.value)
    assert other.poll() is None
    about = server.status(folder)
    assert (about["running"], about["pid"]) == (True, None)
    assert dashboard.main(["stop", "--folder", str(folder)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "server.lock" in line
    assert dashboard.main(["status", "--folder", str(folder)]) == 0
    assert "(process unknown)" in capsys.readouterr().out


@pytest.mark.parametrize("earlier", [False, True])
def test_a_server_whose_starter_died_before_it_wrote_the_file_is_stopped(folder, monkeypatch, earlier):
    server.start(folder)
    pid = server.status(folder)["pid"]
    (folder / "server.json").unlink()
    if earlier:
        about = {"pid": 2**22 + 1, "port": 9, "uri": "mongodb://127.0.0.1:9/"}
        (folder / "server.json").write_text(json.dumps(about))
    about = server.status(folder)
    assert (about["running"], about["pid"], about["uri"]) == (True, pid, None)
    monkeypatch.setattr(server, "START_SECONDS", 0.1)
    with pytest.raises(server.ServerError, match=f"end process {pid} "):
        server.start(folder)
    assert server.stop(folder)
    assert not server.status(folder)["running"]


def test_a_server_that_cannot_be_written_down_is_ended(folder, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(server, "write_atomic", full)
        with pytest.raises(OSError, match="No space"):
            server.start(folder)
    assert not server.status(folder)["running"]
    server.start(folder)


def test_a_config_in_the_current_folder_is_not_read(folder, tmp_path, monkeypatch):
    (tmp_path / "secantusd.toml").write_text("this is not toml")
    monkeypatch.chdir(tmp_path)
    server.start(folder)


def test_the_process_that_stays_keeps_no_passwords(folder, monkeypatch):
    for of in ("MONGO", "DASHBOARD"):
        monkeypatch.setenv(f"SACREDDNN_{of}_PASSWORD", "hunter22")
        monkeypatch.setenv(f"SACREDDNN_{of}_PASSWORD_FILE", "/hunter22")
    server.start(folder)
    environment = Path(f"/proc/{server.status(folder)['pid']}/environ")
    if not environment.exists():
        pytest.skip("needs /proc to look into the process")
    assert b"PATH=" in environment.read_bytes()
    assert b"hunter22" not in environment.read_bytes()


def test_without_secantusdb_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(server.ServerError, match=r"pip install 'sacreddnn\[embedded\]'.*kept on disk"):
        server.start(tmp_path / "database")


def test_a_server_that_does_not_start_says_why(folder):
    folder.mkdir()
    (folder / "wt").write_text("a file where the storage should be")
    with pytest.raises(server.ServerError, match="did not start: "):
        server.start(folder)


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("lab", "mongodb://localhost:27017/lab"),
        ("lab.example:27018", "mongodb://lab.example:27018/"),
        ("lab.example:27018:runs", "mongodb://lab.example:27018/runs"),
        ("mongodb+srv://lab.example/runs", "mongodb+srv://lab.example/runs"),
    ],
)
def test_forms_of_url(url, full):
    assert database.full_url(url) == full


@pytest.mark.parametrize(
    "url",
    ["lab:runs:27018", "mongodb://me:p/ss@lab", "http://lab", "mongodb://lab:port/runs"],
)
def test_bad_urls(url):
    with pytest.raises(ValueError, match=r"tracking\.mongo_url") as caught:
        database.connect(url)
    assert "p/ss" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_away_is_one_line(monkeypatch):
    monkeypatch.setitem(database.TIMEOUTS, "serverSelectionTimeoutMS", 100)
    with pytest.raises(database.DatabaseAwayError, match="does not answer") as caught:
        database.connect("mongodb://me:hunter22@127.0.0.1:1/runs")
    assert "hunter22" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_default_name_and_indexes(connect):
    one = connect()
    database.prepare(one)
    database.prepare(one)
    indexes = one.metrics.index_information()
    assert any(index["key"] == [("run_id", 1), ("name", 1)] and index["unique"] for index in indexes.values())
    keys = {index["key"][0][0] for index in one.runs.index_information().values()}
    assert {"uuid", "config_hash", "status", "start_time"} <= keys
    assert database.address(one).endswith("/" + one.name)
    one.client.close()


def test_password_from_the_environment(tmp_path, monkeypatch, embedded):
    seen = {}

    def client(url, **options):
        seen.update(options, url=url)
        return MongoClient(embedded.uri)

    monkeypatch.setattr(database, "MongoClient", client)
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD", "swordfish")
    database.connect("mongodb://me@lab/runs").client.close()
    assert (seen["password"], seen["url"]) == ("swordfish", "mongodb://me@lab/runs")
    seen.clear()
    database.connect("mongodb://lab/runs").client.close()
    assert "password" not in seen


def test_a_server_is_not_brought_back_while_it_is_being_stopped(tmp_path):
    """Between its death and the mark that it was stopped, `stop` holds the lock."""
    folder, found = tmp_path / "database", []
    folder.mkdir()
    try:
        with locks.locked(folder / "start.lock"):
            reviver = threading.Thread(target=lambda: found.append(server.revive(folder)))
            reviver.start()
            time.sleep(0.5)
            (folder / "server.json").write_text(json.dumps({"stopped": True}))
        reviver.join(60)
        assert found == [None]
        assert not server.status(folder)["running"]
    finally:
        server.stop(folder)
