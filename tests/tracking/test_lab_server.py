"""A laboratory's MongoDB: user, password, TLS, the dashboard on it; a replica set whose primary dies during a run."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from sacreddnn.tracking import columns
from sacreddnn.tracking import database as databases
from sacreddnn.tracking.recorder import Recorder
from sacreddnn.tracking.runs import load, load_spool

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "dashboard.py"
USER, PASSWORD = "researcher", "pa/ss: w@rd%"
SECONDS = 100  # for a server or an election, however busy the machine


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(binary, folder, port, *options):
    folder.mkdir(exist_ok=True)
    command = [binary, "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    command += ["--wiredTigerCacheSizeGB", "0.25", "--quiet", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def end(process):
    process.kill()
    process.wait()


def wait_until(condition):
    deadline = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(PyMongoError):
            if condition():
                return
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)


def certificates(folder):
    """An authority, and what it signed for this machine: ca.pem, server.pem (key and certificate)."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    of_new = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(*of_new, "-x509", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(*of_new, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "names", "-out", "server.crt")  # fmt: skip
    (folder / "server.pem").write_text((folder / "server.key").read_text() + (folder / "server.crt").read_text())


@pytest.fixture(scope="module")
def lab(tmp_path_factory, mongod_binary):
    """A mongod that lets in one user, over TLS alone; its URL without the password."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make certificates")
    folder = tmp_path_factory.mktemp("lab")
    certificates(folder)
    port = free_port()
    process = start(mongod_binary, folder / "data", port, "--auth", "--tlsMode", "requireTLS",
                    "--tlsCertificateKeyFile", str(folder / "server.pem"), "--tlsCAFile", str(folder / "ca.pem"),
                    "--tlsAllowConnectionsWithoutCertificates")  # fmt: skip
    try:
        secure = f"tls=true&tlsCAFile={quote(str(folder / 'ca.pem'), safe='')}"
        with MongoClient(f"mongodb://127.0.0.1:{port}/?{secure}", serverSelectionTimeoutMS=1000 * SECONDS) as client:
            roles = ["readWriteAnyDatabase"]
            client.admin.command("createUser", USER, pwd=PASSWORD, roles=roles)  # the first, from this machine
        yield f"mongodb://{USER}@127.0.0.1:{port}/lab?authSource=admin&{secure}"
    finally:
        end(process)


def test_a_run_is_recorded_by_a_user_over_tls(lab, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD", PASSWORD)
    monkeypatch.setitem(databases.TIMEOUTS, "serverSelectionTimeoutMS", 1000 * SECONDS)
    one = Recorder(tmp_path, connect=partial(databases.connect, lab), beat_seconds=0.05, flush_seconds=SECONDS)
    one.start({"tracking": {"mongo_url": lab}})
    one.log("test/center/error", 9.0, 1)
    assert not one.finish()
    database = databases.connect(lab)
    assert load(database) == load_spool(tmp_path)
    database.client.close()
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or (PASSWORD.encode() not in file.read_bytes() and b"w%40rd" not in file.read_bytes())
    said = capfd.readouterr()
    assert PASSWORD not in said.out + said.err


def test_the_password_may_lie_in_a_file(lab, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text(PASSWORD + "\n")
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD_FILE", str(tmp_path / "secret"))
    database = databases.connect(lab)
    assert database.name == "lab"
    database.client.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: (url, "wrong password"), "refuses.*check user and password"),
        (lambda url: (url.replace(USER, "nobody"), PASSWORD), "refuses.*check user and password"),
        (lambda url: (url.split("&tls=")[0], PASSWORD), "does not answer"),
        (lambda url: (url.split("&tlsCAFile")[0], PASSWORD), "does not answer.*certificate verify failed"),
    ],
    ids=["password", "user", "without TLS", "unknown authority"],
)
def test_who_is_not_let_in_is_told_in_one_line_without_the_password(lab, monkeypatch, change, message):
    url, password = change(lab)
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD", password)
    monkeypatch.setitem(databases.TIMEOUTS, "serverSelectionTimeoutMS", 3000)
    with pytest.raises(databases.DatabaseAwayError, match=message) as raised:
        databases.connect(url)
    assert password not in str(raised.value)
    assert "\n" not in str(raised.value)


def seen_in_lists_of_processes():
    """The command lines of all processes."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return lines


