"""Trajectories on quadratics in float64 against a plain numpy transcription of the algorithms' definitions."""

import math

import numpy as np
import pytest
import torch
from cases import Vector, quadratic

from sacreddnn.algorithms import EntropySGD, ReplicatedSGD
from sacreddnn.algorithms.coupling import distance, schedule
from sacreddnn.algorithms.replicated_sgd import growth_factor


def entropy_sgd_in_numpy(h, m, w, noises, *, eta, L, eta_in, m_in, wd_in, gamma0, gamma1, gamma_max, eps, factor, alpha,
                         scaled, m_out, wd_out, num_outer):  # fmt: skip
    """The order of operations of the reference implementation, line by line."""
    noises = iter(noises)
    buffer_out = np.zeros_like(w)
    for t in range(num_outer):
        gamma = min(gamma0 * (1 + gamma1) ** t, gamma_max)
        inner, mu, buffer = w.copy(), w.copy(), np.zeros_like(w)
        for _ in range(L):
            g = h * (inner - m)
            g = g + gamma * (inner - w)
            g = g + wd_in * inner
            if m_in:
                buffer = m_in * buffer + g
                g = g + m_in * buffer
            inner = inner - eta_in * g + math.sqrt(factor * eta_in) * eps * next(noises)
            mu = alpha * mu + (1 - alpha) * inner
        G = w - mu + wd_out * w
        if m_out:
            buffer_out = m_out * buffer_out + G
            G = G + m_out * buffer_out
        w = w - eta * (gamma if scaled else 1.0) * G
    return w


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("convention", ["paper", "reference"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_entropy_sgd(scaled, convention, momentum):
    loss, start = quadratic()
    network = Vector(start)
    settings = {"inner_steps": 4, "inner_lr": 0.1, "averaging": 0.6, "noise": 0.3}
    algorithm = EntropySGD(
        network.parameters(), 0.7, inner_momentum=momentum, inner_weight_decay=0.01, coupling=0.8, coupling_growth=0.1,
        coupling_max=1.5, noise_convention=convention, scale_by_coupling=scaled, momentum=momentum,
        nesterov=momentum > 0, weight_decay=0.02, generator=torch.Generator().manual_seed(5), **settings,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(5)
    noises = [torch.empty_like(start).normal_(generator=generator).numpy() for _ in range(4 * 12)]
    for _ in range(4 * 12):
        algorithm.step(loss.closure(algorithm, network))
    expected = entropy_sgd_in_numpy(
        loss.h.numpy(), loss.m.numpy(), start.numpy(), noises, eta=0.7, L=4, eta_in=0.1, m_in=momentum, wd_in=0.01,
        gamma0=0.8, gamma1=0.1, gamma_max=1.5, eps=0.3, factor={"paper": 1, "reference": 2}[convention], alpha=0.6,
        scaled=scaled, m_out=momentum, wd_out=0.02, num_outer=12,
    )  # fmt: skip
    np.testing.assert_allclose(algorithm.center().numpy(), expected, rtol=1e-10)


def test_entropy_sgd_automatic_coupling_balances_loss_and_distance():
    loss, start = quadratic()
    network = Vector(start)
    algorithm = EntropySGD(network.parameters(), 0.1, inner_steps=3, coupling="auto", inner_momentum=0, noise=0,
                           inner_weight_decay=0)  # fmt: skip
    w = start.clone()
    for step in range(3):
        assert algorithm.coupling == 0
        value = algorithm.step(loss.closure(algorithm, network))
        before, w = w, w - 0.1 * loss.h * (w - loss.m)
        if step == 2:
            assert value.item() == pytest.approx(loss.loss(before).item())
    assert algorithm.coupling_start == pytest.approx(value.item() / distance(w, start).item())


def replicated_sgd_in_numpy(h, m, W, *, eta, momentum, wd, gammas, K, form, counted, gradient_noise):
    W, buffer = W.copy(), np.zeros_like(W)
    for t, gamma in enumerate(gammas, start=1):
        G = h * (W - m) + gradient_noise
        if t % K == 0 and form == "gradient":
            G = G + K * gamma * (W - W.mean(0))
        G = G + wd * W
        if momentum:
            buffer = momentum * buffer + G
            G = G + momentum * buffer
        W = W - eta * G
        if t % K == 0 and form == "relaxation":
            rate = K * eta * gamma / (1 - momentum if counted else 1)
            W = W.mean(0) + np.exp(-rate) * (W - W.mean(0))
    return W


@pytest.mark.parametrize(("form", "counted"), [("relaxation", True), ("relaxation", False), ("gradient", True)])
@pytest.mark.parametrize("period", [1, 3])
@pytest.mark.parametrize("kind", ["exponential", "linear", "cosine"])
def test_replicated_sgd(form, counted, period, kind):
    loss, start = quadratic()
    networks = [Vector(start + a) for a in range(3)]
    noise = torch.randn(3, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    algorithm = ReplicatedSGD(
        [n.parameters() for n in networks], 0.05, coupling=0.1, coupling_growth=20, coupling_schedule=kind,
        coupling_updates=5, coupling_period=period, coupling_form=form, relaxation_momentum=counted,
        momentum=0.9, nesterov=True, weight_decay=0.01,
    )  # fmt: skip
    W = algorithm.weights.values.clone().numpy()
    gammas = []
    for step in range(30):
        algorithm.progress = step / 30
        gammas.append(schedule(kind, 0.1, 20, (step // 6) / 5))
        assert algorithm.coupling == pytest.approx(gammas[-1])
        algorithm.step(loss.closure(algorithm, networks, noise))
    expected = replicated_sgd_in_numpy(
        loss.h.numpy(), loss.m.numpy(), W, eta=0.05, momentum=0.9, wd=0.01, gammas=gammas, K=period, form=form,
        counted=counted, gradient_noise=noise.numpy(),
    )  # fmt: skip
    np.testing.assert_allclose(algorithm.weights.values.numpy(), expected, rtol=1e-10)


def test_replicated_sgd_automatic_coupling_at_initialisation():
    loss, start = quadratic()
    networks = [Vector(start * (a + 1)) for a in range(3)]
    algorithm = ReplicatedSGD([n.parameters() for n in networks], 0.05)
    W = algorithm.weights.values.clone()
    losses = algorithm.step(loss.closure(algorithm, networks))
    assert algorithm.coupling_start == pytest.approx(losses.mean().item() / distance(W, W.mean(0)).mean().item())


def test_schedules_at_their_ends():
    for kind in ("exponential", "linear", "cosine"):
        assert schedule(kind, 2.0, 50.0, 0.0) == pytest.approx(2.0)
        assert schedule(kind, 2.0, 50.0, 1.0) == pytest.approx(100.0)
    # the reference's last epoch of E uses gamma_0 growth^((E-1)/E)
    assert schedule("exponential", 2.0, 1e4, 0.999, num_updates=10) == pytest.approx(2.0 * 1e4**0.9)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("period", [1, 4])
def test_growth_factor_is_the_growth_that_torch_shows(momentum, nesterov, period):
    for stiffness in (0.05, 0.3, 1.2, 3.0, 6.0):
        x = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
        optimizer = torch.optim.SGD([x], 1.0, momentum=momentum, nesterov=nesterov)
        sizes = []
        for t in range(600 * period):
            x.grad = (stiffness if t % period == 0 else 0.0) * x.detach()
            optimizer.step()
            if not x.abs() < 1e60:
                break
            if t % period == period - 1:
                sizes.append(x.abs().item())
        tail = np.array(sizes[len(sizes) // 2 :])
        factor = growth_factor(stiffness, momentum, nesterov, period)
        if factor > 1.05:
            assert tail[-1] > 10 * sizes[0]
        elif factor < 0.98:
            assert tail[-1] < 1e-3


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda p: EntropySGD(p, 0.1, inner_steps=0), "inner_steps"),
        (lambda p: EntropySGD(p, 0.1, averaging=1.0), "averaging"),
        (lambda p: EntropySGD(p, 0.1, noise_convention="ours"), "noise_convention"),
        (lambda p: EntropySGD(p, 0.1, coupling="automatic"), "coupling"),
        (lambda p: EntropySGD(p, 0.1, inner_lr=0.0), "inner_lr"),
        (lambda p: ReplicatedSGD([p], 0.1, coupling_growth=0), "coupling_growth"),
        (lambda p: ReplicatedSGD([p], 0.1, coupling_period=0), "coupling_period"),
        (lambda p: ReplicatedSGD([p], 0.1, coupling_schedule="fast"), "coupling_schedule"),
        (lambda p: ReplicatedSGD([p], 0.0), "lr"),
        (lambda p: ReplicatedSGD([p], 0.1, optimizer="sgdd"), "did you mean sgd"),
        (lambda p: ReplicatedSGD([p], 0.1, betas=1), "betas: sgd has no such option"),
        (lambda p: EntropySGD(p, 0.1).step(), "closure: missing"),
    ],
)
def test_bad_values_name_their_key(make, key):
    with pytest.raises(ValueError, match=key):
        make([torch.nn.Parameter(torch.ones(3))])


def test_auto_coupling_of_equal_replicas_is_refused():
    loss, start = quadratic()
    networks = [Vector(start), Vector(start)]
    algorithm = ReplicatedSGD([n.parameters() for n in networks], 0.1)
    with pytest.raises(ValueError, match="replicas that start at different weights"):
        algorithm.step(loss.closure(algorithm, networks))
