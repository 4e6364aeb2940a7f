"""The arithmetic part by part gives the numbers of the arithmetic on whole vectors."""

import pytest
import torch
from algorithm_cases import OPTIONS, closure_of, make_algorithm, num_networks
from cases import tiny_batches, tiny_network

from sacreddnn import weights


def trajectory(name, **options):
    networks = [tiny_network(seed) for seed in range(num_networks(name))]
    algorithm = make_algorithm(name, networks, **options)
    batches = tiny_batches(3)
    for step in range(12):
        algorithm.progress = step / 12
        algorithm.step(closure_of(algorithm, networks, batches[: len(networks)]))
    return algorithm.weights.values.clone(), algorithm.center().clone()


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in OPTIONS), ("rsgd", {"use_center": False}),
     ("rsgd", {"use_center": False, "coupling_form": "gradient", "coupling": 0.1, "coupling_growth": 2.0})],
)  # fmt: skip
def test_every_algorithm_in_blocks(name, options, monkeypatch):
    whole = trajectory(name, **options)
    monkeypatch.setattr(weights, "BLOCK", 32)  # the tiny network has 99 weights: three blocks, the last one of 35
    assert len(weights.blocks(whole[0])) == 3
    for part_by_part, expected in zip(trajectory(name, **options), whole, strict=True):
        if name == "asam":  # its norm is a sum over the blocks
            torch.testing.assert_close(part_by_part, expected, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(part_by_part, expected)