@pytest.fixture
def board(lab, tmp_path):
    """The dashboard's command on the laboratory's database; asks its Omniboard and returns status and JSON."""
    if None in map(shutil.which, ("node", "npm")):
        pytest.skip("needs Node.js: apt-get install nodejs npm")
    port = free_port()
    command = [sys.executable, SCRIPT, "--mongo-url", lab, "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parent.parent), "SACREDDNN_MONGO_PASSWORD": PASSWORD}
    log = tmp_path / "log"

    def ask(path, method="GET", body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        with contextlib.closing(connection):
            text = None if body is None else json.dumps(body)
            connection.request(method, f"/sacred/api/v1/{path}", text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 900  # npm may have to install first
        while "http://" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield ask
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
        assert PASSWORD not in log.read_text()
    finally:
        end(process)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_its_dashboard(lab, board, tmp_path, monkeypatch):
    """Omniboard on it: the runs, our columns, no password that others see, nothing written but notes and tags."""
    monkeypatch.setenv("SACREDDNN_MONGO_PASSWORD", PASSWORD)
    monkeypatch.setitem(databases.TIMEOUTS, "serverSelectionTimeoutMS", 1000 * SECONDS)
    one = Recorder(tmp_path / "runs", connect=partial(databases.connect, lab), flush_seconds=SECONDS)
    one.start({"seed": 17, "tracking": {"mongo_url": lab}})
    one.log("test/center/error", 9.0, 1)
    assert not one.finish()

    status, runs = board("Runs")
    assert status == 200
    (run,) = [run["_id"] for run in runs if run["config"].get("seed") == 17]
    found = {column["name"]: column["config_path"] for column in board("Omniboard.Custom.Columns")[1]}
    assert found == columns.COLUMNS

    if lines := seen_in_lists_of_processes():
        assert any("omniboard_shim.js" in line for line in lines)
        assert not any(secret in line for line in lines for secret in (PASSWORD, quote(PASSWORD), quote_plus(PASSWORD)))

    database = databases.connect(lab)
    before = database.runs.find_one({"_id": run})
    for body in ({"result": {"test/center/error": 0}}, {"status": "FAILED"}, {"uuid": "x"}, {"artifacts": ["a" * 24]}):
        assert board(f"Runs/{run}", "PUT", body)[0] == 403
    assert database.runs.find_one({"_id": run}) == before
    assert board(f"Runs/{run}", "PUT", {"omniboard": {"tags": ["good", "größer"]}})[0] == 200
    assert board(f"Runs/{run}", "PUT", {"omniboard": {"notes": "to be repeated"}})[0] == 200
    after = database.runs.find_one({"_id": run})
    assert after.pop("omniboard") == {"tags": ["good", "größer"], "notes": "to be repeated"}
    assert after == before
    database.client.close()


@pytest.fixture
def replica_set(tmp_path, mongod_binary):
    """Three members, and the URL that names them all."""
    ports = [free_port() for _ in range(3)]
    processes = {
        port: start(mongod_binary, tmp_path / str(port), port, "--replSet", "rs", "--oplogSize", "50") for port in ports
    }
    members = [{"_id": i, "host": f"127.0.0.1:{port}"} for i, port in enumerate(ports)]
    settings = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 300}
    direct = f"mongodb://127.0.0.1:{ports[0]}/?directConnection=true"
    try:
        with MongoClient(direct, serverSelectionTimeoutMS=1000 * SECONDS) as client:

            def initiated():
                try:
                    client.admin.command("replSetInitiate", {"_id": "rs", "members": members, "settings": settings})
                except OperationFailure as error:
                    return "already initialized" in str(error)  # else a member does not answer yet
                return True

            wait_until(initiated)
            wait_until(lambda: client.admin.command("hello").get("primary"))
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        yield f"mongodb://{hosts}/runs?replicaSet=rs&w=majority", processes
    finally:
        for process in processes.values():
            end(process)


@pytest.mark.slow
def test_a_primary_that_dies_loses_nothing(replica_set, tmp_path, monkeypatch):
    url, processes = replica_set
    monkeypatch.setitem(databases.TIMEOUTS, "serverSelectionTimeoutMS", 1000 * SECONDS)
    runs = tmp_path / "runs"
    database = databases.connect(url)
    one = Recorder(runs, connect=partial(databases.connect, url), beat_seconds=0.05, flush_seconds=SECONDS)
    one.start({"seed": 1})
    for step in range(20):
        one.log("a", step, step)
        time.sleep(0.02)
    wait_until(lambda: database.metrics.find_one({"name": "a"}))
    _, first = database.client.primary
    end(processes[first])
    for step in range(20, 40):
        one.log("a", step, step)
        time.sleep(0.02)
    assert not one.finish()
    assert load(database) == load_spool(runs)
    wait_until(lambda: (database.client.primary or (None, first))[1] != first)
    assert database.metrics.find_one({"name": "a"})["steps"] == list(range(40))
    database.client.close()
