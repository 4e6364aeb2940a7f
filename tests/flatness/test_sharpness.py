import pytest
import torch
from cases import tiny_batches, tiny_network
from curvature_cases import (
    Fingerprint,
    Quadratic,
    interrupting,
    linear_loss,
    nan_network,
    quadratic_batches,
    ragged_batches,
    trained_network,
)

from sacreddnn.flatness import LossSurface, sharpness
from sacreddnn.flatness.loss_surface import cross_entropy

H = torch.tensor([4.0, 3.0, 1.0, 0.5, 0.0], dtype=torch.float64)
W = torch.tensor([0.5, 2.0, -3.0, 1.0, 0.0], dtype=torch.float64)
ZERO = torch.zeros(5, dtype=torch.float64)


def on_quadratic(minimum, rho, start=W, **options):
    return sharpness(Quadratic(H, minimum, start), quadratic_batches(5), rho, loss=linear_loss, **options)


@pytest.mark.parametrize("rho", [0.05, 2.0])
def test_at_a_minimum_it_is_half_the_top_curvature_times_the_square(rho):
    found = on_quadratic(W, rho, num_steps=80)
    assert found.rise == pytest.approx(0.5 * rho**2 * 4.0, rel=1e-6)
    torch.testing.assert_close(found.perturbation.abs(), rho * torch.eye(5, dtype=torch.float64)[0], rtol=0, atol=1e-3)
    adaptive = on_quadratic(W, rho, num_steps=80, adaptive=True)
    assert adaptive.rise == pytest.approx(0.5 * rho**2 * (H * W.square()).max().item(), rel=1e-6)


def test_away_from_a_minimum_it_solves_the_trust_region_problem():
    """max g.e + e.He/2 on |e| = rho: e = (lambda - H)^-1 g with lambda > max h such that |e| = rho."""
    g, rho, low, high = H * (W - ZERO), 0.7, 4.0 + 1e-9, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (g / (middle - H)).norm() > rho else (low, middle)
    e = g / (low - H)
    found = on_quadratic(ZERO, rho, num_steps=60)
    assert found.rise == pytest.approx((g @ e + 0.5 * (H * e.square()).sum()).item(), rel=1e-8)
    torch.testing.assert_close(found.perturbation, e, rtol=1e-4, atol=1e-5)
    assert (found.rises.diff() > -1e-12).all()


def test_one_step_is_that_of_sam():
    network = trained_network()
    surface = LossSurface(network, ragged_batches())
    g = surface.gradient()
    sam = surface.value(surface.origin + 0.1 * g / g.norm()) - surface.origin_loss
    assert sharpness(network, ragged_batches(), 0.1, num_steps=1).rise == pytest.approx(sam, rel=1e-12)
    more = sharpness(network, ragged_batches(), 0.1, num_steps=10, num_starts=2)
    assert more.rise > sam
    assert more.rises.shape == (2, 10)
    assert surface.value(surface.origin + more.perturbation) - more.loss == pytest.approx(more.rise, rel=1e-9)
    assert more.perturbation.norm() <= 0.1 * (1 + 1e-12)


def test_adaptive_sharpness_is_invariant_under_relu_rescaling_and_the_other_is_not():
    one, other = (tiny_network(batch_norm=False).double() for _ in range(2))
    with torch.no_grad():
        for p in other[0].parameters():
            p.mul_(4)
        other[-1].weight.div_(4)
    a, b = (sharpness(n, ragged_batches(), 0.05, adaptive=True, num_steps=5).rise for n in (one, other))
    assert a == pytest.approx(b, rel=1e-9)
    a, b = (sharpness(n, ragged_batches(), 0.05, num_steps=5).rise for n in (one, other))
    assert abs(a - b) > 0.1 * a


def test_left_as_found_also_when_interrupted():
    network = tiny_network()
    found = Fingerprint(network)
    sharpness(network, tiny_batches(), 0.1, num_steps=2, num_starts=2)
    found.check()
    loss = interrupting(cross_entropy, 11)
    with pytest.raises(KeyboardInterrupt):
        sharpness(network, tiny_batches(), 0.1, loss=loss)
    found.check()


def _with_a_cliff(outputs, targets):
    losses = cross_entropy(outputs, targets)
    return torch.where(losses < 10, losses, torch.inf)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": []}, "batches: empty"),
        ({"batches": iter(tiny_batches())}, "one-shot"),
        ({"network": nan_network()}, "network: its loss"),
        ({"rho": 0.0}, "rho: 0.0"),
        ({"rho": -1.0}, "rho: -1.0"),
        ({"num_steps": 0}, "num_steps: 0"),
        ({"num_starts": 0}, "num_starts: 0"),
        ({"step": -1.0}, "step: -1.0"),
        ({"rho": 10.0, "loss": _with_a_cliff}, "rho: .*not a finite number"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"network": tiny_network(), "batches": tiny_batches(), "rho": 0.1}
    with pytest.raises(ValueError, match=message):
        sharpness(**(arguments | change))
