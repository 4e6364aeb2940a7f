"""The command line of `scripts/dashboard.py`: recorded runs in a browser, and the embedded database behind them.

    dashboard.py                    Omniboard on http://127.0.0.1:9000 until Ctrl-C, on the embedded database
    dashboard.py --mongo-url URL    on a MongoDB, as tracking.mongo_url; its password in SACREDDNN_MONGO_PASSWORD
    dashboard.py start|status|stop  the embedded database alone

Exit status: 0 done, 1 not possible, 2 not understood.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from sacreddnn.tracking import columns, database, omniboard, server
from sacreddnn.tracking.omniboard import Omniboard, OmniboardError
from sacreddnn.tracking.plain import check_no_password, redact

SHORTEST_PASSWORD = 8
PASSWORD = "SACREDDNN_DASHBOARD_PASSWORD"
EVERYWHERE = "0.0.0.0"  # asked for by --public, and behind a password


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    arguments = _parser().parse_args(argv)
    actions = {"show": show, "start": _start, "status": _status, "stop": _stop}
    try:
        return actions[arguments.command](arguments)
    except ValueError as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    about, _, commands = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="dashboard.py", description=about, epilog=commands, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=["show", "start", "status", "stop"], default="show")
    parser.add_argument("--folder", default="results/database", help="of the embedded database (%(default)s)")
    parser.add_argument("--mongo-url", help="a MongoDB instead of the embedded database")
    parser.add_argument("--port", type=int, default=9000, help="of the page (%(default)s)")
    parser.add_argument(
        "--public",
        action="store_true",
        help=f"listen on all addresses; needs a password in {PASSWORD} or in the file that {PASSWORD}_FILE names",
    )
    return parser


def show(arguments: argparse.Namespace) -> int:
    """Show the runs until Ctrl-C or SIGTERM, which may come at any moment.

    Raises:
        ValueError: an option that cannot be.
        OSError: no Node, no database, the port is taken.
    """
    host = EVERYWHERE if arguments.public else server.HOST
    url, password = arguments.mongo_url, dashboard_password()
    if not 1 <= arguments.port <= 65535:
        raise ValueError(f"--port {arguments.port}: must be 1 to 65535")
    if url:
        try:
            check_no_password(url)
        except ValueError as error:
            raise ValueError(f"--mongo-url: {error}") from None
    if arguments.public and len(password or "") < SHORTEST_PASSWORD:
        raise ValueError(
            f"--public: needs a password of {SHORTEST_PASSWORD} characters or more in {PASSWORD}, "
            f"or in the file that {PASSWORD}_FILE names"
        )
    stop = threading.Event()
    with _ended_by_signals(stop) as prepared:
        _keep_open(arguments, host, password, stop, prepared)
    return 0


class _Ended(BaseException):
    """Ctrl-C or SIGTERM. Not KeyboardInterrupt, after which `subprocess.run` does not wait for the child it killed."""


@contextmanager
def _ended_by_signals(stop: threading.Event) -> Iterator[Callable[[], None]]:
    """Ctrl-C and SIGTERM end the block, not the program; for a block in the main thread.

    Until the block calls what it is given, the first of them breaks off what is being done, which then takes away
    what it has half made, such as an installation. From then on they set `stop` only.
    """
    preparing = True

    def end(*_: object) -> None:
        first = not stop.is_set()
        stop.set()
        if preparing and first:
            raise _Ended

    def prepared() -> None:
        nonlocal preparing
        preparing = False

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with suppress(_Ended):
            yield prepared
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _keep_open(
    arguments: argparse.Namespace,
    host: str,
    password: str | None,
    stop: threading.Event,
    prepared: Callable[[], None],
) -> None:
    """Prepare the database and Omniboard, then keep it running until `stop`."""
    url, port = arguments.mongo_url, arguments.port
    omniboard.node()
    if not omniboard.port_is_free(host, port):
        raise OmniboardError(f"port {port} is taken by another program; choose another: --port {port + 1}")
    shown = prepare_columns(url, arguments.folder)  # first: whether there is a database is known at once
    start = omniboard.install(omniboard.place(), say=_say)
    current: dict[str, str] = {}

    def launch() -> Omniboard:
        found = url
        if not url:
            with suppress(OSError):  # away; it comes back where it was, or `look` finds it elsewhere
                found = server.revive(arguments.folder)
        if not (found := found or current.get("uri")):
            raise OmniboardError(f"the embedded database in {arguments.folder} was stopped meanwhile; run it again")
        current["uri"] = found
        at = omniboard.address(found)
        return Omniboard(start, at, host=host, port=port, columns=shown, password=password)

    def look() -> bool:
        """Whether Omniboard has the right address: an embedded server that died is started again, here too."""
        if url:
            return True
        with suppress(OSError):  # it is tried again; Omniboard says to whoever looks that the database is away
            return (server.revive(arguments.folder) or current["uri"]) == current["uri"]
        return True

    told = False

    def tell(board: Omniboard) -> None:
        nonlocal told
        where = redact(url) if url else f"embedded in {arguments.folder}"
        source = PASSWORD if os.environ.get(PASSWORD) else f"{PASSWORD}_FILE"
        protection = f"; any user name, the password of {source}" if password else ""
        if not told:
            address = f"http://{_name(host)}:{port}/"
            _say(f"{address}  runs of the database {where}{protection}; Ctrl-C ends it")
        told = True

    prepared()
    omniboard.supervise(launch, stop, on_ready=tell, look=look)


def prepare_columns(url: str | None, folder: str | Path) -> list[tuple[str, str]]:
    """Seed the columns; those that there are now. A database that may only be read keeps its own.

    Raises:
        OSError: the database does not answer.
        ValueError: the URL cannot be read.
    """
    one = database.connect(url, folder=folder)
    try:
        try:
            columns.seed(one)
        except PyMongoError as error:
            _say(f"the columns are not set up: {redact(str(error)).splitlines()[0][:200]}")
        found = columns.read(one)
    except PyMongoError as error:
        raise OmniboardError(f"the database does not answer: {redact(str(error)).splitlines()[0][:200]}") from None
    finally:
        database.close(one)
    return found or list(columns.COLUMNS.items())


def dashboard_password() -> str | None:
    """The password of the page: SACREDDNN_DASHBOARD_PASSWORD, or the content of the file that .._FILE names.

    Raises:
        ValueError: the file cannot be read.
    """
    if password := os.environ.get(PASSWORD):
        return password
    if not (path := os.environ.get(f"{PASSWORD}_FILE")):
        return None
    try:
        password = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        reason = error.strerror
        raise ValueError(f"{PASSWORD}_FILE={path}: cannot be read ({reason})") from None
    if not password:
        raise ValueError(f"{PASSWORD}_FILE={path}: is empty; write the password into it")
    return password


def _start(arguments: argparse.Namespace) -> int:
    server.start(arguments.folder)
    return _status(arguments)


def _status(arguments: argparse.Namespace) -> int:
    status: dict[str, Any] = server.status(arguments.folder)
    where = f"running at {status['uri'] or 'an unknown address'} (process {status['pid'] or 'unknown'})"
    state = where if status["running"] else "not running"
    print(f"{arguments.folder}: {state}, {status['bytes'] / 2**20:.1f} MiB")
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    print("stopped" if server.stop(arguments.folder) else f"no database runs in {arguments.folder}")
    return 0


def _name(host: str) -> str:
    """What a reader of the address can use."""
    return os.uname().nodename if host == EVERYWHERE else host


def _say(line: str) -> None:
    print(line, flush=True)
