"""One try of one run: `python -m sacreddnn.sweeps.trial` starts its training as a process of its own and watches it.

The first line of standard input says what to do (a `Trial` as JSON), the last line of standard output how it ended (an
`Outcome` as JSON). Whoever started it keeps the input open; when it closes, the caller is gone, and the training is
told to save and stop. So a training never outlives the sweep, and nothing that happens to it takes the sweep along.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import yaml

from sacreddnn.sweeps import state
from sacreddnn.sweeps.state import DONE, Records, place, write_outcome
from sacreddnn.tracking import locks
from sacreddnn.tracking.plain import flat, plain, redact, write_atomic

NOT_IN_DATABASE, BAD_CONFIG = 75, 2
LOOK = 1.0  # seconds between two looks at requests to stop


@dataclass(frozen=True)
class Trial:
    """What to run.

    Attributes:
        hash: of the config.
        root: the folder that holds all runs.
        config: the whole config as nested dict.
        command: that trains, to be followed by `with ..`.
        cwd: folder that relative paths of the config refer to.
        sweep: name of the sweep.
        token: of this try; `stop-<token>` beside the lock asks it to stop.
        patience: seconds without a sign of progress after which the training counts as hung.
        grace: seconds that it has to save and end when it is told to stop.
    """

    hash: str
    root: str
    config: dict[str, Any]
    command: list[str]
    cwd: str
    sweep: str
    token: str
    patience: float
    grace: float

    @property
    def stop_file(self) -> Path:
        """Its existence asks this try to save and stop."""
        return place(self.root, self.hash) / f"stop-{self.token}"


@dataclass(frozen=True)
class Outcome:
    """How a try ended.

    Attributes:
        kind: done; failed; interrupted: told to stop, and saved; busy: another process is at this run; lost: the
            machine or the process that ran it is gone.
        line: the last line of what it said, or what happened.
        again: whether another try can come to anything else.
        recorded: whether all of it has reached the database.
        seconds: that it took.
    """

    kind: Literal["done", "failed", "interrupted", "busy", "lost"]
    line: str = ""
    again: bool = True
    recorded: bool = True
    seconds: float = 0.0


class _Waker:
    """Sleep that ends when a child ends, a signal arrives, or the caller closes our input."""

    def __init__(self, caller: int) -> None:
        self.asked = ""  # who asked to stop
        self._caller = caller
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        os.set_blocking(self._read, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: object) -> None:
        self.asked = signal.Signals(signum).name

    def sleep(self, seconds: float) -> None:
        """Wait; afterwards `asked` is up to date."""
        watched = [self._read] if self.asked else [self._read, self._caller]
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._caller in ready and not os.read(self._caller, 1024):
            self.asked = "the end of the process that started it"
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 1024)


def run(trial: Trial, caller: int = 0) -> Outcome:
    """Train, from the last checkpoint if there is one, and wait for the end.

    Args:
        trial: what to run.
        caller: descriptor that is at its end when the caller is gone.
    """
    start = time.monotonic()
    where = place(trial.root, trial.hash)
    where.mkdir(parents=True, exist_ok=True)
    waker = _Waker(caller)
    if (lock := locks.take(where / "lock")) is None:
        return Outcome("busy", f"{state.owner(trial.root, trial.hash)} is at this run")
    try:
        now = Records(Path(trial.root)).states([trial.hash])[trial.hash]
        if now.kind == DONE:
            recorded = state.is_recorded(trial.root, trial.hash, now.folder, trial.config["tracking"])
            return Outcome(DONE, now.line, recorded=recorded)
        if now.folder and state.files.is_running(now.folder):
            return Outcome("busy", f"run {now.run_id} is being written by a process outside this sweep")
        if trial.stop_file.exists():
            return Outcome("interrupted", "stopped before it began")
        about = {"sweep": trial.sweep, "token": trial.token, "pid": os.getpid(), "hostname": socket.gethostname()}
        write_atomic(where / "owner.json", json.dumps(about))
        (where / "outcome.json").unlink(missing_ok=True)
        if now.folder:
            words = [f"resume={now.folder.resolve()}"]
        elif secret := _secret(trial.config):
            line = f"{secret}: holds a password, which would be written down; leave it to the environment"
            outcome = Outcome("failed", line, again=False)
            write_outcome(where, asdict(outcome))
            return outcome
        else:
            write_atomic(where / "config.yaml", yaml.safe_dump(trial.config, sort_keys=False, allow_unicode=True))
            words = [str((where / "config.yaml").resolve())]
        outcome = _train(trial, where, words, waker, lock)
        outcome = Outcome(**asdict(outcome) | {"seconds": round(time.monotonic() - start, 3)})
        write_outcome(where, asdict(outcome))
        return outcome
    finally:
        trial.stop_file.unlink(missing_ok=True)
        os.close(lock)


def _secret(config: dict[str, Any]) -> str | None:
    """The first key of a config whose value looks like a password; masked it would be another config."""
    masked = flat(plain(config), ".")
    return next((name for name, value in flat(config, ".").items() if masked.get(name) != value), None)


def _train(trial: Trial, where: Path, words: list[str], waker: _Waker, lock: int) -> Outcome:
    """Start the training and wait for it; it inherits the lock, so that the lock lasts as long as it does."""
    with (where / "output.txt").open("ab") as output:
        output.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} with {' '.join(words)}\n".encode())
        output.flush()
        begin = output.tell()
        process = subprocess.Popen(
            [*trial.command, "with", *words], cwd=trial.cwd, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, pass_fds=(lock,), start_new_session=True, preexec_fn=_die_with_parent,
        )  # fmt: skip
        hung = _wait(trial, where, process, waker)
    status = process.returncode
    line = _last_line(where / "output.txt", begin)
    if status in (0, NOT_IN_DATABASE):
        now = Records(Path(trial.root)).states([trial.hash])[trial.hash]
        if now.kind != DONE:
            return Outcome("failed", f"ended without a complete record; last: {line}")
        return Outcome(DONE, now.line, recorded=status == 0)
    if hung:
        return Outcome("failed", f"no sign of progress for {trial.patience:g} s, stopped; last: {line}")
    if waker.asked or trial.stop_file.exists():
        return Outcome("interrupted", f"stopped by {waker.asked or 'the sweep'}")
    if status < 0:
        name = signal.Signals(-status).name
        memory = ", out of memory?" if status == -signal.SIGKILL else ""
        return Outcome("failed", f"killed by {name}{memory}; last: {line}")
    return Outcome("failed", line, again=status != BAD_CONFIG and not line.startswith("Diverged"))


def _wait(trial: Trial, where: Path, process: subprocess.Popen[bytes], waker: _Waker) -> bool:
    """Wait for the training; tell it to stop when that is asked for, or when it hangs, which is what is returned."""
    records, deadline, hung = Records(Path(trial.root)), None, False
    begin = time.time()
    while process.poll() is None:
        if deadline is None:
            hung = time.time() - max(begin, _last_sign(records, trial.hash, where)) > trial.patience
            if hung or waker.asked or trial.stop_file.exists():
                process.terminate()
                deadline = time.monotonic() + trial.grace
        elif time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        waker.sleep(LOOK)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # what it may have left behind
    return hung


def _last_sign(records: Records, config_hash: str, where: Path) -> float:
    """When the training last showed progress: a line, a metric, a checkpoint. Heartbeats come from a thread."""
    paths = [where / "output.txt"]
    for folder, _ in records.by_hash().get(config_hash, []):
        paths += [folder / "metrics.jsonl", folder / "checkpoints", folder / "artifacts"]
    return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)


def _last_line(path: Path, begin: int) -> str:
    """The last line of the file that is not empty, after the first `begin` bytes."""
    with path.open("rb") as file:
        file.seek(max(begin, path.stat().st_size - 20_000))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return redact(next((line for line in reversed(lines) if line), ""))[:500]


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Let the kernel end the training when this process is killed; elsewhere than on Linux it goes on to its end."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def parse(lines: bytes) -> Outcome:
    """The outcome in what the process printed; lost when it said nothing."""
    try:
        return Outcome(**json.loads(lines.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        return Outcome("lost", "the process that watched the training was killed")


@contextlib.contextmanager
def _all_signals() -> Iterator[None]:
    """Undo the blocking of signals that the caller may have passed on."""
    before = signal.pthread_sigmask(signal.SIG_SETMASK, set())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main(source: IO[bytes], target: IO[str]) -> None:
    """Read a trial, run it, say how it ended."""
    with _all_signals():
        trial = Trial(**json.loads(source.readline()))
        try:
            outcome = run(trial, source.fileno())
        except (OSError, ValueError) as error:
            outcome = Outcome("failed", f"{type(error).__name__}: {error}")
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(asdict(outcome)), file=target, flush=True)


if __name__ == "__main__":
    with open(0, "rb", buffering=0) as requests:
        main(requests, sys.stdout)
