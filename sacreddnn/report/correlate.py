r"""Does flatness predict generalization? Rank correlation between each measure and the test error over many networks.

Kendall's tau-b of the pairs (measure, test error) with the p-value of independence, in three ways:

all      over all networks;
within   over pairs of networks of the same algorithm only, tau = sum_a (C_a - D_a) / sum_a sqrt(P_a Q_a), C and D the
         concordant and discordant pairs, P and Q those without a tie in either; its p-value is the fraction of 9,999
         permutations of the errors within the algorithms that give at least as large a |tau| (plus one over plus one);
means    over the algorithms' mean values (needs four algorithms).

Jiang et al. (2020, arXiv 1912.02178) argue for Kendall's tau and for looking within groups: a measure that only tells
algorithms or learning rates apart correlates overall without predicting anything.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sacreddnn.report import style
from sacreddnn.report.groups import Record, is_training

TARGETS = {"test_error": "test/center/error", "gap": "generalization_gap"}
NOT_MEASURES = ("gradient_evaluations", "train_seconds", "measure_seconds", "generalization_gap")
PERMUTATIONS = 9_999
# Where in the config the options of a measure stand, by the beginning of its names in the result; None: in none, it
# depends on the images alone.
SECTIONS = {"local_energy": "local_energy", "local_entropy": "local_entropy", "sharpness": "sharpness",
            "pac_bayes": "pac_bayes", "hessian": None, "margin": None}  # fmt: skip
# The sign that tau with the test error has if what is said of a measure is true, by the beginning of its names: +1
# where larger means sharper, -1 where larger means flatter (more noise for the same rise of the loss); of large margins
# it is said that they generalize (-1), of large norms, which measure capacity, that they do not (+1).
EXPECTED = {"local_energy": 1, "local_entropy_loss": 1, "hessian": 1, "sharpness": 1, "pac_bayes_sigma": -1,
            "margin": -1, "frobenius_norm": 1, "path_norm": 1, "log_spectral_product": 1}  # fmt: skip
# Options that decide how exactly something is measured, not what.
PRECISION = ("num_samples", "standard_error", "max_samples", "sigmas", "every", "num_chains", "draws_at_once")
Key = tuple[str, int | None, str]  # of a network: uuid of its run, step if a checkpoint, data set of its errors
FEWEST = 4  # networks without which no rank correlation is given


@dataclass(frozen=True)
class Network:
    """One measured network: what trained it, and everything that was measured of it.

    Attributes:
        run: number of the run that trained it; with the step if it was a checkpoint, not the final center.
        algorithm: its key in style.ALGORITHMS.
        values: numbers by name.
        dataset: name in the config.
        settings: how those of `values` were measured that depend on options.
    """

    run: str
    algorithm: str
    values: dict[str, float]
    dataset: str = "?"
    settings: dict[str, str] = field(default_factory=dict)


def networks(records: Iterable[Record]) -> list[Network]:
    """The networks behind completed records; what scripts/flatness.py measured of a run is joined to that run.

    It is joined by the uuid of the run. Records that are older than that know its number only, which in a database of
    several machines may be another run's. A checkpoint is a network of its own, and so is a network on
    another data set than it was trained on: errors there are others.
    """
    records = [one for one in sorted(records, key=lambda one: one.run_id) if one.status == "COMPLETED"]
    by_number = {str(one.run_id): one.uuid for one in records if is_training(one)}
    trained_on = {one.uuid: _dataset(one.config) for one in records if is_training(one)}
    names: dict[Key, str] = {}
    values: dict[Key, dict[str, float]] = defaultdict(dict)
    settings: dict[Key, dict[str, str]] = defaultdict(dict)
    algorithms: dict[Key, str] = {}
    for record in records:
        source = record.info.get("source", {})
        if isinstance(source, list):  # a landscape between networks is a measure of none of them
            continue
        name = str(source.get("run", record.run_id))
        run = str(source.get("uuid") or by_number.get(name) or f"number {name}") if source else record.uuid
        config: Any = {"algorithm": source["algorithm"]} if "algorithm" in source else record.config
        if source and "run" not in source:
            name = run = f"{record.run_id} ({source.get('file', 'weights')})"
        if "step" in source:
            name = f"{name} at step {source['step']}"
        dataset = source.get("dataset") or _dataset(record.config) or trained_on.get(run) or "?"
        key = (run, source.get("step"), dataset)
        if key not in names or not source:  # the number here of a run that is here
            names[key] = name
        if "algorithm" in config:
            algorithms[key] = style.algorithm_key(config)
        algorithms.setdefault(key, "?")
        numbers = {k: float(v) for k, v in record.result.items() if isinstance(v, (int, float))}
        values[key] |= numbers
        settings[key] |= {name: how for name in numbers if (how := _how_measured(name, record.config))}
    return [Network(names[key], algorithms[key], values[key], key[2], settings[key]) for key in values]


def _dataset(config: Mapping[str, Any]) -> str | None:
    return (config.get("dataset") or {}).get("name")


def incomplete(records: Iterable[Record]) -> list[str]:
    """The note that says how many records are not among the networks because they did not complete; none if all did."""
    dropped = [is_training(record) for record in records if record.status != "COMPLETED"]
    kinds = ((dropped.count(False), "measurement"), (dropped.count(True), "training"))
    counted = " and ".join(f"{number} {kind}{'s' * (number > 1)}" for number, kind in kinds if number)
    return [f"left out because they did not complete: {counted}."] if dropped else []


def correlate(
    measured: Sequence[Network], target: str = "test_error", measures: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row a measure: number of networks, tau and p over all, within algorithms, and over the algorithms' means.

    The column "expected" is the sign in EXPECTED, missing for a measure of which nothing is said.

    Args:
        measured: what `networks` gives.
        target: "test_error" (percent) or "gap" (test minus train error, percentage points).
        measures: names in the results; by default every number that is not an error, a loss, an error bar or a cost.

    Raises:
        ValueError: fewer than four networks have the measure and the target, or the measure is constant; networks of
            several data sets, or measured with different options.
    """
    if target not in TARGETS:
        raise ValueError(f"target: {target!r} is not allowed, allowed: {', '.join(TARGETS)}")
    known = sorted({name for network in measured for name in network.values if _is_measure(name)})
    for name in measures or ():
        if name not in known:
            raise ValueError(f"measure {name!r}: no run has it; measured: {', '.join(known) or 'nothing'}")
    rows = []
    for name in measures or known:
        having = [n for n in measured if _finite(n, name) and _finite(n, TARGETS[target])]
        x = np.array([n.values[name] for n in having])
        y = np.array([n.values[TARGETS[target]] for n in having])
        groups = np.array([n.algorithm for n in having])
        if len(having) < FEWEST or len(set(x)) < 2 or len(set(y)) < 2:
            if measures:
                raise ValueError(f"measure {name!r}: {len(having)} networks with different values; {FEWEST} are needed")
            continue
        _refuse_unlike(name, having)
        over_all = stats.kendalltau(x, y)
        within, p_within = _within(x, y, groups)
        means, p_means = _means(x, y, groups)
        rows.append({
            "measure": name, "networks": len(having), "expected": expected(name),
            "tau": over_all.statistic, "p": over_all.pvalue, "tau_within": within, "p_within": p_within,
            "tau_means": means, "p_means": p_means,
        })  # fmt: skip
    if not rows:
        raise ValueError(
            f"{len(measured)} networks: {FEWEST} with a measure and a {target.replace('_', ' ')} are needed"
        )
    return pd.DataFrame(rows).astype({"expected": "Int64"}).set_index("measure")


