import math

import pytest
import torch
from cases import tiny_batches, tiny_network
from curvature_cases import (
    Fingerprint,
    Quadratic,
    interrupting,
    nan_network,
    quadratic_batches,
    ragged_batches,
    trained_network,
)
from torch import nn

from sacreddnn.flatness import barrier, line, plane, random_cut
from sacreddnn.flatness.local_energy import error
from sacreddnn.flatness.loss_surface import cross_entropy

H = torch.tensor([3.0, 1.0, 0.5, 2.0], dtype=torch.float64)
M = torch.tensor([1.0, 0.0, -1.0, 0.5], dtype=torch.float64)
POINTS = torch.tensor([[0.0, 1.0, 2.0, 0.0], [2.0, 1.0, 0.0, 1.0], [1.0, -1.0, 0.0, 3.0]], dtype=torch.float64)


class TwoOutputs(Quadratic):
    """The quadratic as an output beside a zero: there is a class to be wrong about."""

    def forward(self, x):
        loss = super().forward(x)
        return torch.stack([loss, torch.zeros_like(loss)], dim=1)


def first_output(outputs, targets):
    return outputs[:, 0]


def quadratics():
    batches = [(x, y.long()) for x, y in quadratic_batches(4)]
    return [TwoOutputs(H, M, w) for w in POINTS], batches


def value(w):
    return 0.5 * (H * (w - M).square()).sum(-1)


def evaluated(network, batches):
    """Mean loss and error in eval mode, by hand."""
    network.eval()
    x, y = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    outputs = network(x)
    return cross_entropy(outputs, y).mean().item(), error(outputs, y).mean().item()


def test_line_through_a_quadratic_is_its_parabola():
    networks, batches = quadratics()
    t = [-0.5, 0.0, 0.3, 1.0, 1.5]
    cut = line(networks[0], networks[1], batches, positions=t, loss=first_output)
    s = torch.tensor(t, dtype=torch.float64)[:, None]
    torch.testing.assert_close(cut.loss, value((1 - s) * POINTS[0] + s * POINTS[1]))
    assert cut.axes[0].tolist() == t
    assert cut.networks.tolist() == [[0.0], [1.0]]
    assert (cut.error == 0).all()  # the first output, class 0, is positive


def test_plane_through_a_quadratic():
    networks, batches = quadratics()
    cut = plane(networks, batches, num_points=5, border=0.1, loss=first_output)
    u = POINTS[1] - POINTS[0]
    v = POINTS[2] - POINTS[0]
    u = u / u.norm()
    v = v - (u @ v) * u
    v = v / v.norm()
    x, y = torch.meshgrid(*cut.axes, indexing="ij")
    w = POINTS[0] + x[..., None] * u + y[..., None] * v
    torch.testing.assert_close(cut.loss, value(w))
    torch.testing.assert_close(POINTS[0] + cut.networks @ torch.stack([u, v]), POINTS)
    for axis, corners in zip(cut.axes, cut.networks.mT, strict=True):
        assert axis[0] < corners.min()
        assert axis[-1] > corners.max()


def test_ends_of_a_line_and_corners_of_a_plane_are_the_networks_themselves():
    networks = [trained_network(steps=n) for n in (3, 8, 15)]
    cut = line(networks[0], networks[1], ragged_batches(), positions=[0.0, 1.0], batch_norm="running")
    for k in range(2):
        loss, wrong = evaluated(networks[k], ragged_batches())
        assert cut.loss[k] == pytest.approx(loss, rel=1e-10)
        assert cut.error[k] == pytest.approx(wrong)
    flat = plane(networks, ragged_batches(), num_points=2, border=0.0, batch_norm="running")
    assert flat.loss[0, 0] == pytest.approx(cut.loss[0].item(), rel=1e-9)


def test_reestimated_statistics_are_those_of_the_point():
    a, b = trained_network(steps=2), trained_network(steps=15)
    cut = line(a, b, ragged_batches(), positions=[0.5], statistics=tiny_batches_double())
    middle = trained_network()
    with torch.no_grad():
        for p, q, r in zip(middle.parameters(), a.parameters(), b.parameters(), strict=True):
            p.copy_((q + r) / 2)
    torch.optim.swa_utils.update_bn(tiny_batches_double(), middle)
    loss, wrong = evaluated(middle, ragged_batches())
    assert cut.loss[0] == pytest.approx(loss, rel=1e-9)
    assert cut.error[0] == pytest.approx(wrong)
    running = line(a, b, ragged_batches(), positions=[0.5], batch_norm="running")
    assert running.loss[0] != pytest.approx(loss, rel=1e-3)
    assert (cut.batch_norm, running.batch_norm) == ("reestimated", "running")
    # reestimating leaves nothing behind for the next point
    both = line(a, b, ragged_batches(), positions=[0.0, 0.5], statistics=tiny_batches_double())
    assert both.loss[1] == cut.loss[0]


def tiny_batches_double():
    return [(x.double(), y) for x, y in tiny_batches(3, seed=5)]


