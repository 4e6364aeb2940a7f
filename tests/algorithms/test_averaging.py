"""SWA and EMA against torch.optim.swa_utils."""

import pytest
import torch
from algorithm_cases import closure_of
from cases import tiny_batches, tiny_network
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from sacreddnn.algorithms import EMA, SGD, SWA

NESTEROV = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}


def vector(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("period", [1, 3])
@pytest.mark.parametrize("start", [0.0, 0.4])
@pytest.mark.parametrize("kind", ["swa", "ema"])
def test_the_average_is_torchs(kind, start, period):
    ours, theirs = tiny_network(), tiny_network()
    schedule = {"start": start, "period": period}
    if kind == "swa":
        algorithm = SWA(ours.parameters(), 0.1, **schedule, **NESTEROV)
    else:
        algorithm = EMA(ours.parameters(), 0.1, decay=0.7, **schedule, **NESTEROV)
    plain = SGD(theirs.parameters(), 0.1, **NESTEROV)
    average = get_swa_multi_avg_fn() if kind == "swa" else get_ema_multi_avg_fn(0.7)
    averaged = AveragedModel(theirs, multi_avg_fn=average)
    batches, since_start, copied = tiny_batches(20), 0, False
    for step, batch in enumerate(batches):
        algorithm.progress = step / 20
        algorithm.step(closure_of(algorithm, [ours], [batch]))
        plain.step(closure_of(plain, [theirs], [batch]))
        if step >= start * 20:
            since_start += 1
            if since_start % period == 0:
                averaged.update_parameters(theirs)
                copied = True
        assert torch.equal(vector(ours), vector(theirs))  # the trajectory is SGD's
        torch.testing.assert_close(algorithm.center(), vector(averaged.module if copied else theirs), rtol=0, atol=1e-7)
    assert not torch.equal(algorithm.center(), vector(ours))


def test_an_average_without_memory_is_the_network():
    network = tiny_network()
    algorithm = EMA(network.parameters(), 0.1, decay=0.0, **NESTEROV)
    for batch in tiny_batches(4):
        algorithm.step(closure_of(algorithm, [network], [batch]))
        assert torch.equal(algorithm.center(), vector(network))


def test_before_its_start_the_center_is_the_network():
    network = tiny_network()
    algorithm = SWA(network.parameters(), 0.1, start=0.5)
    for step, batch in enumerate(tiny_batches(4)):
        algorithm.progress = step / 4
        algorithm.step(closure_of(algorithm, [network], [batch]))
        assert algorithm.num_averaged == max(0, step - 1)
        if step < 3:
            assert torch.equal(algorithm.center(), vector(network))
