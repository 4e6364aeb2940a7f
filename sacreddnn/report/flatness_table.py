"""The table of several measured networks: one row a measure, one column a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sacreddnn.report import style
from sacreddnn.report.groups import Record, mean_and_error

# In the order of the rows: name in the result, words, unit.
ROWS = {
    "test/center/error": ("test error", "%"),
    "train/center/error": ("train error", "%"),
    "generalization_gap": ("gap", "points"),
    "local_energy": ("local energy", "points"),
    "local_energy_test": ("local energy, test", "points"),
    "hessian_largest": ("largest eigenvalue of H", "nats"),
    "hessian_trace": ("trace of H", "nats"),
    "hessian_rms_eigenvalue": ("root mean square eigenvalue", "nats"),
    "sharpness": ("sharpness", "nats"),
    "sharpness_adaptive": ("adaptive sharpness", "nats"),
    "pac_bayes_sigma": ("PAC-Bayes sigma", ""),
    "pac_bayes_sigma_magnitude": ("PAC-Bayes sigma, relative", ""),
    "local_entropy_loss": ("local-entropy loss", "nats"),
    "frobenius_norm": ("norm of the weights", ""),
    "path_norm": ("path norm", ""),
    "log_spectral_product": ("log product of spectral norms", ""),
    "margin_10": ("margin, 10 % quantile", ""),
}
PAIRED = "local energy minus the first's, same draws (points)"
# What two local energies must have in common to be compared draw by draw; "batch_norm" is which statistics.
SAME = ("seed", "noise", "subset", "split", "view", "num_examples", "batch_norm")


def flatness_table(records: Sequence[Record]) -> pd.DataFrame:
    """Value and standard error of every measure that any of the networks has.

    Args:
        records: runs of scripts/flatness.py.

    Returns:
        Index: the measure with its unit; columns: the networks, where one was measured several times with the id of
        each measurement; cells: text, "value ± standard error" where one is
        known, empty where a network was not measured. The last row is the local energy minus that of the first
        network, draw by draw, where both were measured with the same random numbers on the same images.

    Raises:
        ValueError: a record that is not of a measured network.
    """
    columns: dict[str, list[str]] = {}
    for record, column in zip(records, _names(records), strict=True):
        columns[column] = [_cell(record.result, key) for key in ROWS] + [_cell(_paired(record, records[0]), PAIRED)]
    index = [f"{words} ({unit})" if unit else words for words, unit in ROWS.values()] + [PAIRED]
    frame = pd.DataFrame(columns, index=pd.Index(index, name="measure"))
    return frame[(frame != "").any(axis=1)]


def _names(records: Sequence[Record]) -> list[str]:
    """A name for each network; of several measurements of one, with the id of the measurement."""
    names = []
    for record in records:
        if "source" not in record.info or not isinstance(record.info["source"], dict):
            raise ValueError(f"run {record.run_id}: is not of a measured network; scripts/flatness.py makes such runs")
        source = record.info["source"]
        name = style.algorithm_name(source) if "algorithm" in source else str(source.get("file", "?"))
        names.append(f"{name}, run {source['run']}" if "run" in source else name)
    return [
        f"{name}, measured in {record.run_id}" if names.count(name) > 1 else name
        for name, record in zip(names, records, strict=True)
    ]


def to_markdown(frame: pd.DataFrame) -> str:
    """The table as GitHub shows it."""
    lines = ["| " + " | ".join([str(frame.index.name), *frame.columns]) + " |"]
    lines.append("|" + "---|" * (1 + len(frame.columns)))
    lines += ["| " + " | ".join([str(name), *row]) + " |" for name, row in zip(frame.index, frame.values, strict=True)]
    return "\n".join(lines) + "\n"


def _paired(record: Record, first: Record) -> dict[str, float]:
    """Local energy of the error minus that of the first network, over the draws of the noise that both have seen."""
    profiles = [one.info.get("local_energy", {}) for one in (record, first)]
    sigma = record.config.get("local_energy", {}).get("headline")
    same = all(profiles[0].get(key) == profiles[1].get(key) for key in SAME)
    same &= record.info.get("num_weights") == first.info.get("num_weights")
    if record is first or not same or not all("error_draws" in p and sigma in p["sigmas"] for p in profiles):
        return {}
    draws = [np.array(profile["error_draws"])[:, profile["sigmas"].index(sigma)] for profile in profiles]
    num = min(map(len, draws))
    mean, error = mean_and_error((draws[0][:num] - draws[1][:num]).tolist())
    return {PAIRED: mean, f"{PAIRED}_se": error}


def _cell(values: Mapping[str, Any], key: str) -> str:
    value, error = values.get(key), values.get(f"{key}_se")
    if value is None:
        return ""
    if error is None or not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
