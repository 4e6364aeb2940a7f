"""SAM and ASAM against closed forms and another implementation."""

import pytest
import torch
from algorithm_cases import closure_of, make_algorithm
from cases import Vector, quadratic, tiny_batches, tiny_network
from torch import nn

from sacreddnn.algorithms import ASAM, SAM, SGD

NESTEROV = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}


def test_sam_on_a_quadratic_is_its_equation():
    loss, start = quadratic()
    network = Vector(start)
    algorithm = SAM(network.parameters(), 0.1, rho=0.3)
    w = start.clone()
    for _ in range(20):
        value = algorithm.step(loss.closure(algorithm, network))
        assert value.item() == pytest.approx(loss.loss(w).item())  # at w, not at w + e
        g = loss.h * (w - loss.m)
        e = 0.3 * g / g.norm()
        w = w - 0.1 * loss.h * (w + e - loss.m)
    torch.testing.assert_close(algorithm.center(), w, rtol=1e-9, atol=1e-12)


def test_asam_on_a_quadratic_is_its_equation():
    loss, start = quadratic()
    network = Vector(start)
    algorithm = ASAM(network.parameters(), 0.1, rho=0.5, eta=0.01)
    w = start.clone()
    for _ in range(20):
        algorithm.step(loss.closure(algorithm, network))
        g, T = loss.h * (w - loss.m), w.abs() + 0.01
        e = 0.5 * T**2 * g / (T * g).norm()
        assert (e / T).norm().item() == pytest.approx(0.5)  # on the border of the neighbourhood
        w = w - 0.1 * loss.h * (w + e - loss.m)
    torch.testing.assert_close(algorithm.center(), w, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("adaptive", [False, True])
def test_against_pytorch_optimizer(adaptive):
    theirs_class = pytest.importorskip("pytorch_optimizer").SAM
    ours, theirs = tiny_network(batch_norm=False), tiny_network(batch_norm=False)
    algorithm = (
        ASAM(ours.parameters(), 0.1, rho=0.2, eta=0.0, **NESTEROV)
        if adaptive
        else SAM(ours.parameters(), 0.1, rho=0.2, **NESTEROV)
    )
    reference = theirs_class(theirs.parameters(), torch.optim.SGD, rho=0.2, adaptive=adaptive, lr=0.1, **NESTEROV)
    for x, y in tiny_batches(8):
        algorithm.step(closure_of(algorithm, [ours], [(x, y)]))

        def closure(x=x, y=y):
            reference.zero_grad()
            loss = nn.functional.cross_entropy(theirs(x), y)
            loss.backward()
            return loss

        closure()
        reference.step(closure)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), [
    ("sam", {"rho": 0.0}), ("asam", {"rho": 0.0}), ("weight_noise", {"noise": 0.0, "num_draws": 2}),
])  # fmt: skip
def test_without_perturbation_they_are_sgd_bit_for_bit(name, options):
    plain, perturbed = tiny_network(), tiny_network()
    a = SGD(plain.parameters(), 0.1, **NESTEROV)
    b = make_algorithm(name, [perturbed], **options, **NESTEROV)
    for batch in tiny_batches(6):
        assert torch.equal(a.step(closure_of(a, [plain], [batch])), b.step(closure_of(b, [perturbed], [batch])))
    for key, value in plain.state_dict().items():  # running statistics too
        assert torch.equal(value, perturbed.state_dict()[key]), key


@pytest.mark.parametrize("name", ["sam", "asam", "weight_noise"])
def test_running_statistics_are_those_of_the_first_evaluation(name):
    network, alone = tiny_network(), tiny_network()
    algorithm = make_algorithm(name, [network], **({"noise": 1e-9} if name == "weight_noise" else {}))
    batch = tiny_batches(1)[0]
    alone(batch[0])
    algorithm.step(closure_of(algorithm, [network], [batch]))
    for a, b in zip(network[1].buffers(), alone[1].buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_without_networks_running_statistics_move_at_every_evaluation():
    network = tiny_network()
    algorithm = SAM(network.parameters(), 0.1)
    algorithm.step(closure_of(algorithm, [network], tiny_batches(1)))
    assert network[1].num_batches_tracked == 2


def test_a_gradient_of_zero_perturbs_nothing():
    loss, _ = quadratic()
    for cls in (SAM, ASAM):
        network = Vector(loss.m)
        algorithm = cls(network.parameters(), 0.1)
        algorithm.step(loss.closure(algorithm, network))
        assert torch.equal(algorithm.center(), loss.m)
