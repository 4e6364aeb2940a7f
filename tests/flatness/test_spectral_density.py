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
    trained_network,
)

from sacreddnn.flatness import spectral_density


@pytest.fixture(scope="module")
def exact():
    return torch.linalg.eigvalsh(dense_hessian(trained_network(), ragged_batches()))


@pytest.fixture(scope="module")
def spectrum():
    return spectral_density(trained_network(), ragged_batches(), num_steps=20, num_vectors=30)


@pytest.mark.parametrize("power", [1, 2, 5])
def test_moments_match_those_of_the_dense_spectrum(spectrum, exact, power):
    moment = spectrum.moment(power)
    assert abs(moment.mean - (exact**power).mean()) < 4 * moment.standard_error
    assert moment.standard_error < 0.5 * (exact.abs() ** power).mean()


def test_quadrature_is_exact_for_its_own_vectors(spectrum):
    assert spectrum.moment(0).mean == pytest.approx(1, abs=1e-12)
    assert (spectrum.weights >= 0).all()
    more = spectral_density(trained_network(), ragged_batches(), num_steps=30, num_vectors=2)
    less = spectral_density(trained_network(), ragged_batches(), num_steps=4, num_vectors=2)
    for power in range(8):  # 2 m - 1 = 7
        torch.testing.assert_close(more.moment(power).samples[0], less.moment(power).samples[0], rtol=1e-8, atol=1e-12)


def test_density_matches_the_broadened_dense_spectrum(spectrum, exact):
    grid, width = spectrum.grid(300, 0.05 * exact.max().item())
    estimate = spectrum.density(grid, width)
    kernel = torch.exp(-0.5 * ((grid[:, None] - exact) / width).square()) / (width * (2 * torch.pi) ** 0.5)
    deviation = (estimate.mean - kernel.mean(1)).abs()
    assert (deviation < 5 * estimate.standard_error + 0.02 * kernel.mean(1).max()).all()
    assert torch.trapezoid(estimate.mean, grid) == pytest.approx(1, abs=0.005)


def test_counts_eigenvalues_of_a_quadratic():
    """Two of fifty curvatures are 5, the others 0: each vector sees both nodes and nothing else."""
    h = torch.zeros(50, dtype=torch.float64)
    h[:2] = 5
    network = Quadratic(h, torch.zeros(50), torch.ones(50, dtype=torch.float64))
    found = spectral_density(network, quadratic_batches(50), num_vectors=400, num_steps=8, loss=linear_loss)
    assert found.nodes.shape == (400, 8)
    seen = found.nodes[found.weights > 1e-9]
    assert ((seen.abs() < 1e-8) | ((seen - 5).abs() < 1e-8)).all()
    above = found.fraction_above(1.0)
    assert abs(above.mean - 0.04) < 4 * above.standard_error
    assert above.standard_error < 0.003


def test_left_as_found_and_bad_arguments():
    network = tiny_network()
    found = Fingerprint(network)
    spectrum = spectral_density(network, tiny_batches(), num_steps=3, num_vectors=2)
    found.check()
    for change, message in [
        ({"num_steps": 1}, "num_steps: 1"),
        ({"num_vectors": 0}, "num_vectors: 0"),
        ({"batches": []}, "batches: empty"),
    ]:
        with pytest.raises(ValueError, match=message):
            spectral_density(network, **({"batches": tiny_batches()} | change))
    with pytest.raises(ValueError, match="width: 0"):
        spectrum.density(torch.zeros(1), 0.0)
