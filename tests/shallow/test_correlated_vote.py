"""The vote of correlated units: the complex normal law it is made of, and how many nodes its mean takes."""

import itertools

import numpy as np
import pytest
from scipy.special import erfc, wofz

from sacreddnn.shallow import complex_normal, correlated_vote


def test_the_complex_normal_law():
    generator = np.random.default_rng(0)
    u, v = 4 * generator.standard_normal(3001), 2 * generator.standard_normal(3001)  # not a multiple of the block
    u[:6], v[:3] = (0.0, -0.0, 1e-300, 40.0, -40.0, 1e3), 0.0
    phi, density = complex_normal.distribution(u, v)
    z = u + 1j * v
    np.testing.assert_allclose(density, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), rtol=1e-11, atol=1e-14)
    assert (np.abs(phi - erfc(-z / np.sqrt(2)) / 2) < 1e-13 * (1 + np.abs(density))).all()
    # the smaller tail, relative to itself, is Faddeeva's function: on the left to full accuracy
    left, imaginary = -np.abs(u), np.abs(u) < 20
    tail, density = (part[imaginary] for part in complex_normal.distribution(left, v))
    w = wofz((1j * np.abs(u) + v)[imaginary] / np.sqrt(2))
    np.testing.assert_allclose(tail / density, np.sqrt(np.pi / 2) * w, rtol=1e-12)


def patterns_with_load(load, sign, num_units=5, num_patterns=20):
    """omega and V = D + sign a a^T, with sum_k a_k^2/D_k = load."""
    generator = np.random.default_rng(1)
    D = generator.uniform(0.5, 2, (num_patterns, num_units))
    a = np.sqrt(D) * generator.uniform(0.5, 1, D.shape)
    a *= np.sqrt(load / (a**2 / D).sum(1))[:, None]
    V = np.einsum("pk,kl->pkl", D, np.eye(num_units)) + sign * a[:, :, None] * a[:, None, :]
    return generator.normal(0.5, 1.5, D.shape), V, D, a


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("load", [0.001, 0.0177, 0.03, 0.068, 0.09, 0.2, 0.26, 0.4, 0.7])
def test_the_nodes_suffice(load, sign, monkeypatch):
    """Against all votes summed up at sixty nodes; g and Gamma against as many nodes as are ever used."""
    omega, V, D, a = patterns_with_load(load, sign)
    found = correlated_vote.node(omega, V)
    x, weight = np.polynomial.hermite_e.hermegauss(60)
    right = erfc(-(omega[:, None] + np.sqrt(sign + 0j) * a[:, None] * x[:, None]) / np.sqrt(2 * D)[:, None]) / 2
    exact = np.zeros(len(omega))
    for votes in itertools.product((False, True), repeat=5):
        if sum(votes) > 2:
            exact += (np.where(votes, right, 1 - right).prod(2) @ weight).real / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(found[0], np.log(exact), rtol=0, atol=correlated_vote.RULE_ERROR / 10)
    few = correlated_vote.num_nodes(load if sign < 0 else load / (1 + load))
    assert few < correlated_vote.LARGEST_RULE or load == 0.7
    monkeypatch.setattr(correlated_vote, "num_nodes", lambda load: correlated_vote.LARGEST_RULE)
    for one, other in zip(found, correlated_vote.node(omega, V), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=correlated_vote.RULE_ERROR / 10)


def test_units_of_even_chance():
    """Fields of mean 0, where factors of the generating function vanish at the root -1 of unity."""
    for num_units in (1, 3, 5, 7, 9):
        omega, V, *_ = patterns_with_load(0.1 if num_units > 1 else 1e-12, -1, num_units)
        log_z, g, gamma = correlated_vote.node(0 * omega, V)
        np.testing.assert_allclose(log_z, np.log(0.5), atol=1e-12)
        assert np.isfinite(g).all()
        np.testing.assert_allclose(gamma, np.swapaxes(gamma, 1, 2), atol=1e-14)
        assert (np.linalg.eigvalsh(gamma) > -1e-12).any(1).all()


def test_both_signs_at_once():
    (one, V, *_), (other, U, *_) = patterns_with_load(0.1, -1), patterns_with_load(0.3, 1)
    together = correlated_vote.node(np.concatenate([one, other]), np.concatenate([V, U]))
    for whole, *parts in zip(together, correlated_vote.node(one, V), correlated_vote.node(other, U), strict=True):
        np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-12)


def test_a_fit_that_cannot_be_is_shrunk():
    """D stays positive for units that correlate, and V for units that anticorrelate."""
    for sign, size in ((-1, 0.49), (1, 0.99)):
        V = np.eye(3)[None] + sign * size * (1 - np.eye(3))
        D, a, s = correlated_vote.one_factor(V)
        assert s[0] == sign
        assert (D > 0).all()
        if sign < 0:
            assert (a**2 / D).sum() < 0.9
        else:
            assert (a**2 / np.einsum("pkk->pk", V)).max() < 0.9
        assert all(np.isfinite(part).all() for part in correlated_vote.node(np.zeros((1, 3)), V))
