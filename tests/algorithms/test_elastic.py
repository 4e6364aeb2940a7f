"""Options of Replicated-SGD: the free center, momentum in the relaxation, the reference's weight decay."""

import math

import numpy as np
import pytest
import torch
from cases import Vector, quadratic
from scipy.linalg import expm

from sacreddnn.algorithms import ReplicatedSGD
from sacreddnn.algorithms.coupling import distance

CONSTANT = {"coupling_schedule": "constant"}


@pytest.mark.parametrize("replicas", [2, 5])
@pytest.mark.parametrize("rate", [0.0, 0.03, 2.0, 1e6])
def test_the_free_center_follows_the_exact_flow(replicas, rate):
    loss, start = quadratic()
    networks = [Vector(start + a * a) for a in range(replicas)]
    algorithm = ReplicatedSGD(
        [n.parameters() for n in networks], 0.05, coupling=rate / (0.05 * 2), coupling_period=2, use_center=True,
        **CONSTANT,
    )  # fmt: skip
    x, W = algorithm.center().clone(), algorithm.weights.values.clone()
    torch.testing.assert_close(x, W.mean(0), rtol=1e-15, atol=0)
    # dw^a/dt = -(w^a - x), dx/dt = -sum_a (x - w^a): one matrix over (x, w^1, .., w^y)
    flow = -np.eye(replicas + 1)
    flow[0, 0] = -replicas
    flow[0, 1:] = flow[1:, 0] = 1
    propagator = expm(min(rate, 100.0) * flow)
    for step in range(1, 7):
        algorithm.step(loss.closure(algorithm, networks))
        W = W - 0.05 * loss.h * (W - loss.m)
        if step % 2 == 0:
            x, *rows = torch.from_numpy(propagator @ torch.cat([x[None], W]).numpy())
            W = torch.stack(rows)
        torch.testing.assert_close(algorithm.weights.values.clone(), W, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(algorithm.center(), x, rtol=1e-10, atol=1e-12)


def test_a_free_center_without_coupling_leaves_independent_runs():
    loss, start = quadratic()
    coupled, alone = ([Vector(start + a) for a in range(3)] for _ in range(2))
    a = ReplicatedSGD([n.parameters() for n in coupled], 0.05, coupling=0, use_center=True, momentum=0.9)
    b = ReplicatedSGD([n.parameters() for n in alone], 0.05, coupling=0, momentum=0.9)
    for _ in range(5):
        a.step(loss.closure(a, coupled))
        b.step(loss.closure(b, alone))
    assert torch.equal(a.weights.values, b.weights.values)


@pytest.mark.parametrize("options", [{"coupling_form": "gradient"}, {}])
def test_a_free_center_needs_replicas_and_the_relaxation(options):
    _, start = quadratic()
    networks = [Vector(start + a) for a in range(2 if options else 1)]
    with pytest.raises(ValueError, match="^use_center: True needs two or more replicas and coupling_form 'relaxation'"):
        ReplicatedSGD([n.parameters() for n in networks], 0.05, use_center=True, **options)


def spread_after(num_steps, *, lr=1e-4, gamma=2.0, momentum=0.9, **options):
    """Distance to the center, relative to the first, under the coupling alone."""
    networks = [Vector(torch.tensor([float(a)], dtype=torch.float64)) for a in range(3)]
    algorithm = ReplicatedSGD(
        [n.parameters() for n in networks], lr, coupling=gamma, momentum=momentum, **CONSTANT, **options
    )

    def closure():
        algorithm.zero_grad()
        return torch.zeros(3, dtype=torch.float64)

    first = distance(algorithm.weights.values, algorithm.center()).mean().item()
    for _ in range(num_steps):
        algorithm.step(closure)
    return distance(algorithm.weights.values, algorithm.center()).mean().item() / first


def test_with_momentum_counted_the_relaxation_is_as_fast_as_the_gradient_form():
    steps, rate = 1000, 2 * 1e-4 * 2.0  # of the distance, which is quadratic, per step
    counted = spread_after(steps)
    assert counted == pytest.approx(math.exp(-steps * rate / (1 - 0.9)))
    assert spread_after(steps, relaxation_momentum=False) == pytest.approx(math.exp(-steps * rate))
    gradient = spread_after(steps, coupling_form="gradient")
    assert math.log(gradient) == pytest.approx(math.log(counted), rel=0.05)


def test_the_references_weight_decay_is_that_of_every_replica():
    loss, start = quadratic()
    ends = []
    for options in ({"weight_decay": 0.03}, {"weight_decay": 0.01, "weight_decay_convention": "reference"}):
        networks = [Vector(start + a) for a in range(3)]
        algorithm = ReplicatedSGD([n.parameters() for n in networks], 0.05, momentum=0.9, **options)
        for _ in range(5):
            algorithm.step(loss.closure(algorithm, networks))
        ends.append(algorithm.weights.values.clone())
    assert torch.equal(*ends)
