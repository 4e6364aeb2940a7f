"""Which runs stand behind a cell, means and tests against other computations, hours, files to the byte."""

import math
import re

import numpy as np
import pytest
from paper_cases import EXPECTED, ROW, three_seeds, throughput, trained
from report_cases import changed
from scipy import stats

from sacreddnn.report import command
from sacreddnn.report.groups import paired
from sacreddnn.report.paper import cells, hours, recipe, table
from sacreddnn.report.paper.expected import Cell

SGD, RSGD = [16.2, 16.9, 16.4], [15.4, 15.8, 15.9]


def cell_of(column, records, row=ROW):
    return next(one for one in cells.compare(EXPECTED, records) if (one.row, one.column) == (row, column))


def test_without_runs_every_cell_is_empty():
    comparisons = cells.compare(EXPECTED, [])
    assert len(comparisons) == sum(len(row.cells) for row in EXPECTED.rows.values()) == 36
    assert {one.verdict for one in comparisons} == {"not run"}
    assert all(math.isnan(one.mean) and math.isnan(one.difference) and not one.runs for one in comparisons)


def test_mean_and_paired_difference_are_those_of_scipy():
    records = [*three_seeds("sgd", SGD), *three_seeds("rsgd", RSGD, first=11)]
    ours = cell_of("rsgd", records)
    assert ours.mean == pytest.approx(np.mean(RSGD))
    assert ours.error == pytest.approx(stats.sem(RSGD))
    test = stats.ttest_rel(RSGD, SGD)
    assert ours.difference == pytest.approx(np.mean(RSGD) - np.mean(SGD))
    assert ours.difference / ours.difference_error == pytest.approx(test.statistic)
    assert ours.p == pytest.approx(test.pvalue)
    assert ours.verdict == "agrees"
    assert ours.seeds_to_go == EXPECTED.rows[ROW].seeds - 3


def test_seeds_outside_the_sweep_leave_as_many_to_go():
    records = [trained(1, "sgd", 1, 16.0), trained(2, "sgd", 100, 16.1), trained(3, "sgd", 101, 16.2)]
    ours = cell_of("sgd", records)
    assert len(ours.runs) == 3
    assert ours.seeds_to_go == EXPECTED.rows[ROW].seeds - 1


def test_only_seeds_that_both_have_are_paired():
    records = [*three_seeds("sgd", SGD), trained(20, "rsgd", 2, 15.0), trained(21, "rsgd", 7, 14.0)]
    ours = cell_of("rsgd", records)
    assert ours.mean == pytest.approx(14.5)
    assert ours.difference == pytest.approx(15.0 - SGD[2])
    assert math.isnan(ours.p)


@pytest.mark.parametrize(
    "run",
    [
        trained(1, "sgd", 0, 16.0, training__epochs=2),
        trained(1, "sgd", 0, 16.0, dataset__num_train=40),
        trained(1, "sgd", 0, 16.0, dataset__validation=5000),
        trained(1, "sgd", 0, 16.0, training__weight_decay=5e-4),
        trained(1, "sgd", 0, 16.0, tracking__tags=["table1", "toy"]),
        changed(trained(1, "sgd", 0, 16.0), status="INTERRUPTED"),
        changed(trained(1, "sgd", 0, 16.0), info={"num_train": 200}),  # all of a synthetic data set
        changed(trained(1, "sgd", 0, 16.0), info={}),
        changed(trained(1, "sgd", 0, 16.0), config={"seed": 0, "old": {"key": 1}}),
        changed(trained(1, "sgd", 0, 16.0), result={}),
    ],
)
def test_a_run_that_is_not_the_cells_does_not_count(run):
    assert {one.verdict for one in cells.compare(EXPECTED, [run])} == {"not run"}


def test_where_a_run_was_recorded_does_not_matter():
    run = trained(1, "sgd", 0, 16.0, tracking__root="other", tracking__tags=["mine"], training__device="cuda")
    assert cell_of("sgd", [run]).runs == (run,)
    assert cell_of("sgd", [run]).verdict == "one run"


def test_of_a_seed_that_ran_twice_the_newest_counts():
    runs = [trained(5, "sgd", 0, 17.0), trained(3, "sgd", 0, 16.0)]
    assert [one.run_id for one in cell_of("sgd", runs).runs] == [5]


@pytest.mark.parametrize(
    ("cell", "values", "verdict"),
    [
        ({"value": 16.5, "standard_error": 0.2}, [], "not run"),
        ({"value": 16.5, "standard_error": 0.2}, [16.5], "one run"),
        # standard errors 0.1 and 0.2 / sqrt(3): 2 sqrt(0.01 + 0.04 / 3) + 0.05 = 0.3555
        ({"value": 16.5, "standard_error": 0.1}, [16.65, 16.85, 17.05], "agrees"),
        ({"value": 16.5, "standard_error": 0.1}, [16.66, 16.86, 17.06], "differs"),
        # without an error bar: that of one of ours, here 0.2; 2 sqrt(0.04 + 0.04 / 3) + 0.05 = 0.512
        ({"value": 16.5}, [16.81, 17.01, 17.21], "agrees"),
        ({"value": 16.5}, [16.82, 17.02, 17.22], "differs"),
        # of five runs: 2 sqrt(0.04 / 5 + 0.04 / 3) + 0.005 = 0.297
        ({"value": 11.59, "num_runs": 5}, [11.68, 11.88, 12.08], "agrees"),
        ({"value": 11.59, "num_runs": 5}, [11.70, 11.90, 12.10], "differs"),
    ],
)
def test_verdicts_at_their_bounds(cell, values, verdict):
    full = Cell(**{"standing": "recalled", "source": "table1"} | cell)
    assert cells.verdict(full, values) == verdict


