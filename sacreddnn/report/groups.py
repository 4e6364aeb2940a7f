"""Which runs may be averaged: those whose configs differ in nothing but the seed.

Two runs of one algorithm with different learning rates are two rows and two lines, named by what differs. A config
that was run twice with one seed counts once, and runs that did not complete are never averaged with those that did.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol, TypeVar

import pandas as pd

from sacreddnn.config import Config
from sacreddnn.report import style
from sacreddnn.run_config import flatten

# Config keys that do not make a run another one: the seed, and where things lie on a machine.
NOT_COMPARED = ("seed", "dataset.root", "dataset.download", *Config.free_on_resume)


class Record(Protocol):
    """What the report reads of a run; `tracking.runs.Record` has it."""

    @property
    def run_id(self) -> int:
        """Its number."""

    @property
    def uuid(self) -> str:
        """The same in every database and on disk."""

    @property
    def status(self) -> str:
        """RUNNING, COMPLETED, INTERRUPTED or FAILED."""

    @property
    def start_time(self) -> datetime | None:
        """Naive UTC."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Nested."""

    @property
    def result(self) -> Mapping[str, Any]:
        """The summary, one level: names to numbers and strings."""

    @property
    def info(self) -> Mapping[str, Any]:
        """Anything else; the profile is `info["local_energy"]`."""

    @property
    def metrics(self) -> pd.DataFrame:
        """One row a point: name, step, value, gradient_evaluations, time."""


@dataclass(frozen=True)
class Group:
    """Runs of one config, one per seed, in the order of their seeds.

    Attributes:
        label: the algorithm for people, and what tells this config from others of the same algorithm.
        algorithm: key of the look in `style`.
        dataset: name in the config.
        model: name in the config.
        records: the runs that completed; all of them when none did.
        left_out: (run id, why it is not among `records`).
    """

    label: str
    algorithm: str
    dataset: str
    model: str
    records: tuple[Record, ...]
    left_out: tuple[tuple[int, str], ...]

    @property
    def seeds(self) -> list[int]:
        """One per record."""
        return [seed(record) for record in self.records]


def named_apart(groups: Sequence[Group]) -> list[Group]:
    """The groups with labels that tell them apart where nothing else does: with data set and model if those differ."""
    parts = [names for names in ("model", "dataset") if len({getattr(one, names) for one in groups}) > 1]
    words = [" on ".join(style.display_name(getattr(one, name)) for name in parts) for one in groups]
    return [
        replace(one, label=f"{one.label}, {word}") if word else one for one, word in zip(groups, words, strict=True)
    ]


AnyRecord = TypeVar("AnyRecord", bound=Record)


def is_training(record: Record) -> bool:
    """Whether a record is of a training: it has an algorithm, which measurements of networks have not."""
    return isinstance(record.config.get("algorithm"), Mapping)


def trainings(records: Iterable[AnyRecord]) -> list[AnyRecord]:
    """The records of trainings, in their order."""
    return [record for record in records if is_training(record)]


def not_trainings(records: Iterable[Record]) -> list[str]:
    """The note that says how many records are in no group because they are of no training; none if all are."""
    number = sum(not is_training(record) for record in records)
    which = "1 record is" if number == 1 else f"{number} records are"
    return [f"{which} left out: of no training, as what scripts/flatness.py measures."] if number else []


def seed(record: Record) -> int:
    """The seed of a run, 0 where the config has none (the default of the config)."""
    return int(record.config.get("seed", 0))


def group(records: Iterable[Record], *, average_seeds: bool = True) -> list[Group]:
    """The trainings, grouped by config, in an order that does not depend on the order of the records.

    Args:
        records: any number of runs of any configs; those that are no trainings are in no group.
        average_seeds: False puts every run in a group of its own.

    Raises:
        ValueError: there are no runs, or none of a training.
    """
    given = sorted(records, key=lambda record: record.run_id)
    if not given:
        raise ValueError("records: empty, give at least one recorded run")
    if not (ordered := trainings(given)):
        raise ValueError(f"records: none of the {len(given)} is of a training; scripts/train.py makes those")
    members: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in ordered:
        identity = tuple(sorted((key, repr(value)) for key, value in _compared(record).items()))
        members[(identity, None if average_seeds else record.run_id)].append(record)
    labels = _labels([runs[0] for runs in members.values()])
    groups = [_make(label, runs) for label, runs in zip(labels, members.values(), strict=True)]
    return sorted(groups, key=lambda g: (g.dataset, g.model, style.algorithm_rank(g.algorithm), g.records[0].run_id))


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error of independent values; NaN for what there are too few of.

    >>> mean_and_error([1.0, 2.0, 3.0])[0], round(mean_and_error([1.0, 2.0, 3.0])[1], 4)
    (2.0, 0.5774)
    """
    if not values:
        return math.nan, math.nan
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.fmean(values), error


def paired(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean of paired differences, its standard error, and the two-sided p-value of the t-test that it is zero.

    >>> [round(x, 4) for x in paired([1.0, 2.0, 3.0])]
    [2.0, 0.5774, 0.0742]
    """
    mean, error = mean_and_error(list(differences))
    if not error > 0:  # fewer than two, or all equal: no test
        return mean, error, math.nan
    from scipy import stats  # a third of a second, for this alone

    return mean, error, float(2 * stats.t.sf(abs(mean) / error, len(differences) - 1))


def _compared(record: Record) -> dict[str, Any]:
    """The config with dotted keys, without those that do not make a run another one."""
    return {
        key: value
        for key, value in flatten(dict(record.config)).items()
        if not any(key == free or key.startswith(f"{free}.") for free in NOT_COMPARED)
    }


def _make(label: str, runs: list[Record]) -> Group:
    completed = [run for run in runs if run.status == "COMPLETED"]
    left_out = [(run.run_id, run.status) for run in runs if completed and run.status != "COMPLETED"]
    by_seed: dict[int, Record] = {}
    for run in completed or runs:
        if (earlier := by_seed.get(seed(run))) is not None:
            left_out.append((earlier.run_id, f"repeated by run {run.run_id} with the same config and seed"))
        by_seed[seed(run)] = run
    config = runs[0].config
    return Group(
        label=label,
        algorithm=style.algorithm_key(config),
        dataset=str(config.get("dataset", {}).get("name", "?")),
        model=str(config.get("model", {}).get("name", "?")),
        records=tuple(by_seed[key] for key in sorted(by_seed)),
        left_out=tuple(sorted(left_out)),
    )


def _labels(records: list[Record]) -> list[str]:
    """A label per record: the algorithm, and the config values in which it differs from others of the same kind.

    A kind is an algorithm on a data set and model: values in which different algorithms differ are no part of a label.
    """
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    kinds = []
    for record in records:
        names = (str(record.config.get(part, {}).get("name")) for part in ("dataset", "model"))
        kinds.append((style.algorithm_name(record.config), *names))
        alike[kinds[-1]].append(_compared(record))
    labels = []
    for record, kind in zip(records, kinds, strict=True):
        configs = alike[kind]
        keys = sorted({key for config in configs for key in config})
        differing = [key for key in keys if len({repr(config.get(key)) for config in configs}) > 1]
        own = _compared(record)
        words = [f"{_short(key, differing)} {_value(own.get(key))}" for key in differing]
        labels.append(", ".join([kind[0], *words]))
    return labels


def _short(key: str, among: list[str]) -> str:
    """The last part of a dotted key, or all of it where another key ends alike."""
    last = key.rsplit(".", 1)[-1]
    return (key if [other.rsplit(".", 1)[-1] for other in among].count(last) > 1 else last).replace("_", " ")


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if value is None else str(value)
