"""What the preflight lets through and refuses, and what only the data can show to be impossible."""

import pytest

from sacreddnn.build import preflight
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
