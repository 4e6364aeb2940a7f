import pytest
import torch
from cases import tiny_batches, tiny_network
from curvature_cases import (
    Fingerprint,
    Quadratic,
    dense_hessian,
    linear_loss,
    quadratic_batches,
    ragged_batches,
    seeded,
    trained_network,
)
from torch import nn

from sacreddnn.flatness import LossSurface, hessian_eigenvalues, hessian_trace


@pytest.fixture(scope="module")
def network():
    return trained_network()


@pytest.fixture(scope="module")
def H(network):
    return dense_hessian(network, ragged_batches())


def test_products_match_the_dense_hessian(network, H):
    """A ragged last minibatch counts by its samples, and batch norm uses its running statistics."""
    surface = LossSurface(network, ragged_batches())
    V = torch.randn(3, surface.num_weights, generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(surface.hessian_product(V), V @ H, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(surface.hessian_product(V[0]), H @ V[0], rtol=1e-9, atol=1e-10)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # where curvlinops imports einops
def test_products_match_curvlinops(network):
    curvlinops = pytest.importorskip("curvlinops", reason="curvlinops is a development dependency")
    network = trained_network().eval()
    parameters = list(network.parameters())
    operator = curvlinops.HessianLinearOperator(network, nn.CrossEntropyLoss(), parameters, ragged_batches())
    surface = LossSurface(network, ragged_batches())
    v = torch.randn(surface.num_weights, generator=seeded(1), dtype=torch.float64)
    torch.testing.assert_close(surface.hessian_product(v), operator @ v, rtol=1e-9, atol=1e-10)


def test_products_of_a_channels_last_network_are_those_of_a_contiguous_one(network):
    other = trained_network().to(memory_format=torch.channels_last)
    a, b = LossSurface(network, ragged_batches()), LossSurface(other, ragged_batches())
    v, u = a.normal(seeded(5)), b.normal(seeded(5))
    for s, t in zip(a.views(a.hessian_product(v)), b.views(b.hessian_product(u)), strict=True):
        torch.testing.assert_close(s, t, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
def test_eigenvalues_match_the_dense_ones(network, H, which):
    exact, columns = torch.linalg.eigh(H)
    order = {"largest": -exact, "smallest": exact, "magnitude": -exact.abs()}[which].argsort()[:4]
    found = hessian_eigenvalues(network, ragged_batches(), 4, which=which, tolerance=1e-8)
    torch.testing.assert_close(found.values, exact[order], rtol=1e-7, atol=1e-9)
    assert found.converged
    assert (found.residuals < 1e-7 * exact.abs().max()).all()
    overlap = (found.vectors @ columns[:, order]).abs().diagonal()
    torch.testing.assert_close(overlap, torch.ones(4, dtype=torch.float64), rtol=1e-6, atol=0)


def test_residuals_are_honest_when_stopped_early(network, H):
    found = hessian_eigenvalues(network, ragged_batches(), 3, max_steps=5)
    assert not found.converged
    for value, vector, residual in zip(found.values, found.vectors, found.residuals, strict=True):
        torch.testing.assert_close(residual, (H @ vector - value * vector).norm())
        assert (torch.linalg.eigvalsh(H) - value).abs().min() <= residual


def test_all_eigenvalues_of_a_quadratic_even_repeated_ones():
    h = torch.tensor([3.0, 3.0, 1.0, 0.5, 0.5, 0.5, 0.0], dtype=torch.float64)
    network = Quadratic(h, torch.zeros(7), torch.ones(7, dtype=torch.float64))
    found = hessian_eigenvalues(network, quadratic_batches(7, noise=1.0), 7, loss=linear_loss)
    torch.testing.assert_close(found.values, h, rtol=1e-9, atol=1e-9)
    assert found.residuals.max() < 1e-9


def test_float32_network_in_float64_and_on_its_own():
    network = tiny_network()
    exact = torch.linalg.eigvalsh(dense_hessian(tiny_network().double(), [(x.double(), y) for x, y in tiny_batches()]))
    double = hessian_eigenvalues(network, tiny_batches(), dtype=torch.float64, tolerance=1e-9)
    single = hessian_eigenvalues(network, tiny_batches(), tolerance=1e-4)
    assert next(network.parameters()).dtype == torch.float32
    assert abs(double.values[0] - exact[-1]) < 1e-8
    assert abs(single.values[0] - exact[-1]) < 1e-4 * exact[-1]


def test_trace_matches_the_dense_one_within_its_error_bar(network, H):
    exact = H.diagonal().sum().item()
    z = []
    for seed in range(12):
        estimate = hessian_trace(network, ragged_batches(), num_products=30, seed=seed)
        z.append((estimate.mean.item() - exact) / estimate.standard_error.item())
        assert estimate.standard_error < 0.1 * abs(exact)
    z = torch.tensor(z)
    assert z.abs().mean() < 1.6
    assert z.abs().max() < 5
    complete = hessian_trace(network, ragged_batches(), num_products=3 * len(H))
    assert complete.mean.item() == pytest.approx(exact, rel=1e-9)
    assert complete.standard_error < 1e-9


def test_hutch_plus_plus_beats_hutchinson(network, H):
    """With as many products, where few eigenvalues hold most of the trace."""
    plain = []
    for seed in range(20):
        g = torch.randn(30, len(H), generator=seeded(seed), dtype=torch.float64).sign()
        plain.append(((g @ H) * g).sum(1).mean())
    ours = [hessian_trace(network, ragged_batches(), num_products=30, seed=s).mean for s in range(20)]
    spread = lambda values: (torch.stack(values) - H.trace()).square().mean().sqrt()
    assert spread(ours) < 0.5 * spread(plain)


def test_networks_are_left_as_found(network):
    found = Fingerprint(network)
    hessian_eigenvalues(network, ragged_batches())
    hessian_trace(network, ragged_batches(), num_products=6)
    found.check()
    for p in network.parameters():
        p.grad = None


def test_frozen_networks_linear_losses_and_no_grad():
    network = tiny_network().requires_grad_(False)
    with torch.no_grad():
        assert hessian_eigenvalues(network, tiny_batches()).values[0] > 0
    assert not any(p.requires_grad for p in network.parameters())
    linear = nn.Linear(3, 1, bias=False)
    batches = [(torch.ones(2, 3), torch.zeros(2))]
    found = hessian_eigenvalues(linear, batches, loss=lambda outputs, targets: outputs[:, 0])
    assert found.values[0] == 0


def test_attention_has_second_derivatives():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 3)

        def forward(self, x):
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            return self.out(nn.functional.scaled_dot_product_attention(q, k, v).mean(1))

    network = Attention().double()
    x, y = torch.randn(5, 6, 4, generator=seeded(), dtype=torch.float64), torch.arange(5) % 3
    surface = LossSurface(network, [(x, y)])
    v = surface.normal(seeded(1))
    step = 1e-5
    difference = surface.gradient(surface.origin + step * v) - surface.gradient(surface.origin - step * v)
    surface.move_to(surface.origin)
    torch.testing.assert_close(surface.hessian_product(v), difference / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": []}, "batches: empty"),
        ({"batches": iter(tiny_batches())}, "one-shot"),
        ({"num_eigenvalues": 0}, "num_eigenvalues: 0"),
        ({"num_eigenvalues": 1000}, "num_eigenvalues: 1000"),
        ({"which": "first"}, "which: 'first'"),
        ({"tolerance": -1.0}, "tolerance: -1.0"),
        ({"num_eigenvalues": 3, "max_steps": 2}, "max_steps: 2"),
    ],
)
def test_bad_eigenvalue_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        hessian_eigenvalues(tiny_network(), **({"batches": tiny_batches()} | change))


def test_bad_trace_arguments_and_networks():
    with pytest.raises(ValueError, match="num_products: 3"):
        hessian_trace(tiny_network(), tiny_batches(), num_products=3)
    network = tiny_network()
    with torch.no_grad():
        network[-1].bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="network: its loss"):
        hessian_trace(network, tiny_batches())
    with pytest.raises(ValueError, match="no parameters"):
        hessian_trace(nn.ReLU(), tiny_batches())
