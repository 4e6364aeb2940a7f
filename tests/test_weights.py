import pytest
import torch
from cases import tiny_batches, tiny_network
from torch import nn

from sacreddnn.algorithms import EntropySGD
from sacreddnn.weights import BLOCK, Weights, blocks


def test_parameters_are_views_of_the_row_and_keep_values_and_strides():
    network = tiny_network().to(memory_format=torch.channels_last)
    before = [p.detach().clone() for p in network.parameters()]
    strides = [p.stride() for p in network.parameters()]
    weights = Weights([network.parameters()])
    assert weights.num_weights == sum(p.numel() for p in before)
    for p, old, stride in zip(network.parameters(), before, strides, strict=True):
        assert torch.equal(p, old)
        assert p.stride() == stride
    weights.values.mul_(2)
    for p, old in zip(network.parameters(), before, strict=True):
        assert torch.equal(p, 2 * old)


def test_every_weight_lies_once_in_the_vector():
    network = tiny_network().to(memory_format=torch.channels_last)
    weights = Weights([network.parameters()])
    weights.values[0].copy_(torch.arange(weights.num_weights))
    seen = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert torch.equal(seen.sort().values, torch.arange(weights.num_weights, dtype=seen.dtype))


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_arrive_in_G(set_to_none):
    plain, flat = tiny_network(), tiny_network()
    weights = Weights([flat.parameters()])
    for images, labels in tiny_batches(2):
        for network in (plain, flat):
            network.zero_grad(set_to_none=set_to_none)
            nn.functional.cross_entropy(network(images), labels).backward()
        weights.collect_gradients()
        expected = torch.cat([p.grad.flatten() for p in plain.parameters()])
        assert torch.equal(weights.gradients[0], expected)


def test_unused_parameter_has_zero_gradient():
    network = tiny_network()
    weights = Weights([network.parameters()])
    weights.gradients.fill_(1)
    network.zero_grad(set_to_none=True)
    network[0].weight.sum().backward()
    weights.collect_gradients()
    assert weights.gradients.sum() == network[0].weight.numel()


def test_replicas_are_rows_and_rows_are_aligned():
    networks = [tiny_network(seed) for seed in range(3)]
    weights = Weights([n.parameters() for n in networks])
    assert weights.values.shape == (3, weights.num_weights)
    assert all(row.data_ptr() % 64 == 0 for row in weights.rows)
    assert weights.rows[1].grad.data_ptr() == weights.gradients[1].data_ptr()
    weights.values[1].zero_()
    assert not any(p.any() for p in networks[1].parameters())
    assert any(p.any() for p in networks[2].parameters())


def test_moving_the_network_afterwards_is_noticed():
    network = tiny_network()
    weights = Weights([network.parameters()])
    network.load_state_dict(tiny_network(1).state_dict())  # in place: allowed
    weights.check()
    network.double()
    with pytest.raises(RuntimeError, match="moved or replaced after flattening"):
        weights.check()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (list, "no parameters"),
        (lambda: [[]], "no parameters"),
        (lambda: [tiny_network().parameters(), nn.Linear(2, 2).parameters()], "replica 1 has other shapes"),
        (lambda: [[nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2).double())]], "one dtype and device"),
        (lambda: [list(nn.Linear(2, 2).parameters())] * 2, "appears twice"),
        (lambda: [[{"params": []}]], "one parameter group"),
        (
            lambda: [n.requires_grad_(a == 0).parameters() for a, n in enumerate([nn.Linear(2, 2), nn.Linear(2, 2)])],
            "^params: 2 of 4 are frozen parameters; pass only those that require gradients$",
        ),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        Weights(make())


def test_what_is_frozen_stays_where_it_is():
    network = nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="2 of 4 are frozen"):
        EntropySGD(network.parameters(), 0.5)
    before = [p.clone() for p in network.parameters()]
    optimizer = EntropySGD((p for p in network.parameters() if p.requires_grad), 0.5, inner_steps=1, weight_decay=0.1)

    def closure():
        optimizer.zero_grad()
        loss = network(torch.ones(3, 4)).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert [torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)] == [True, True, False, False]


@pytest.mark.parametrize("n", [1, 15, 16, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 15, BLOCK + 16, 3 * BLOCK + 7])
def test_blocks_cover_every_weight_once_and_draw_the_numbers_of_the_whole(n):
    parts = blocks(torch.empty(2, n))
    assert torch.equal(torch.cat([torch.arange(n)[part] for part in parts]), torch.arange(n))
    assert all(part.stop - part.start < BLOCK + 16 for part in parts)
    whole = torch.empty(n).normal_(generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    in_parts = torch.empty(n)
    for part in parts:
        in_parts[part].normal_(generator=generator)
    assert torch.equal(in_parts, whole)


def test_noncontiguous_parameter_becomes_dense():
    p = nn.Parameter(torch.arange(12.0).view(3, 4).t()[::2])
    old = p.detach().clone()
    weights = Weights([[p]])
    assert torch.equal(p, old)
    assert weights.num_weights == old.numel()
