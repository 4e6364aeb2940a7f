"""Landscapes from the command line: of one, two and three runs."""

import json
from types import SimpleNamespace

import pytest
import torch
from cases import tiny_batches, tiny_network

from sacreddnn import experiment, landscape_command
from sacreddnn.command import BAD_CONFIG, COMPLETED
from sacreddnn.flatness import random_cut
from sacreddnn.landscape_config import LandscapeConfig
from sacreddnn.report.landscape_figures import draw_landscape

SMALL = ["digits", "mlp", "model.hidden=[16]", "training.epochs=2", "training.batch_size=32", "training.num_threads=1",
         "training.device=cpu", "training.precision=float32", "evaluation.flatness.num_samples=0"]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        assert experiment.main(["train.py", "with", *SMALL, "on_disk", f"seed={seed}", f"tracking.root={root}"]) == 0
    return root


def cut(root, *words):
    status = landscape_command.main(
        ["landscape.py", "with", "on_disk", f"tracking.root={root}", "num_examples=100", "num_points=5", "device=cpu",
         "num_threads=1", *words],
        draw_landscape,
    )  # fmt: skip
    return status, root / str(max(int(f.name) for f in root.iterdir() if f.name.isdecimal()))


@pytest.mark.parametrize("words", [["runs=[1]"], ["runs=[1]", "dimensions=1"], ["runs=[1, 2]"], ["runs=[1, 2, 3]"]])
def test_cuts_are_recorded_with_a_picture(root, words):
    status, folder = cut(root, *words)
    assert status == COMPLETED
    kept = json.loads((folder / "artifacts/landscape.json").read_text())
    result = json.loads((folder / "result.json").read_text())
    assert len(kept["loss"]) == 5
    assert len(kept["axes"]) == (1 if len(kept["networks"]) == 2 or "dimensions=1" in words else 2)
    assert (folder / "figures/landscape.png").stat().st_size > 5000
    assert [a["name"] for a in json.loads((folder / "run.json").read_text())["artifacts"]][-1] == "landscape.png"
    assert ("barrier_loss" in result) == (words == ["runs=[1, 2]"])


def test_the_ends_of_a_line_are_the_networks(root):
    _, folder = cut(root, "runs=[1, 2]", "num_examples=null")
    kept = json.loads((folder / "artifacts/landscape.json").read_text())
    for run, end in ((1, 0), (2, -1)):
        of_training = json.loads((root / f"{run}/result.json").read_text())
        assert kept["error"][end] == pytest.approx(of_training["train/center/error"], abs=1e-4)
        assert kept["loss"][end] == pytest.approx(of_training["train/center/loss"], rel=1e-4)


def test_networks_come_from_runs_checkpoints_and_files_of_weights(root, tmp_path):
    """The line from run 1 to run 2 is the same whatever it is read from."""
    expected = json.loads((cut(root, "runs=[1, 2]")[1] / "artifacts/landscape.json").read_text())
    newest = max((root / "2/checkpoints").glob("step-*.pt"))
    torch.save({"net": torch.load(root / "2/artifacts/center.pt"), "epoch": 2}, tmp_path / "other.pt")
    for words in (
        ["runs=[1]", f"checkpoints=[{newest}]"],
        ["runs=[1]", f"weights=[{tmp_path / 'other.pt'}]"],
        ["digits", "mlp", "model.hidden=[16]", f"weights=[{root / '1/artifacts/center.pt'}, {tmp_path / 'other.pt'}]"],
    ):
        status, folder = cut(root, *words)
        assert status == COMPLETED
        kept = json.loads((folder / "artifacts/landscape.json").read_text())
        assert kept["loss"] == pytest.approx(expected["loss"], rel=1e-6), words
        assert (folder / "figures/landscape.png").exists()


def test_statistics_are_those_of_training_images_on_either_split():
    """Batch norm is never estimated on the test images that it is then tested on."""
    network = tiny_network()
    images = {"train": tiny_batches(2), "test": [(3 * inputs + 1, targets) for inputs, targets in tiny_batches(2)]}
    view = SimpleNamespace(in_random_order=lambda: images["train"])
    target = SimpleNamespace(network=network, clean=lambda split, limit: {"train": view}[split])
    config = LandscapeConfig(runs=[1], num_points=3, dimensions=1, split="test")
    _, found = landscape_command.measure(config, [target], images["test"])
    options = {"num_points": 3, "dimensions": 1, "batch_norm": "reestimated"}
    expected = random_cut(network, images["test"], statistics=images["train"], **options)
    assert found.loss.tolist() == expected.loss.tolist()
    assert found.loss.tolist() != random_cut(network, images["test"], **options).loss.tolist()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["runs=[1, 2]", "checkpoints=[a.pt]", "weights=[b.pt]"], "runs: [1, 2], checkpoints: ['a.pt'], weights: ['b"),
        (["weights=[b.pt]", "mlp"], "weights: ['b.pt'] needs a dataset"),
        (["runs=[1]", "mlp"], "model: 'mlp' is that of weights"),
        (["runs=[1]", "weights=[nowhere.pt]"], "weights: nowhere.pt is no file"),
        ([], "runs: [] is not allowed, give one"),
        (["runs=[1, 2, 3, 4]"], "runs: [1, 2, 3, 4] is not allowed"),
        (["runs=[77]"], "run: run '77': not under"),
        (["runs=[1]", "num_points=2"], "num_points: 2 is not allowed"),
    ],
)
def test_bad_input_is_one_line(root, capsys, words, line):
    status, _ = cut(root, *words)
    assert status == BAD_CONFIG
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(line)
