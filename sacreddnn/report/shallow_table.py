"""Shallow networks in numbers: a row an algorithm, and whether flatness and test error rank them alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sacreddnn.report import correlate
from sacreddnn.report.correlate import Network

DISTANCE, SIGMA = 0.1, 0.5  # at which the panels are compared, or the nearest that was measured


def nearest(values: list[float], wanted: float) -> int:
    """The place of the value nearest to the one wanted."""
    return int(np.abs(np.array(values) - wanted).argmin())


def entropy(kept: Mapping[str, Any], curves: list[dict[str, Any]]) -> np.ndarray:
    """KN Phi of the curves, shape (curves, distances); NaN where one failed or did not converge."""
    size = kept["num_units"] * kept["num_inputs"]
    length = max((len(curve["t"]) for curve in curves if "t" in curve), default=0)
    rows = [np.where(c["converged"], np.array(c["phi"]) * size, np.nan) if "t" in c else np.full(length, np.nan)
            for c in curves]  # fmt: skip
    return np.array(rows, dtype=float).reshape(len(curves), length)


def error_name(kept: Mapping[str, Any]) -> str:
    """What panel three shows: "test_error", or "validation_error" of a run that left the test set alone."""
    return "test_error" if all("test_error" in s for s in kept["solvers"].values()) else "validation_error"


def networks(kept: Mapping[str, Any]) -> list[Network]:
    """The networks with a converged curve: lost entropy -KN Phi, local energy, test error, where they are compared."""
    column, found = nearest(kept["sigmas"], SIGMA), []
    for name, solver in kept["solvers"].items():
        curves = solver.get("curves", [])
        phi = entropy(kept, curves)
        if not phi.size:
            continue
        at = nearest([1 - t for t in next(c["t"] for c in curves if "t" in c)], DISTANCE)
        for restart, lost in enumerate(-phi[:, at]):
            found.append(Network(f"{name} {restart}", name, {
                "lost entropy": float(lost), "local energy": solver["local_energy"][restart][column],
                "test error": solver[error_name(kept)][restart],
            }))  # fmt: skip
    return [network for network in found if np.isfinite(network.values["lost entropy"])]


def table(kept: Mapping[str, Any]) -> pd.DataFrame:
    """A row an algorithm: means over restarts and their standard errors."""
    column, rows = nearest(kept["sigmas"], SIGMA), []
    for name, solver in kept["solvers"].items():
        row: dict[str, Any] = {
            "algorithm": name, "restarts": len(solver["num_errors"]),
            "without training errors": sum(n == 0 for n in solver["num_errors"]),
            "gradient evaluations": solver["gradient_evaluations"],
        }  # fmt: skip
        quantities = {
            error_name(kept).replace("_", " "): solver[error_name(kept)],
            f"local energy at {kept['sigmas'][column]:g}": [one[column] for one in solver["local_energy"]],
        }
        curves = solver.get("curves", [])
        if (phi := entropy(kept, curves)).size:
            ts = next(c["t"] for c in curves if "t" in c)
            at = nearest([1 - t for t in ts], DISTANCE)
            quantities[f"KN Phi at {1 - ts[at]:.2f}"] = phi[:, at]
            row["curves"] = int(np.isfinite(phi[:, at]).sum())
        for quantity, values in quantities.items():
            row[quantity], row[f"{quantity} se"] = mean_and_error(np.array(values, dtype=float))
        rows.append(row)
    return pd.DataFrame(rows).set_index("algorithm")


def mean_and_error(values: np.ndarray) -> tuple[Any, Any]:
    """Mean over the first dimension and its standard error, NaN left out; NaN where fewer than one or two are left."""
    finite = np.isfinite(values)
    num = finite.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, values, 0.0).sum(0) / num
        variance = np.where(finite, (values - mean) ** 2, 0.0).sum(0) / (num - 1)
        return mean, np.sqrt(variance / num)


def agreement(kept: Mapping[str, Any]) -> pd.DataFrame:
    """Kendall's tau of each pair of panels: over the networks, within algorithms, over the algorithms' means.

    All three are signed so that +1 is "flatter and better go together"; see correlate.py for the three kinds. Empty
    for fewer than four networks with a curve.
    """
    measured = networks(kept)
    rows = []
    for x, y in (("lost entropy", "test error"), ("local energy", "test error"), ("lost entropy", "local energy")):
        pair = [Network(n.run, n.algorithm, {x: n.values[x], "test/center/error": n.values[y]}) for n in measured]
        try:
            rows.append(correlate.correlate(pair, "test_error", [x]).assign(against=y).reset_index())
        except ValueError:  # too few networks, or all alike
            continue
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def to_markdown(kept: Mapping[str, Any]) -> str:
    """Both tables as Markdown."""
    lines = []
    frame = table(kept)
    names = [c for c in frame.columns if not c.endswith(" se")]
    lines += ["| algorithm | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for algorithm, row in frame.iterrows():
        cells = [f"{row[c]:.3f} ± {row[c + ' se']:.3f}" if f"{c} se" in frame else f"{row[c]:.0f}" for c in names]
        lines.append(f"| {algorithm} | " + " | ".join(cells) + " |")
    taus = agreement(kept)
    if len(taus):
        lines += ["", "| Kendall's tau (p) | networks | all | within algorithms | of the algorithms' means |"]
        lines.append("|---|---|---|---|---|")
    for _, row in taus.iterrows():
        cells = [f"{row['tau' + kind]:+.2f} ({row['p' + kind]:.3f})" for kind in ("", "_within", "_means")]
        lines.append(f"| {row['measure']}, {row['against']} | {row['networks']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
