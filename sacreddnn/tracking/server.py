"""The embedded database: one SecantusDB process a data folder, shared by every run on this machine.

It is started by whoever needs it first, attached to by everybody else, and spoken to through its socket only.
Two locks in the folder keep order among any number of processes:

    start.lock   held while a process looks whether a server runs, and starts one
    server.lock  inherited by the server itself: the kernel holds it exactly as long as the server lives, so
                 "does it run" needs no process id, which could be another's by now; it contains the process id,
                 which is the server's while the lock is held

A server that died is started again on its old port, so that connected clients find it.
"""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sacreddnn.tracking import locks
from sacreddnn.tracking.folder import read_json
from sacreddnn.tracking.plain import environment_without_secrets, write_atomic

HOST = "127.0.0.1"  # never another: the server asks nobody for a password
START_SECONDS = 30.0
STOP_SECONDS = 10.0


class ServerError(OSError):
    """The embedded database cannot be started or does not answer."""


def start(folder: str | Path) -> str:
    """The URL of the folder's server, which is started when it does not run.

    Writes are acknowledged after they are in the journal: a SIGKILL of the server loses none.

    Args:
        folder: of the database, on a local disk; made when missing, readable by its owner only.

    Raises:
        ServerError: secantusdb is not installed, or the server does not come up.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    with locks.locked(folder / "start.lock"):
        known, before = _known(folder), read_json(folder / "server.json")
        deadline = time.monotonic() + START_SECONDS
        while _is_alive(folder):  # for a moment also while it dies
            if "uri" in known and _answers(known["uri"], 0.5):
                return known["uri"]
            if time.monotonic() > deadline:
                raise ServerError(f"the embedded database in {folder} runs but does not answer; {_how_to_end(folder)}")
            time.sleep(0.05)
        if importlib.util.find_spec("secantus") is None:
            raise ServerError(
                "the embedded database is not installed: pip install 'sacreddnn[embedded]', or set "
                "tracking.mongo_url to a MongoDB; runs are kept on disk until then"
            )
        # the old port first; another program may have taken it meanwhile
        ports = [before["port"], _free_port()] if "port" in before else [_free_port(), _free_port()]
        for port in ports:
            if uri := _launch(folder, port):
                return uri
        log = (folder / "server.log").read_text(errors="replace").strip().splitlines()
        last = log[-1][:300] if log else "it printed nothing"
        raise ServerError(f"the embedded database in {folder} did not start: {last}")


def stop(folder: str | Path) -> bool:
    """True when a server ran and has ended, False when none ran.

    Raises:
        ServerError: it survived SIGTERM and SIGKILL, or its process is not known.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        return False
    with locks.locked(folder / "start.lock"):
        if not _is_alive(folder):
            return False
        if (pid := _holder(folder)) is None:
            raise ServerError(f"the embedded database in {folder} runs as an unknown process; {_how_to_end(folder)}")
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(pid, number)
            deadline = time.monotonic() + STOP_SECONDS
            while time.monotonic() < deadline:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)  # when it is our own child
                if not _is_alive(folder):
                    known = read_json(folder / "server.json") | {"stopped": True}
                    write_atomic(folder / "server.json", json.dumps(known, indent=1) + "\n")
                    return True
                time.sleep(0.05)
    raise ServerError(f"the embedded database in {folder} (process {pid}) does not end")


def revive(folder: str | Path) -> str | None:
    """The URL of the folder's server, which is started again when it died; None when it was told to `stop`.

    Raises:
        ServerError: it does not come up.
    """
    folder = Path(folder).resolve()
    if _is_alive(folder):
        return _known(folder).get("uri")
    if folder.is_dir():
        with locks.locked(folder / "start.lock"):  # while `stop` is at work its mark is not there yet
            if read_json(folder / "server.json").get("stopped"):
                return None
    return start(folder)


def status(folder: str | Path) -> dict[str, Any]:
    """What is known of the folder's server: `running`, `pid`, `port`, `uri`, None if unknown, and `bytes` on disk."""
    folder = Path(folder).resolve()
    running = _is_alive(folder)
    size = sum(path.stat().st_size for path in folder.glob("wt/**/*") if path.is_file())
    known = _known(folder) if running else {}
    return {"running": running, "pid": None, "port": None, "uri": None, **known, "bytes": size}


def _launch(folder: Path, port: int) -> str | None:
    """The URL of a new server on this port, None when it ended instead of answering."""
    # an explicit, empty config: otherwise the server picks up one from the current or the home folder
    (folder / "secantusd.toml").write_text("# all settings are on the command line\n")
    command = [sys.executable, "-m", "secantus", "--config", str(folder / "secantusd.toml")]
    command += ["--host", HOST, "--port", str(port), "--storage-path", str(folder / "wt")]
    # standalone, together with journal=true in the URL, is what survives SIGKILL without a lost write
    command += ["--standalone", "--log-level", "WARNING", "--cache-size", "256M"]
    if (lock := locks.take(folder / "server.lock")) is None:
        return None
    try:
        os.ftruncate(lock, 0)  # from now on there is no process id but that of this server
        with (folder / "server.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment_without_secrets(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock],
                start_new_session=True,  # Ctrl-C ends the run, not the database
            )
        # lives on without us; Popen would warn of that when it is collected
        process.returncode = 0
        uri = f"mongodb://{HOST}:{port}/?directConnection=true&w=1&journal=true"
        known = {"pid": process.pid, "port": port, "uri": uri}
        try:
            os.pwrite(lock, str(process.pid).encode(), 0)
            write_atomic(folder / "server.json", json.dumps(known, indent=1) + "\n")
        except BaseException:  # a full disk: nobody could find it
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
            raise
    finally:
        os.close(lock)  # closed here, still held by the server
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
        if not _is_alive(folder):
            return None
        if _answers(uri, 0.2):
            return uri
    os.kill(process.pid, signal.SIGKILL)
    return None


def _holder(folder: Path) -> int | None:
    """The process id of the server that holds the lock; None when whoever started it did not get to write it."""
    try:
        text = (folder / "server.lock").read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.isdecimal() else None


def _known(folder: Path) -> dict[str, Any]:
    """The `pid` of the server that lives, with its `port` and `uri` unless server.json is about an earlier one."""
    known, pid = read_json(folder / "server.json"), _holder(folder)
    return (known if pid in (None, known.get("pid")) else {}) | {"pid": pid}


def _how_to_end(folder: Path) -> str:
    if pid := _holder(folder):
        return f"end process {pid} (python scripts/dashboard.py stop), then say it again"
    return f"find the process that holds {folder / 'server.lock'} (fuser or lsof) and end it, then say it again"


def _is_alive(folder: Path) -> bool:
    return locks.is_held(folder / "server.lock")


def _answers(uri: str, seconds: float) -> bool:
    patience = max(int(seconds * 1000), 1)
    client: MongoClient[dict[str, Any]]
    client = MongoClient(uri, serverSelectionTimeoutMS=patience, connectTimeoutMS=patience, socketTimeoutMS=5000)
    try:
        with client:
            return client.admin.command("ping")["ok"] == 1
    except PyMongoError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
