"""The paper's Figure 1 of a run of scripts/shallow.py: local entropy, local energy and test errors by algorithm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sacreddnn.report import figures, shallow_table
from sacreddnn.report.shallow_table import mean_and_error
from sacreddnn.report.style import Look
from sacreddnn.tracking.plain import write_atomic

LOOKS = {
    "sgd_fast": Look("SGD fast", "#A0A0A0", "o"),
    "sgd_slow": Look("SGD slow", "#404040", "o"),
    "rsgd_fast": Look("Replicated-SGD fast", "#E69F00", "^"),
    "rsgd_slow": Look("Replicated-SGD slow", "#D55E00", "^"),
    "esgd": Look("Entropy-SGD", "#0072B2", "s"),
}
_OTHERS = ("#009E73", "#CC79A7", "#56B4E9", "#882255")


def draw_shallow(folder: Path) -> list[Path]:
    """Figure and tables of the run in `folder`, in its figures/ and where its config's `out` says; their paths."""
    kept = json.loads((folder / "artifacts" / "shallow.json").read_text())
    kept["solvers"] = {name: kept["solvers"][name] for name in sorted(kept["solvers"], key=_rank)}
    places = [folder / "figures"] + ([Path(kept["out"])] if kept["out"] else [])
    made: list[Path] = []
    for place in places:
        made = list(figures.save(figure1(kept), place / "figure1"))
        made.append(place / "figure1.md")
        write_atomic(made[-1], shallow_table.to_markdown(kept))
        made.append(place / "figure1.csv")
        write_atomic(made[-1], points(kept).to_csv(index=False, float_format="%.6g"))
    inside = folder / "figures"
    return [inside / path.name for path in made]


@figures.styled
def figure1(kept: Mapping[str, Any]) -> Figure:
    """Three panels: KN Phi against the distance, local energy against the noise, the distribution of test errors.

    Args:
        kept: artifacts/shallow.json of a run.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.0, 3.6), layout="constrained")
    looks = {name: look(name, i) for i, name in enumerate(kept["solvers"])}
    for name, solver in kept["solvers"].items():
        _entropies(left, kept, solver, looks[name])
        energy, error = mean_and_error(np.array(solver["local_energy"]))
        _line(middle, np.array(kept["sigmas"]), energy, error, looks[name], "-")
    left.set_xlabel("Distance d per weight")
    left.set_ylabel("Local entropy KN Φ (nats)")
    left.set_title("Local entropy")
    if any(solver.get("amp") for solver in kept["solvers"].values()):
        lines = [Line2D([], [], color="#404040", label="exact sampling"),
                 Line2D([], [], color="#404040", linestyle="--", label="AMP (approximate)")]  # fmt: skip
        left.legend(handles=lines, frameon=False, fontsize=8)
    middle.set_xlabel("Strength σ of the noise")
    middle.set_ylabel("Local energy (points of train error)")
    middle.set_title("Local energy")
    middle.set_ylim(bottom=0)
    middle.legend(frameon=False, fontsize=8)
    _errors(right, kept, looks)
    return figure


def look(name: str, number: int) -> Look:
    """Name, colour and marker of an algorithm of a figure; those without one of their own get one by their place."""
    return LOOKS.get(name) or Look(name.replace("_", " "), _OTHERS[number % len(_OTHERS)], "D")


def _rank(name: str) -> tuple[int, str]:
    return [*LOOKS, name].index(name), name


def points(kept: Mapping[str, Any]) -> pd.DataFrame:
    """Every number of the figure: panel, algorithm, restart, x, y, its own error (sampling only), whether converged."""
    size = kept["num_units"] * kept["num_inputs"]
    rows: list[tuple[Any, ...]] = []
    for name, solver in kept["solvers"].items():
        for panel in ("curves", "amp"):
            for restart, c in enumerate(solver.get(panel, [])):
                for d, phi, error, ok in zip(*(c.get(k, []) for k in ("d", "phi", "error", "converged")), strict=True):
                    rows.append((panel, name, restart, d, size * phi, size * error, ok))
        for restart, energies in enumerate(solver["local_energy"]):
            rows += [("local_energy", name, restart, s, e, 0.0, True)
                     for s, e in zip(kept["sigmas"], energies, strict=True)]  # fmt: skip
        kind = shallow_table.error_name(kept)
        rows += [(kind, name, restart, np.nan, e, np.nan, True) for restart, e in enumerate(solver[kind])]
    return pd.DataFrame(rows, columns=["panel", "algorithm", "restart", "x", "y", "error", "converged"])


def _entropies(axes: Axes, kept: Mapping[str, Any], solver: Mapping[str, Any], look: Look) -> None:
    for panel, dashes in (("curves", "-"), ("amp", "--")):
        curves = solver.get(panel, [])
        phi = shallow_table.entropy(kept, curves)
        if not phi.size or not np.isfinite(phi).any():
            continue
        distances = np.array([c["d"] for c in curves if "t" in c], dtype=float)
        x, (y, error) = mean_and_error(distances)[0], mean_and_error(phi)
        _line(axes, x, y, error, look, dashes)


def _line(axes: Axes, x: np.ndarray, y: np.ndarray, error: np.ndarray, look: Look, dashes: str) -> None:
    """A mean with a band of one standard error."""
    whole = dashes == "-"
    axes.plot(x, y, dashes, color=look.color, marker=look.marker if whole else "", label=look.name if whole else None,
              linewidth=1.6 if whole else 1.1, markersize=3.5)  # fmt: skip
    if np.isfinite(error).any():
        axes.fill_between(x, y - error, y + error, color=look.color, alpha=0.2, linewidth=0)


def _errors(axes: Axes, kept: Mapping[str, Any], looks: Mapping[str, Look]) -> None:
    """A point a network, a bar for the mean with its standard error."""
    kind = shallow_table.error_name(kept)
    spread = np.random.default_rng(0)  # so that equal errors do not hide each other
    for place, (name, solver) in enumerate(kept["solvers"].items()):
        values = np.array(solver[kind])
        at = place + spread.uniform(-0.25, 0.25, len(values))
        axes.plot(values, at, ".", color=looks[name].color, alpha=0.4, markersize=4)
        mean, error = mean_and_error(values)
        axes.errorbar([mean], [place], xerr=[error], fmt=looks[name].marker, color=looks[name].color,
                      markeredgecolor="black", markersize=7, capsize=4, zorder=3)  # fmt: skip
    axes.set_yticks(range(len(looks)), [one.name for one in looks.values()])
    axes.invert_yaxis()
    axes.set_xlabel(f"{kind.replace('_', ' ').capitalize()} (%)")
    axes.set_title("Generalization")
