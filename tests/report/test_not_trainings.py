"""Records of scripts/flatness.py among trainings: tables of trainings leave them out and say so."""

import pytest

from sacreddnn import experiment, flatness_command
from sacreddnn.report import command

SMALL = ["digits", "mlp", "sgd", "on_disk", "training.precision=float32", "training.epochs=1", "training.num_threads=1",
         "training.device=cpu", "evaluation.flatness.every=0", "tracking.tags=[study]"]  # fmt: skip
NOTE = "1 record is left out: of no training"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    assert experiment.main(["train.py", "with", *SMALL, f"tracking.root={root}"]) == 0
    words = ["on_disk", "run=1", "measures=[margins]", "num_examples=50", "device=cpu", "num_threads=1"]
    tags = ["tracking.tags=[study]", f"tracking.root={root}"]
    assert flatness_command.main(["flatness.py", "with", *words, *tags]) == 0
    return root


@pytest.mark.parametrize("choice", [[], ["--tag", "study"], ["1", "2"]])
@pytest.mark.parametrize("name", ["compare", "table"])
def test_a_measurement_is_left_out_of_tables(root, name, choice, tmp_path, capsys):
    words = [name, *choice, "--from-disk", "--root", str(root), "--out", str(tmp_path)]
    assert command.main(words) == 0, capsys.readouterr().err
    assert NOTE in " ".join(capsys.readouterr().out.split())
    assert [line.split(",")[0] for line in (tmp_path / "runs.csv").read_text().splitlines()] == ["run_id", "1"]


def test_a_measurement_is_left_out_of_the_tables_of_a_page(root, tmp_path):
    page = tmp_path / "page.html"
    assert command.main(["page", "--from-disk", "--root", str(root), "--out", str(page)]) == 0
    assert NOTE in page.read_text()


@pytest.mark.parametrize("name", ["compare", "table"])
def test_measurements_alone_are_no_table(root, name, capsys):
    assert command.main([name, "2", "--from-disk", "--root", str(root)]) == 1
    assert "training" in capsys.readouterr().err
