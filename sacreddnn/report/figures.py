"""Figures of recorded runs: learning curves on the axis of equal cost, and local-energy profiles.

>>> save(learning_curves(records), "results/demo/learning_curves")              # doctest: +SKIP
>>> save(local_energy_profiles(records), "results/demo/local_energy_profiles")  # doctest: +SKIP

One line per config: the mean over its seeds with a band of one standard error, or a single run as it is. The same
records give the same bytes, whatever the settings of the reader's matplotlib.
"""

from __future__ import annotations

import difflib
import functools
import io
import logging
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from sacreddnn.report import style
from sacreddnn.report.groups import Group, Record, group, mean_and_error, named_apart
from sacreddnn.report.labels import label_lines
from sacreddnn.report.tables import local_energy

# It tells at length which glyphs it keeps, wherever the root logger is at INFO, as Sacred sets it.
logging.getLogger("fontTools").setLevel(logging.WARNING)
AXES = {
    "gradient_evaluations": "Gradient evaluations (minibatches)",
    "epochs": "Epochs (passes of one network at the same cost)",
    "seconds": "Seconds since the start of the run, evaluation and pauses included",
}
# An entry of None is left out of the file: no date, no version.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_SPAN_OF_LOG = 8.0  # largest over smallest value from which a logarithmic axis shows more
P = ParamSpec("P")


@dataclass(frozen=True)
class Line:
    """What is drawn of a group: y with its standard error (NaN where there is none) against x."""

    group: Group
    x: list[float]
    y: list[float]
    error: list[float]


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """The function under our own settings: matplotlib's defaults and `style.FIGURE`, not the reader's."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(_settings()):
            figure = draw(*args, **kwargs)
            # Laid out once and for all: every file of it then shows the same picture.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        return figure

    return styled


@styled
def learning_curves(
    records: Iterable[Record],
    metric: str = "test/center/error",
    axis: str = "gradient_evaluations",
    *,
    average_seeds: bool = True,
) -> Figure:
    """A metric against gradient evaluations, the cost that all algorithms share, or against epochs or seconds.

    The mean over seeds covers the steps that all its runs have reached. The value axis is logarithmic where the
    values are positive and span more than a factor of eight.

    Args:
        records: runs, in any order; those without the metric are passed over.
        metric: its name, ``split/network/quantity``.
        axis: a key of `AXES`; the values of several seeds are averaged on it too.
        average_seeds: False: a line a run.

    Raises:
        ValueError: no records, or none with the metric; the line says which metrics there are. Or another axis.
    """
    if axis not in AXES:
        raise ValueError(f"axis: {axis!r} is not allowed, allowed: {', '.join(AXES)}")
    groups = _groups(records, average_seeds)
    lines = [line for line in (curve(one, metric, axis) for one in groups) if line.x]
    if not lines:
        raise ValueError(_unknown_metric(metric, groups))
    figure, axes = _new(lines)
    values = [value for line in lines for value in line.y if math.isfinite(value)]
    _draw(axes, lines, markers=max(len(line.x) for line in lines) <= 40)
    if values and min(values) > 0 and max(values) > _SPAN_OF_LOG * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel(AXES[axis])
    axes.set_ylabel(style.metric_label(metric))
    label_lines(axes, [one.group.label for one in lines])
    return figure


@styled
def local_energy_profiles(records: Iterable[Record], quantity: str = "error", *, average_seeds: bool = True) -> Figure:
    """The local energy against the strength of the noise, for all sigmas that were measured.

    A flatter minimum lies lower. The band is one standard error: over seeds, for a single run over its draws.

    Args:
        records: runs, in any order; those without a profile are passed over.
        quantity: "error" (percentage points) or "loss" (nats).
        average_seeds: False: a line a run.

    Raises:
        ValueError: no records, none with a profile, or an unknown quantity.
    """
    units = {"error": "percentage points", "loss": "nats"}
    if quantity not in units:
        raise ValueError(f"quantity: {quantity!r} is not allowed, allowed: {', '.join(units)}")
    groups = _groups(records, average_seeds)
    lines = [line for line in (profile(one, quantity) for one in groups) if line.x]
    if not lines:
        raise ValueError("records: none holds a local-energy profile; runs record one with "
                         "evaluation.flatness.num_samples of 2 or more")  # fmt: skip
    figure, axes = _new(lines, "Local energy: ", "± standard error over draws of the noise")
    _draw(axes, lines, markers=True)
    axes.set_xlim(left=0)
    split = {record.info["local_energy"].get("split", "train") for one in lines for record in _profiled(one.group)}
    axes.set_xlabel("Noise strength σ, relative to each weight")
    axes.set_ylabel(f"Rise of the {' and '.join(sorted(split))} {quantity} ({units[quantity]})")
    label_lines(axes, [one.group.label for one in lines])
    return figure


def save(figure: Figure, path: str | Path) -> tuple[Path, Path]:
    """Write the figure as PNG and as PDF; returns both paths.

    Each file is replaced as a whole, so that a reader never finds half of one. No time stamps: equal figures are
    equal files.

    Args:
        figure: of this module.
        path: of the files, with or without the ending; missing folders are made.
    """
    path = Path(path)
    stem = path.name.removesuffix(".png").removesuffix(".pdf")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in _METADATA:
        written.append(path.with_name(f"{stem}.{kind}"))
        _replace(written[-1], render(figure, kind))
    return written[0], written[1]


def render(figure: Figure, kind: str) -> bytes:
    """The figure as the content of a file, "png" or "pdf"; equal figures are equal bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(_settings()):
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind])
    return buffer.getvalue()