def expected(measure: str) -> int | None:
    """The sign that tau has if what is said of the measure is true, None for a measure that is not in EXPECTED.

    >>> expected("hessian_trace"), expected("pac_bayes_sigma_magnitude"), expected("mine")
    (1, -1, None)
    """
    return next((sign for prefix, sign in EXPECTED.items() if measure.startswith(prefix)), None)


def to_text(frame: pd.DataFrame, target: str, num_algorithms: int, notes: Sequence[str] = ()) -> str:
    """The table for a terminal, and below it how to read it, and the notes."""
    lines = [f"Kendall's tau with the {target.replace('_', ' ')}, {num_algorithms} algorithms", ""]
    lines.append(f"{'measure':<28} {'networks':>8}   {'expected':>8}   {'all':>14}   {'within':>14}   {'means':>14}")
    lines.append("─" * 99)
    for name, row in frame.iterrows():
        cells = (_cell(row[f"tau{kind}"], row[f"p{kind}"]) for kind in ("", "_within", "_means"))
        sign = "" if pd.isna(row["expected"]) else f"{row['expected']:+.0f}"
        lines.append(
            f"{name!s:<28} {row['networks']:>8.0f}   {sign:>8}   " + "   ".join(f"{cell:>14}" for cell in cells)
        )
    lines.append("─" * 99)
    lines.append("expected: the sign if flat networks do better (of margins: large ones, of norms: small ones).")
    lines.append("tau (p of no relation). within: pairs of one algorithm only; means: of the algorithms' means.")
    lines += notes
    return "\n".join(lines)


