"""Differences from a baseline, against scipy's paired test."""

import math

import pytest
from report_cases import run
from scipy import stats

from sacreddnn.report.grouped import columns, grouped
from sacreddnn.report.layout import layout_text

SGD, RSGD = [8.0, 8.3, 7.9], [7.7, 8.1, 7.8]
METRIC = "test/center/error"


def runs():
    first = [run(seed + 1, "sgd", seed, value) for seed, value in enumerate(SGD)]
    return first + [run(seed + 11, "rsgd", seed, value) for seed, value in enumerate(RSGD)]


def test_differences_are_paired_by_seed():
    frame = grouped([*runs()[::-1], run(20, "rsgd", 9, 1.0)], ["algorithm"], [METRIC], against="SGD").set_index(
        "algorithm"
    )
    ours, test = frame.loc["Replicated-SGD"], stats.ttest_rel(RSGD, SGD)
    assert ours["runs"] == 4
    assert ours["difference"] == pytest.approx(sum(RSGD) / 3 - sum(SGD) / 3)  # without seed 9
    assert ours["difference"] / ours["difference_se"] == pytest.approx(test.statistic)
    assert ours["p"] == pytest.approx(test.pvalue)
    assert math.isnan(frame.loc["SGD", "difference"])


def test_the_difference_is_printed():
    frame = grouped(runs(), ["algorithm"], [METRIC], against="SGD")
    text = layout_text("Runs", columns(frame, ["algorithm"], [METRIC]), frame.attrs["notes"], 120)
    line = next(line for line in text.splitlines() if line.startswith("Replicated-SGD"))
    assert line.split()[-4:] == ["-0.20", "±", "0.06", f"{stats.ttest_rel(RSGD, SGD).pvalue:.3f}"]
    assert "minus that of SGD, over the seeds that both have" in text


def test_without_a_baseline_there_is_no_difference():
    frame = grouped(runs(), ["algorithm"], [METRIC])
    assert "difference" not in frame
    assert [column.name for column in columns(frame, ["algorithm"], [METRIC])] == [
        "algorithm",
        "runs",
        "Test error (%)",
    ]


def test_a_baseline_must_be_one_row():
    with pytest.raises(ValueError, match="against: 'sgd' is in 0 rows, must be in one of: Replicated-SGD, SGD"):
        grouped(runs(), ["algorithm"], [METRIC], against="sgd")
    with pytest.raises(ValueError, match="against: '128' is in 2 rows"):
        grouped(runs(), ["algorithm", "training.batch_size"], [METRIC], against="128")
    other = run(30, "rsgd", 0, 7.0, coupling=0.5)
    with pytest.raises(ValueError, match="against: runs of the row Replicated-SGD have equal seeds"):
        grouped([*runs(), other], ["algorithm"], [METRIC], against="SGD")
