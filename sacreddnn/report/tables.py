"""Recorded runs side by side: generalization, flatness and cost of each algorithm, averaged over seeds.

>>> frame = comparison(records)             # doctest: +SKIP
>>> print(to_text(frame))                   # doctest: +SKIP
>>> Path("table.csv").write_text(to_csv(frame))  # doctest: +SKIP

Every number is a number of the runs; one that no run holds is missing (NaN in the frame, "-" in print).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from sacreddnn.report import style
from sacreddnn.report.groups import Group, Record, group, mean_and_error, not_trainings
from sacreddnn.report.layout import Column, layout_markdown, layout_text, numbers, words
from sacreddnn.report.markup import layout_html

_RESULTS = {  # column of the frame: name in the result of a run
    "test_error": "test/center/error",
    "train_error": "train/center/error",
    "gradient_evaluations": "gradient_evaluations",
    "train_seconds": "train_seconds",
    "measure_seconds": "measure_seconds",
}


def comparison(
    records: Iterable[Record], sigmas: Sequence[float] = (0.1, 0.3, 0.5), *, average_seeds: bool = True
) -> pd.DataFrame:
    """One row per config with means over seeds, or one row per run.

    Columns: algorithm, dataset, model, run_ids, seeds, runs (how many), test_error and train_error (percent),
    local_energy_SIGMA (rise of the error in percentage points), each followed by its standard error in a column that
    ends in _se; gradient_evaluations; train_seconds, measure_seconds. The standard error is that of the mean over
    seeds. The local energy of a single run has that of its draws of the noise, its other numbers none (NaN).
    `frame.attrs["notes"]` says which, how the local energy was measured, and which runs are left out.

    Args:
        records: runs, in any order; the table does not depend on it.
        sigmas: noise strengths of the local energy, all of them measured in every run that has a profile.
        average_seeds: False: one row per run.

    Raises:
        ValueError: no records, or a sigma that was not measured.
    """
    records = list(records)
    groups = group(records, average_seeds=average_seeds)
    frame = pd.DataFrame([_row(one, sigmas) for one in groups])
    frame["gradient_evaluations"] = frame["gradient_evaluations"].round().astype("Int64")
    frame.attrs["notes"] = _notes(groups) + not_trainings(records)
    return frame


def to_text(frame: pd.DataFrame, width: int = 100) -> str:
    """The table for a terminal, with its notes.

    Args:
        frame: of `comparison`.
        width: characters a line; to keep to it columns are set closer, then long labels wrapped.
    """
    return layout_text(_heading(frame), _columns(frame), _printed_notes(frame), width)


def to_markdown(frame: pd.DataFrame) -> str:
    """The table in GitHub's Markdown, with its notes."""
    return layout_markdown(_heading(frame), _columns(frame), _printed_notes(frame))


def to_html(frame: pd.DataFrame) -> str:
    """The table as an element of a page, with its notes."""
    return layout_html(_heading(frame), _columns(frame), _printed_notes(frame))


def to_csv(frame: pd.DataFrame) -> str:
    """All columns of the frame in full precision; a missing value is an empty field."""
    return frame.to_csv(index=False, lineterminator="\n")


def _row(group: Group, sigmas: Sequence[float]) -> dict[str, Any]:
    results = {name: _mean(group, key) for name, key in _RESULTS.items()}
    row: dict[str, Any] = {
        "algorithm": group.label,
        "dataset": group.dataset,
        "model": group.model,
        "run_ids": listed([record.run_id for record in group.records]),
        "seeds": listed(group.seeds),
        "runs": len(group.records),
    }
    for name in ("test_error", "train_error"):
        row[name], row[f"{name}_se"] = results[name]
    for sigma in sigmas:
        row[f"local_energy_{sigma:g}"], row[f"local_energy_{sigma:g}_se"] = local_energy(group, sigma)
    return row | {name: results[name][0] for name in ("gradient_evaluations", "train_seconds", "measure_seconds")}


def local_energy(group: Group, sigma: float, quantity: str = "error") -> tuple[float, float]:
    """Local energy of a group at one sigma with its standard error: over seeds, or over draws for a single run.

    Args:
        group: its runs without a profile are passed over.
        sigma: a noise strength.
        quantity: "error" (percentage points) or "loss" (nats).

    Raises:
        ValueError: sigma was not measured in one of the runs that have a profile.
    """
    values, errors = [], []
    for record in group.records:
        if not (profile := record.info.get("local_energy")):
            continue
        measured = profile["sigmas"]
        at = [i for i, one in enumerate(measured) if math.isclose(one, sigma, rel_tol=1e-9, abs_tol=1e-12)]
        if not at:
            raise ValueError(
                f"sigmas: {sigma:g} was not measured in run {record.run_id}, "
                f"measured: {', '.join(f'{one:g}' for one in measured)}; use some of these"
            )
        if (value := number(profile[quantity][at[0]])) is not None:
            values.append(value)
            errors.append(number(profile.get(f"{quantity}_se", [None] * len(measured))[at[0]]))
    mean, error = mean_and_error(values)
    if len(values) == 1 and len(group.records) == 1 and errors[0] is not None:
        error = errors[0]
    return mean, error