def test_barrier_of_a_double_well():
    """(w^2 - 1)^2 between its minima -1 and 1 has the barrier 1; a convex loss has none."""

    class Well(nn.Module):
        def __init__(self, w):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([w], dtype=torch.float64))

        def forward(self, x):
            well = (self.w.square() - 1).square().expand(len(x))
            return torch.stack([well - 0.5, torch.zeros_like(well)], dim=1)

    batches = [(torch.zeros(2, 1), torch.ones(2).long())]
    found = barrier(Well(-1.0), Well(1.0), batches, loss=lambda o, y: o[:, 0] + 0.5)
    assert found.loss == pytest.approx(1, rel=1e-9)
    assert found.error == 100  # class 1 is right up to a height of one half
    assert found.line.loss.shape == (21,)
    networks, batches = quadratics()
    for low_and_high in (networks[:2], networks[1::-1]):  # ends of different heights, either one first
        assert barrier(*low_and_high, batches, loss=first_output).loss == 0
    with pytest.raises(ValueError, match="positions: a barrier needs"):
        barrier(networks[0], networks[1], batches, loss=first_output, positions=[0.0, 0.5])


def test_random_cut_is_filter_normalised():
    network = trained_network()
    cut = random_cut(network, ragged_batches(), radius=0.5, num_points=5)
    assert cut.loss.shape == cut.error.shape == (5, 5)
    assert cut.loss[2, 2] == pytest.approx(evaluated(network, ragged_batches())[0], rel=1e-10)
    assert random_cut(network, ragged_batches(), num_points=3, dimensions=1).loss.shape == (3,)
    assert not torch.equal(cut.loss, random_cut(network, ragged_batches(), radius=0.5, num_points=5, seed=1).loss)


def test_random_cut_is_invariant_under_a_rescaling_of_filters():
    one, other = (tiny_network(batch_norm=False).double() for _ in range(2))
    scale = torch.tensor([0.5, 2.0, 3.0, 7.0], dtype=torch.float64)
    with torch.no_grad():
        other[0].weight.mul_(scale.view(-1, 1, 1, 1))
        other[0].bias.mul_(scale)
        other[-1].weight.div_(scale.repeat_interleave(4))
    # a row of the last layer mixes the filters: only the cut of the first layer's weights is invariant
    a = random_cut(nn.Sequential(one[0], Rest(one)), ragged_batches(), num_points=3)
    b = random_cut(nn.Sequential(other[0], Rest(other)), ragged_batches(), num_points=3)
    torch.testing.assert_close(a.loss, b.loss, rtol=1e-9, atol=1e-9)


class Rest(nn.Module):
    """The layers after the first, with fixed weights."""

    def __init__(self, network):
        super().__init__()
        self.register_buffer("weight", network[-1].weight.detach())
        self.register_buffer("bias", network[-1].bias.detach())

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(x.relu(), 2).flatten(1)
        return nn.functional.linear(x, self.weight, self.bias)


def test_far_away_the_loss_is_infinite_and_all_is_wrong():
    network = tiny_network(batch_norm=False)
    cut = random_cut(network, tiny_batches(), radius=1e38, num_points=2, dimensions=1)
    assert cut.loss.tolist() == [math.inf, math.inf]
    assert (cut.error > 0).all()


def test_networks_are_left_as_found_also_when_interrupted():
    networks = [tiny_network(seed) for seed in range(3)]
    found = [Fingerprint(network) for network in networks]
    line(networks[0], networks[1], tiny_batches(), positions=[0.5])
    plane(networks, tiny_batches(), num_points=2)
    random_cut(networks[0], tiny_batches(), num_points=2)
    with pytest.raises(KeyboardInterrupt):
        plane(networks, tiny_batches(), loss=interrupting(cross_entropy, 11))
    for fingerprint in found:
        fingerprint.check()


def test_bad_arguments():
    a, b, batches = tiny_network(0), tiny_network(1), tiny_batches()
    for call, message in [
        (lambda: line(a, b, []), "batches: empty"),
        (lambda: line(a, b, iter(batches)), "one-shot"),
        (lambda: line(a, b, batches, statistics=iter(batches)), "one-shot"),
        (lambda: line(a, b, batches, statistics=[]), "statistics: empty"),
        (lambda: line(a, b, batches, positions=[]), "positions: empty"),
        (lambda: line(a, b, batches, positions=[math.nan]), "positions: they must be finite"),
        (lambda: line(a, b, batches, batch_norm="fixed"), "batch_norm: 'fixed'"),
        (lambda: line(a, tiny_network(channels=2), batches), "number 2 has other shapes"),
        (lambda: line(a, nan_network(), batches), "weights of number 2"),
        (lambda: line(nan_network(), a, batches), "network: its loss"),
        (lambda: plane([a, b], batches), "networks: 2 were given"),
        (lambda: plane([a, a, b], batches), "first two are the same"),
        (lambda: plane([a, b, a], batches), "on one line"),
        (lambda: plane([a, b, b], batches, num_points=1), "num_points: 1"),
        (lambda: plane([a, b, b], batches, border=-1.0), "border: -1.0"),
        (lambda: random_cut(a, batches, radius=-1.0), "radius: -1.0"),
        (lambda: random_cut(a, batches, num_points=1), "num_points: 1"),
        (lambda: random_cut(a, batches, dimensions=3), "dimensions: 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
