"""The inner loop of Entropy-SGD as a sampler: its stationary law, and the gradient of the local entropy from it."""

import math

import numpy as np
import pytest
import torch
from cases import Quadratic, Vector

from sacreddnn.algorithms import EntropySGD

CURVATURES = (0.0, 0.5, 2.0, 6.0)
COPIES = 4000  # independent coordinates of each curvature: a sample of the stationary law
ETA, EPS, GAMMA, DECAY, ALPHA = 0.1, 0.7, 0.8, 0.05, 0.6


def equilibrate(convention, *, decay=DECAY, num_steps=150, eta=ETA):
    """Inner steps without an outer one, long past relaxation; returns the algorithm and h, m, w of its coordinates."""
    h = torch.tensor(CURVATURES, dtype=torch.float64).repeat_interleave(COPIES)
    m, w = torch.full_like(h, 1.5), torch.full_like(h, -0.5)
    loss, network = Quadratic(h, m), Vector(w)
    algorithm = EntropySGD(
        network.parameters(), 0.1, inner_steps=10**6, inner_lr=eta, inner_momentum=0, inner_weight_decay=decay,
        coupling=GAMMA, noise=EPS, noise_convention=convention, averaging=ALPHA,
        generator=torch.Generator().manual_seed(11),
    )  # fmt: skip
    for _ in range(num_steps):
        algorithm.step(loss.closure(algorithm, network))
    return algorithm, h, m, w


def by_curvature(values):
    return values.view(len(CURVATURES), COPIES)


@pytest.mark.parametrize(("convention", "factor"), [("paper", 1), ("reference", 2)])
def test_stationary_mean_and_variances(convention, factor):
    algorithm, h, m, w = equilibrate(convention)
    h, m, w = (by_curvature(v)[:, 0] for v in (h, m, w))
    total = h + GAMMA + DECAY
    a = 1 - ETA * total
    assert (a.abs() ** 150 < 1e-5).all()  # equilibrium is reached
    s2 = factor * ETA * EPS**2
    variance = s2 / (1 - a**2)
    variance_of_average = variance * (1 - ALPHA) / (1 + ALPHA) * (1 + ALPHA * a) / (1 - ALPHA * a)
    for samples, expected in ((algorithm.weights.values[0], variance), (algorithm.average, variance_of_average)):
        samples = by_curvature(samples)
        mean_error = (expected / COPIES).sqrt()
        assert ((samples.mean(1) - (h * m + GAMMA * w) / total).abs() < 4 * mean_error).all()
        assert ((samples.var(1) - expected).abs() < 4 * expected * math.sqrt(2 / COPIES)).all()


def local_entropy_loss(w, h, m, beta, gamma):
    """-1/beta log of the integral of exp(-beta L(w') - beta gamma d(w', w)) in one dimension, by quadrature."""
    grid = np.linspace(-30, 30, 60_001)
    energy = 0.5 * h * (grid - m) ** 2 + 0.5 * gamma * (grid - w) ** 2
    return -np.log(np.trapezoid(np.exp(-beta * (energy - energy.min())), grid)) / beta + energy.min()


@pytest.mark.parametrize(("convention", "beta"), [("paper", 2 / EPS**2), ("reference", 1 / EPS**2)])
def test_the_coupling_times_the_mean_displacement_is_the_gradient_of_the_local_entropy(convention, beta):
    algorithm, _, _, w = equilibrate(convention, decay=0.0)
    displacement = by_curvature(w - algorithm.weights.values[0])
    sampled, error = GAMMA * displacement.mean(1), GAMMA * displacement.std(1) / math.sqrt(COPIES)
    for curvature, value, standard_error in zip(CURVATURES, sampled.tolist(), error.tolist(), strict=True):
        difference = [local_entropy_loss(-0.5 + d, curvature, 1.5, beta, GAMMA) for d in (-1e-4, 1e-4)]
        gradient = (difference[1] - difference[0]) / 2e-4
        assert gradient == pytest.approx(GAMMA * curvature / (curvature + GAMMA) * (-0.5 - 1.5), abs=1e-6)
        assert abs(value - gradient) < 4 * standard_error


