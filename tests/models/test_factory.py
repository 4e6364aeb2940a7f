"""Names, options, seeds and configs of networks."""

import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml
from network_cases import CASES
from torch import nn

from sacreddnn import models
from sacreddnn.models import registry

SHAPE = {"num_classes": 3, "in_channels": 1, "image_size": 28}
CONFIGS = Path(__file__).parents[2] / "configs" / "model"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_weights_are_a_function_of_the_seed_alone(case):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = case.build(seed=7)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    second, other = case.build(seed=7), case.build(seed=8)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_without_a_seed_the_global_state_is_used():
    torch.manual_seed(1)
    first = CASES["lenet"].build(seed=None)
    second = CASES["lenet"].build(seed=None)
    torch.manual_seed(1)
    again = CASES["lenet"].build(seed=None)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, second.conv1.weight)


def test_images_may_be_rectangles():
    for name in ("lenet", "lenet5", "mlp", "resnet20"):
        network = models.build(name, num_classes=3, in_channels=2, image_size=(18, 25))
        assert network(torch.zeros(2, 2, 18, 25)).shape == (2, 3)


def test_names_with_numbers():
    named, spelled = models.build("wrn16_2", **SHAPE), models.build("wrn", depth=16, width=2, **SHAPE)
    assert models.count_parameters(named) == models.count_parameters(spelled)
    network = models.build("mlp_9_8_7", **SHAPE)
    assert [m.out_features for m in network if isinstance(m, nn.Linear)] == [9, 8, 7, 3]
    assert models.options("pyramidnet29_18").keys() == models.options("pyramidnet").keys() - {
        "depth",
        "alpha",
    }


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("lenett", "lenet"),
        ("resnet26d", "timm/resnet26d"),
        ("timm/resnet26e", "timm/resnet26d"),
        ("mobilenet_v3_smal", "torchvision/mobilenet_v3_small"),
        ("torchvision/resnet19", "torchvision/resnet18"),
        ("wrn28-10", "wrn28_10"),
        ("hf-hub:somebody/something", "is unknown"),
        ("timm/hf-hub:somebody/something", "is unknown"),
        (None, "is unknown"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=r"^model\.name: .* is unknown; ") as error:
        models.build(name, **SHAPE)
    assert nearest in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet", {"stem": "cifar"}, r"model\.stem: lenet takes no such option; it takes dropout, init,"),
        ("resnet18", {"depth": 20}, r"model\.depth: resnet18 takes no such option; resnet18 fixes it"),
        ("resnet18", {"stem": "cifra"}, r"model\.stem: 'cifra' is unknown; did you mean cifar"),
        ("resnet18", {"pretrained": True}, r"model\.pretrained: .* set stem to imagenet"),
        ("resnet18", {"zero_init": 1}, r"model\.zero_init: 1 is not allowed; give true or false"),
        ("lenet", {"dropout": 1.0}, r"model\.dropout: 1\.0 is not allowed; give a number from 0 to below 1"),
        ("lenet", {"dropout": "0.1"}, r"model\.dropout: '0\.1' is not allowed"),
        ("mlp", {"hidden": 5}, r"model\.hidden: 5 is not allowed"),
        ("mlp", {"hidden": [5, 0]}, r"model\.hidden: 0 is not allowed"),
        ("wrn", {"depth": 17}, r"model\.depth: 17 is not allowed; give 6n \+ 4"),
        ("wrn17_2", {}, r"model\.depth: 17 is not allowed"),
        ("pyramidnet", {"depth": 30}, r"model\.depth: 30 is not allowed; bottleneck blocks make 9n \+ 2"),
        ("pyramidnet", {"survival": 0}, r"model\.survival: 0 is not allowed"),
        ("pyramidnet", {"shakedrop_level": "pixel"}, r"model\.shakedrop_level: 'pixel' is unknown"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, **SHAPE, **options)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"image_size": 8}, r"^image_size: lenet needs images of at least 16x16 pixels, got 8x8"),
        ({"image_size": (1, 2, 3)}, r"^image_size: .* the pair \(height, width\)"),
        ({"num_classes": 0}, r"^num_classes: 0 is not allowed"),
        ({"in_channels": 1.0}, r"^in_channels: 1\.0 is not allowed"),
        ({"seed": -1}, r"^seed: -1 is not allowed"),
    ],
)
def test_wrong_shapes_are_named(shape, message):
    with pytest.raises(ValueError, match=message):
        models.build("lenet", **{**SHAPE, **shape})


def test_lenet_imports_neither_library():
    code = (
        "import sys; from sacreddnn import models;"
        "models.build('lenet', num_classes=3, in_channels=1, image_size=28);"
        "sys.exit(bool({'timm', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=CONFIGS.parents[1], check=False).returncode == 0


def test_every_network_has_a_config_that_builds():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(registry.NETWORKS)
    for path in CONFIGS.glob("*.yaml"):
        options = yaml.safe_load(path.read_text())["model"]
        registry.find(options.pop("name"))
        assert options.keys() <= models.options(path.stem).keys()


def test_a_network_is_one_file_and_one_line(monkeypatch):
    def linear(*, num_classes, in_channels, image_size, bias=True):
        return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes, bias))

    file = types.ModuleType("sacreddnn.models.linear")
    file.linear = linear
    monkeypatch.setitem(sys.modules, "sacreddnn.models.linear", file)
    monkeypatch.setitem(registry.NETWORKS, "linear", registry.Network("linear.linear"))
    network = models.build("linear", **SHAPE, bias=False, init="he", seed=1)
    assert models.count_parameters(network) == 3 * 28 * 28
    assert "linear" in models.names()
    with pytest.raises(ValueError, match=r"model\.biass: linear takes no such option; it takes bias, init"):
        models.build("linear", **SHAPE, biass=False)
