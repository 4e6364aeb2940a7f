"""Replica theory beside single networks: local entropy of the perceptron, and ridge regression on a Gaussian mixture.

>>> figures.save(theory_figure(points), "results/shallow/theory")              # doctest: +SKIP
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sacreddnn.report import figures
from sacreddnn.report.style import Look

COLUMNS = ("panel", "curve", "source", "x", "y", "error")
LOOKS = {
    "bayes_point": Look("Bayes point", "#0072B2", "s"),
    "typical": Look("typical solution, teacher", "#D55E00", "o"),
}
_LOADS = ("#404040", "#009E73", "#CC79A7", "#E69F00")
_POINTS = {"amp": ("AMP", "o", "white"), "sampling": ("exact sampling", "D", None)}  # name, marker, filling
_GREY = "#404040"


@figures.styled
def theory_figure(points: pd.DataFrame) -> Figure:
    """Three panels: Phi against d; test error and local energy of ridge against lambda. Lines are theory.

    Args:
        points: columns `COLUMNS`. Panels are "local_entropy", "test_error" and "local_energy"; curves of the first
            "typical" and "bayes_point", of the others a load alpha ("alpha=1") with " bayes" behind it for the
            Bayes-optimal rule, whose x is not looked at; the source is "theory" or what gave a point, with its
            standard error.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.0, 3.6), layout="constrained")
    _entropies(left, points[points.panel == "local_entropy"])
    for axes, panel, unit in (
        (middle, "test_error", "Test error (%)"),
        (right, "local_energy", "Local energy (points)"),
    ):
        _mixture(axes, points[points.panel == panel])
        axes.set_xscale("log")
        axes.set_xlabel("Ridge penalty λ")
        axes.set_ylabel(unit)
    left.set_title("Local entropy of the perceptron")
    middle.set_title("Gaussian mixture: test error")
    right.set_title("Gaussian mixture: local energy")
    middle.legend(frameon=False, fontsize=8)
    learned = [
        Line2D([], [], linestyle="", marker="o", color=_GREY, markersize=3.5, label="ridge, learned"),
        Line2D(
            [], [], linestyle="", marker="s", color=_GREY, mfc="white", markersize=5, label="Bayes-optimal, learned"
        ),
    ]
    right.legend(handles=learned, frameon=False, fontsize=8)
    right.set_ylim(bottom=0)
    return figure


def _entropies(axes: Axes, points: pd.DataFrame) -> None:
    for curve, look in LOOKS.items():
        mine = points[points.curve == curve]
        line = mine[mine.source == "theory"]
        axes.plot(line.x, line.y, color=look.color, label=look.name)
        for source, (_, marker, filling) in _POINTS.items():
            found = mine[mine.source == source]
            axes.errorbar(found.x, found.y, found.error, fmt=marker, color=look.color, markersize=4.5, capsize=2,
                          linewidth=1, mfc=filling or look.color)  # fmt: skip
    for name, marker, filling in _POINTS.values():
        axes.plot([], [], marker, color=_GREY, mfc=filling or _GREY, markersize=4.5, label=name)
    axes.set_xlabel("Distance d per weight")
    axes.set_ylabel("Local entropy Φ per weight (nats)")
    axes.legend(frameon=False, fontsize=8, loc="lower left")


def _mixture(axes: Axes, points: pd.DataFrame) -> None:
    loads = sorted({float(str(name).split()[0].removeprefix("alpha=")) for name in points.curve})
    end = points.x[np.isfinite(points.x)].max()
    for load, color in zip(loads, _LOADS, strict=False):
        name = f"alpha={load:g}"
        line = points[(points.curve == name) & (points.source == "theory")]
        axes.plot(line.x, line.y, color=color, label=f"ridge, α = {load:g}")
        found = points[(points.curve == name) & (points.source == "sample")]
        axes.errorbar(found.x, found.y, found.error, fmt="o", color=color, markersize=3.5, capsize=2, linewidth=1)
        best = points[points.curve == f"{name} bayes"]
        for value in best[best.source == "theory"].y:
            axes.axhline(value, color=color, linestyle="--", linewidth=1.1, label=f"Bayes-optimal, α = {load:g}")
        mine = best[best.source == "sample"]  # at the right end: ridge tends to it there
        at = np.full(len(mine), 1.5 * end)
        axes.errorbar(at, mine.y, mine.error, fmt="s", color=color, mfc="white", markersize=5, capsize=2, linewidth=1)
