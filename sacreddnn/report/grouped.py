"""Recorded runs grouped by any config keys: any results, as means with standard errors over the runs of a row.

>>> frame = grouped(records, ["algorithm.name", "training.lr"], ["test/center/error"])  # doctest: +SKIP
"""

from __future__ import annotations

import difflib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from sacreddnn.report import style, tables
from sacreddnn.report.groups import NOT_COMPARED, Group, Record, group, mean_and_error, not_trainings, paired, seed
from sacreddnn.report.layout import MISSING, Column, numbers, words
from sacreddnn.run_config import flatten, is_free

# Beside the config's own keys: names for people, of which an algorithm's tells variants apart.
NAMES = ("dataset", "model", "algorithm")
METRICS = ("test/center/error", "train/center/error", "local_energy", "gradient_evaluations")


def grouped(
    records: Iterable[Record],
    by: Sequence[str] = NAMES,
    metrics: Sequence[str] = ("test/center/error",),
    against: str | None = None,
) -> pd.DataFrame:
    """One row for each combination of values of the keys that completed runs have.

    Columns: the keys; runs (how many); run_ids; each metric, and its standard error (NaN for one run) in a column that
    ends in _se; with a baseline also difference, difference_se and p, of the first metric, seed by seed, see
    `groups.paired`. `frame.attrs["notes"]` says in what else the runs of a row differ, and which are left out: those
    that did not complete, and all but the newest of one config and seed.

    Args:
        records: runs, in any order; the table does not depend on it.
        by: dotted config keys, or "dataset", "model", "algorithm".
        metrics: names in the result of a run, or of recorded points, of which the last one counts.
        against: the baseline: what its row has for one of the keys, such as "SGD" for "algorithm".

    Raises:
        ValueError: no completed runs; a key or metric that none of them has; none or several rows of the baseline.
    """
    records = list(records)
    groups = group(records)
    kept = [one for one in groups if one.records[0].status == "COMPLETED"]
    if not kept:
        raise ValueError("records: none of the runs completed; `report.py runs` lists them")
    flat = {run.run_id: flatten(dict(run.config)) for one in kept for run in one.records}
    _check_known("by", by, {*NAMES, *(key for keys in flat.values() for key in keys)})
    runs = [run for one in kept for run in one.records]
    results = {run.run_id: _results(run) for run in runs}
    _check_known("metrics", metrics, {name for result in results.values() for name in result})
    members: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for run in runs:
        members[tuple(_shown(_value(run, key, flat[run.run_id])) for key in by)].append(run)
    rows = [_row(by, key, runs, metrics, results) for key, runs in members.items()]
    if against is not None:
        values = {
            key: [(seed(run), results[run.run_id][metrics[0]]) for run in runs if metrics[0] in results[run.run_id]]
            for key, runs in members.items()
        }
        for row, differences in zip(rows, _differences(values, against), strict=True):
            row |= differences
    rows.sort(key=lambda row: [_order(row[key]) for key in by])
    frame = pd.DataFrame(rows)
    frame.attrs["notes"] = _notes(by, members.values(), flat, groups) + not_trainings(records)
    if against is not None:
        name = _label(metrics[0])
        note = f"difference: {name} minus that of {against}, over the seeds that both have; p: two-sided paired t-test."
        frame.attrs["notes"].insert(1, note)
    return frame


def columns(frame: pd.DataFrame, by: Sequence[str], metrics: Sequence[str]) -> list[Column]:
    """The frame for print; where it has a standard error, beside its value."""
    return [
        *(words(key, frame[key]) for key in by),
        words("runs", frame["runs"].astype(str), left=False),
        *(_metric(frame, name) for name in metrics),
        *_difference_columns(frame),
    ]


def _difference_columns(frame: pd.DataFrame) -> list[Column]:
    if "difference" not in frame:
        return []
    shown = ["" if math.isnan(p) else f"{p:.3f}" if p >= 0.001 else "<0.001" for p in frame["p"]]
    difference = numbers("difference", "", "difference", frame["difference"], frame["difference_se"])
    return [difference, words("p", shown, left=False)]


