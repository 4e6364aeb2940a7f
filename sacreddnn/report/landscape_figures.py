"""Pictures of lines and planes through networks, drawn from the artifact of a run of scripts/landscape.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sacreddnn.report import figures, style

CEILING = 8.0  # of the color scale of the loss: so many times the median above the smallest value


def draw_landscape(folder: Path) -> list[Path]:
    """The figure of the run in `folder`, as PNG in its figures/; its path."""
    kept = json.loads((folder / "artifacts" / "landscape.json").read_text())
    png, _ = figures.save(landscape(kept), folder / "figures" / "landscape")
    return [png]


@figures.styled
def landscape(kept: Mapping[str, Any]) -> Figure:
    """Loss and error side by side: curves on a line, contours on a plane.

    Args:
        kept: what scripts/landscape.py records: `axes`, `loss`, `error`, `networks`, `names`, `split`.
    """
    figure, panels = plt.subplots(1, 2, figsize=(8.0, 3.4), layout="compressed")
    draw = _line if len(kept["axes"]) == 1 else _plane
    for axes, quantity, unit in zip(panels, ("loss", "error"), ("nats", "%"), strict=True):
        draw(axes, kept, quantity, f"{kept['split'].capitalize()} {quantity} ({unit})")
    return figure


def _line(axes: Axes, kept: Mapping[str, Any], quantity: str, label: str) -> None:
    (x,) = kept["axes"]
    y = kept[quantity]
    axes.plot(x, y, color="#0072B2")
    for (at,), name in zip(kept["networks"], kept["names"], strict=True):
        look = style.network_look(name)
        axes.plot([at], [np.interp(at, x, y)], marker=look.marker, color=look.color, linestyle="", markersize=7,
                  label=f"{look.name}, run {name['run']}" if "run" in name else look.name)  # fmt: skip
    between = len(kept["networks"]) == 2
    axes.set_xlabel(
        "t on the line w(t) = (1 − t) w₁ + t w₂" if between else "Multiple of a direction as long as the weights"
    )
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)


def _plane(axes: Axes, kept: Mapping[str, Any], quantity: str, label: str) -> None:
    x, y = kept["axes"]
    values = np.array(kept[quantity], dtype=float).T
    finite = values[np.isfinite(values)]
    low = finite.min()
    top = min(finite.max(), low + CEILING * max(float(np.median(finite)) - low, 1e-9))
    levels = np.linspace(low, top, 15)
    filled = axes.contourf(x, y, np.nan_to_num(values, posinf=finite.max()), levels, cmap="viridis", extend="max")
    axes.figure.colorbar(filled, ax=axes, label=label, format="%.3g")
    for (a, b), name in zip(kept["networks"], kept["names"], strict=True):
        look = style.network_look(name)
        axes.plot([a], [b], marker=look.marker, color="white", markeredgecolor="black", linestyle="", markersize=8)
        right = a > (x[0] + x[-1]) / 2  # the name goes where there is room
        axes.annotate(look.name, (a, b), xytext=(-7 if right else 7, 6), textcoords="offset points", color="white",
                      fontsize=8, fontweight="bold", ha="right" if right else "left")  # fmt: skip
    lengths = len(kept["networks"]) == 3
    axes.set_xlabel("Distance along w₂ − w₁" if lengths else "First random direction")
    axes.set_ylabel("Distance orthogonal to it" if lengths else "Second random direction")
    axes.grid(False)
    if lengths:
        axes.set_aspect("equal")
