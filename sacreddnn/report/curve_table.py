"""What the figures draw, as numbers: curves and local-energy profiles of each group of runs."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from sacreddnn.report import figures
from sacreddnn.report.groups import Record, group, named_apart


def curve_table(records: Iterable[Record], metric: str, axis: str) -> pd.DataFrame:
    """One row a point of `figures.learning_curves`: label, the axis, the metric and its standard error."""
    return _table([figures.curve(one, metric, axis) for one in named_apart(group(records))], axis, metric)


def profile_table(records: Iterable[Record], quantity: str) -> pd.DataFrame:
    """One row a point of `figures.local_energy_profiles`: label, sigma, local energy and its standard error."""
    return _table(
        [figures.profile(one, quantity) for one in named_apart(group(records))], "sigma", f"local_energy_{quantity}"
    )


def _table(lines: Iterable[figures.Line], x: str, y: str) -> pd.DataFrame:
    rows = [
        {"label": line.group.label, x: at, y: value, f"{y}_se": error}
        for line in lines
        for at, value, error in zip(line.x, line.y, line.error, strict=True)
    ]
    return pd.DataFrame(rows, columns=["label", x, y, f"{y}_se"])
