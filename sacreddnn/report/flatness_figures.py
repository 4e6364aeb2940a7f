"""Pictures of what scripts/flatness.py measured of one network, and of several networks side by side."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sacreddnn.report import figures, style

Info = Mapping[str, Any]  # `info` of a run of scripts/flatness.py


def draw_flatness(folder: Path) -> list[Path]:
    """The figure of the run in `folder`, as PNG in its figures/; its path, nothing if no curve was measured."""
    info = json.loads((folder / "run.json").read_text())["info"]
    if not any(name in info for name in PANELS):
        return []
    png, _ = figures.save(flatness([info]), folder / "figures" / "flatness")
    return [png]


@figures.styled
def flatness(networks: Sequence[Info]) -> Figure:
    """A panel for each measure that is a curve: local energy, loss against distance, density of eigenvalues, margins.

    Args:
        networks: `info` of the runs, in the order of the legend; a curve that a network lacks is not drawn.
    """
    panels = [(name, draw) for name, draw in PANELS.items() if any(name in info for info in networks)]
    columns = min(2, len(panels))
    figure, grid = plt.subplots(math.ceil(len(panels) / columns), columns, squeeze=False, layout="constrained",
                                figsize=(4.0 * columns, 3.0 * math.ceil(len(panels) / columns)))  # fmt: skip
    for axes, (name, draw) in zip(grid.flat, panels, strict=False):
        for info, (label, color, marker) in zip(networks, _looks(networks), strict=True):
            if name in info:
                draw(axes, info[name], label, color, marker)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    # a network may lack the curve of any one panel
    drawn = [dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True)) for axes in grid.flat]
    handles = {name: panel[name] for name, *_ in _looks(networks) for panel in drawn if name in panel}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 4),
                  frameon=False)  # fmt: skip
    return figure


def _looks(networks: Iterable[Info]) -> list[tuple[str, str, str]]:
    """Label, color and marker of each; the second and later ones of a name are numbered."""
    looks, seen = [], Counter[str]()
    for info in networks:
        source = info.get("source", {})
        look = style.network_look(source)
        name = f"{look.name}, run {source['run']}" if "run" in source else look.name
        seen[name] += 1
        looks.append((name if seen[name] == 1 else f"{name} ({seen[name]})", look.color, look.marker))
    return looks


def _local_energy(axes: Axes, profile: Info, label: str, color: str, marker: str) -> None:
    axes.errorbar(profile["sigmas"], profile["error"], profile["error_se"], color=color, marker=marker, label=label)
    axes.set_xlim(left=0)
    axes.set_title(f"Local energy, {profile['noise']} noise")
    axes.set_xlabel("Noise strength σ")
    axes.set_ylabel(f"Rise of the {profile['split']} error (points)")


def _local_entropy(axes: Axes, found: Info, label: str, color: str, marker: str) -> None:
    axes.errorbar(found["distance"], found["loss"], found["loss_error"], found["distance_error"], color=color,
                  marker=marker, label=label)  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(f"Langevin chains at β = {found['beta']:g}")
    axes.set_xlabel("Mean distance ½|w′ − w|²")
    axes.set_ylabel("Mean loss there (nats)")


def _spectral_density(axes: Axes, found: Info, label: str, color: str, marker: str) -> None:
    """Density with a fixed relative width, on a symmetric-log axis: bulk near zero and outliers in one picture."""
    nodes, weights = np.array(found["nodes"]), np.array(found["weights"])
    scale = 1e-2 * np.abs(nodes).max()
    u = np.arcsinh(nodes / scale)
    grid = np.linspace(u.min() - 0.5, u.max() + 0.5, 400)
    kernel = np.exp(-0.5 * ((grid[:, None, None] - u) / 0.12) ** 2) / (0.12 * math.sqrt(2 * math.pi))
    density = (kernel * weights).sum(2).mean(1)
    axes.plot(np.sinh(grid) * scale, density, color=color, label=label)
    axes.set_xscale("asinh", linear_width=scale)
    axes.set_xticks([-10 * scale, 0, 10 * scale, 100 * scale], [f"{k * scale:.2g}" for k in (-10, 0, 10, 100)])
    axes.set_yscale("log")
    axes.set_ylim(1e-7, None)
    axes.set_title("Eigenvalues of the Hessian")
    axes.set_xlabel("Eigenvalue (nats per squared weight)")
    axes.set_ylabel("Density per unit of the axis")


def _margins(axes: Axes, found: Info, label: str, color: str, marker: str) -> None:
    quantiles = {float(q): value for q, value in found["quantiles"].items()}
    axes.plot(list(quantiles.values()), list(quantiles), color=color, marker=marker, label=label)
    axes.set_title("Margins")
    axes.set_xlabel("Margin: score of the class minus best other")
    axes.set_ylabel("Fraction of images below")


PANELS: dict[str, Callable[[Axes, Info, str, str, str], None]] = {
    "local_energy": _local_energy,
    "local_entropy": _local_entropy,
    "spectral_density": _spectral_density,
    "margins": _margins,
}
