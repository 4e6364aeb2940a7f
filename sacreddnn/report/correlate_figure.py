"""Scatter of the test error against each measure, one point a network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from sacreddnn.report import style
from sacreddnn.report.correlate import TARGETS, Network
from sacreddnn.report.figures import styled

LABELS = {"test_error": "Test error (%)", "gap": "Test minus train error (points)"}
COLUMNS = 3


@styled
def scatter(measured: Sequence[Network], frame: pd.DataFrame, target: str = "test_error") -> Figure:
    """One panel a measure, with tau over all networks and within algorithms; algorithms by colour and marker.

    Args:
        measured: what `correlate.networks` gives.
        frame: what `correlate.correlate` gives of them.
        target: as there.
    """
    rows = math.ceil(len(frame) / COLUMNS)
    columns = min(COLUMNS, len(frame))
    figure, grid = plt.subplots(rows, columns, figsize=(2.6 * columns + 1.0, 2.5 * rows + 1.0), squeeze=False,
                                sharey=True, layout="constrained")  # fmt: skip
    keys = sorted({n.algorithm for n in measured}, key=style.algorithm_rank)
    for axes, (name, row) in zip(grid.flat, frame.iterrows(), strict=False):
        values = [n.values[str(name)] for n in measured if str(name) in n.values]
        for key in keys:
            look = style.look(key)
            points = [(n.values[str(name)], n.values[TARGETS[target]]) for n in measured
                      if n.algorithm == key and str(name) in n.values and TARGETS[target] in n.values]  # fmt: skip
            if points:
                axes.scatter(*zip(*points, strict=True), s=18, color=look.color, marker=look.marker, label=look.name,
                             linewidths=0)  # fmt: skip
        positive = [v for v in values if v > 0]
        if len(positive) == len(values) and max(positive) > 20 * min(positive):
            axes.set_xscale("log")
            few = max(positive) < 300 * min(positive)  # decades: they would leave an axis with a tick or two
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if few else (1,)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(str(name).replace("_", " "), fontsize=8)
        within = "" if math.isnan(row["tau_within"]) else f", within {row['tau_within']:+.2f}"
        axes.set_xlabel(f"τ = {row['tau']:+.2f}{within}", fontsize=8)
    for axes in grid.flat[len(frame) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel(LABELS[target])
    handles, labels = max((axes.get_legend_handles_labels() for axes in grid.flat), key=lambda pair: len(pair[0]))
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2 * columns), frameon=False)
    return figure
