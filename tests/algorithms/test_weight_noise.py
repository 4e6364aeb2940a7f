"""Noise on the weights: its scale, its equation, the gradient of the smoothed loss."""

import math

import pytest
import torch
from cases import Vector, quadratic
from torch import nn

from sacreddnn.algorithms import WeightNoise


def test_the_scales_are_norms_of_filters_rms_of_tensors_and_weights():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 2)).to(memory_format=torch.channels_last)
    for kind in ("filter", "tensor", "weight"):
        algorithm = WeightNoise(network.parameters(), 0.1, noise_scale=kind)
        views = algorithm.weights.views(algorithm.scale())
        for p, s in zip(network.parameters(), views, strict=True):
            for index in range(len(p)):
                filter_norm = (p[index] if p.ndim > 1 else p).norm()
                expected = {"filter": filter_norm, "tensor": p.norm() / math.sqrt(p.numel()), "weight": p[index].abs()}
                torch.testing.assert_close(s[index], expected[kind].detach().expand_as(s[index]))


@pytest.mark.parametrize("kind", ["filter", "tensor", "weight"])
def test_trajectory_on_a_quadratic(kind):
    loss, start = quadratic()
    network = Vector(start)
    algorithm = WeightNoise(
        network.parameters(), 0.1, noise=0.2, noise_scale=kind, num_draws=4, momentum=0.9, weight_decay=0.01,
        generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(5)
    w, buffer = start.clone(), torch.zeros_like(start)
    for _ in range(10):
        algorithm.step(loss.closure(algorithm, network))
        s = {"filter": w.norm(), "tensor": w.square().mean().sqrt(), "weight": w.abs()}[kind]
        g = torch.zeros_like(w)
        for _ in range(4):
            z = torch.empty_like(w).normal_(generator=generator)
            g += loss.h * (w + 0.2 * s * z - loss.m) / 4
        buffer = 0.9 * buffer + g + 0.01 * w
        w = w - 0.1 * buffer
    torch.testing.assert_close(algorithm.center(), w, rtol=1e-12, atol=1e-14)


def test_it_descends_the_smoothed_loss():
    # of a sum of w^4 / 4 the smoothed gradient is w^3 + 3 w (sigma s)^2, here s = |w|
    network = Vector(torch.linspace(0.5, 2, 7, dtype=torch.float64))
    start, draws, sigma = network.w.detach().clone(), 4000, 0.5
    algorithm = WeightNoise(network.parameters(), 1.0, noise=sigma, noise_scale="weight", num_draws=draws)

    def closure():
        algorithm.zero_grad()
        loss = (network.w**4).sum() / 4
        loss.backward()
        return loss.detach()

    algorithm.step(closure)
    gradient = start - algorithm.center()
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    error = start**3 * (1 + sigma * x).pow(3).std() / math.sqrt(draws)
    assert ((gradient - (start**3 + 3 * start * (sigma * start) ** 2)).abs() < 4 * error).all()
    assert ((gradient - start**3).abs() > 4 * error).all()  # and not the loss itself
