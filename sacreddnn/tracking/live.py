"""The mirror of a run that is running: a thread that pushes at every beat and outlives any outage."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo.database import Database
from pymongo.errors import PyMongoError

from sacreddnn.tracking.database import close, prepare
from sacreddnn.tracking.database import reason as reason_of
from sacreddnn.tracking.mirror import Mirror
from sacreddnn.tracking.plain import redact

Connect = Callable[[], Database[dict[str, Any]]]


@dataclass(frozen=True)
class Pending:
    """What of a run the database does not have; all of it is in the run folder.

    Attributes:
        runs: 1 when the run document is not up to date, else 0.
        points: metric points that are not known to be in the database.
        folder: the run folder.
        reason: one line; empty when nothing is pending.
    """

    runs: int
    points: int
    folder: Path
    reason: str = ""

    def __bool__(self) -> bool:
        return self.runs > 0

    def __str__(self) -> str:
        if not self:
            return f"run {self.folder.name}: recorded in {self.folder} and in the database"
        return (
            f"run {self.folder.name}: {self.points} metric points and the run document are only in "
            f"{self.folder} ({self.reason}); they wait for a replay"
        )


class LiveMirror:
    """Pushes a run folder into a database at every beat, in a thread of its own.

    The run never waits for it: a database that is away, slow or broken costs one line on stderr and is tried
    again at the next beat, with a new connection; the embedded server is started again by that.

    Args:
        folder: the run folder.
        connect: called in the thread for a database, again after every failure.
        seconds: between two beats.
        beat: called first at every beat.
    """

    def __init__(self, folder: Path, connect: Connect | None, seconds: float, beat: Callable[[], None]):
        self._folder = folder
        self._connect = connect
        self._seconds = seconds
        self._beat = beat
        self._mirror: Mirror | None = None
        self._database: Database[dict[str, Any]] | None = None
        self._points = 0
        self._complete = False  # the last state is in the database
        self._ending = threading.Event()
        self._over = threading.Event()  # the thread has ended, of whatever
        self._deadline = 0.0
        self._reason = "the run has just begun" if connect else "no database is configured"
        # a daemon: a connection that hangs must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name="sacreddnn-mirror", daemon=True)
        self._thread.start()

    def end(self, seconds: float, num_points: int) -> Pending:
        """Push the last state and stop; what could not be pushed within the time, or until Ctrl-C.

        Args:
            seconds: to wait at most.
            num_points: that the run has logged.
        """
        late = "the database does not answer in time"
        try:
            self._deadline = time.monotonic() + seconds
            self._ending.set()
            self._over.wait(seconds)  # not join: Python takes a thread whose join Ctrl-C broke off for ended
        except KeyboardInterrupt:  # of somebody who does not want to wait; the run itself has ended
            late = "Ctrl-C while it waited for the database"
        reason = self._reason if self._over.is_set() else late
        if not self._complete:  # also if the thread died
            reason = reason or "the mirror ended before the run"
        missing = max(num_points - self._points, 0) if reason else 0
        return Pending(runs=int(bool(reason)), points=missing, folder=self._folder, reason=reason)

    def _run(self) -> None:
        try:
            self._mirror_on()
        finally:
            self._over.set()

    def _mirror_on(self) -> None:
        while True:
            self._push()
            if self._ending.wait(self._seconds):
                break
            try:
                self._beat()
            except Exception as error:  # a beat that fails is no reason to stop mirroring
                self._say(f"heartbeat not written ({error})")
        # the state is final now; a server that is just being restarted gets until the deadline
        self._complete = self._push()
        while not self._complete and self._connect and time.monotonic() + 0.5 < self._deadline:
            time.sleep(0.5)
            self._complete = self._push()
        self._close()

    def _push(self) -> bool:
        if self._connect is None:
            return False
        try:
            if self._mirror is None:
                self._database = self._connect()
                prepare(self._database)
                self._mirror = Mirror(self._folder, self._database)
            if self._mirror.push().older:  # the run was begun again from an old copy of its folder
                raise ValueError("the database has a later state of this run")
            self._points = self._mirror.points
        except Exception as error:  # whatever the database does, the run goes on
            told = reason_of(error) if isinstance(error, PyMongoError) else redact(" ".join(str(error).split()))[:300]
            reason = told or type(error).__name__
            if self._reason != reason and not self._ending.is_set():
                self._say(f"{reason}; the run goes on and is kept in {self._folder}")
            self._reason = reason
            self._close()
            return False
        self._reason = ""
        return True

    def _close(self) -> None:
        if self._database is not None:
            close(self._database)
        self._mirror = self._database = None

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a terminal that is gone
            print(f"run {self._folder.name}: {text}", file=sys.stderr, flush=True)
