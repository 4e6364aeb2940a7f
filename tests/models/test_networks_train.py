"""Every kind of network in the conditions of training: flat weights, channels-last, bfloat16, compiled."""

import shutil

import pytest
import torch
from network_cases import CASES
from torch.nn.functional import cross_entropy

from sacreddnn.models.registry import NETWORKS
from sacreddnn.weights import Weights

LABELS = torch.tensor([0, 2])


def test_every_file_of_networks_has_a_case():
    covered = {NETWORKS[name].constructor for name in CASES if name in NETWORKS}
    assert covered == {network.constructor for network in NETWORKS.values()}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients_through_one_flat_vector_are_finite(case, precision, monkeypatch):
    if case.name in (
        "lenet",
        "resnet20",
        "wrn",
    ):  # the kernels of real training, where they are quick to prepare
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", True)
    torch.manual_seed(0)
    network = case.build().to(memory_format=torch.channels_last)
    weights = Weights([network.parameters()])
    images = case.images().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        scores = network(images)
        loss = cross_entropy(scores.float(), LABELS)
    loss.backward()
    weights.check()
    assert scores.shape == (2, 3)
    assert weights.gradients.isfinite().all()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())
    assert weights.gradients.norm() > 0


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_step_of_the_flat_vector_lowers_the_loss_as_its_gradient_says(case):
    # without ShakeDrop, whose backward pass is not the gradient
    network = case.build(**({"survival": 1.0} if case.name == "pyramidnet" else {})).double()
    weights = Weights([network.parameters()])

    def loss():
        torch.manual_seed(0)  # the same dropout each time
        return cross_entropy(network(case.images().double()), LABELS)

    before = loss()
    before.backward()
    step = 1e-6 / weights.gradients.square().sum()
    weights.values.add_(weights.gradients, alpha=-step.item())
    with torch.no_grad():
        assert (before - loss()).item() == pytest.approx(1e-6, rel=0.02)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_channels_last_computes_the_same(case):
    network = case.build().eval()
    with torch.no_grad():
        expected = network(case.images())
        scores = network.to(memory_format=torch.channels_last)(
            case.images().contiguous(memory_format=torch.channels_last)
        )
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["lenet", "resnet18", "torchvision/mobilenet_v3_small"])
def test_inplace_activations_would_change_nothing(name):
    case = CASES[name]
    gradients = []
    for inplace in (False, True):
        network = case.build()
        assert not any(getattr(module, "inplace", False) for module in network.modules())
        for module in network.modules():
            # not dropout, which would overwrite the output that the gradient of ReLU needs
            if hasattr(module, "inplace") and not isinstance(module, torch.nn.Dropout):
                module.inplace = inplace
        weights = Weights([network.parameters()])
        torch.manual_seed(0)
        cross_entropy(network(case.images()), LABELS).backward()
        gradients.append(weights.gradients.clone())
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["lenet", "pyramidnet"])
def test_networks_are_captured_whole_by_compile(name):
    case = CASES[name]
    network = case.build().eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(case.images()), network(case.images()))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_network_trains_on_flat_weights():
    case = CASES["lenet"]
    gradients = []
    for compile_it in (False, True):
        network = case.build(dropout=0.0)
        weights = Weights([network.parameters()])
        run = torch.compile(network) if compile_it else network
        cross_entropy(run(case.images()), LABELS).backward()
        weights.collect_gradients()
        gradients.append(weights.gradients.clone())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
