"""The exact limits that tie the algorithms to each other."""

import math

import pytest
import torch
from cases import Vector, quadratic, tiny_batches, tiny_network
from torch import nn

from sacreddnn.algorithms import SGD, EntropySGD, ReplicatedSGD

NESTEROV = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}


def train(algorithm, networks, streams):
    """A few steps of a closure written as anyone would; returns the losses."""
    history = []
    for batches in zip(*streams, strict=True):

        def closure(batches=batches):
            algorithm.zero_grad()
            losses = [
                nn.functional.cross_entropy(network(x), y) for network, (x, y) in zip(networks, batches, strict=True)
            ]
            sum(losses).backward()
            return torch.stack(losses).detach()

        history.append(algorithm.step(closure))
    return torch.stack(history)


@pytest.mark.parametrize("fused", [False, True])
def test_sgd_is_torchs_sgd(fused):
    ours, theirs = tiny_network(), tiny_network()
    algorithm = SGD(ours.parameters(), 0.1, fused=fused, **NESTEROV)
    reference = torch.optim.SGD(theirs.parameters(), 0.1, fused=fused, **NESTEROV)
    for x, y in tiny_batches(5):
        reference.zero_grad()
        nn.functional.cross_entropy(theirs(x), y).backward()
        reference.step()
    train(algorithm, [ours], [tiny_batches(5)])
    # bit for bit; torch's fused kernel rounds the last, not full, vector of each tensor in its own way
    bound = 1e-6 if fused else 0.0
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=bound, atol=bound)


def test_one_replica_is_sgd_bit_for_bit():
    one, other = tiny_network(), tiny_network()
    train(SGD(one.parameters(), 0.1, **NESTEROV), [one], [tiny_batches(5)])
    train(ReplicatedSGD([other.parameters()], 0.1, coupling=3.0, **NESTEROV), [other], [tiny_batches(5)])
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("form", ["relaxation", "gradient"])
def test_zero_coupling_is_independent_runs_bit_for_bit(form):
    alone = [tiny_network(seed) for seed in range(3)]
    for seed, network in enumerate(alone):
        train(SGD(network.parameters(), 0.1, **NESTEROV), [network], [tiny_batches(5, seed=seed)])
    together = [tiny_network(seed) for seed in range(3)]
    algorithm = ReplicatedSGD([n.parameters() for n in together], 0.1, coupling=0, coupling_form=form, **NESTEROV)
    train(algorithm, together, [tiny_batches(5, seed=seed) for seed in range(3)])
    for a, b in zip(alone, together, strict=True):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(p, q)


def test_entropy_sgd_with_one_inner_step_and_no_memory_is_sgd():
    loss, start = quadratic()
    entropic, plain = Vector(start), Vector(start)
    a = EntropySGD(
        entropic.parameters(), 0.5, inner_steps=1, inner_lr=0.2, averaging=0, noise=0, inner_momentum=0,
        inner_weight_decay=0, scale_by_coupling=False,
    )  # fmt: skip
    b = SGD(plain.parameters(), 0.5 * 0.2)
    for _ in range(20):
        a.step(loss.closure(a, entropic))
        b.step(loss.closure(b, plain))
    torch.testing.assert_close(a.center(), b.center(), rtol=1e-12, atol=1e-14)


def test_strong_relaxation_collapses_the_replicas_and_keeps_their_mean():
    networks = [tiny_network(seed) for seed in range(3)]
    algorithm = ReplicatedSGD([n.parameters() for n in networks], 0.1, coupling=1e9)
    gradients = []
    center = algorithm.center()
    for network, (x, y) in zip(networks, tiny_batches(3), strict=True):
        gradients.append(torch.autograd.grad(nn.functional.cross_entropy(network(x), y), list(network.parameters())))
    train(algorithm, networks, [[batch] for batch in tiny_batches(3)])
    mean_gradient = torch.stack([torch.cat([g.flatten() for g in gs]) for gs in gradients]).mean(0)
    torch.testing.assert_close(algorithm.center(), center - 0.1 * mean_gradient)
    assert algorithm.metrics()["distance"] < 1e-9


def test_the_two_coupling_forms_agree_to_first_order():
    loss, start = quadratic()
    difference = {}
    for lr in (1e-3, 1e-4):
        ends = []
        for form in ("relaxation", "gradient"):
            networks = [Vector(start * (a + 1)) for a in range(3)]
            options = {"coupling": 1.0, "coupling_schedule": "constant", "coupling_form": form}
            algorithm = ReplicatedSGD([n.parameters() for n in networks], lr, **options)
            algorithm.step(loss.closure(algorithm, networks))
            ends.append(algorithm.weights.values.clone())
        difference[lr] = (ends[0] - ends[1]).abs().max().item()
    assert difference[1e-3] > 0
    assert difference[1e-4] / difference[1e-3] == pytest.approx(0.01, rel=0.02)  # second order in lr


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_relaxation_is_stable_where_the_gradient_form_is_refused(momentum):
    loss, start = quadratic()
    options = {"coupling": 100.0, "coupling_schedule": "constant", "momentum": momentum, "nesterov": momentum > 0}
    networks = [Vector(start * (a + 1)) for a in range(3)]
    stable = ReplicatedSGD([n.parameters() for n in networks], 0.05, **options)
    for _ in range(200):
        stable.step(loss.closure(stable, networks))
    torch.testing.assert_close(stable.center(), loss.m, rtol=0.05, atol=0.05 if momentum else 0.5)
    networks = [Vector(start * (a + 1)) for a in range(3)]
    unstable = ReplicatedSGD([n.parameters() for n in networks], 0.05, coupling_form="gradient", **options)
    with pytest.raises(ArithmeticError, match="coupling_form: 'gradient' is unstable"):
        unstable.step(loss.closure(unstable, networks))


def test_gradient_evaluations_are_counted():
    networks = [tiny_network(seed) for seed in range(3)]
    algorithm = ReplicatedSGD([n.parameters() for n in networks], 0.1)
    train(algorithm, networks, [tiny_batches(4, seed=s) for s in range(3)])
    assert algorithm.gradient_evaluations == 12
    network = tiny_network()
    entropic = EntropySGD(network.parameters(), 0.1, inner_steps=3)
    train(entropic, [network], [tiny_batches(7)])
    assert entropic.gradient_evaluations == 7
    assert (entropic.outer_step, entropic.inner_step) == (2, 1)
    assert math.isclose(entropic.coupling, 0.5 * (1 + 1e-4) ** 2)


@pytest.mark.parametrize(
    ("start", "options", "expected"),
    [(0.5, {"coupling_max": 3.0}, 3.0), (0.5, {}, math.inf), (0.0, {}, 0.0)],
)
def test_a_coupling_that_grows_beyond_the_largest_float_ends_at_its_bound(start, options, expected):
    algorithm = EntropySGD(tiny_network().parameters(), 0.1, coupling=start, coupling_growth=1.0, **options)
    algorithm.outer_step = 1023
    assert algorithm.coupling == min(start * 2.0**1023, expected)
    algorithm.outer_step = 2000
    assert algorithm.coupling == expected
