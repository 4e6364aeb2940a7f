"""A set of runs as one HTML page that opens from disk, without script or network: tables, figures, origin."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.figure import Figure

from sacreddnn.report import figures, markup, style, tables
from sacreddnn.report.groups import NOT_COMPARED, not_trainings, trainings
from sacreddnn.report.layout import MISSING, words
from sacreddnn.run_config import flatten, is_free
from sacreddnn.tracking import runs
from sacreddnn.tracking.runs import Record

CURVES = (
    ("test/center/error", "gradient_evaluations"),
    ("test/center/error", "seconds"),
    ("train/center/error", "gradient_evaluations"),
    ("train/minibatch/loss", "gradient_evaluations"),
)


def run_page(records: Sequence[Record], title: str) -> str:
    """The page. The same runs give the same bytes.

    For each data set and network: the table of `tables.comparison`, curves and local-energy profiles of all that was
    recorded; then what the configs have in common and in what they differ, and the runs with what made them, as a table
    and as a CSV file inside the page.

    Args:
        records: in any order.
        title: plain text.

    Raises:
        ValueError: there are no runs.
    """
    if not records:
        raise ValueError("records: empty, give at least one recorded run")
    ordered = sorted(records, key=lambda one: one.run_id)
    kinds: dict[tuple[str, str], list[Record]] = {}
    for one in trainings(ordered):
        names = (str((one.config.get(part) or {}).get("name", "?")) for part in ("model", "dataset"))
        kinds.setdefault(tuple(names), []).append(one)  # type: ignore[arg-type]
    parts = [f'<p class="note">{len(ordered)} runs, {_dates(ordered)}.</p>\n']
    parts += [f'<p class="note">Of the tables and figures {note}</p>\n' for note in not_trainings(ordered)]
    for (model, dataset), members in sorted(kinds.items()):
        parts.append(f"<h2>{html.escape(style.title([dataset], [model]))}</h2>\n")
        parts.append(tables.to_html(tables.comparison(members, tables.common_sigmas(members))))
        parts += ['<div class="figures">\n', *(image(*one) for one in _figures(members)), "</div>\n"]
    parts += ["<h2>Configs</h2>\n", *_configs(ordered), "<h2>Runs</h2>\n", _runs(ordered)]
    return markup.page(title, "".join(parts))


def image(figure: Figure, text: str) -> str:
    """The figure as an element of a page, its PNG inside."""
    content = base64.b64encode(figures.render(figure, "png")).decode()
    return f'<img alt="{html.escape(text, quote=True)}" src="data:image/png;base64,{content}">\n'


def _figures(records: Sequence[Record]) -> Iterable[tuple[Figure, str]]:
    recorded = {name for one in records for name in one.series}
    for metric, axis in CURVES:
        if metric in recorded and (axis != "seconds" or all(one.start_time for one in records)):
            text = f"{style.metric_label(metric)} against {axis.replace('_', ' ')}"
            yield figures.learning_curves(records, metric, axis), text
    if any(one.info.get("local_energy") for one in records):
        yield figures.local_energy_profiles(records), "Local energy against the strength of the noise"


def _configs(records: Sequence[Record]) -> list[str]:
    """What all configs have in common, and the values of the other keys with the runs that have them."""
    flat = {one.run_id: flatten(dict(one.config)) for one in records}
    keys = sorted({key for config in flat.values() for key in config if not is_free(key, NOT_COMPARED)})
    common, differing = [], []
    for key in keys:
        by_value: dict[str, list[int]] = {}
        for run_id, config in flat.items():
            by_value.setdefault(str(config.get(key, MISSING)), []).append(run_id)
        if len(by_value) == 1:
            common.append((key, next(iter(by_value))))
        else:
            differing += [(key, value, tables.listed(ids)) for value, ids in by_value.items()]
    parts = []
    for heading, names, rows in (
        ("Different", ("key", "value", "runs"), differing),
        ("In common", ("key", "value"), common),
    ):
        if rows:
            columns = [words(name, column) for name, column in zip(names, zip(*rows, strict=True), strict=True)]
            parts.append(markup.layout_html(heading, columns, []))
    return parts


def _runs(records: Sequence[Record]) -> str:
    frame = runs.provenance(records).reset_index()
    frame.insert(1, "status", [one.status for one in records])
    short = frame.assign(commit=frame["commit"].str[:12])
    columns = [words(name.replace("_", " "), map(_cell, short[name]), left=name != "run_id") for name in short.columns]
    content = base64.b64encode(tables.to_csv(_everything(records)).encode()).decode()
    link = f'<p><a download="runs.csv" href="data:text/csv;base64,{content}">All of it as CSV</a></p>\n'
    return markup.layout_html("What made these numbers", columns, []) + link


def _everything(records: Sequence[Record]) -> pd.DataFrame:
    return (
        runs.frame(records).join(runs.provenance(records)[["config_hash", "commit", "machine", "device"]]).reset_index()
    )


def _cell(value: object) -> str:
    return MISSING if value is None or value is pd.NaT or value == "" else str(value)


def _dates(records: Sequence[Record]) -> str:
    days = sorted(f"{one.start_time:%Y-%m-%d}" for one in records if one.start_time)
    if not days:
        return "dates not recorded"
    return f"made on {days[0]}" if days[0] == days[-1] else f"made from {days[0]} to {days[-1]}"
