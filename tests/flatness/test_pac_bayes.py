import math

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
)

from sacreddnn.flatness import pac_bayes_sigma
from sacreddnn.flatness.loss_surface import cross_entropy

H = torch.linspace(0.1, 3.0, 40, dtype=torch.float64)
W = torch.linspace(-2.0, 2.0, 40, dtype=torch.float64)


def on_quadratic(target=0.1, **options):
    return pac_bayes_sigma(Quadratic(H, W, W), quadratic_batches(40), target, loss=linear_loss, **options)


@pytest.mark.parametrize(
    ("options", "exact"),
    [
        ({}, math.sqrt(0.2 / H.sum())),
        ({"target": 5.0}, math.sqrt(10.0 / H.sum())),
        ({"magnitude_aware": True}, math.sqrt(0.2 / (H * W.square()).sum())),
        (
            {"magnitude_aware": True, "epsilon": 0.02},
            math.sqrt((0.2 - 0.02**2 * H.sum()) / (H * W.square()).sum()),
        ),
    ],
)
def test_quadratic_matches_the_closed_form(options, exact):
    """sigma^2 tr H / 2 is the rise at a minimum; with magnitudes sum_i h_i (sigma^2 w_i^2 + epsilon^2) / 2."""
    z = []
    for seed in range(6):
        found = on_quadratic(num_samples=30, tolerance=1e-3, seed=seed, **options)
        z.append((found.sigma - exact) / found.standard_error)
        assert found.standard_error < 0.08 * exact
    z = torch.tensor(z)
    assert 0.3 < z.square().mean().sqrt() < 2
    assert found.rise.mean <= options.get("target", 0.1)
    assert found.not_finite == 0


def test_the_same_draws_serve_every_sigma_and_network():
    coarse, fine = (on_quadratic(num_samples=3, tolerance=t) for t in (0.05, 1e-6))
    # on a quadratic the rise is exactly sigma^2 times a number that the draws fix
    assert fine.sigma == pytest.approx(fine.evaluations[0] * math.sqrt(0.1 / _first_rise(fine)), rel=1e-5)
    assert coarse.sigma == pytest.approx(fine.sigma, rel=1e-3)
    assert on_quadratic(num_samples=3, tolerance=1e-6, seed=1).sigma != pytest.approx(fine.sigma, rel=1e-2)


def _first_rise(found):
    generator = torch.Generator().manual_seed(0)
    z = [torch.randn(40, generator=generator, dtype=torch.float64) for _ in range(3)]
    return sum(0.5 * (H * (found.evaluations[0] * x).square()).sum().item() for x in z) / 3


def test_magnitude_aware_noise_is_invariant_under_relu_rescaling_and_the_other_is_not():
    one, other = (tiny_network(batch_norm=False).double() for _ in range(2))
    with torch.no_grad():
        for p in other[0].parameters():
            p.mul_(4)
        other[-1].weight.div_(4)
    a, b = (pac_bayes_sigma(n, ragged_batches(), magnitude_aware=True).sigma for n in (one, other))
    assert a == pytest.approx(b, rel=1e-9)
    a, b = (pac_bayes_sigma(n, ragged_batches()).sigma for n in (one, other))
    assert abs(a - b) > 0.05 * a


def test_losses_that_are_not_finite_are_counted_as_too_high():
    def fragile(outputs, targets):  # the rise is small up to a cliff, where the loss is NaN
        return torch.where(outputs < 1.0, 0.01 * outputs, torch.nan)

    found = pac_bayes_sigma(Quadratic(H, W, W), quadratic_batches(40), 0.1, loss=fragile, num_samples=4)
    assert found.not_finite > 0
    assert found.rise.mean < 0.02
    assert 0.5 * math.sqrt(2 / H.sum()) < found.sigma < 1.2 * math.sqrt(2 / H.sum())
    assert math.isnan(found.standard_error)  # there is no slope at a cliff


def test_left_as_found_also_when_interrupted():
    network = tiny_network()
    found = Fingerprint(network)
    pac_bayes_sigma(network, tiny_batches(), num_samples=2)
    found.check()
    with pytest.raises(KeyboardInterrupt):
        pac_bayes_sigma(network, tiny_batches(), loss=interrupting(cross_entropy, 11))
    found.check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": []}, "batches: empty"),
        ({"batches": iter(tiny_batches())}, "one-shot"),
        ({"network": nan_network()}, "network: its loss"),
        ({"target": -0.1}, "target: -0.1"),
        ({"num_samples": 0}, "num_samples: 0"),
        ({"epsilon": -1.0}, "epsilon: -1.0"),
        ({"epsilon": 0.1}, "epsilon: 0.1 has no meaning"),
        ({"bounds": (1.0, 0.1)}, "bounds: "),
        ({"bounds": (0.5, 1.0), "target": 1e-6}, "already at sigma = 0.5"),
        ({"bounds": (1e-6, 1e-5)}, "even at sigma = 1e-05"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"network": tiny_network(), "batches": tiny_batches(), "num_samples": 2}
    with pytest.raises(ValueError, match=message):
        pac_bayes_sigma(**(arguments | change))
