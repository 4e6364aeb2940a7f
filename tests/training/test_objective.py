"""What a step minimises: flooding, accumulation, clipping."""

import pytest
import torch
from cases import tiny_batches, tiny_network
from torch import nn

from sacreddnn.training.objective import Objective, make_loss

CPU = torch.device("cpu")


def gradients(networks, batches, **options):
    """Losses, and the gradient of each network as a vector."""
    objective = Objective(networks, make_loss(), torch.float32, CPU, **options)
    for network in networks:
        network.zero_grad(set_to_none=False)
    losses = objective(batches)
    return losses, [torch.cat([p.grad.flatten() for p in network.parameters()]).clone() for network in networks]


def plain(seed=0):
    network = tiny_network(seed, batch_norm=False)
    nn.functional.cross_entropy(network(tiny_batches(1)[0][0]), tiny_batches(1)[0][1]).backward()
    return network


@pytest.mark.parametrize("parts", [2, 3, 4, 6, 100])
def test_a_minibatch_in_parts_has_the_gradient_of_the_whole(parts):
    network, batch = plain(), tiny_batches(1, size=10)
    whole_loss, (whole,) = gradients([network], batch)
    seen = []
    network[0].register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    loss, (parted,) = gradients([network], batch, accumulate=parts)
    assert sum(seen) == 10
    assert max(seen) == -(-10 // min(parts, 10))
    torch.testing.assert_close(loss, whole_loss)
    torch.testing.assert_close(parted, whole)


def test_flooding_is_its_equation():
    networks, batches = [plain(seed) for seed in range(3)], tiny_batches(3)
    losses, straight = gradients(networks, batches)
    flood = losses.sort().values[1].item()  # one below, one at, one above
    same, flooded = gradients(networks, batches, flood=flood)
    assert torch.equal(same, losses)  # the loss itself is reported
    for network, (x, y), g, s in zip(networks, batches, flooded, straight, strict=True):
        loss = nn.functional.cross_entropy(network(x), y)
        reference = torch.autograd.grad((loss - flood).abs() + flood, list(network.parameters()))
        if abs(loss.item() - flood) > 1e-6:
            torch.testing.assert_close(g, torch.cat([r.flatten() for r in reference]))
        else:
            assert torch.equal(g, torch.zeros_like(g))
        assert s.norm() > 0


def test_flooding_judges_the_whole_minibatch_and_not_its_parts():
    network, batch = plain(), tiny_batches(1, size=12)
    loss, (straight,) = gradients([network], batch)
    for flood, sign in ((0.99 * loss.item(), 1), (1.01 * loss.item(), -1)):
        _, (flooded,) = gradients([network], batch, flood=flood, accumulate=4)
        torch.testing.assert_close(flooded, sign * straight)


def test_clipping_bounds_each_replica_by_itself():
    networks, batches = [plain(seed) for seed in range(3)], tiny_batches(3)
    _, straight = gradients(networks, batches)
    norms = [g.norm().item() for g in straight]
    bound = sorted(norms)[1] * 0.99
    _, clipped = gradients(networks, batches, clip_norm=bound)
    for g, s, norm in zip(clipped, straight, norms, strict=True):
        torch.testing.assert_close(g, s * min(1.0, bound / norm), rtol=1e-4, atol=1e-7)


def test_what_processes_share_is_combined_before_flooding_and_clipping():
    network, batch = plain(), tiny_batches(1)
    (loss,), (straight,) = gradients([network], batch)
    objective = Objective([network], make_loss(), torch.float32, CPU, flood=2 * loss.item(), clip_norm=1e-3)
    network.zero_grad(set_to_none=False)

    def combine(losses):
        for p in network.parameters():
            p.grad.mul_(3)
        return losses * 3  # now above the flood

    assert torch.allclose(objective(batch, combine=combine), 3 * loss)
    shaped = torch.cat([p.grad.flatten() for p in network.parameters()])
    torch.testing.assert_close(shaped, 1e-3 * straight / straight.norm(), rtol=1e-3, atol=1e-8)
