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
    seeded,
    trained_network,
)

from sacreddnn.flatness import LossSurface, local_entropy
from sacreddnn.flatness.autocorrelation import autocorrelation_time, series_mean
from sacreddnn.flatness.langevin import sample
from sacreddnn.flatness.loss_surface import cross_entropy

H = torch.tensor([3.0, 1.0, 0.3, 0.1, 0.0, 0.0], dtype=torch.float64)
MINIMUM = torch.tensor([1.0, -1.0, 2.0, 0.0, 0.0, 1.0], dtype=torch.float64)
START = torch.tensor([0.7, -1.2, 1.0, 0.5, 1.0, 1.0], dtype=torch.float64)
GAMMAS = [100.0, 30.0, 10.0, 3.0, 1.0, 0.3]
BETA = 20.0


def closed_form(gammas, beta=BETA):
    """1/2 sum_i [ h gamma/(h + gamma) (w - m)^2 + 1/beta log((h + gamma)/gamma) ]."""
    g = torch.as_tensor(gammas, dtype=torch.float64)[:, None]
    return 0.5 * (H * g / (H + g) * (START - MINIMUM).square() + ((H + g) / g).log() / beta).sum(1)


def measure(**options):
    arguments = {"gammas": GAMMAS, "beta": BETA, "num_steps": 900, "burn_in": 60, "num_chains": 2, "step": 0.3}
    arguments |= {"full_batch": True, "curvature": 3.0, "loss": linear_loss}
    return local_entropy(Quadratic(H, MINIMUM, START), quadratic_batches(6, num=1), **(arguments | options))


@pytest.fixture(scope="module")
def found():
    return measure(curvature=None)


def test_quadratic_within_the_stated_error(found):
    exact = closed_form(GAMMAS)
    assert found.gammas.tolist() == GAMMAS
    assert found.reference_samples > 45
    assert ((found.value - exact).abs() < 4 * found.standard_error + found.quadrature_error).all()
    assert (found.standard_error < 0.03 * exact).all()
    assert (found.quadrature_error < 0.1 * exact).all()
    assert (found.drift.abs() < 5).all()
    volume = len(H) / (2 * BETA) * (BETA * found.gammas / (2 * math.pi)).log()
    torch.testing.assert_close(found.unnormalized(), found.value + volume)


def test_error_bars_cover_the_truth_as_often_as_they_should():
    gammas = [40.0, 10.0, 2.5]
    options = {"num_steps": 150, "burn_in": 25, "num_reference": 20, "gammas": gammas, "step": 0.6}
    runs = [measure(seed=seed, **options) for seed in range(16)]
    assert all(run.quadrature_error.isnan().all() for run in runs)  # three couplings tell nothing of it
    z = torch.stack([(run.value - closed_form(gammas)).abs() for run in runs])
    z = (z / torch.stack([run.standard_error for run in runs]))[:, 1:]
    assert z.square().mean().sqrt() < 1.6
    assert z.square().mean().sqrt() > 0.3
    ratio = torch.stack([run.error_between[-1] / run.error_within[-1] for run in runs]).square().mean().sqrt()
    assert 0.5 < ratio < 2


def test_derivative_is_the_mean_distance(found):
    """dL_LE/dgamma = <d>, against the closed form's derivative; the raw distance agrees through the temperature."""
    g = found.gammas[:, None]
    mean = (g * START + H * MINIMUM) / (H + g)
    distance = 0.5 * ((START - mean).square() + 1 / (BETA * (H + g))).sum(1)
    assert ((found.distance - distance).abs() < 4 * found.distance_error).all()
    loss = 0.5 * (H * ((mean - MINIMUM).square() + 1 / (BETA * (H + g)))).sum(1)
    assert ((found.loss - loss).abs() < 4 * found.loss_error).all()
    assert (found.temperature - 1).abs().max() < 0.2
    assert found.loss_against_distance()[0].diff().min() > 0


def test_gradient_is_gamma_times_the_mean_displacement(found):
    gamma = GAMMAS[-1]
    exact = H * gamma / (H + gamma) * (START - MINIMUM)
    # the slowest direction has correlation time 2 / (eta gamma) steps
    samples = 2 * 900 * found.step_size[-1] * gamma / 2
    assert ((found.gradient - exact).abs() < 5 * gamma / (BETA * (H + gamma) * samples).sqrt()).all()


@pytest.mark.parametrize("scheme", ["euler", "leimkuhler_matthews"])
def test_discretisation_bias_is_that_of_the_closed_form(scheme):
    """Variance s^2 / (1 - a^2) of plain SGLD, and the exact one of the averaged noise, far from small steps."""
    surface = LossSurface(Quadratic(H, START, START), quadratic_batches(6, num=1), loss=linear_loss)
    gamma, eta = 1.0, 0.3
    k = H + gamma
    a, s2 = 1 - eta * k, 2 * eta / BETA
    variance = s2 / (1 - a.square()) if scheme == "euler" else 1 / (BETA * k)
    chain = sample(surface, [gamma], [eta], BETA, 6000, 50, scheme, True, 0)
    assert abs(chain.slope[0] + 0.5 * (H * variance).sum()) < 4 * chain.slope_error[0]
    error = 0.5 * (2 * variance.square() * (1 + a.square()) / (1 - a.square()) / 6000).sum().sqrt()
    assert abs(chain.distance[0] - 0.5 * variance.sum()) < 5 * error
    exact_distance = 0.5 / BETA * (1 / k).sum()
    if scheme == "euler":
        assert chain.distance[0] - exact_distance > 5 * error