@pytest.mark.parametrize(("convention", "beta"), [("paper", 2 / EPS**2), ("reference", 1 / EPS**2)])
def test_small_steps_sample_the_named_temperature(convention, beta):
    algorithm, h, _, _ = equilibrate(convention, decay=0.0, eta=0.01, num_steps=1500)
    variance = by_curvature(algorithm.weights.values[0]).var(1)
    boltzmann = 1 / (beta * (by_curvature(h)[:, 0] + GAMMA))
    # 4 standard errors, and the step's own bias, which is eta (h + gamma) / 2 to first order
    tolerance = 4 * math.sqrt(2 / COPIES) + 0.01 * (by_curvature(h)[:, 0] + GAMMA)
    assert ((variance / boltzmann - 1).abs() < tolerance).all()


def test_entropy_adam_is_adam_on_the_displacement():
    torch.manual_seed(0)
    h, m = torch.linspace(0.1, 2, 7, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    start = torch.randn(7, dtype=torch.float64)
    loss, network, outer = Quadratic(h, m), Vector(start), Vector(start)
    algorithm = EntropySGD(
        network.parameters(), 0.05, inner_steps=3, inner_lr=0.1, inner_momentum=0, inner_weight_decay=0, noise=0,
        coupling=0.5, coupling_growth=0, scale_by_coupling=False, optimizer="adam", betas=(0.8, 0.9),
    )  # fmt: skip
    adam = torch.optim.Adam(outer.parameters(), 0.05, betas=(0.8, 0.9), fused=True)
    for _ in range(15):
        w = outer.w.detach().clone()
        inner, mu = w.clone(), w.clone()
        for _ in range(3):
            algorithm.step(loss.closure(algorithm, network))
            inner = inner - 0.1 * (h * (inner - m) + 0.5 * (inner - w))
            mu = 0.75 * mu + 0.25 * inner
        outer.w.grad = w - mu
        adam.step()
        torch.testing.assert_close(algorithm.center(), outer.w.detach(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("moment", ["first_inner", "first_outer"])
@pytest.mark.parametrize("scaled", [True, False])
def test_the_moment_of_the_automatic_coupling(moment, scaled):
    h, m = torch.linspace(0.1, 2, 7, dtype=torch.float64), torch.ones(7, dtype=torch.float64)
    loss, network = Quadratic(h, m), Vector(torch.zeros(7, dtype=torch.float64))
    algorithm = EntropySGD(
        network.parameters(), 0.5, inner_steps=3, inner_lr=0.1, inner_momentum=0, inner_weight_decay=0, noise=0,
        coupling="auto", coupling_auto=moment, coupling_growth=0.1, scale_by_coupling=scaled,
    )  # fmt: skip
    inner = torch.zeros(7, dtype=torch.float64)
    for _ in range(3):
        assert algorithm.coupling == 0
        last_loss = loss.loss(inner)
        inner = inner - 0.1 * h * (inner - m)
        algorithm.step(loss.closure(algorithm, network))
    gamma = (last_loss / (0.5 * inner.square().sum())).item()
    assert algorithm.coupling == pytest.approx(gamma * 1.1)  # of the second outer step
    mean = torch.zeros(7, dtype=torch.float64)
    inner = torch.zeros(7, dtype=torch.float64)
    for _ in range(3):
        inner = inner - 0.1 * h * (inner - m)
        mean = 0.75 * mean + 0.25 * inner
    size = 0.5 * ((gamma if moment == "first_inner" else 0.0) if scaled else 1.0)
    torch.testing.assert_close(algorithm.center(), size * mean, rtol=1e-10, atol=1e-14)
