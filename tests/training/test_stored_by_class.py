"""Batch-norm statistics of data that are stored class by class are those of the data, wherever they are estimated."""

from types import SimpleNamespace

import pytest
import torch

from sacreddnn import energy_profile, landscape_command, run
from sacreddnn.build import build
from sacreddnn.config import check
from sacreddnn.data import synthetic_files
from sacreddnn.data.dataset import Raw, Split
from sacreddnn.landscape_config import LandscapeConfig


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Four classes of images that differ in brightness; a minibatch in the order of the files has one class."""
    root = tmp_path_factory.mktemp("images")
    labels = torch.arange(4).repeat_interleave(40)
    noise = torch.randint(40, (160, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    split = Split((60 * labels.view(-1, 1, 1, 1) + noise).to(torch.uint8), labels)
    synthetic_files.write_image_folder(Raw(split, split, tuple("abcd")), root)
    return build(
        check(
            {
                "dataset": {"name": "folder", "root": str(root)},
                "model": {"name": "resnet20"},
                "training": {"batch_size": 20, "num_threads": 1, "precision": "float32", "device": "cpu"},
                "evaluation": {"batch_norm": "reestimated", "batch_size": 40},
            }
        )
    )


@torch.no_grad()
def variances(network, session):
    """Variance of what the first batch norm sees on all images, and what it has stored."""
    (inputs, _), *rest = session.clean("train")
    inputs = torch.cat([inputs, *(more for more, _ in rest)])
    norm = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen = []
    with norm.register_forward_hook(lambda module, x, out: seen.append(x[0])):
        network.eval()(inputs)
    return seen[0].var((0, 2, 3)), norm.running_var


def test_of_the_center(session):
    true, estimated = variances(run.center_network(session), session)
    torch.testing.assert_close(estimated, true, rtol=0.1, atol=0)


def test_of_the_draws_of_a_local_energy(session):
    network = session.center.update()
    energy_profile._reestimation(session.clean)(network)
    true, estimated = variances(network, session)
    torch.testing.assert_close(estimated, true, rtol=0.1, atol=0)


@pytest.mark.parametrize("split", ["train", "test"])
def test_of_the_points_of_a_landscape(session, split, monkeypatch, tmp_path):
    used = {}

    def random_cut(network, batches, *, statistics, **options):
        used["batches"] = statistics or batches
        raise KeyboardInterrupt

    target = SimpleNamespace(network=session.center.update(), clean=session.clean, origin={})
    monkeypatch.setattr(landscape_command, "load", lambda config: [target])
    monkeypatch.setattr("sacreddnn.flatness.landscape.random_cut", random_cut)
    with pytest.raises(KeyboardInterrupt):
        landscape_command.execute(LandscapeConfig(runs=[1], split=split), SimpleNamespace(folder=tmp_path))
    for _, targets in used["batches"]:
        assert targets.bincount(minlength=4).min() > 0