def _differences(values: Mapping[tuple[str, ...], list[tuple[int, float]]], against: str) -> list[dict[str, float]]:
    """What `paired` says of each row: of (seed, value) pairs against those of the row that has `against` in its key."""
    baselines = [key for key in values if against in key]
    if len(baselines) != 1:
        rows = ", ".join(sorted(" ".join(key) for key in values))
        raise ValueError(f"against: {against!r} is in {len(baselines)} rows, must be in one of: {rows}")
    for key, pairs in values.items():
        if len(dict(pairs)) < len(pairs):
            raise ValueError(f"against: runs of the row {' '.join(key)} have equal seeds; name what differs in --by")
    baseline = dict(values[baselines[0]])
    made = []
    for key, pairs in values.items():
        shared = [] if key == baselines[0] else [value - baseline[s] for s, value in sorted(pairs) if s in baseline]
        made.append(dict(zip(("difference", "difference_se", "p"), paired(shared), strict=True)))
    return made


def _label(name: str) -> str:
    return style.metric_label(name) if "/" in name else name.replace("_", " ")


def _metric(frame: pd.DataFrame, name: str) -> Column:
    label = _label(name)
    whole = bool((frame[name].dropna() % 1 == 0).all()) and not frame[f"{name}_se"].gt(0).any()
    if whole:
        return numbers(label, "", label, frame[name].astype("Int64"))
    return numbers(label, "", label, frame[name], frame[f"{name}_se"])


def _results(run: Record) -> dict[str, float]:
    """Numbers of a run by name: the last of all points, and over these the summary."""
    found = {}
    if not run.metrics.empty:
        last = run.metrics.sort_values("step", kind="stable").groupby("name")["value"].last()
        found = {str(name): float(value) for name, value in last.items()}
    summary = {name: tables.number(value) for name, value in run.result.items()}
    return found | {name: value for name, value in summary.items() if value is not None}


def _value(run: Record, key: str, flat: dict[str, Any]) -> Any:
    if key == "algorithm":
        return style.algorithm_name(run.config)
    if key in NAMES:
        return style.display_name(str(flat.get(f"{key}.name", MISSING)))
    return flat.get(key, MISSING)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if value is None else str(value)


def _order(shown: str) -> tuple[int, float, str]:
    """Numbers by size before words by letters."""
    try:
        return 0, float(shown), ""
    except ValueError:
        return 1, 0.0, shown


def _row(
    by: Sequence[str],
    key: tuple[str, ...],
    runs: list[Record],
    metrics: Sequence[str],
    results: dict[int, dict[str, float]],
) -> dict[str, Any]:
    ids = sorted(run.run_id for run in runs)
    row: dict[str, Any] = dict(zip(by, key, strict=True))
    row |= {"runs": len(runs), "run_ids": " ".join(map(str, ids))}
    for name in metrics:
        row[name], row[f"{name}_se"] = mean_and_error([results[i][name] for i in ids if name in results[i]])
    return row


def _notes(by: Sequence[str], members: Iterable[list[Record]], flat: dict[int, Any], groups: list[Group]) -> list[str]:
    seeds: set[int] = set()
    differing: set[str] = set()
    several = False
    for runs in members:
        seeds |= {seed(run) for run in runs}
        several |= len(runs) > 1
        tables_ = [flat[run.run_id] for run in runs]
        for key in {key for one in tables_ for key in one}:
            if not is_free(key, NOT_COMPARED) and len({repr(one.get(key)) for one in tables_}) > 1:
                differing.add(key)
    notes = []
    if several:
        notes.append(
            f"±: standard error of the mean over the runs of a row (seeds {', '.join(map(str, sorted(seeds)))})."
        )
    if differing:
        notes.append(f"Runs of one row differ in {', '.join(sorted(differing))} too: the means are over these as well.")
    for one in groups:
        left = [*one.left_out, *((run.run_id, run.status) for run in one.records if run.status != "COMPLETED")]
        notes += [f"Run {run_id} is left out: {reason}." for run_id, reason in left]
    return notes


def _check_known(what: str, names: Sequence[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"
            raise ValueError(f"{what}: {name!r} is in none of the runs{hint}")
