"""Activations by name, and their replacement."""

import pytest
import torch
from network_cases import CASES
from torch import nn

from sacreddnn import models
from sacreddnn.models.activations import ACTIVATIONS, activation, replace_activations

KNOWN = {
    "relu": lambda x: x.clamp(min=0),
    "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
    "swish": lambda x: x / (1 + (-x).exp()),
    "silu": lambda x: x / (1 + (-x).exp()),
    "mish": lambda x: x * (1 + x.exp()).log().tanh(),
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "quadratic": lambda x: x * x,
    "requ": lambda x: x * x * (x > 0),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_the_function_of_its_name(name):
    x = torch.linspace(-3, 3, 25, dtype=torch.float64)
    torch.testing.assert_close(activation(name)(x), KNOWN[name](x))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_replacement_reaches_every_activation(case):
    network = case.build(activation="requ")
    kinds = {type(m).__name__ for m in network.modules()}
    assert "ReQU" in kinds
    assert not kinds & {"ReLU", "ReLU6", "SiLU", "Hardswish", "GELU", "Swish", "HardSwish"}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_replaced_network_has_gradients(name):
    case = CASES["lenet"]
    network = case.build(activation=name)
    network(case.images()).sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_replacement_by_hand():
    network = CASES["mlp"].build(dropout=0.0)
    tanh = CASES["mlp"].build(dropout=0.0, activation="tanh")
    images = CASES["mlp"].images()
    hidden = torch.tanh(network[1](images.flatten(1)))
    expected = network[7](torch.tanh(network[4](hidden)))
    torch.testing.assert_close(tanh(images), expected)


def test_gates_are_not_activations():
    network = CASES["efficientnet_b0"].build(activation="tanh")
    assert any(isinstance(m, nn.Sigmoid) or "Sigmoid" in type(m).__name__ for m in network.modules())


def test_shared_activations_are_all_replaced():
    relu = nn.ReLU()
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), relu, nn.Linear(4, 4), relu, nn.Linear(4, 2))
    assert replace_activations(network, "tanh", 1, (2, 2)) == 2
    assert not any(isinstance(m, nn.ReLU) for m in network.modules())


def test_activations_out_of_reach_are_refused():
    shape = {"num_classes": 3, "in_channels": 3, "image_size": 32}
    with pytest.raises(ValueError, match=r"model\.activation: DenseNet calls relu as a function.*'tanh'"):
        models.build("torchvision/densenet121", activation="tanh", **shape)
    models.build("torchvision/densenet121", activation="relu", **shape)
    with pytest.raises(ValueError, match=r"model\.activation: Sequential has no activation module"):
        models.build("mlp", hidden=[], activation="tanh", **shape)


def test_unknown_activation_names_the_nearest():
    with pytest.raises(ValueError, match=r"model\.activation: 'swisch' is unknown; did you mean swish"):
        CASES["lenet"].build(activation="swisch")