def test_minibatch_gradients_add_the_heat_of_the_closed_form():
    """Gradient noise of covariance C adds eta^2 C / (1 - a^2) to the variance, ragged minibatches included."""
    h = torch.ones(4, dtype=torch.float64)
    batches = quadratic_batches(4, noise=2.0, num=10, batch_size=4)
    surface = LossSurface(Quadratic(h, 0 * h, 0 * h), batches, loss=linear_loss)
    assert surface.gradient().abs().max() < 1e-12
    gradients = torch.stack([surface.minibatch_gradient(i)[1].clone() for i in range(3)])
    assert gradients.mean(0).abs().max() < 1e-12  # unbiased although the last minibatch is smaller
    # a minibatch's weight also multiplies the curvature: its fluctuations are small beside those of the tilt
    gamma, eta, beta = 1.0, 0.1, 50.0
    a = 1 - eta * (1 + gamma)
    heat = eta**2 * gradients.square().mean(0) / (1 - a**2)
    chain = sample(surface, [gamma], [eta], beta, 8000, 50, "leimkuhler_matthews", False, 1)
    expected = 0.5 * (1 / (beta * (1 + gamma)) + heat).sum().item()
    assert 0.5 * heat.sum() > 0.4 * expected
    assert chain.distance[0].item() == pytest.approx(expected, rel=0.1)


def test_network_agrees_with_direct_gaussian_sampling():
    """F = -1/beta log E exp(-beta L) over Gaussian draws, where there are enough draws for it; minibatches."""
    network, batches = trained_network(), ragged_batches()
    gammas = [100.0, 30.0, 10.0, 3.0]
    found = local_entropy(network, batches, gammas, beta=20.0, num_steps=400, burn_in=60, step=0.4)
    surface, generator = LossSurface(network, batches), seeded(9)
    losses = [surface.value(surface.origin + surface.normal(generator) / (20 * 3.0) ** 0.5) for _ in range(1000)]
    u = torch.exp(-20 * (torch.tensor(losses, dtype=torch.float64) - min(losses)))
    assert u.sum() ** 2 / u.square().sum() > 100
    direct = min(losses) - math.log(u.mean()) / 20
    error = (u.std() / u.mean() / len(u) ** 0.5 / 20).item()
    tolerance = 4 * math.hypot(error, found.standard_error[-1]) + found.quadrature_error[-1]
    assert abs(found.value[-1] - direct) < tolerance
    assert tolerance < 0.6 * (found.value[-1] - surface.origin_loss)
    apart = (found.chains[0] - found.chains[1]).abs()
    assert (apart < 4 * 2 * found.error_within).all()


def test_autocorrelation_of_an_autoregressive_series():
    generator, a = seeded(4), 0.8
    x, noise = torch.zeros(40000, dtype=torch.float64), torch.randn(40000, generator=generator, dtype=torch.float64)
    value = 0.0
    for t, z in enumerate(noise.tolist()):
        value = a * value + z
        x[t] = value
    assert autocorrelation_time(x) == pytest.approx((1 + a) / (1 - a), rel=0.12)
    estimate = series_mean(x)
    assert abs(estimate.mean) < 4 * estimate.standard_error
    assert autocorrelation_time(noise) == pytest.approx(1, abs=0.1)
    assert autocorrelation_time(torch.ones(10)) == 1.0


def test_left_as_found_also_when_interrupted():
    network, options = tiny_network(), {"beta": 10.0, "num_steps": 4, "burn_in": 1}
    options |= {"curvature": 5.0, "num_reference": 2}
    found = Fingerprint(network)
    one = local_entropy(network, tiny_batches(), [10.0, 1.0], **options)
    found.check()
    two = local_entropy(network, tiny_batches(), [1.0, 10.0], **options)
    assert torch.equal(one.value, two.value)
    for exception in (RuntimeError, KeyboardInterrupt):
        loss = interrupting(cross_entropy, 30, exception)
        with pytest.raises(exception):
            local_entropy(network, tiny_batches(), [10.0, 1.0], loss=loss, **options)
        found.check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": []}, "batches: empty"),
        ({"batches": iter(tiny_batches())}, "one-shot"),
        ({"network": nan_network()}, "network: its loss"),
        ({"gammas": [1.0]}, "gammas: .*two or more"),
        ({"gammas": [1.0, 1.0]}, "gammas: .*two or more"),
        ({"gammas": [1.0, -1.0]}, "gammas: -1.0"),
        ({"beta": 0.0}, "beta: 0.0"),
        ({"step": 2.5}, "step: 2.5"),
        ({"scheme": "exact"}, "scheme: 'exact'"),
        ({"burn_in": -1}, "burn_in: -1"),
        ({"num_chains": 0}, "num_chains: 0"),
        ({"curvature": -2.0}, "curvature: -2.0"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"network": tiny_network(), "batches": tiny_batches(), "gammas": [10.0, 1.0], "beta": 1.0}
    with pytest.raises(ValueError, match=message):
        local_entropy(**(arguments | change))


def test_a_chain_that_diverges_says_so():
    with pytest.raises(ValueError, match="step: the chain diverged at gamma = 3"):
        measure(curvature=0.01, step=1.9, gammas=[3.0, 1.0])
