"""The whole config of each cell, and which recorded runs have it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sacreddnn.command_line import named_configs
from sacreddnn.config import Config, check
from sacreddnn.experiment import FOLDERS
from sacreddnn.report.groups import NOT_COMPARED, Record
from sacreddnn.report.paper.expected import Expected
from sacreddnn.run_config import flatten, is_free
from sacreddnn.schema import ConfigError
from sacreddnn.yaml_file import read_yaml

TOY = "toy"  # tag of runs that only show that something runs; none of them stands behind a number


def resolve(names: Sequence[str], changes: Mapping[str, Any] | None = None) -> Config:
    """The config that `scripts/train.py with NAMES ..` trains.

    Args:
        names: of YAML files below configs/; what a later one sets replaces what an earlier one set.
        changes: nested, over all of them.

    Raises:
        ConfigError: an unknown name, or a config that cannot be run.
    """
    values: dict[str, Any] = Config().model_dump() | {"algorithm": {"name": "sgd"}}
    for name in names:
        if name not in (known := _named()):
            raise ConfigError(f"{name}: no such config below configs/, in {', '.join(FOLDERS)}")
        merge(values, read_yaml(known[name]))
    merge(values, changes or {})
    return check(values)


@cache
def _named() -> dict[str, Path]:
    return named_configs(FOLDERS)


def merge(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Set the nested changes in the nested values, in place."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict) and value:
            merge(values[key], value)
        else:
            values[key] = value


def recipe(expected: Expected, row: str, column: str) -> Config:
    """The config of a cell, with seed 0.

    Raises:
        ConfigError: one of its named configs is not there or cannot be run.
    """
    return resolve([row, *expected.columns[column].configs])


def identity(config: Config) -> str:
    """Digits that are equal for runs that differ in nothing but the seed and where things lie on a machine."""
    kept = {key: value for key, value in flatten(config.model_dump()).items() if not is_free(key, NOT_COMPARED)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def behind(records: Sequence[Record], config: Config, num_train: int) -> list[Record]:
    """The runs that may stand behind a cell: complete, of this whole config, on all images; one a seed, the newest.

    Args:
        records: any runs.
        config: of the cell.
        num_train: images that the run must have trained on; held-out images would show in the config.
    """
    wanted = identity(config)
    by_seed: dict[int, Record] = {}
    for record in sorted(records, key=lambda one: one.run_id):
        if record.status == "COMPLETED" and not is_toy(record) and record.info.get("num_train") == num_train:
            recorded = config_of(record)
            if recorded is not None and identity(recorded) == wanted:
                by_seed[recorded.seed] = record
    return [by_seed[seed] for seed in sorted(by_seed)]


def is_toy(record: Record) -> bool:
    """Whether a run says of itself that its numbers mean nothing."""
    return TOY in (record.config.get("tracking") or {}).get("tags", [])


def config_of(record: Record) -> Config | None:
    """The typed config of a run of scripts/train.py; None for what is none, or was recorded under another schema."""
    try:
        return check(dict(record.config))
    except ConfigError:
        return None
