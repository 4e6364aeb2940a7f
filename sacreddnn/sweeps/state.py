"""What has become of each run of a sweep, read from the disk alone: from any shell, at any time, without a database.

A run is known by its config hash, which stands in the record of every run, so that a run made by hand counts too.
Beside the run folders, `ROOT/trials/<hash>/` has what belongs to a run of a sweep whatever its number is:

    lock           held by the process that runs it, and by its training, as long as either lives
    owner.json     who holds the lock
    config.yaml    the config that it was started with
    output.txt     what its processes printed, all tries
    outcome.json   how the last try ended; not there while one goes on
    stop-<token>   a request to that try to save and stop
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from sacreddnn.tracking import folder as files
from sacreddnn.tracking import locks
from sacreddnn.tracking.mirrored import is_mirrored
from sacreddnn.tracking.plain import write_atomic

DONE: Final = "done"
RUNNING: Final = "running"
INTERRUPTED: Final = "interrupted"
FAILED: Final = "failed"
MISSING: Final = "missing"
Kind = Literal["done", "running", "interrupted", "failed", "missing"]


@dataclass(frozen=True)
class State:
    """One run of a sweep at one moment.

    Attributes:
        kind: done; running: a process holds its lock; interrupted: begun, and nobody at it; failed; missing.
        folder: of its record, None before there is one.
        progress: part of its training that is done, in [0, 1].
        rate: progress per second of the present try, 0 when it is not known.
        line: test error, last line of what went wrong, or empty.
    """

    kind: Kind
    folder: Path | None = None
    progress: float = 0.0
    rate: float = 0.0
    line: str = ""

    @property
    def run_id(self) -> str:
        """Number of the run, "-" before it has one."""
        return self.folder.name if self.folder else "-"


def place(root: str | Path, config_hash: str) -> Path:
    """The folder of a run of a sweep beside the run folders."""
    return Path(root) / "trials" / config_hash


def is_recorded(root: str | Path, config_hash: str, folder: Path | None, tracking: Mapping[str, Any]) -> bool:
    """Whether a run that is done has reached its database, at the end of its last try or by a replay since.

    Args:
        root: the folder that holds all runs.
        config_hash: of the run.
        folder: of its record.
        tracking: the section of its config, which names the database; without a database any will do.
    """
    outcome = files.read_json(place(root, config_hash) / "outcome.json")
    if outcome.get("recorded", True) or folder is None:
        return bool(outcome.get("recorded", True))
    from sacreddnn.tracking.database import is_address_of  # imports pymongo, which trials do without

    url, of_server = tracking["mongo_url"], tracking["folder"]
    return is_mirrored(folder, lambda noted: not tracking["database"] or is_address_of(noted, url, folder=of_server))


def is_busy(root: str | Path, config_hash: str) -> bool:
    """Whether a process, of any sweep on any machine that shares the folder, is at this run."""
    return locks.is_held(place(root, config_hash) / "lock")


def owner(root: str | Path, config_hash: str) -> str:
    """Who is at a run, in words."""
    found = files.read_json(place(root, config_hash) / "owner.json")
    if not found or not is_busy(root, config_hash):
        return "a process that belongs to no sweep"
    return f"sweep {found['sweep']} (process {found['pid']} on {found['hostname']})"


@dataclass
class Records:
    """The run folders below a root, each read again only when it has changed.

    Args:
        root: the folder that holds all runs.
    """

    root: Path
    _seen: dict[Path, tuple[int, dict[str, Any]]] = field(default_factory=dict)

    def by_hash(self) -> dict[str, list[tuple[Path, dict[str, Any]]]]:
        """Folder and content of run.json of all runs by config hash, in the order of their numbers."""
        found: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
        for folder in files.folders(self.root):
            try:
                changed = (folder / files.RUN).stat().st_mtime_ns
                if self._seen.get(folder, (0,))[0] != changed:
                    self._seen[folder] = (changed, files.read_run(folder))
            except FileNotFoundError:  # deleted this moment
                continue
            run = self._seen[folder][1]
            found.setdefault(run.get("config_hash", ""), []).append((folder, run))
        return found

    def states(self, hashes: list[str]) -> dict[str, State]:
        """The state of each of these runs.

        Raises:
            ValueError: the record of some run is damaged.
        """
        found = self.by_hash()
        return {name: self._state(name, found.get(name, [])) for name in hashes}

    def _state(self, config_hash: str, runs: list[tuple[Path, dict[str, Any]]]) -> State:
        folder, run = max(runs, key=_rank, default=(None, {}))
        if run.get("status") == "COMPLETED":
            error = files.read_result(folder).get("test/center/error") if folder else None
            line = "" if error is None else f"test error {error:.2f} %"
            return State(DONE, folder, 1.0, 0.0, line)
        progress, rate = _progress(folder, run) if folder else (0.0, 0.0)
        if is_busy(self.root, config_hash) or (folder and files.is_running(folder)):
            return State(RUNNING, folder, progress, rate)
        outcome = files.read_json(place(self.root, config_hash) / "outcome.json")
        if run.get("status") == "FAILED" or outcome.get("kind") == FAILED:
            trace = run.get("fail_trace") or []
            line = outcome.get("line") or (trace[-1].strip() if trace else "")
            return State(FAILED, folder, progress, 0.0, line)
        return State(INTERRUPTED if folder else MISSING, folder, progress)


def _rank(entry: tuple[Path, dict[str, Any]]) -> tuple[int, int]:
    """Of several records of one run the one that counts: a complete one, a running one, the newest."""
    folder, run = entry
    order = 2 if run.get("status") == "COMPLETED" else int(files.is_running(folder))
    return order, int(folder.name)


def _progress(folder: Path, run: dict[str, Any]) -> tuple[float, float]:
    """Part of the training that is done, and how fast it grows."""
    try:
        num_epochs = int(files.read_config(folder)["training"]["epochs"])
    except (OSError, KeyError, TypeError):
        return 0.0, 0.0
    steps = [int(path.stem.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*.pt")]
    num_steps = (run.get("info") or {}).get("num_steps")
    saved = max(steps) / num_steps if steps and num_steps else 0.0
    points = [(time, epoch / num_epochs) for epoch, time in _epochs(folder)]
    progress = min(max(saved, points[-1][1] if points else 0.0), 1.0)
    started = datetime.fromisoformat(run["attempts"][-1]["start_time"]).timestamp() if run.get("attempts") else 0.0
    here = [point for point in points if point[0] >= started]
    if len(here) < 2:
        return progress, 0.0
    (first, low), (last, high) = here[0], here[-1]
    return progress, (high - low) / max(last - first, 1e-3)


def _epochs(folder: Path) -> list[tuple[int, float]]:
    """Epochs that are recorded, and when."""
    series = files.read_metrics(folder).get("train/minibatch/loss", files.Series())
    stamps = (time.replace(tzinfo=UTC).timestamp() for time in series.times)
    return sorted(zip(series.steps, stamps, strict=True))


def write_outcome(where: Path, outcome: dict[str, Any]) -> None:
    """Keep how a try ended."""
    write_atomic(where / "outcome.json", json.dumps(outcome, indent=1))