def _settings() -> dict[Any, Any]:
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    return defaults | style.FIGURE


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def curve(group: Group, metric: str, axis: str = "gradient_evaluations") -> Line:
    """Mean of the metric at the steps that all runs with it have reached."""
    curves = []
    for record in group.records:
        points = record.metrics
        points = points[points["name"] == metric]
        if axis == "gradient_evaluations":
            points = points[points["gradient_evaluations"].notna()]
        columns = (points["step"].tolist(), _positions(record, points, axis), points["value"].tolist())
        if one := {step: (float(x), float(value)) for step, x, value in zip(*columns, strict=True)}:
            curves.append(one)
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    means = [mean_and_error([one[step][1] for one in curves]) for step in steps]
    positions = [mean_and_error([one[step][0] for one in curves])[0] for step in steps]
    return Line(group, positions, [mean for mean, _ in means], [error for _, error in means])


def _positions(record: Record, points: pd.DataFrame, axis: str) -> list[float]:
    if axis == "seconds":
        if record.start_time is None:
            raise ValueError(f"axis: run {record.run_id} has no start time, so no seconds since then; use epochs")
        return list((points["time"] - pd.Timestamp(record.start_time)).dt.total_seconds())
    return list(points["step" if axis == "epochs" else "gradient_evaluations"])


def _groups(records: Iterable[Record], average_seeds: bool) -> list[Group]:
    groups = named_apart(group(records, average_seeds=average_seeds))
    if average_seeds:
        return groups
    return [replace(one, label=f"run {one.records[0].run_id}: {one.label}") for one in groups]


def _profiled(group: Group) -> list[Record]:
    return [record for record in group.records if record.info.get("local_energy")]


def profile(group: Group, quantity: str) -> Line:
    """Local energy at the sigmas that were measured in all runs with a profile."""
    measured = [set(record.info["local_energy"]["sigmas"]) for record in _profiled(group)]
    sigmas = sorted(set.intersection(*measured)) if measured else []
    estimates = [local_energy(group, sigma, quantity) for sigma in sigmas]
    return Line(group, sigmas, [mean for mean, _ in estimates], [error for _, error in estimates])


def _unknown_metric(metric: str, groups: Sequence[Group]) -> str:
    known = sorted({name for one in groups for record in one.records for name in record.metrics["name"]})
    near = difflib.get_close_matches(metric, known, n=1)
    hint = f", did you mean {near[0]}?" if near else ","
    return f"metric: {metric!r} is in none of the runs{hint} recorded: {', '.join(known) or 'nothing'}"


def _new(lines: Sequence[Line], subject: str = "", single: str = "") -> tuple[Figure, Axes]:
    """A figure with a title and, below it, what the lines and their error bars are."""
    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    drawn = [line.group for line in lines]
    axes.set_title(subject + style.title([g.dataset for g in drawn], [g.model for g in drawn]), pad=20)
    seeds = sorted({seed for line in lines for seed in line.group.seeds})
    counts = sorted({len(line.group.records) for line in lines})
    named = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    if counts == [1]:
        note = f"single run{'s' if len(lines) > 1 else ''}, {named}" + (f", {single}" if single else "")
    else:
        number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        note = f"mean ± standard error over {number} runs, {named}" if len(seeds) <= 8 else (
               f"mean ± standard error over {number} runs of different seeds")  # fmt: skip
    axes.annotate(note, (0, 1), xytext=(0, 7), xycoords="axes fraction", textcoords="offset points",
                  color=style.NOTE_COLOR, fontsize=8)  # fmt: skip
    return figure, axes


def _draw(axes: Axes, lines: Sequence[Line], *, markers: bool) -> None:
    """One line per group in the colour and marker of its algorithm; a second one of that colour is dashed."""
    drawn: dict[str, int] = {}
    for line in lines:
        look = style.look(line.group.algorithm)
        drawn[look.color] = drawn.get(look.color, -1) + 1
        looks: dict[str, Any] = {
            "color": look.color,
            "linestyle": style.LINE_STYLES[drawn[look.color] % len(style.LINE_STYLES)],
            "marker": look.marker if markers else "",
            "markeredgecolor": "white",
            "markeredgewidth": 0.6,
            "zorder": 3,
        }
        (artist,) = axes.plot(line.x, line.y, label=line.group.label, **looks)
        artist.set_clip_on(False)
        if not any(error > 0 for error in line.error):
            continue
        low = [y - error for y, error in zip(line.y, line.error, strict=True)]
        high = [y + error for y, error in zip(line.y, line.error, strict=True)]
        axes.fill_between(line.x, low, high, color=look.color, alpha=0.2, linewidth=0, zorder=2)
