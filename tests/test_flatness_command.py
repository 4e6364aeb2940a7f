"""Measuring networks from the command line: of runs, checkpoints and files of weights."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

import sacreddnn
from sacreddnn import experiment, flatness_command
from sacreddnn.command import BAD_CONFIG, COMPLETED, FAILED
from sacreddnn.flatness import error, local_energy
from sacreddnn.measures import MEASURES

SMALL = ["digits", "mlp", "model.hidden=[16]", "training.epochs=2", "training.batch_size=32", "training.num_threads=1",
         "training.device=cpu", "training.precision=float32"]  # fmt: skip
FEW = ["num_examples=100", "batch_size=40", "device=cpu", "num_threads=1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    assert experiment.main(["train.py", "with", *SMALL, "on_disk", f"tracking.root={root}"]) == 0
    return root


@pytest.fixture
def measure(tmp_path):
    def measure(*words):
        status = flatness_command.main(["flatness.py", "with", "on_disk", f"tracking.root={tmp_path}", *FEW, *words])
        return status, tmp_path / "1"

    return measure


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def test_every_measure_of_a_run_is_recorded(trained, measure, tmp_path):
    cheap = ["local_entropy.num_steps=20", "local_entropy.burn_in=5", "spectral_density.num_steps=10"]
    status, folder = measure(f"run={trained / '1'}", "all_measures", *cheap)
    assert status == COMPLETED
    result, run = result_of(folder), json.loads((folder / "run.json").read_text())
    of_training = result_of(trained / "1")
    for name in ("test/center/error", "train/center/loss", "local_energy", "local_energy_se"):
        assert result[name] == pytest.approx(of_training[name], rel=1e-6), name
    assert set(MEASURES) <= {artifact["name"].removesuffix(".json") for artifact in run["artifacts"]}
    expected = {"hessian_largest", "hessian_trace", "sharpness", "sharpness_adaptive", "pac_bayes_sigma", "path_norm",
                "local_entropy_loss", "margin_10", "hessian_rms_eigenvalue"}  # fmt: skip
    assert expected < set(result)
    assert run["info"]["source"]["run"] == "1"
    assert run["info"]["source"]["uuid"] == json.loads((trained / "1/run.json").read_text())["uuid"]
    assert run["info"]["source"]["algorithm"]["name"] == "sgd"
    assert result["hessian_largest"] > 0


def test_a_state_of_the_training_has_the_center_of_its_run(trained, measure):
    newest = max((trained / "1/checkpoints").glob("step-*.pt"))
    status, folder = measure(f"checkpoint={newest}", "measures=[margins]")
    assert status == COMPLETED
    assert result_of(folder)["test/center/error"] == result_of(trained / "1")["test/center/error"]


def test_a_named_network_with_weights_from_a_file(trained, measure, tmp_path):
    shutil.copy(trained / "1/artifacts/center.pt", tmp_path / "mine.pt")
    status, folder = measure("digits", "mlp", "model.hidden=[16]", f"weights={tmp_path / 'mine.pt'}")
    assert status == COMPLETED
    result, of_training = result_of(folder), result_of(trained / "1")
    assert result["test/center/error"] == of_training["test/center/error"]
    assert result["local_energy"] == pytest.approx(of_training["local_energy"])


def test_a_network_of_timm(measure, tmp_path):
    from sacreddnn import models

    network = models.build("timm/resnet10t", num_classes=10, in_channels=1, image_size=8, seed=1)
    torch.save(network.state_dict(), tmp_path / "resnet.pt")
    status, folder = measure("digits", "timm/resnet10t", f"weights={tmp_path / 'resnet.pt'}", "measures=[margins]")
    assert status == COMPLETED
    assert result_of(folder)["test/center/error"] > 50


def test_a_measurement_goes_on_where_it_was_interrupted(trained, measure, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setitem(MEASURES, "norms", interrupted)
    words = [f"run={trained / '1'}", "measures=[margins, norms]"]
    status, folder = measure(*words)
    assert status > 128
    assert "margin_10" in result_of(folder)
    monkeypatch.undo()
    monkeypatch.setitem(MEASURES, "margins", interrupted)  # must not be measured again
    root = f"tracking.root={folder.parent}"
    assert flatness_command.main(["flatness.py", "with", "resume=1", root]) == COMPLETED
    assert {"margin_10", "path_norm"} < set(result_of(folder))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "run: None; give run=ID, checkpoint=FILE"),
        (["run=3", "checkpoint=a.pt"], "checkpoint: 'a.pt' and run exclude each other"),
        (["weights=a.pt", "mlp"], "weights: 'a.pt' needs a dataset"),
        (["run=3", "mlp"], "model: 'mlp' does not go with run"),
        (["run=99"], "run: run '99'"),
        (["checkpoint=nowhere.pt"], "checkpoint: nowhere.pt is no file"),
        (["weights=nowhere.pt", "mlp", "digits"], "weights: nowhere.pt is no file"),
        (["run=1", "measures=[flatness]"], "measures.0: 'flatness' is not allowed"),
        (["run=1", "measures=[]"], "measures: empty"),
        (["run=1", "local_energy.sigmas=[-1.0]"], "local_energy.sigmas.0: -1.0 is not allowed"),
        (["run=1", "sharpness.rho=0.0"], "sharpness.rho: 0.0 is not allowed"),
        (["run=1", "hessian.num_products=3"], "hessian.num_products: 3 is not allowed"),
        (["run=1", "local_entropy.gammas=[100.0]"], "local_entropy.gammas: [100.0] is not allowed"),
    ],
)
def test_bad_input_is_one_line(measure, capsys, words, line):
    status, _ = measure(*words)
    captured = capsys.readouterr().err
    assert captured.strip().splitlines()[-1].startswith(line), captured
    assert status == BAD_CONFIG


def test_weights_of_another_network_are_refused(trained, measure, tmp_path, capsys):
    shutil.copy(trained / "1/artifacts/center.pt", tmp_path / "mine.pt")
    status, _ = measure("digits", "mlp", "model.hidden=[17]", f"weights={tmp_path / 'mine.pt'}")
    assert status == BAD_CONFIG
    assert "does not hold the weights of mlp" in capsys.readouterr().err


def test_the_local_energy_is_that_of_the_library(trained, measure):
    status, folder = measure(f"run={trained / '1'}", "local_energy.sigmas=[0.3]", "local_energy.num_examples=null")
    assert status == COMPLETED
    target = sacreddnn.load_run(1, str(trained), device="cpu", batch_size=40)
    expected = local_energy(target.network, list(target.clean("train")), [0.3], measure=error)
    assert result_of(folder)["local_energy"] == pytest.approx(expected.mean.item())
    profile = json.loads((folder / "run.json").read_text())["info"]["local_energy"]
    torch.testing.assert_close(torch.tensor(profile["error_draws"], dtype=torch.float64), expected.samples)


def test_a_measure_that_fails_keeps_no_other_from_being_taken(trained, measure, capsys):
    words = ["measures=[pac_bayes, margins]", "pac_bayes.target=1e9"]
    status, folder = measure(f"run={trained / '1'}", *words)
    assert status == FAILED
    assert "pac_bayes: bounds: the loss rises by less than the target" in capsys.readouterr().err.splitlines()[-1]
    assert "margin_10" in result_of(folder)
    assert json.loads((folder / "run.json").read_text())["status"] == "FAILED"


def test_norms_that_a_network_lacks_are_left_out():
    """timm's residual blocks begin with a batch norm of zero; a GELU has no path norm."""
    from sacreddnn import models

    network = models.build("timm/resnet10t", num_classes=10, in_channels=1, image_size=8, seed=1)
    network.act1 = torch.nn.GELU()
    target = SimpleNamespace(network=network)
    values, details = MEASURES["norms"](target, [(torch.randn(2, 1, 8, 8), None)], SimpleNamespace(seed=0))
    assert set(values) == {"frobenius_norm"}
    assert 0.0 in details["spectral_norms"].values()
    assert details["no_path_norm"].startswith("network: it is not linear")
