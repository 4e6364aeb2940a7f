"""Which runs: words like `training.lr<0.1`, `algorithm.name=rsgd`, `tag=demo`, `start_time>=2026-11-01`.

A word is KEY, one of = != < <= > >= ~ (~: contains), VALUE. Keys, in the order in which they are looked for:

status, run_id, hash (the config's, or its beginning), tag, commit, host
start_time, stop_time                                  UTC, compared as written: 2026-11-24 or 2026-11-24T19:30
a name in the result                                   test/center/error, local_energy
a dotted key of the config                             training.lr, algorithm.name

Values are read as YAML, so `training.lr=0.10` finds 0.1 and `model.activation=null` runs without one; < <= > >= compare
numbers or text. Records read from the database and from disk are treated alike, by this one piece of code.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import yaml

from sacreddnn.tracking.plain import flat
from sacreddnn.tracking.runs import Record

WORD = re.compile(r"^(?P<key>[^=!<>~]+?)\s*(?P<sign>!=|<=|>=|=|<|>|~)\s*(?P<value>.*)$", re.DOTALL)
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
ORDERED = (int, float, str)  # of what there is a smaller and a larger
Test = Callable[[dict[str, Any]], bool]


def select(records: Iterable[Record], words: Sequence[str]) -> list[Record]:
    """The records that meet all conditions.

    Raises:
        ValueError: a word that is no condition, a key that none of the records has, or a value that is neither larger
            nor smaller than another.
    """
    records = list(records)
    if not words or not records:
        return records
    tables = [_values(record) for record in records]
    known = {key for table in tables for key in table}
    tests = [_test(word, known) for word in words]
    return [r for r, table in zip(records, tables, strict=True) if all(test(table) for test in tests)]


def _values(record: Record) -> dict[str, Any]:
    """Everything that can be asked for, by name."""
    return {
        **flat(record.config, "."),
        **record.result,
        "status": record.status,
        "run_id": record.run_id,
        "hash": record.config_hash,
        "tag": record.config.get("tracking", {}).get("tags", []),
        "commit": record.git.get("commit", ""),
        "host": record.host.get("hostname", ""),
        "start_time": record.start_time,
        "stop_time": record.stop_time,
    }


def _test(word: str, known: set[str]) -> Test:
    match = WORD.match(word)
    if match is None:
        raise ValueError(f"{word!r}: is no condition; write KEY=VALUE, with = != < <= > >= or ~ (contains)")
    key, sign, text = match["key"].strip(), match["sign"], match["value"].strip()
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        raise ValueError(f"{key}: no run has it" + (f", did you mean {near[0]}?" if near else ""))
    if key in ("hash", "commit") and sign in ("=", "!="):
        return lambda table: str(table.get(key, "")).startswith(text) == (sign == "=")
    value = text if key in ("status", "hash", "commit", "host", "tag") else _read(text)
    ordered = sign not in ("=", "!=", "~")
    if ordered and key not in ("start_time", "stop_time") and not isinstance(value, ORDERED):
        kind = type(value).__name__
        raise ValueError(f"{word!r}: {sign} compares numbers or text, not {kind} ({text}); use = or !=")

    def holds(table: dict[str, Any]) -> bool:
        if key not in table:
            return sign == "!="
        own = table[key]
        if isinstance(own, datetime):
            return SIGNS[sign](own.isoformat()[: len(text)], text) if sign in SIGNS else text in own.isoformat()
        if sign == "~":
            return text in str(own)
        if isinstance(own, list) and not isinstance(value, list):
            return (value in own) == (sign == "=") if sign in ("=", "!=") else False
        if ordered and (not isinstance(own, ORDERED) or isinstance(own, str) != isinstance(value, str)):
            return False
        return SIGNS[sign](own, value)

    return holds


def _read(text: str) -> Any:
    """The value as YAML has it; 1e-3, which YAML 1.1 reads as text, is a number too."""
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # ValueError: it looks like a date, and is none
        return text
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