def number(value: Any) -> float | None:
    """The value as a finite float, None for what is missing (absent, NaN, infinite)."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _mean(group: Group, key: str) -> tuple[float, float]:
    values = [number(record.result.get(key)) for record in group.records]
    return mean_and_error([value for value in values if value is not None])


def common_sigmas(records: Iterable[Record], wanted: Sequence[float] = (0.1, 0.3, 0.5)) -> list[float]:
    """Those of the wanted noise strengths that were measured in every run with a profile."""
    profiles = [record.info["local_energy"]["sigmas"] for record in records if record.info.get("local_energy")]
    return [s for s in wanted if profiles and all(any(math.isclose(s, one) for one in each) for each in profiles)]


def listed(numbers: Sequence[int]) -> str:
    """Integers with ranges, as "0-4 7"."""
    ordered, parts = sorted(numbers), []
    while ordered:
        end = next((i for i in range(1, len(ordered)) if ordered[i] != ordered[0] + i), len(ordered))
        parts.append(f"{ordered[0]}-{ordered[end - 1]}" if end > 2 else " ".join(map(str, ordered[:end])))
        ordered = ordered[end:]
    return " ".join(parts)


def _notes(groups: list[Group]) -> list[str]:
    """What the numbers of the table are, and what is not in it."""
    several = [one for one in groups if len(one.records) > 1]
    single = [one for one in groups if len(one.records) == 1]
    notes = []
    if several:
        seeds = dict.fromkeys(listed(one.seeds) for one in several)
        which = f"over the runs of a row, one per seed (seeds {' / '.join(seeds)})"
        notes.append(f"±: standard error of the mean {which}.")
    if any(one.records[0].info.get("local_energy") for one in single):
        which = " of a single run" if several else ""
        notes.append(
            f"± of the local energy{which}: standard error over the draws of its noise, not over seeds; "
            "the other numbers of a single run have no error bar."
        )
    notes += _measured(groups)
    for one in groups:
        notes += [f"Run {run_id} is left out: {reason}." for run_id, reason in one.left_out]
        unfinished = [record for record in one.records if record.status != "COMPLETED"]
        notes += [f"Run {run.run_id} did not complete: {run.status}." for run in unfinished]
        notes += _missing(one)
    return notes


def _measured(groups: list[Group]) -> list[str]:
    """How the local energy was measured; once, or for each way in which it was."""
    ways: dict[str, list[int]] = {}
    for record in (record for one in groups for record in one.records):
        if profile := record.info.get("local_energy"):
            ways.setdefault(_way(profile, record.info), []).append(record.run_id)
    text = (
        "Local energy: rise of the {} error in percentage points when every weight w becomes w + σ z w, "
        "z standard normal"
    )
    where = {way: f" (runs {listed(ids)})" if len(ways) > 1 else "" for way, ids in ways.items()}
    return [f"{text.format(way.split('|')[0])}; {way.split('|')[1]}{where[way]}." for way in ways]


def _way(profile: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    """Split and description, joined by a bar; batch norm only where the network has it."""
    parts = []
    if profile.get("num_samples") is not None:
        parts.append(f"{profile['num_samples']:,} draws")
    if profile.get("num_examples") is not None:
        parts.append(f"{profile['num_examples']:,} images")
    parts += [f"{profile['view']} view"] if profile.get("view") else []
    if profile.get("batch_norm") and "none" not in (profile["batch_norm"], info.get("batch_norm")):
        parts.append(f"batch-norm statistics {profile['batch_norm']}")
    return f"{profile.get('split', 'train')}|{', '.join(parts) or 'details not recorded'}"


def _missing(group: Group) -> list[str]:
    """A mean over fewer runs than the row says is said so."""
    if len(group.records) == 1:
        return []
    present = {
        name.replace("_", " "): sum(number(record.result.get(key)) is not None for record in group.records)
        for name, key in _RESULTS.items()
    }
    present["local energy"] = sum(bool(record.info.get("local_energy")) for record in group.records)
    num = len(group.records)
    return [
        f"{group.label}: {name} of {count} of {num} runs only." for name, count in present.items() if 0 < count < num
    ]


def _heading(frame: pd.DataFrame) -> str:
    return style.title(list(frame["dataset"]), list(frame["model"]))


def _printed_notes(frame: pd.DataFrame) -> list[str]:
    return list(frame.attrs.get("notes", []))


def _columns(frame: pd.DataFrame) -> list[Column]:
    """The columns in print: what is equal in all rows stands in the heading, standard errors beside their values."""
    columns = [words("algorithm", frame["algorithm"])]
    for part in ("dataset", "model"):
        if frame[part].nunique() > 1:
            columns.append(words(part, [style.display_name(name) for name in frame[part]]))
    if (frame["runs"] == 1).all():
        columns += [words("run", frame["run_ids"], left=False), words("seed", frame["seeds"], left=False)]
    else:
        columns.append(words("runs", frame["runs"].astype(str), left=False))
    for name in ("test", "train"):
        value = f"{name}_error"
        columns.append(numbers(f"{name} error (%)", "error (%)", name, frame[value], frame[f"{value}_se"]))
    for name in frame.columns:
        if name.startswith("local_energy_") and not name.endswith("_se"):
            sigma = f"σ = {name.removeprefix('local_energy_')}"
            full = f"local energy at {sigma} (points)"
            columns.append(numbers(full, "local energy (points)", sigma, frame[name], frame[f"{name}_se"]))
    columns.append(numbers("gradient evaluations", "gradient", "evals", frame["gradient_evaluations"]))
    columns.append(numbers("training seconds", "training", "seconds", frame["train_seconds"]))
    return columns
