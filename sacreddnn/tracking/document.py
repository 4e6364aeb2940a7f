"""The run document of Sacred's MongoDB schema, computed from a run folder.

Keys that MongoDB or Omniboard's column paths would misread ('.', a leading '$') are written with the full-
width characters that MongoDB's manual suggests, and turned back when read.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import bson

from sacreddnn.tracking import folder as files
from sacreddnn.tracking.plain import capped

FORMAT = "MongoObserver-0.8.7"
MAX_BYTES = 15 * 2**20  # MongoDB's limit is 16 MiB; the rest is for what others add, as notes and tags

_SAFE = str.maketrans({".": "．", "\0": None})
_ORIGINAL = str.maketrans({"．": ".", "＄": "$"})


def safe_key(key: str) -> str:
    """The key as the database has it: ``local_energy/0.3`` becomes ``local_energy/0．3``."""
    key = key.translate(_SAFE)
    return "＄" + key[1:] if key.startswith("$") else key


@lru_cache(maxsize=10_000)  # of thousands of runs the keys are the same
def original_key(key: str) -> str:
    """The key that `safe_key` was given."""
    return key.translate(_ORIGINAL)


def encodable(value: Any) -> Any:
    """The plain value with safe keys, and integers beyond 64 bits as floats."""
    if isinstance(value, Mapping):
        return {safe_key(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [encodable(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value) if abs(value) < 2**1000 else str(value)
    return value


def decoded(value: Any) -> Any:
    """What `encodable` was given, but for huge integers."""
    if isinstance(value, dict):
        return {original_key(key): decoded(item) for key, item in value.items()}
    return [decoded(item) for item in value] if isinstance(value, list) else value


def utc(text: str | None) -> datetime | None:
    """The naive UTC datetime, as Sacred stores it, of an ISO 8601 time."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def document(folder: Path, num_points: int) -> dict[str, Any]:
    """The run document of a folder, without _id, ids of artifacts and `info.metrics`, which the mirror adds.

    Args:
        folder: the run folder.
        num_points: lines of metrics.jsonl, for `spool`.
    """
    run = files.read_run(folder)
    git = run.get("git") or {}
    experiment: dict[str, Any] = {"name": "sacreddnn", "base_dir": "", "mainfile": "", "dependencies": []}
    experiment |= run.get("experiment") or {}
    # Sacred stores the sources again for every run; the commit and the diff say the same
    experiment["sources"] = []
    experiment["repositories"] = (
        [{"url": git.get("url"), "commit": git["commit"], "dirty": git.get("dirty")}] if "commit" in git else []
    )
    return encodable(
        {
            "run_id": run["run_id"],
            "uuid": run["uuid"],
            "format": FORMAT,
            "experiment": experiment,
            "command": run.get("command", "main"),
            "argv": run.get("argv", []),
            "host": run.get("host", {}),
            "config": files.read_config(folder),
            "config_hash": run.get("config_hash"),
            "meta": run.get("meta", {}),
            "git": git,
            "versions": run.get("versions", {}),
            "status": run["status"],
            "start_time": utc(run["start_time"]),
            # Omniboard's duration is from the start to the last heartbeat
            "heartbeat": utc(run.get("stop_time") or run.get("heartbeat")),
            "stop_time": utc(run.get("stop_time")),
            "attempts": run["attempts"],
            "result": files.read_result(folder) or None,
            "info": run.get("info") or {},
            "captured_out": files.read_output(folder),
            "fail_trace": run.get("fail_trace"),
            "artifacts": run["artifacts"],
            "resources": run["resources"],
            "spool": {"folder": str(folder.resolve()), "lines": num_points, "digest": None},
        }
    )


def fit(entry: dict[str, Any], limit: int = MAX_BYTES) -> dict[str, Any]:
    """The document, its largest fields cut until it has at most `limit` bytes; the folder has them whole."""
    entry = dict(entry)
    while len(bson.encode(entry)) > limit:
        sizes = {key: len(bson.encode({key: value})) for key, value in entry.items() if key != "uuid"}
        largest = max(sizes, key=sizes.__getitem__)
        value = entry[largest]
        note = f"{sizes[largest]} bytes, kept in the run folder only"
        if isinstance(value, str):
            entry[largest] = capped(value, len(value) // 4)
        elif largest == "fail_trace":
            entry[largest] = [capped("".join(value), 100_000)]
        elif isinstance(value, list):
            entry[largest] = []
        elif set(value) == {"cut", "metrics"}:
            entry[largest] = {"cut": note, "metrics": value["metrics"][: len(value["metrics"]) // 2]}
        else:  # Omniboard finds the metrics of a run in info.metrics
            entry[largest] = {"cut": note, "metrics": value.get("metrics", [])}
    return entry
