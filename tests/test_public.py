"""The library part as anyone would use it, in a loop of their own."""

import pytest
import torch
from cases import tiny_batches, tiny_network
from torch import nn

import sacreddnn


def test_entropy_sgd_in_a_loop_of_ones_own():
    network, batches = tiny_network(), tiny_batches(8)
    optimizer = sacreddnn.EntropySGD(network.parameters(), lr=0.5, inner_lr=0.05, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9)
    losses = []
    for _ in range(9):  # 72 steps: two inner steps past the last outer one
        for x, y in batches:

            def closure(x=x, y=y):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(x), y)
                loss.backward()
                return loss

            losses.append(optimizer.step(closure).item())
        scheduler.step()
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)
    inner = [p.clone() for p in network.parameters()]
    with optimizer.at_center():
        assert not torch.equal(inner[0], network[0].weight)
        energy = sacreddnn.local_energy(network, batches, [0.1, 0.5], num_samples=4)
    assert energy.mean.shape == energy.standard_error.shape == (2,)
    assert all(torch.equal(a, b) for a, b in zip(inner, network.parameters(), strict=True))


def test_replicated_sgd_in_a_loop_of_ones_own():
    networks = [tiny_network(seed) for seed in range(3)]
    optimizer = sacreddnn.ReplicatedSGD([n.parameters() for n in networks], lr=0.1, momentum=0.9, nesterov=True)
    distances = []
    for epoch in range(12):
        for batches in zip(*(tiny_batches(4, seed=s) for s in range(3)), strict=True):
            optimizer.progress = epoch / 12

            def closure(batches=batches):
                for network in networks:
                    network.zero_grad(set_to_none=True)  # as people do; the optimizer finds the gradients all the same
                losses = [nn.functional.cross_entropy(n(x), y) for n, (x, y) in zip(networks, batches, strict=True)]
                sum(losses).backward()
                return torch.stack(losses)

            loss = optimizer.step(closure)
        distances.append(optimizer.metrics()["distance"])
    assert loss.shape == (3,)
    assert distances[-1] < 1e-3 * distances[0]
    with optimizer.at_center():
        mean = torch.stack([networks[0][0].weight, networks[1][0].weight]).mean(0)
        torch.testing.assert_close(networks[0][0].weight, mean, rtol=0, atol=0.1)
        views = optimizer.weights.views(optimizer.weights.values[0])
        assert all(torch.equal(p, v) for p, v in zip(networks[0].parameters(), views, strict=True))


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'EntropicSGD'"):
        sacreddnn.EntropicSGD  # noqa: B018
    for name in sacreddnn.__all__:
        assert getattr(sacreddnn, name)
