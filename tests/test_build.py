"""What the preflight lets through and refuses, and what only the data can show to be impossible."""

import pytest
import torch

from sacreddnn.build import build, preflight
from sacreddnn.config import check
from sacreddnn.schema import ConfigError


def config(model="mlp_16", algorithm="sgd", dataset=None, options=None, **training):
    """A run on 70 synthetic images of 8x8, in 8 minibatches a pass."""
    images = {"train_samples": 70, "test_samples": 20, "image_size": 8} | (options or {})
    algorithm = algorithm if isinstance(algorithm, dict) else {"name": algorithm}
    model = model if isinstance(model, dict) else {"name": model}
    training = {"batch_size": 8, "num_threads": 1, "precision": "float32", "device": "cpu", "epochs": 6} | training
    return check(
        {
            "dataset": {"name": "synthetic", "options": images} | (dataset or {}),
            "model": model,
            "training": training,
            "algorithm": algorithm,
        }
    )


@pytest.mark.parametrize("name", ["torchvision/maxvit_t", "torchvision/vit_h_14", "torchvision/inception_v3"])
def test_networks_of_a_fixed_size_pass_the_preflight_which_knows_no_size(name):
    preflight(config(name, options={"image_size": 224}))


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ({"name": "torchvision/resnet18", "dropout": 0.1}, "model.dropout: torchvision/resnet18 has none"),
        ({"name": "torchvision/vit_b_16", "dropout": 2.0}, "model.dropout: 2.0 is not allowed"),
        ({"name": "timm/vgg11", "drop_path": 0.5}, "model.name: timm/vgg11 cannot be built with"),
    ],
)
def test_options_that_a_network_does_not_take_are_refused_by_the_preflight(model, line):
    with pytest.raises(ConfigError, match=line) as error:
        preflight(config(model))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("algorithm", "line"),
    [
        ({"name": "swa", "period": 13}, r"algorithm\.period: 13 .* 12 of 48 steps .*start=0\.75 .* allowed 1 to 12"),
        ({"name": "ema", "period": 49}, r"algorithm\.period: 49 .* allowed 1 to 48"),
        ({"name": "swa", "start": 0.99}, r"algorithm\.start: 0\.99 leaves none of the 48 .* allowed 0 to 0\.9792"),
    ],
)
def test_an_average_of_nothing_is_refused(algorithm, line):
    with pytest.raises(ConfigError, match=f"^{line}") as error:
        build(config(algorithm=algorithm))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("algorithm", [{"name": "swa", "period": 12}, {"name": "swa", "start": 47 / 48}])
def test_the_last_steps_that_can_be_averaged_are(algorithm):
    training = build(config(algorithm=algorithm)).training
    while training.step < training.num_steps:
        training.advance()
    assert training.algorithm.metrics()["num_averaged"] == 1


def test_inner_steps_that_leave_no_outer_step_are_named():
    line = r"^algorithm\.inner_steps: 20 leaves 0 of 8 steps \(training\.epochs=1\) .* use fewer inner steps"
    with pytest.raises(ConfigError, match=line):
        build(config(algorithm={"name": "esgd", "inner_steps": 20}, epochs=1))
    assert build(config(algorithm={"name": "esgd", "inner_steps": 8}, epochs=1)).training.num_steps == 8
    with pytest.raises(ConfigError, match=r"^training\.epochs: 1 of 1 minibatches are 0 steps of 3 gradient"):
        build(config(algorithm={"name": "rsgd", "replicas": 3}, epochs=1, batch_size=64))


RESNET = {"name": "torchvision/resnet18"}  # one pixel of many channels is left of images of 32x32


@pytest.mark.parametrize(
    ("dataset", "training", "line"),
    [
        ({}, {"batch_size": 16, "accumulate": 16}, "accumulate: 16 .* of a minibatch of 16 .* use fewer parts"),
        ({"num_train": 39}, {"batch_size": 16, "accumulate": 3, "drop_last": False}, "accumulate: 3 .* of 7 through"),
        ({"num_train": 33}, {"batch_size": 16, "drop_last": False}, "drop_last: False .* of 1 .* set it to true"),
        ({}, {"batch_size": 1}, "batch_size: 1 sends a single image .* use a larger one"),
    ],
)
def test_single_images_are_refused_where_batch_norm_would_fail(dataset, training, line):
    with pytest.raises(ConfigError, match=rf"^training\.{line}") as error:
        build(config(RESNET, dataset=dataset, options={"image_size": 32}, **training))
    assert "torchvision/resnet18, whose batch norm cannot be trained on one" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "size", "training"),
    [
        (RESNET, 64, {"batch_size": 16, "accumulate": 16}),  # 2x2 values are left to normalise
        ("mlp_16", 8, {"batch_size": 16, "accumulate": 16}),  # no batch norm
        (RESNET, 32, {"batch_size": 32, "drop_last": False, "epochs": 1}),  # 33 images, for each replica one minibatch
    ],
)
def test_single_images_that_do_no_harm_or_never_come_are_let_through(model, size, training):
    algorithm = {"name": "rsgd", "replicas": 2} if "drop_last" in training else "sgd"
    training = build(config(model, algorithm, {"num_train": 33}, {"image_size": size}, **training)).training
    assert training.advance().isfinite().all()


def test_a_line_warns_of_a_resumption_with_other_threads(caplog):
    before = torch.get_num_threads()
    try:
        first = build(config())
        first.training.advance()
        state = first.state_dict()
        build(config()).resume(state)
        assert not caplog.records
        build(config(num_threads=2)).resume(state)
    finally:
        torch.set_num_threads(before)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("training.num_threads: 2 here, 1 until now; ")
    assert line.endswith(" training.num_threads=1")
