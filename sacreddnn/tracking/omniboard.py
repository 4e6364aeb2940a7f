"""Omniboard, the web page on Sacred's database: installed once, started, kept running.

It is a Node program from npm. What it lacks, such as staying on loopback, omniboard_shim.js adds from outside, so that
its files stay as npm has them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

from sacreddnn.tracking import locks
from sacreddnn.tracking.database import DEFAULT_NAME, full_url
from sacreddnn.tracking.plain import environment_without_secrets, mongo_password, redact

VERSION = "2.16.1"
SHIM = Path(__file__).with_name("omniboard_shim.js")
UNUSED = ("web/node_modules", "web/src", "docs")  # of the package: 320 of its 532 MB
NEEDS_NODE = (
    "Node.js is needed: apt-get install nodejs npm, brew install node, or https://nodejs.org; then run it again"
)
INSTALL_SECONDS = 900.0
PORT_TAKEN = 98  # exit status, see the shim


class OmniboardError(OSError):
    """Omniboard cannot be installed or started."""


def place() -> Path:
    """The folder of the installed program, one for all projects of this user.

    ``$SACREDDNN_OMNIBOARD``, else ``omniboard-2.16.1`` in ``$XDG_CACHE_HOME/sacreddnn`` or ``~/.cache/sacreddnn``.
    """
    if named := os.environ.get("SACREDDNN_OMNIBOARD"):
        return Path(named).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "sacreddnn" / f"omniboard-{VERSION}"


def node() -> str:
    """Node's path.

    Raises:
        OmniboardError: there is none.
    """
    if found := shutil.which("node"):
        return found
    raise OmniboardError(NEEDS_NODE)


def install(folder: Path, say: Callable[[str], None] = print) -> Path:
    """Omniboard's start file; the first call fetches the program, which takes a minute and 0.6 GB for a moment.

    Any number of processes may call it at once: one installs, the others wait for it. The folder is whole or not there.

    Raises:
        OmniboardError: npm is missing or fails, or the folder cannot be written.
    """
    program = folder / "node_modules" / "omniboard"
    start = program / "dist" / "start.js"
    if start.is_file():
        return start
    npm = shutil.which("npm")
    if npm is None:
        raise OmniboardError(NEEDS_NODE.replace("Node.js is", "npm, of Node.js, is"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locks.locked(folder.with_name(f".{folder.name}.lock")):
            if start.is_file():
                return start
            if folder.exists():
                raise OmniboardError(
                    f"{folder} exists but holds no Omniboard; remove it, or name another in SACREDDNN_OMNIBOARD"
                )
            say(f"installing Omniboard {VERSION} into {folder}: once, about a minute")
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
                aside = Path(name) / "whole"
                _npm_install(npm, aside)
                for part in UNUSED:
                    shutil.rmtree(aside / program.relative_to(folder) / part, ignore_errors=True)
                aside.rename(folder)
    except OmniboardError:
        raise
    except OSError as error:
        raise OmniboardError(f"Omniboard cannot be installed into {folder}: {error}") from None
    return start


def _npm_install(npm: str, folder: Path) -> None:
    folder.mkdir()
    # a package of its own: npm would install into one that it finds further up
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": {"omniboard": VERSION}}))
    # no scripts of 800 packages run here; Omniboard needs none
    command = [npm, "install", "--no-audit", "--no-fund", "--omit=dev", "--ignore-scripts", "--loglevel=error"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment_without_secrets(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OmniboardError(f"npm install did not end in {INSTALL_SECONDS:g} s; is its registry reachable?") from None
    if done.returncode or not (folder / "node_modules" / "omniboard" / "dist" / "start.js").is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it printed nothing"]
        raise OmniboardError(f"npm install omniboard@{VERSION} failed: {redact(lines[0])[:300]}")


def address(url: str) -> str:
    """The URL as Omniboard's driver reads it, password and database name included: never print it.

    Args:
        url: as `database.connect` takes it, or of the embedded server.

    >>> address("mongodb://127.0.0.1:27017/?w=1")
    'mongodb://127.0.0.1:27017/sacreddnn?w=1'
    """
    match = re.fullmatch(r"(mongodb(?:\+srv)?://)(?:([^@/]*)@)?([^/?]+)(?:/([^?]*))?(?:\?(.*))?", full_url(url))
    if match is None:
        raise ValueError(f"--mongo-url {redact(url)!r}: must be mongodb://[user@]host[:port]/[name]")
    scheme, user, hosts, name, options = match.groups()
    if user and ":" not in user and (password := mongo_password()):
        user += ":" + quote(password, safe="")  # not quote_plus: to Node's driver + is no space
    if user and not name and "authsource=" not in (options or "").lower():
        # users are looked up in the database that is named, without a name in admin: here a name is added
        options = "&".join(filter(None, [options, "authSource=admin"]))
    return f"{scheme}{user + '@' if user else ''}{hosts}/{name or DEFAULT_NAME}" + (f"?{options}" if options else "")


def port_is_free(host: str, port: int) -> bool:
    """Whether somebody could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Node does
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return False
    return True


