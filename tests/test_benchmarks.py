"""Every benchmark runs at toy size and leaves its table; what it measures there means nothing and is not looked at."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
HELPERS = {"all", "measure", "reference_loop", "throughput"}  # throughput has no targets and a test of its own
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in HELPERS)


def run(name, *arguments):
    return subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), "--toy", "--threads", "1", *arguments],
        capture_output=True, text=True, timeout=220, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_writes_its_table(name, tmp_path):
    done = run(name, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    with (tmp_path / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    page = (tmp_path / f"{name}.md").read_text()
    for row in rows:
        assert float(row["low"]) <= float(row["measured"]) <= float(row["high"])
        assert row["verdict"] in ("met", "MISSED") if row["target"] != "-" else row["verdict"] == "-"
        assert {"commit", "machine", "versions", "threads"} <= set(row)
        assert row["what"] in page
    assert "toy size" in page


def test_all_of_them_are_run_and_one_that_fails_is_named(tmp_path):
    done = run("all", "--only", "arithmetic", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "summary.md").read_text().splitlines()
    named = {line.split("|")[1].strip().split("]")[0].strip("[") for line in lines if line.startswith("| ")}
    assert named - {"benchmark"} == set(NAMES)
    assert any("arithmetic" in line and "<= 1.3" in line for line in lines)
    assert sum("not run" in line for line in lines) == len(NAMES) - 1
    failing = run("all", "--only", "arithmetic", "--out", str(tmp_path), "--device", "none")
    assert failing.returncode == 1
    assert "| arithmetic | it failed |" in (tmp_path / "summary.md").read_text()
    assert "failed: arithmetic" in failing.stderr