def _cell(tau: float, p: float) -> str:
    if math.isnan(tau):
        return "-"
    return f"{tau:+.2f} ({'<0.001' if p < 0.001 else f'{p:.3f}'})"


def _how_measured(name: str, config: Mapping[str, Any]) -> str:
    """The options that a value depends on, not only its error bar; "" for what has none."""
    prefix = next((prefix for prefix in SECTIONS if name.startswith(prefix)), None)
    if prefix is None:
        return ""
    section = SECTIONS[prefix]
    options: Mapping[str, Any] = config.get(section, {}) if section else {}
    if section == "local_energy":  # which has its own split and images, and can be measured by the training itself
        options = options or config.get("evaluation", {}).get("flatness", {})
    else:
        options = {**options, "split": config.get("split"), "num_examples": config.get("num_examples")}
    chosen = {key: value for key, value in options.items() if key not in PRECISION}
    return ", ".join(f"{key} {chosen[key]}" for key in sorted(chosen))


def _refuse_unlike(name: str, measured: Sequence[Network]) -> None:
    """Raise ValueError where numbers do not compare: errors on several data sets, one measure in several ways."""
    datasets = sorted({network.dataset for network in measured})
    if len(datasets) > 1:
        raise ValueError(f"networks of several data sets ({', '.join(datasets)}) do not compare; choose runs of one")
    first = measured[0]
    for other in measured[1:]:
        if other.settings.get(name) != first.settings.get(name):
            ways = (f"of run {one.run} with {one.settings.get(name) or 'no options'}" for one in (first, other))
            raise ValueError(f"measure {name!r}: {' but '.join(ways)}; choose runs measured alike, or other measures")


def _is_measure(name: str) -> bool:
    return "/" not in name and not name.endswith("_se") and name not in NOT_MEASURES


def _finite(network: Network, name: str) -> bool:
    return math.isfinite(network.values.get(name, math.nan))


def _within(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Tau over pairs within groups, and its p-value by permutations within groups."""
    members = [np.flatnonzero(groups == g) for g in sorted(set(groups))]
    signs = [(np.sign(x[m][:, None] - x[m]), np.sign(y[m][:, None] - y[m])) for m in members]
    scale = sum(math.sqrt(np.abs(a).sum() * np.abs(b).sum()) for a, b in signs)
    if scale == 0:
        return math.nan, math.nan
    agreement = sum(float((a * b).sum()) for a, b in signs)
    generator, extreme = np.random.default_rng(0), 0
    for _ in range(PERMUTATIONS):
        shuffled = 0.0
        for a, b in signs:
            order = generator.permutation(len(b))
            shuffled += float((a * b[np.ix_(order, order)]).sum())
        extreme += abs(shuffled) >= abs(agreement) - 1e-9
    return agreement / scale, (extreme + 1) / (PERMUTATIONS + 1)


def _means(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    names = sorted(set(groups))
    if len(names) < FEWEST:
        return math.nan, math.nan
    found = stats.kendalltau(*([v[groups == g].mean() for g in names] for v in (x, y)))
    return found.statistic, found.pvalue