class Omniboard:
    """One Omniboard process, which ends with this one, however this one ends.

    Args:
        start: its start file.
        url: of `address`; it goes through the environment, which other users cannot read.
        host: to listen on.
        port: to listen on.
        columns: name and path of the columns in the list.
        password: that every request must bring, None for none.
    """

    def __init__(
        self,
        start: Path,
        url: str,
        *,
        host: str = "127.0.0.1",
        port: int = 9000,
        columns: Sequence[tuple[str, str]] = (),
        password: str | None = None,
    ):
        self.ready = threading.Event()
        self.lines: deque[str] = deque(maxlen=50)
        self._process = subprocess.Popen(
            [node(), "--no-deprecation", "-r", str(SHIM), str(start)],
            env=_environment()
            | {
                "MONGO_URI": url,
                "PORT": str(port),
                "SACREDDNN_HOST": host,
                "SACREDDNN_COLUMNS": json.dumps(list(columns)),
                "SACREDDNN_DASHBOARD_PASSWORD": password or "",
                "npm_package_version": VERSION,
            },
            stdin=subprocess.PIPE,  # never written to: its end tells the shim that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches it through us
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=[self._process.stdout], daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def reason(self) -> str:
        """Why it ended, in a line: the error that it printed, else its exit status."""
        self._reader.join(1)
        errors = [line for line in self.lines if "Error" in line or line.startswith("cannot ")]
        return redact(errors[-1])[:200] if errors else f"exit status {self.poll()}"

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1)

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                if line.startswith("Omniboard is listening"):
                    self.ready.set()
                if line.strip() and '" 20' not in line and '" 30' not in line:  # requests that went well
                    self.lines.append(line.strip())


def _environment() -> dict[str, str]:
    """What Node is told of our environment: nothing that would change which database it opens, no passwords."""
    left_out = {"OMNIBOARD_CONFIG", "NODE_OPTIONS"}
    return {name: value for name, value in environment_without_secrets().items() if name not in left_out}


def supervise(
    launch: Callable[[], Omniboard],
    stop: threading.Event,
    *,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    on_ready: Callable[[Omniboard], None] = lambda board: None,
    look: Callable[[], bool] = lambda: True,
    seconds: float = 1.0,
) -> None:
    """Keep an Omniboard running until `stop` is set; then it has ended too.

    Args:
        launch: starts one.
        stop: ends the work.
        say: takes the line about one that died.
        on_ready: called for each one that listens.
        look: called every `seconds`; False when another one must be launched, as after the database has moved.
        seconds: between looks, and before the first new start; doubled up to 30 for one that dies before it listens.

    Raises:
        OmniboardError: the port is taken, or the first one never listened.
    """
    pause, listened = seconds, False
    while not stop.is_set():
        board = launch()
        try:
            told, stays = False, True
            while board.poll() is None and stays and not stop.is_set():
                if board.ready.is_set():
                    if not told:
                        told = listened = True
                        pause = seconds
                        on_ready(board)
                    stop.wait(seconds)
                    stays = look()
                else:
                    board.ready.wait(0.05)
        finally:
            ended = board.poll()
            board.stop()
        if ended is None:  # stopped by us
            continue
        if ended == PORT_TAKEN or not listened:
            raise OmniboardError(f"Omniboard does not start: {board.reason()}")
        say(f"Omniboard ended ({board.reason()}) and is started again")
        stop.wait(pause)
        pause = min(2 * pause, 30.0)
