"""Two recorded runs side by side: what differs in their configs and origin, and their results."""

from __future__ import annotations

import math

import pandas as pd

from sacreddnn.report import tables
from sacreddnn.report.layout import MISSING, Column, words
from sacreddnn.run_config import flatten
from sacreddnn.tracking.runs import Record


def config_difference(a: Record, b: Record) -> pd.DataFrame:
    """One row a config key with different values: key, a, b, in YAML's words; a key that is not there is "-"."""
    first, second = flatten(dict(a.config)), flatten(dict(b.config))
    keys = [key for key in {**first, **second} if not _equal(first, second, key)]
    rows = [{"key": key, "a": _shown(first, key), "b": _shown(second, key)} for key in sorted(keys)]
    return pd.DataFrame(rows, columns=["key", "a", "b"])


def origin_difference(a: Record, b: Record) -> pd.DataFrame:
    """The same for commit, machine, device and precision."""
    rows = []
    for name, (first, second) in {
        "commit": (_commit(a), _commit(b)),
        "machine": (a.host.get("cpu", MISSING), b.host.get("cpu", MISSING)),
        "device": (a.info.get("device_name", MISSING), b.info.get("device_name", MISSING)),
        "precision": (a.info.get("precision", MISSING), b.info.get("precision", MISSING)),
        "status": (a.status, b.status),
    }.items():
        if first != second:
            rows.append({"key": name, "a": first, "b": second})
    return pd.DataFrame(rows, columns=["key", "a", "b"])


def result_difference(a: Record, b: Record) -> pd.DataFrame:
    """One row a number that one of them has in its result: key, a, b, difference (b - a); NaN where missing."""
    rows = []
    for key in sorted({*a.result, *b.result}):
        first, second = tables.number(a.result.get(key)), tables.number(b.result.get(key))
        if first is not None or second is not None:
            x, y = (math.nan if value is None else value for value in (first, second))
            rows.append({"key": key, "a": x, "b": y, "difference": y - x})
    return pd.DataFrame(rows, columns=["key", "a", "b", "difference"])


def columns(frame: pd.DataFrame, a: Record, b: Record) -> list[Column]:
    """A frame of this file for print."""
    names = {"key": "key", "a": f"run {a.run_id}", "b": f"run {b.run_id}", "difference": "difference"}
    return [words(names[name], map(_printed, frame[name]), left=name == "key") for name in frame.columns]


def _printed(value: object) -> str:
    if isinstance(value, float):
        return MISSING if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _commit(record: Record) -> str:
    commit = record.git.get("commit", MISSING)[:12]
    return f"{commit} with changes" if record.git.get("dirty") else commit


def _equal(first: dict[str, object], second: dict[str, object], key: str) -> bool:
    return key in first and key in second and first[key] == second[key]


def _shown(values: dict[str, object], key: str) -> str:
    if key not in values:
        return MISSING
    value = values[key]
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
