"""Initial weights: their law, their scale, their noise."""

import pytest
import torch
from network_cases import CASES
from torch import nn

from sacreddnn import models
from sacreddnn.models.initialization import INITIALIZERS, initialize, perturb

FAN_IN, FAN_OUT = 64 * 9, 128 * 9
CONVOLUTION_STD = {
    "he": (2 / FAN_IN) ** 0.5,
    "he_fan_out": (2 / FAN_OUT) ** 0.5,
    "xavier": (2 / (FAN_IN + FAN_OUT)) ** 0.5,
    "lecun": (1 / FAN_IN) ** 0.5,
    "orthogonal": (1 / FAN_IN) ** 0.5,  # 128 orthonormal rows of 576 entries
}
LINEAR_STD = {
    "he": (2 / 300) ** 0.5,
    "he_fan_out": (2 / 300) ** 0.5,
    "xavier": (2 / 500) ** 0.5,
    "lecun": (1 / 300) ** 0.5,
    "orthogonal": (1 / 300) ** 0.5,
}


@pytest.mark.parametrize("name", CONVOLUTION_STD)
def test_standard_deviations(name):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(64, 128, 3), nn.BatchNorm2d(128), nn.Linear(300, 200))
    nn.init.constant_(network[1].weight, 5.0)
    initialize(network, name)
    assert network[0].weight.std().item() == pytest.approx(CONVOLUTION_STD[name], rel=0.02)
    assert network[2].weight.std().item() == pytest.approx(LINEAR_STD[name], rel=0.02)
    assert not network[0].bias.any()
    assert not network[2].bias.any()
    assert (network[1].weight == 1).all()
    assert not network[1].bias.any()


def test_orthogonal_rows():
    network = nn.Linear(30, 20)
    initialize(network, "orthogonal")
    torch.testing.assert_close(network.weight @ network.weight.T, torch.eye(20), rtol=0, atol=1e-5)


def test_default_leaves_the_networks_own():
    network = nn.Linear(3, 2)
    before = network.weight.clone()
    initialize(network, "default")
    assert torch.equal(network.weight, before)
    assert set(INITIALIZERS) == {"default", *CONVOLUTION_STD}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_scale_multiplies_the_weights_of_layers_only(case):
    plain = case.build(init="he")
    scaled = case.build(init="he", init_scale=0.5)
    for (name, a), b in zip(plain.named_modules(), scaled.modules(), strict=True):
        if isinstance(a, nn.Linear | nn.Conv2d):
            assert torch.equal(0.5 * a.weight, b.weight), name
        elif isinstance(a, nn.BatchNorm2d):
            assert torch.equal(a.weight, b.weight), name


def test_perturbation_is_relative():
    case = CASES["lenet"]
    plain, noisy = case.build(), case.build(perturb=0.1)
    ratios = torch.cat([(b / a).flatten() for a, b in zip(plain.parameters(), noisy.parameters(), strict=True)])
    assert ratios.mean().item() == pytest.approx(1.0, abs=0.003)
    assert ratios.std().item() == pytest.approx(0.1, rel=0.03)


def test_perturbation_of_a_generator_is_repeatable_and_leaves_the_global_state():
    state = torch.get_rng_state()
    networks = [CASES["mlp"].build() for _ in range(2)]
    for network in networks:
        perturb(network, 0.3, torch.Generator().manual_seed(5))
    assert torch.equal(networks[0][1].weight, networks[1][1].weight)
    assert not torch.equal(networks[0][1].weight, CASES["mlp"].build()[1].weight)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", ["resnet20", "wrn", "pyramidnet"])
def test_our_residual_networks_are_drawn_as_in_their_papers(name):
    drawn = {"resnet20": "he", "wrn": "he_fan_out", "pyramidnet": "he_fan_out"}[name]
    case = CASES[name]._replace(options={})
    for module in case.build().modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            fan_in = module.weight[0].numel()
            fan_out = module.weight[:, 0].numel()
            expected = (2 / (fan_in if drawn == "he" else fan_out)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1)
            break


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": "hee"}, r"model\.init: 'hee' is unknown; did you mean he"),
        ({"init_scale": 0}, r"model\.init_scale: 0 is not allowed"),
        ({"init_scale": "big"}, r"model\.init_scale: 'big' is not allowed"),
        ({"perturb": -1.0}, r"model\.perturb: -1\.0 is not allowed"),
    ],
)
def test_wrong_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        models.build("lenet", num_classes=3, in_channels=1, image_size=28, **options)
