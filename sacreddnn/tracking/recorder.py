"""What a run tells, to the spool at once, to the database at every beat: an observer, with or without Sacred.

    recorder = Recorder("results/runs", connect=partial(database.connect, None, folder="results/database"))
    experiment.observers.append(recorder)           # Sacred starts and ends it; in the main function:
    recorder.log("test/center/error", 9.1, step=3, gradient_evaluations=1407)
    recorder.result({"test/center/error": 9.1})

Without Sacred: ``recorder.start(config)`` before, ``recorder.finish("COMPLETED")`` after.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sacreddnn.tracking import provenance
from sacreddnn.tracking.event_files import EventFiles
from sacreddnn.tracking.folder import find, read_result
from sacreddnn.tracking.light_sacred import sacred
from sacreddnn.tracking.live import Connect, LiveMirror, Pending
from sacreddnn.tracking.plain import plain
from sacreddnn.tracking.spool import Spool, write_atomic


class Recorder(sacred.observers.RunObserver):
    """Records one run.

    The attributes may be set until the run starts, as `configure` does when they come from the config.

    Args:
        root: the folder that holds all runs.
        connect: gives a database whenever one is needed, see `database.connect`; None records on disk only.
        resume: id or folder of the run to continue under its own id.
        run_id: for the new run; by default the next free one, or Sacred's ``--id``.
        configure: called with the recorder and the config just before the run folder is made.
        beat_seconds: between two heartbeats; Omniboard takes a run without one for 120 s as dead.
        flush_seconds: that `finish` waits at most for the database.

    Attributes:
        info: anything for the record that is neither config, metric nor result.
        config: when set, recorded in place of Sacred's.
        config_hash: of the config, when set; equal for the configs whose runs are to count as the same.
        tensorboard: write TensorBoard's event files too, see `event_files.EventFiles`.
        pending: what `finish` returned, None before.
    """

    # before Sacred's own observers, so that the run has our id
    priority = 40

    def __init__(
        self,
        root: str | Path = "results/runs",
        *,
        connect: Connect | None = None,
        resume: int | str | Path | None = None,
        run_id: int | None = None,
        configure: Callable[["Recorder", dict[str, Any]], None] | None = None,
        beat_seconds: float = 10.0,
        flush_seconds: float = 10.0,
    ):
        self.root = Path(root)
        self.connect = connect
        self.resume = resume
        self.run_id = run_id
        self.configure = configure
        self.beat_seconds = beat_seconds
        self.flush_seconds = flush_seconds
        self.info: dict[str, Any] = {}
        self.config: Mapping[str, Any] | None = None
        self.config_hash: Callable[[dict[str, Any]], str] | None = None
        self.tensorboard = False
        self.pending: Pending | None = None
        self._events: EventFiles | None = None
        self._spool: Spool | None = None
        self._live: LiveMirror | None = None

    @property
    def folder(self) -> Path:
        """The run folder; ValueError before the start."""
        return self._open().folder

    def start(self, config: Mapping[str, Any], *, command: str = "main", **fields: Any) -> int:
        """Open the run folder and begin to mirror it; the run's id.

        Args:
            config: the resolved config.
            command: of the experiment.
            fields: more for run.json; `host` is added to what is found here.

        Raises:
            ValueError: the run was started before, or `run_id` is taken.
            FileNotFoundError: there is no run to resume.
            RunBusyError: another process writes the run.
        """
        if self._spool is not None:
            raise ValueError(f"run {self._spool.folder.name}: was started before; make one recorder for each run")
        if self.configure:
            self.configure(self, plain(config))
        config = self.config if self.config is not None else config
        about, diff = provenance.git(fields.get("experiment", {}).get("base_dir") or Path.cwd())
        fields["host"] = provenance.host() | fields.get("host", {})
        fields |= {"command": command, "argv": provenance.command_line(), "git": about}
        fields["versions"] = provenance.versions()
        if self.config_hash:
            fields["config_hash"] = self.config_hash(plain(config))
        if self.resume is None:
            self._spool = Spool.create(self.root, config, run_id=self.run_id, **fields)
        else:
            self._spool = Spool.resume(find(self.resume, self.root), config, **fields)
        self.run_id = int(self._spool.run["run_id"])
        self.info = self._spool.run.get("info", {}) | self.info
        if diff:
            attempt = len(self._spool.run["attempts"])
            path = self.folder / (f"changes-{attempt}.diff" if attempt > 1 else "changes.diff")
            write_atomic(path, diff)
            self._spool.artifact(path)
        if self.tensorboard:
            with self._aside():
                self._events = EventFiles(self.folder)
                self._events.refresh()
        self._live = LiveMirror(self.folder, self.connect, self.beat_seconds, self._beat)
        return self.run_id

    def log(self, name: str, value: Any, step: int, gradient_evaluations: int | None = None) -> None:
        """Record one point of a metric, see `Spool.log`: one line appended to a file."""
        self._open().log(name, value, step, gradient_evaluations)

    def result(self, values: Mapping[str, Any]) -> None:
        """Add to the summary of the run: numbers and strings, nested keys joined with ``/``."""
        spool = self._open()
        spool.result(read_result(spool.folder) | plain(values))

    def artifact(self, path: str | Path, name: str | None = None, content_type: str | None = None) -> Path:
        """Add a file to the record; where it lies in the run folder. See `Spool.artifact`."""
        return self._open().artifact(path, name, content_type)

    def describe(self, **fields: Any) -> None:
        """Add to run.json what is known only now; `host`, as the device, is added to what is there."""
        spool = self._open()
        if "host" in fields:
            fields["host"] = spool.run.get("host", {}) | fields["host"]
        spool.update(**fields)

    def finish(self, status: str = "COMPLETED", fail_trace: list[str] | None = None) -> Pending:
        """End the run and give the database a bounded time for the rest; what it still lacks.

        The one line that says so goes to stderr. Doing it twice changes nothing: the first status stays, also when
        the first call was broken off. Ctrl-C ends the wait for the database, not more.

        Args:
            status: COMPLETED, INTERRUPTED, FAILED or TIMEOUT.
            fail_trace: the lines of the traceback.
        """
        if self.pending is None:
            spool = self._open()
            spool.update(info=self.info)  # of a call that was broken off, it writes the status too
            if spool.run["status"] == "RUNNING":
                spool.end(status, fail_trace=fail_trace)
            assert self._live is not None
            self.pending = self._live.end(self.flush_seconds, spool.num_points)
            if self._events:  # before the folder is given up to whoever resumes the run
                with self._aside():
                    self._events.close()
            spool.close()
            if self.pending and self.connect:
                print(self.pending, file=sys.stderr, flush=True)
        return self.pending

    def _open(self) -> Spool:
        if self._spool is None:
            raise ValueError("the recorder has no run yet; call start(config), or add it to a Sacred experiment")
        return self._spool

    def _beat(self) -> None:
        if self.pending is None:
            self._open().heartbeat()
            if self._events:
                with self._aside():
                    self._events.refresh()

    # what Sacred calls

    def started_event(
        self,
        ex_info: dict[str, Any],
        command: str,
        host_info: dict[str, Any],
        start_time: datetime,
        config: Mapping[str, Any],
        meta_info: dict[str, Any],
        _id: str | int | None,
    ) -> int:
        """Start the run; its id."""
        keep_last_output()
        if _id is not None and self.resume is None:
            if not str(_id).isdecimal():
                raise ValueError(f"run id {_id!r}: must be a positive integer, as Omniboard needs it")
            self.run_id = int(_id)
        experiment = {key: ex_info.get(key) for key in ("name", "base_dir", "mainfile", "dependencies")}
        return self.start(config, command=command, host=dict(host_info), meta=meta_info, experiment=experiment)

    def log_metrics(self, metrics_by_name: dict[str, dict[str, list[Any]]], info: dict[str, Any]) -> None:
        """Spool what was logged with Sacred's ``_run.log_scalar``; it carries no gradient evaluations."""
        if self.pending is None:
            for name, points in metrics_by_name.items():
                for step, value in zip(points["steps"], points["values"], strict=True):
                    with self._reported():
                        self.log(name, value, step)

    def heartbeat_event(self, info: dict[str, Any], captured_out: str, beat_time: datetime, result: Any) -> None:
        """Spool the output so far and Sacred's info."""
        if self.pending is None:
            spool = self._open()
            with self._reported():
                spool.output(captured_out)
                spool.update(info=plain(info) | self.info)

    def completed_event(self, stop_time: datetime, result: Any) -> None:
        """End the run; a result that is not a mapping is recorded under ``result``."""
        with self._reported():
            if result is not None and self.pending is None:
                self.result(result if isinstance(result, Mapping) else {"result": result})
            self._finish("COMPLETED")

    def interrupted_event(self, interrupt_time: datetime, status: str) -> None:
        """End the run as INTERRUPTED or TIMEOUT."""
        with self._reported():
            self._finish(status)

    def failed_event(self, fail_time: datetime, fail_trace: list[str]) -> None:
        """End the run as FAILED."""
        with self._reported():
            self._finish("FAILED", fail_trace)

    def artifact_event(self, name: str, filename: str, metadata: Any = None, content_type: str | None = None) -> None:
        """Add a file to the record."""
        with self._reported():
            self.artifact(filename, name, content_type)

    def resource_event(self, filename: str) -> None:
        """Note a file that the run reads."""
        with self._reported():
            self._open().resource(filename)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Say what went wrong and go on: an observer that raises once is dropped for the rest of the run."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: info grew while it was read
            print(f"run {self.run_id}: not recorded: {error}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Give the event files up, in one line, when anything is wrong with them: the record does without."""
        try:
            yield
        except Exception as error:
            self._events = None
            print(f"run {self.run_id}: no more event files: {error}", file=sys.stderr, flush=True)

    def _finish(self, status: str, fail_trace: list[str] | None = None) -> None:
        if self._spool is not None:  # None: the start itself failed, and there is no run to end
            self.finish(status, fail_trace)


def keep_last_output() -> None:
    """Let Sacred record what a failing or interrupted run printed last.

    Sacred reads that text into ``CapturedStdout.final`` when it closes the capture file, and then does not
    fetch it: ``Run`` asks only whether the file is closed. With text left to fetch it no longer counts as
    closed, so the last heartbeat, which comes before the failed and interrupted events, has it.
    """

    def closed(capture: sacred.stdout_capturing.CapturedStdout) -> bool:
        return capture.buffer.closed and capture.final is None

    setattr(sacred.stdout_capturing.CapturedStdout, "closed", property(closed))  # noqa: B010
