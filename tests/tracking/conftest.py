"""Real servers to test against: the embedded one and, where its binary is installed, a mongod."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sacreddnn.tracking import database as databases
from sacreddnn.tracking import server


class Embedded:
    """The embedded server, which the tests may kill and start again."""

    def __init__(self, folder):
        self.folder = folder
        self.start()

    def start(self):
        self.uri = server.start(self.folder)

    def kill(self):
        os.kill(server.status(self.folder)["pid"], signal.SIGKILL)
        while server.status(self.folder)["running"]:
            time.sleep(0.01)

    def close(self):
        self.kill()  # an orderly end takes two seconds

    def url(self, name):
        return self.uri.replace("/?", f"/{name}?")


class Mongod:
    """A mongod of its own, the same interface."""

    def __init__(self, folder, binary):
        self.folder, self.binary = folder, binary
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = None
        self.start()

    def start(self):
        if self.process is None:
            command = [
                self.binary,
                "--dbpath",
                self.folder,
                "--port",
                str(self.port),
                "--bind_ip",
                "127.0.0.1",
            ]
            command += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--quiet"]
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with MongoClient(self.url("admin"), serverSelectionTimeoutMS=20000) as client:
            client.admin.command("ping")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def close(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def url(self, name):
        return f"mongodb://127.0.0.1:{self.port}/{name}?journal=true"


def find_mongod(folder):
    spec = importlib.util.find_spec("fiftyone")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(place) / "db" / "bin" / "mongod"
        if binary.is_file() and not os.access(binary, os.X_OK):
            binary = Path(shutil.copy(binary, folder / "mongod"))
            binary.chmod(0o755)
        if binary.is_file():
            return str(binary)
    return shutil.which("mongod")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    pytest.importorskip("secantus", reason="needs the extra 'embedded'")
    one = Embedded(tmp_path_factory.mktemp("embedded"))
    yield one
    one.close()


@pytest.fixture(scope="session")
def mongod_binary(tmp_path_factory):
    if (binary := find_mongod(tmp_path_factory.mktemp("mongod_binary"))) is None:
        pytest.skip("needs a mongod: extra 'dev' on Linux x86_64, or one on PATH")
    return binary


@pytest.fixture(scope="session")
def mongod(tmp_path_factory, mongod_binary):
    one = Mongod(tmp_path_factory.mktemp("mongod"), mongod_binary)
    yield one
    one.close()


@pytest.fixture(params=["embedded", "mongod"])
def db_server(request):
    """A running server; one that a test killed runs again for the next."""
    one = request.getfixturevalue(request.param)
    yield one
    one.start()


@pytest.fixture
def connect(db_server, monkeypatch):
    """Connects to a database of this test's own."""
    monkeypatch.setitem(databases.TIMEOUTS, "serverSelectionTimeoutMS", 300)
    name = f"t{uuid.uuid4().hex[:12]}"
    yield lambda: databases.connect(db_server.url(name))
    db_server.start()
    with MongoClient(db_server.uri if isinstance(db_server, Embedded) else db_server.url("admin")) as client:
        try:
            client.drop_database(name)
        except PyMongoError as error:
            pytest.fail(str(error))


@pytest.fixture
def database(connect):
    one = connect()
    databases.prepare(one)
    yield one
    one.client.close()