def test_equal_differences_are_no_test():
    assert paired([0.5, 0.5, 0.5])[:2] == (0.5, 0.0)
    assert math.isnan(paired([0.5, 0.5, 0.5])[2])


def test_images_of_a_run_count_all_replicas():
    images = {column: hours.num_images(recipe.recipe(EXPECTED, ROW, column), 50_000)
              for column in ("sgd", "rsgd", "rsgd_xy")}  # fmt: skip
    assert images == {"sgd": 300 * 390 * 128, "rsgd": 300 * 390 * 128, "rsgd_xy": 3 * 300 * 390 * 128}


def test_hours_are_of_the_runs_to_go_and_of_this_device_only(tmp_path):
    throughput(tmp_path / "throughput.csv", {f"{ROW} sgd": 1000.0, f"{ROW} rsgd": 500.0})
    throughput(tmp_path / "throughput_gpu.csv", {f"{ROW} sgd": 40_000.0}, device="NVIDIA H100")
    throughput(tmp_path / "throughput_other.csv", {f"{ROW} esgd": 1.0}, machine="another")
    rates = hours.read(tmp_path)
    assert hours.accelerators(rates) == ["NVIDIA H100"]
    made = table.frame(EXPECTED, cells.compare(EXPECTED, three_seeds("sgd", SGD)), rates, "NVIDIA H100")
    row = made.set_index(["row", "column"])
    images = 300 * 390 * 128
    assert row.loc[(ROW, "sgd"), "hours_here"] == pytest.approx(2 * images / 1000 / 3600)
    assert row.loc[(ROW, "sgd"), "hours_gpu"] == pytest.approx(2 * images / 40_000 / 3600)
    assert row.loc[(ROW, "rsgd"), "hours_here"] == pytest.approx(5 * images / 500 / 3600)
    for missing in ((ROW, "rsgd"), (ROW, "esgd"), ("table1_cifar10_resnet18", "sgd")):
        assert math.isnan(row.loc[missing, "hours_gpu"])
    assert math.isnan(row.loc[(ROW, "esgd"), "hours_here"])


def test_throughput_of_toy_size_does_not_count(tmp_path):
    throughput(tmp_path / "throughput.csv", {f"{ROW} sgd": 1000.0})
    path = tmp_path / "throughput.csv"
    path.write_text(path.read_text().replace(hours.UNIT, f"{hours.UNIT} at toy size"))
    assert hours.read(tmp_path) == []
    path.write_text("what,unit\na b,images/s\n")
    with pytest.raises(ValueError, match=r"throughput\.csv: 'measured' is not what"):
        hours.read(tmp_path)


def test_every_recalled_number_is_printed_as_such(tmp_path):
    records = [*three_seeds("sgd", SGD), *three_seeds("rsgd", [25.0, 25.1, 25.2], first=11)]
    made = table.frame(EXPECTED, cells.compare(EXPECTED, records), [], None)
    text = table.to_text(table.sets(EXPECTED, made, None), 160)
    lines = [line for line in text.splitlines() if re.search(r"  (SGD|rSGD|eSGD|rSGD × y)  ", line)]
    assert len(lines) == 36
    assert sum("recalled" in line for line in lines) == 30
    assert sum("third party" in line for line in lines) == 6
    assert "agrees (recalled)" in lines[0]
    assert "16.50 ± 0.21" in lines[0]
    assert "differs (recalled)" in lines[1]
    assert sum("not run" in line for line in lines) == 34
    assert lines[1].count("not measured") == 2


def test_files_are_equal_to_the_byte(tmp_path):
    records = [*three_seeds("sgd", SGD), *three_seeds("rsgd", RSGD, first=11)]
    for name, some in (("a", records), ("b", records[::-1])):
        made = table.frame(EXPECTED, cells.compare(EXPECTED, some), [], None)
        table.write(table.sets(EXPECTED, made, None), made, tmp_path / name)
    for name in ("paper.md", "paper.csv", "paper.tex", "paper.html"):
        content = (tmp_path / "a" / name).read_bytes()
        assert content == (tmp_path / "b" / name).read_bytes()
        assert b"recalled" in content
        assert "16.50" in content.decode() or "16.5," in content.decode()


def test_from_the_command_line_without_any_run(tmp_path, capsys):
    words = ["paper", "--from-disk", "--root", str(tmp_path / "none"), "--rates", str(tmp_path)]
    assert command.main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "not run" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"paper.md", "paper.csv", "paper.tex", "paper.html", "runs.csv"}
    assert command.main([*words, "--gpu", "NVIDIA H100"]) == 1
    assert "--gpu: 'NVIDIA H100' was not measured, measured: none" in capsys.readouterr().err
