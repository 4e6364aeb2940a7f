"""The report's command line on runs that were made by the real one."""

import csv
import json

import pandas as pd
import pytest

from sacreddnn import experiment
from sacreddnn.report import command, run_figures
from sacreddnn.tracking import dashboard as database_command
from sacreddnn.tracking import server
from sacreddnn.tracking.spool import Spool

SMALL = [
    "digits", "mlp", "on_disk", "training.precision=float32", "training.epochs=2", "training.batch_size=32",
    "training.num_threads=1", "training.device=cpu", "evaluation.flatness.num_samples=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    draw = run_figures.draw_run
    for words in (["sgd"], ["rsgd"], ["sgd", "tracking.tags=[ours]"], ["sgd", "tracking.tags=[ours]"]):
        assert experiment.main(["train.py", "with", *SMALL, f"tracking.root={root}", *words], draw) == 0
    return root


def disk(root, *words):
    return command.main([*words, "--root", str(root), "--from-disk"])


def test_runs_are_listed(root, capsys):
    assert disk(root, "runs") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    error = json.loads((root / "2/result.json").read_text())["test/center/error"]
    assert lines[2].split()[0] == "2"
    assert lines[2].split()[-2:] == ["0", f"{error:.2f}"]


def test_runs_are_exported(root, tmp_path):
    assert disk(root, "runs", "--out", str(tmp_path / "runs.csv")) == 0
    with (tmp_path / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["config.algorithm.name"] for row in rows] == ["sgd", "rsgd", "sgd", "sgd"]
    error = json.loads((root / "2/result.json").read_text())["test/center/error"]
    assert float(rows[1]["test/center/error"]) == error
    assert len(rows[1]["commit"]) == 40
    assert "config.seed" in rows[0]
    assert "config.resume" not in rows[0]  # a folder of this machine


def test_a_run_has_its_figures_in_its_record(root):
    artifacts = {a["name"]: root / "1" / a["path"] for a in json.loads((root / "1/run.json").read_text())["artifacts"]}
    for name in ("learning_curve.png", "local_energy_profile.png"):
        assert artifacts[name].read_bytes().startswith(b"\x89PNG")
        assert artifacts[name].parent.name == "figures"


def test_a_comparison_is_printed_and_written(root, tmp_path, capsys):
    assert disk(root, "compare", "1", "2", "--out", str(tmp_path)) == 0
    table = capsys.readouterr().out
    for run in (1, 2):
        error = json.loads((root / f"{run}/result.json").read_text())["test/center/error"]
        assert f"{error:.2f}" in table
    assert {p.name for p in tmp_path.iterdir()} == {
        "comparison.md", "comparison.csv", "runs.csv", "learning_curves.png", "learning_curves.pdf",
        "local_energy_profiles.png", "local_energy_profiles.pdf",
    }  # fmt: skip


def test_a_tag_picks_the_newest_run(root, tmp_path):
    assert disk(root, "compare", "--tag", "ours", "--out", str(tmp_path)) == 0
    row = (tmp_path / "comparison.csv").read_text().splitlines()[1]
    assert row.split(",")[3] == "4"


def test_what_is_not_there_is_said(root, tmp_path, capsys):
    assert disk(root, "compare", "--tag", "theirs") == 1
    assert "no runs with tag 'theirs'" in capsys.readouterr().err
    assert disk(root, "compare", "17") == 1
    assert "17" in capsys.readouterr().err
    assert disk(root, "compare", "1", "--sigmas", "0.77") == 1
    assert "0.77 was not measured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["algorithm.name=sgd", "training.lr<1e3"], True),
        (["status=COMPLETED", "test/center/error>=0", "start_time>=2020-01-01"], True),
        (["algorithm.name!=sgd"], None),
        (["training.lr>1e3"], False),
    ],
)
def test_runs_are_found_by_conditions(root, capsys, words, found):
    status = disk(root, "runs", "--where", *words)
    if found is not None:
        assert status == (0 if found else 1)
    if found is False:
        assert "no run meets training.lr>1e3" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_runs_and_points_are_exported(root, tmp_path, ending):
    read = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[ending]
    out, points = tmp_path / f"runs.{ending}", tmp_path / f"points.{ending}"
    assert disk(root, "runs", "--out", str(out), "--metrics", str(points)) == 0
    exported, series = read(out).reset_index(), read(points)
    for run in exported["run_id"]:
        result = json.loads((root / f"{run}/result.json").read_text())
        row = exported[exported["run_id"] == run].iloc[0]
        assert row["test/center/error"] == pytest.approx(result["test/center/error"])
    lines = sum(len((root / f"{run}/metrics.jsonl").read_text().splitlines()) for run in exported["run_id"])
    assert len(series) == lines
    assert not list(tmp_path.glob("*.tmp"))


def test_a_damaged_config_is_one_line_with_its_path(tmp_path, capsys):
    folder = Spool.create(tmp_path, {"seed": 1}).folder
    (folder / "config.yaml").write_text("training: [1")
    assert disk(tmp_path, "runs") == 1
    assert capsys.readouterr().err.startswith(f"report: {folder}/config.yaml: not YAML")


def test_another_ending_is_refused(root, tmp_path, capsys):
    assert disk(root, "runs", "--out", str(tmp_path / "runs.xls")) == 1
    assert ".xls is not allowed, allowed: .csv, .json, .parquet" in capsys.readouterr().err


def test_replay_brings_runs_into_the_embedded_database(root, tmp_path, capsys):
    pytest.importorskip("secantus", reason="the embedded database is not installed")
    folder = ["--folder", str(tmp_path / "database")]
    try:
        assert command.main(["replay", "--root", str(root), *folder]) == 0
        assert "4 runs replayed" in capsys.readouterr().out
        assert command.main(["replay", "--root", str(root), *folder]) == 0
        assert "0 runs replayed (0 metric points, 0 artifacts), 4 were there" in capsys.readouterr().out
        assert command.main(["compare", "1", "2", *folder]) == 0
        from_database = capsys.readouterr().out
        assert disk(root, "compare", "1", "2") == 0
        assert capsys.readouterr().out == from_database
        assert database_command.main(["status", *folder]) == 0
        assert "running at mongodb://127.0.0.1" in capsys.readouterr().out
        assert database_command.main(["stop", *folder]) == 0
        assert not server.status(tmp_path / "database")["running"]
    finally:
        server.stop(tmp_path / "database")


@pytest.mark.parametrize(
    "name",
    ["runs", "compare", "artifacts", "delete", "flatness", "correlate", "replay", "table", "curves", "profiles", "diff",
     "page", "paper"],
)  # fmt: skip
def test_every_command_has_its_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([name, "--help"])
    assert ended.value.code == 0
    assert f"report.py {name}" in capsys.readouterr().out
