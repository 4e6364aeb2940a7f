"""A run folder, read: the files that `spool.Spool` writes, as Python values.

Nothing here writes. A run folder is valid at every moment, also while a run writes it and after a SIGKILL:
small files are replaced atomically, and a last line of metrics.jsonl without its newline is not there yet.
"""

import difflib
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sacreddnn.tracking import locks

METRICS, RUN, CONFIG, RESULT, OUTPUT, LOCK = (
    "metrics.jsonl",
    "run.json",
    "config.yaml",
    "result.json",
    "output.txt",
    "lock",
)


@dataclass
class Series:
    """One metric: its points in the order their steps first appeared.

    Attributes:
        steps: integers, no two equal.
        values: floats, one a step; a step logged again (after a resume) has its last value.
        gradient_evaluations: integers, or None where the metric was logged without.
        times: naive UTC datetimes in whole milliseconds.
    """

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    gradient_evaluations: list[int | None] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    _where: dict[int, int] = field(default_factory=dict, repr=False, compare=False)

    def add(self, step: int, value: float, gradient_evaluations: int | None, time: datetime) -> bool:
        """True when the point was appended, False when it replaced an earlier one of the same step."""
        at = self._where.setdefault(step, len(self.steps))
        if at < len(self.steps):
            self.values[at], self.gradient_evaluations[at], self.times[at] = value, gradient_evaluations, time
            return False
        self.steps.append(step)
        self.values.append(value)
        self.gradient_evaluations.append(gradient_evaluations)
        self.times.append(time)
        return True


class Metrics:
    """All metrics of a run folder, read on from where the last look ended.

    Attributes:
        series: by metric name.
        num_lines: complete lines seen.
    """

    def __init__(self, folder: Path):
        self.series: dict[str, Series] = {}
        self.num_lines = 0
        self._path = folder / METRICS
        self._offset = 0
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """Of all complete lines so far."""
        return self._hash.hexdigest()

    def refresh(self) -> tuple[set[str], set[str]]:
        """Names of the metrics with new points, and of those with points that replaced earlier ones."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                block = file.read()
        except FileNotFoundError:
            return set(), set()
        block = block[: block.rfind(b"\n") + 1]  # a torn last line waits for its newline
        self._offset += len(block)
        self._hash.update(block)
        changed, rewritten = set(), set()
        for line in block.splitlines():
            try:
                point = json.loads(line)
                name, step, value = point["name"], int(point["step"]), float(point["value"])
                evaluations = None if point.get("gradient_evaluations") is None else int(point["gradient_evaluations"])
                time = datetime.fromtimestamp(point["time"], UTC).replace(tzinfo=None)
            except (ValueError, KeyError, TypeError):
                continue  # what a full disk left of a line; the writer closed it off and went on
            self.num_lines += 1
            changed.add(name)
            series = self.series.setdefault(name, Series())
            if not series.add(step, value, evaluations, time):
                rewritten.add(name)
        return changed, rewritten


def read_metrics(folder: Path) -> dict[str, Series]:
    """The metrics of a run by name."""
    metrics = Metrics(folder)
    metrics.refresh()
    return metrics.series


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty when the file is not there.

    Raises:
        ValueError: the file does not hold one JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); restore it, or move the folder away") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds {type(content).__name__}, one JSON object is expected")
    return content


def read_run(folder: Path) -> dict[str, Any]:
    """The content of run.json."""
    return read_json(folder / RUN)


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved config of a run.

    Raises:
        FileNotFoundError: the run has none.
        ValueError: the file does not hold one mapping.
    """
    path = folder / CONFIG
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not YAML ({reason}); restore it, or move the folder away") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds {type(content).__name__}, keys and values are expected")
    return content


def read_result(folder: Path) -> dict[str, Any]:
    """The result of a run, empty before there is one."""
    return read_json(folder / RESULT)


def read_output(folder: Path) -> str:
    """The captured output of a run, empty before there is some."""
    try:
        return (folder / OUTPUT).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def folders(root: str | Path) -> list[Path]:
    """The run folders under `root` in the order of their ids."""
    root = Path(root)
    names = [entry for entry in root.iterdir() if entry.name.isdecimal()] if root.is_dir() else []
    return sorted((entry for entry in names if (entry / RUN).is_file()), key=lambda entry: int(entry.name))


def find(run: int | str | Path, root: str | Path) -> Path:
    """The folder of a run.

    Args:
        run: its id, or a path to its folder.
        root: the folder that holds all runs.

    Raises:
        FileNotFoundError: there is no such run; the line names the nearest one.
    """
    for folder in (Path(root) / str(run), Path(run) if not isinstance(run, int) else Path(root)):
        if (folder / RUN).is_file():
            return folder
    known = [folder.name for folder in folders(root)]
    if not known:
        raise FileNotFoundError(f"run {str(run)!r}: there are no runs under {root}; give the path of a run folder")
    name = Path(str(run)).name
    if name.isdecimal():
        nearest = min(known, key=lambda one: abs(int(one) - int(name)))
    else:
        nearest = (difflib.get_close_matches(name, known, 1) or known[-1:])[0]
    raise FileNotFoundError(
        f"run {str(run)!r}: not under {root}; the nearest is {nearest}, there are {len(known)}: "
        f"{known[0]} to {known[-1]}"
    )


def is_running(folder: Path) -> bool:
    """Whether a process is writing this run now: it holds a lock on the folder as long as it lives."""
    return locks.is_held(folder / LOCK)
