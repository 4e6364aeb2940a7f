"""The scripts of results/, with a stand-in for Python that writes down what it is asked to run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "results"
# Runs `-c` and writes down the rest; a measurement gets the next number in its root, as the recorder gives it one.
PYTHON = """#!{python}
import pathlib, subprocess, sys
words = sys.argv[1:]
if words[0] == "-c":
    sys.exit(subprocess.run([sys.executable, *words]).returncode)
with open("asked.txt", "a") as file:
    file.write(" ".join(words) + "\\n")
if not words[0].endswith("report.py"):
    roots = [word.partition("=")[2] for word in words if word.startswith("tracking.root=")]
    for root in (*roots, "results/runs"):  # in the shared folder another run starts meanwhile
        taken = [int(folder.name) for folder in pathlib.Path(root).glob("[0-9]*")]
        folder = pathlib.Path(root, str(max(taken, default=0) + 1), "figures")
        folder.mkdir(parents=True)
        (folder / "landscape.png").write_text(" ".join(words))
"""


@pytest.fixture
def place(tmp_path):
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    return tmp_path


def call(place, script, *words):
    """What the script asked Python to run, a line each."""
    target = place / "results" / script
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(RESULTS / script, target)
    shutil.copy(RESULTS / "unmeasured.sh", place / "results")
    subprocess.run(["bash", str(target.relative_to(place)), *words], cwd=place, check=True, timeout=100)
    return (place / "asked.txt").read_text().splitlines()


def record(folder, config, status, last="COMPLETED"):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    (folder / "run.json").write_text(json.dumps({"attempts": [{"status": last}], "status": status}, indent=1))


@pytest.mark.parametrize("study", ["predict", "fashion_lenet"])
def test_a_measurement_that_did_not_complete_is_taken_again(place, study):
    root = place / f"results/{study}/runs"
    for number in (1, 2, 3, 12):
        record(root / str(number), "seed: 0\nalgorithm:\n  name: sgd\n", "COMPLETED")
    measured = ((4, "1", "COMPLETED"), (5, "2", "FAILED"), (6, "3", "RUNNING"), (7, "'12'", "COMPLETED"))
    for number, of, status in measured:
        record(root / str(number), f"run: {of}\n", status)
    record(root / "13", "seed: 0\nalgorithm:\n  name: sgd\n", "INTERRUPTED")
    asked = [line.split() for line in call(place, f"{study}/measure.sh")]
    assert [words[2] for words in asked if words[0] == "scripts/flatness.py"] == ["run=2", "run=3"]
    assert [words[0] for words in asked[-2:]] == ["scripts/report.py"] * 2


def test_the_runs_that_are_tabled_are_those_that_were_measured(place):
    """Other runs get numbers in results/runs meanwhile."""
    asked = call(place, "flatness/measure.sh", "41", "42", "43", "44")
    report = next(line for line in asked if line.startswith("scripts/report.py")).split()
    assert report[1:] == ["flatness", "--from-disk", "--root", "results/flatness/runs", "1", "2", "3", "4", "--out",
                          "results/flatness"]  # fmt: skip
    measured = [word for line in asked[:4] for word in line.split() if word.startswith("run=")]
    assert measured == [f"run=results/fashion_lenet/runs/{number}" for number in (41, 42, 43, 44)]
    for name, runs in (("line", (41, 43)), ("plane", (41, 42, 43)), ("random", (41,))):
        wanted = ", ".join(f"results/fashion_lenet/runs/{number}" for number in runs)
        assert f"runs=[{wanted}] " in (place / f"results/flatness/{name}.png").read_text()
