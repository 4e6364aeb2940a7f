"""One run on disk, written: the folder that is the truth about a run; any database is a mirror of it.

    config.yaml     the resolved config
    run.json        id, uuid, status, times, host, git, versions, artifacts, attempts
    metrics.jsonl   append-only, one object a line: name, step, value, gradient_evaluations, time
    result.json     the summary: a flat dict of numbers and strings
    output.txt      captured stdout and stderr, bounded
    artifacts/      files that belong to the run

A metric is in the kernel's hands when `log` returns, so a SIGKILL of this process loses none; `sync` makes
them safe against a power cut. One process at a time writes a run. `folder.py` reads it all back.
"""

import contextlib
import hashlib
import json
import math
import mimetypes
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Self

import yaml

from sacreddnn.tracking import folder as files
from sacreddnn.tracking import locks
from sacreddnn.tracking.plain import (
    capped,
    finite,
    flat,
    integer,
    now,
    plain,
    redact,
    scalar,
    write_atomic,
)

NUM_NONFINITE = "num_nonfinite"
# kept in each attempt too, because a run may be resumed with other code, on another machine
OF_ATTEMPT = ("argv", "config_hash", "git", "host", "versions")


class RunBusyError(OSError):
    """A run that another process is writing."""


def reserve(root: str | Path) -> int:
    """The id of a new, empty run folder: one more than the largest there is, safe among many processes."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    while True:
        run_id = max((int(entry.name) for entry in root.iterdir() if entry.name.isdecimal()), default=0) + 1
        # mkdir is atomic: of two processes that saw the same largest id, one looks again
        with contextlib.suppress(FileExistsError):
            (root / str(run_id)).mkdir()
            return run_id


def close_stale(root: str | Path) -> list[int]:
    """The ids of the runs that were marked RUNNING without a living process, now marked INTERRUPTED.

    A folder that is damaged or cannot be written, as on a read-only disk or of another user, stays as it is.
    """
    closed = []
    for folder in files.folders(root):
        with contextlib.suppress(ValueError, OSError):  # OSError also when it was resumed this very moment
            if files.read_run(folder).get("status") == "RUNNING" and not files.is_running(folder):
                Spool(folder).close()
                closed.append(int(folder.name))
    return closed


class Spool:
    """An open run folder, locked for this process.

    Made by `create` or `resume`. Opening heals what a kill left behind: a torn last line of metrics is cut,
    and a RUNNING status becomes INTERRUPTED at the last heartbeat.

    Args:
        folder: an existing run folder.

    Raises:
        RunBusyError: another process has the run open.
        FileNotFoundError: the folder does not exist.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._guard = threading.Lock()  # the heartbeat thread and the main thread both write
        self._metrics = -1
        self._lock = self._take_lock()
        try:
            self._read()
        except BaseException:  # or the run would count as running as long as this process lives
            self.close()
            raise

    def _read(self) -> None:
        """Heal the folder and take up what it has."""
        folder = self.folder
        self._heal()
        self._metrics = os.open(folder / files.METRICS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._torn = False
        self._earlier_output = files.read_output(folder)
        self._output: str | None = None
        self.run: dict[str, Any] = files.read_run(folder)
        recorded = files.read_metrics(folder)
        self._points = {(name, step) for name, series in recorded.items() for step in series.steps}
        suffix = f"/{NUM_NONFINITE}"
        self._nonfinite = {
            name.removesuffix(suffix): set(series.steps) for name, series in recorded.items() if name.endswith(suffix)
        }
        if self.run.get("status") == "RUNNING":
            self.end("INTERRUPTED", stop_time=self.run.get("heartbeat") or self.run.get("start_time"))

    @classmethod
    def create(cls, root: str | Path, config: Mapping[str, Any], *, run_id: int | None = None, **fields: Any) -> Self:
        """A new run, status RUNNING.

        Args:
            root: the folder that holds all runs; made when missing.
            config: the resolved config; passwords in it are masked.
            run_id: a positive id of the caller's choice or from `reserve`; by default the next free one.
            fields: more for run.json, as `command`, `argv`, `host`, `git`, `versions`; `config_hash` is by
                default a hash of the whole config.

        Raises:
            ValueError: `run_id` is not positive, or that run exists.
        """
        if run_id is None:
            run_id = reserve(root)
        elif run_id < 1:
            raise ValueError(f"run id {run_id}: must be 1 or more")
        folder = Path(root) / str(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        spool = cls(folder)
        if spool.run:
            spool.close()
            raise ValueError(f"run {run_id}: exists in {folder}; resume it, or leave the id out")
        spool.run = {"run_id": run_id, "uuid": uuid.uuid4().hex, "start_time": now()}
        spool.run |= {"artifacts": [], "resources": [], "attempts": []}
        spool._begin(config, fields)
        return spool

    @classmethod
    def resume(cls, folder: str | Path, config: Mapping[str, Any] | None = None, **fields: Any) -> Self:
        """An existing run, RUNNING again: the same id, start time and metrics, one more entry in `attempts`.

        Args:
            folder: of the run, see `folder.find`.
            config: when it differs from the recorded one it replaces it; the earlier one stays in run.json.
            fields: as for `create`.

        Raises:
            RunBusyError: the run is being written.
        """
        spool = cls(Path(folder))
        old = files.read_config(spool.folder)
        if config is None:
            config = old
            fields.setdefault("config_hash", spool.run["config_hash"])
        elif plain(config) != old:
            spool.run["attempts"][-1]["config"] = finite(old)
        spool._begin(config, fields)
        return spool

    def _begin(self, config: Mapping[str, Any], fields: dict[str, Any]) -> None:
        config = plain(config)
        write_atomic(self.folder / files.CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        start = now()
        self.run["attempts"].append({"start_time": start, "pid": os.getpid(), "hostname": socket.gethostname()})
        whole = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
        fields = {"config_hash": whole} | fields
        self.update(status="RUNNING", heartbeat=start, stop_time=None, fail_trace=None, **fields)

    def log(self, name: str, value: Any, step: int, gradient_evaluations: int | None = None) -> None:
        """Append one point of a metric; it survives a SIGKILL from the moment this returns.

        A value that is not finite is counted instead, because NaN is drawn as 0: ``NAME/num_nonfinite`` holds
        at each such step how many there have been.

        Args:
            name: ``split/network/quantity``, as ``test/center/error``.
            value: a number, or a numpy or torch scalar.
            step: integer, the epoch; a step logged again replaces the earlier point.
            gradient_evaluations: minibatches through forward and backward so far.

        Raises:
            ValueError: the name is empty, the value is no real number, or a count is no integer.
        """
        if not isinstance(name, str) or not name:
            raise ValueError(f"metric {name!r}: the name must be a non-empty string, as 'test/center/error'")
        if self._metrics < 0:
            raise ValueError(f"metric {name!r}: run {self.folder.name} is closed; log before finish")
        number = scalar(name, value)
        step = integer(name, "step", step)
        if gradient_evaluations is not None:
            gradient_evaluations = integer(name, "gradient_evaluations", gradient_evaluations)
        if not math.isfinite(number):
            steps = self._nonfinite.setdefault(name, set())
            steps.add(step)
            name, number = f"{name}/{NUM_NONFINITE}", float(len(steps))
        point = {"name": name, "step": step, "value": number, "gradient_evaluations": gradient_evaluations}
        line = json.dumps(point | {"time": round(time.time(), 3)}).encode() + b"\n"
        with self._guard:
            # after a write that failed half-way (disk full) the rest of that line is closed off first
            line = b"\n" + line if self._torn else line
            self._torn = True
            while line:
                line = line[os.write(self._metrics, line) :]
            self._torn = False
            self._points.add((name, step))

    @property
    def num_points(self) -> int:
        """Of all metrics, a step that was logged twice counted once."""
        return len(self._points)

    def sync(self) -> None:
        """Wait until the metrics are on the disk itself."""
        with contextlib.suppress(OSError):  # the caller closed the run meanwhile
            os.fsync(self._metrics)

    def update(self, **fields: Any) -> None:
        """Set fields of run.json, which is replaced atomically; those of `OF_ATTEMPT` in the last attempt too."""
        fields = {name: finite(plain(value)) for name, value in fields.items()}
        with self._guard:
            self.run.update(fields)
            if self.run.get("attempts"):
                self.run["attempts"][-1] |= {name: fields[name] for name in OF_ATTEMPT if name in fields}
            write_atomic(self.folder / files.RUN, json.dumps(self.run, indent=1))

    def heartbeat(self) -> None:
        """Note that the run lives, and put its metrics on the disk."""
        self.sync()
        self.update(heartbeat=now())

    def result(self, values: Mapping[str, Any]) -> None:
        """Replace result.json by these values, nested keys joined with ``/``; what is not finite is null."""
        write_atomic(self.folder / files.RESULT, json.dumps(finite(flat(plain(values))), indent=1))

    def output(self, text: str) -> None:
        """Replace this attempt's part of output.txt; the text of earlier attempts stays before it."""
        if text != self._output:
            self._output = text
            text = redact(capped(text))
            if self._earlier_output:
                resumed = self.run["attempts"][-1]["start_time"]
                text = f"{self._earlier_output}\n--- resumed {resumed} ---\n{text}"
            write_atomic(self.folder / files.OUTPUT, capped(text))

    def artifact(self, path: str | Path, name: str | None = None, content_type: str | None = None) -> Path:
        """Where the file now lies in the run folder: copied into artifacts/ unless it was inside already.

        Args:
            path: an existing file.
            name: by default the file's own; one that is there already is replaced.
            content_type: by default guessed from the name.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the name leads out of the folder.
        """
        path = Path(path).resolve()
        if not path.is_file():
            raise FileNotFoundError(f"artifact {path}: no such file")
        name = plain(name or path.name)
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError(f"artifact {name!r}: the name must not lead out of the run folder")
        if not path.is_relative_to(self.folder.resolve()):
            target = self.folder.resolve() / "artifacts" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, aside := target.with_name(f".{target.name}.tmp"))
            path = aside.replace(target)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        entry = {"name": name, "path": path.relative_to(self.folder.resolve()).as_posix(), "sha256": digest}
        entry["content_type"] = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        self.update(artifacts=[one for one in self.run["artifacts"] if one["name"] != name] + [entry])
        return path

    def resource(self, path: str | Path) -> None:
        """Note a file that the run reads, with its digest; the file itself is not copied."""
        with Path(path).open("rb") as file:
            entry = [str(Path(path).resolve()), hashlib.file_digest(file, "sha256").hexdigest()]
        if entry not in self.run["resources"]:
            self.update(resources=[*self.run["resources"], entry])

    def end(self, status: str, *, stop_time: str | None = None, fail_trace: list[str] | None = None) -> None:
        """Mark the run as ended.

        Args:
            status: COMPLETED, INTERRUPTED, FAILED or TIMEOUT, as Sacred has them.
            stop_time: ISO 8601, by default now.
            fail_trace: the lines of the traceback.
        """
        stop_time = stop_time or now()
        if self.run.get("attempts"):
            self.run["attempts"][-1] |= {"stop_time": stop_time, "status": status}
        self.sync()
        self.update(status=status, stop_time=stop_time, fail_trace=fail_trace)

    def close(self) -> None:
        """Release the run for other processes."""
        for descriptor in (self._metrics, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._metrics = self._lock = -1

    def _take_lock(self) -> int:
        if (descriptor := locks.take(self.folder / files.LOCK)) is not None:
            return descriptor
        attempt = (files.read_run(self.folder).get("attempts") or [{}])[-1]
        raise RunBusyError(
            f"run {self.folder.name}: process {attempt.get('pid')} on {attempt.get('hostname')} is writing "
            f"{self.folder}; wait for it, or end it first"
        )

    def _heal(self) -> None:
        path = self.folder / files.METRICS
        if path.exists():
            with path.open("rb+") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
