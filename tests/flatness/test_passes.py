from functools import partial

import pytest
import torch
from cases import tiny_batches, tiny_network
from torch import nn

from sacreddnn.flatness import LossSurface, error, local_energy
from sacreddnn.flatness.passes import left_as_found, mean
from sacreddnn.training.batchnorm import reestimate


def test_every_sample_counts_once_whatever_the_minibatches():
    values = torch.randn(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mean(values.split([7, 1, 2])), values.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(mean(values[:, 0].split(4)), values[:, 0].mean(), rtol=1e-14, atol=0)
    assert mean([torch.ones(3)]).dtype == torch.float64
    for nothing in ([], [torch.empty(0)]):
        with pytest.raises(ValueError, match="batches: empty"):
            mean(nothing)


def state_of(network):
    modules = list(network.modules())
    return (
        {key: value.clone() for key, value in network.state_dict().items()},
        [module.training for module in modules],
        [getattr(module, "momentum", None) for module in modules],
    )


def assert_unchanged(network, before):
    values, modes, momenta = state_of(network)
    assert all(torch.equal(value, before[0][key]) for key, value in values.items())
    assert (modes, momenta) == before[1:]


class InterruptedOnce(nn.Identity):
    """Ctrl-C comes when its mode is put back for the first time."""

    armed = False

    def __setattr__(self, name, value):
        if name == "training" and value and self.armed:
            self.armed = False
            raise KeyboardInterrupt
        super().__setattr__(name, value)


def test_it_is_put_back_even_if_interrupted_while_put_back():
    network = nn.Sequential(nn.Linear(2, 2), InterruptedOnce(), nn.BatchNorm1d(2))
    before = state_of(network)

    def change():
        with left_as_found(network), torch.no_grad():
            network[0].weight.fill_(7)
            network[1].armed = True

    with pytest.raises(KeyboardInterrupt):
        change()
    assert_unchanged(network, before)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_it_is_put_back_if_interrupted_while_statistics_are_estimated(interruption):
    class Interrupted(list):
        passes = 0

        def __iter__(self):
            self.passes += 1
            yield from list.__iter__(self)
            if self.passes == 3:  # at the second draw
                raise interruption

    network = tiny_network()
    before = state_of(network)
    statistics = Interrupted(tiny_batches())
    with pytest.raises(interruption):
        local_energy(network, tiny_batches(), [0.3], num_samples=4, prepare=partial(reestimate, batches=statistics))
    assert statistics.passes == 3
    assert_unchanged(network, before)


class Noisy(nn.Module):
    """Draws from torch's generator in eval mode too."""

    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)


def test_torch_s_generator_is_as_before():
    network = nn.Sequential(tiny_network(), Noisy())
    before = torch.get_rng_state()
    local_energy(network, tiny_batches(), [0.3], num_samples=2)
    assert torch.equal(torch.get_rng_state(), before)


class AlwaysTraining(nn.Dropout):
    """Dropout that is on in eval mode too."""

    def train(self, mode=True):
        return super().train(True)


@pytest.mark.parametrize("measure", [partial(local_energy, sigmas=[0.3]), LossSurface])
@pytest.mark.parametrize(
    ("layer", "line"),
    [
        (AlwaysTraining(), r"network\.1: is in training mode, also after eval\(\)"),
        (nn.BatchNorm1d(3, track_running_stats=False), r"network\.1: batch norm without running statistics"),
    ],
)
def test_a_network_in_the_wrong_mode_is_refused(measure, layer, line):
    network = nn.Sequential(tiny_network(), layer)
    before = state_of(network)
    with pytest.raises(ValueError, match=line):
        measure(network, tiny_batches())
    assert_unchanged(network, before)


def test_the_measure_is_called_with_each_minibatch():
    sizes = []

    def measure(outputs, targets):
        sizes.append(len(targets))
        return error(outputs, targets)

    inputs, targets = (torch.cat(tensors) for tensors in zip(*tiny_batches(), strict=True))
    ragged = [(inputs[:5], targets[:5]), (inputs[5:], targets[5:])]
    whole = local_energy(tiny_network(), [(inputs, targets)], [0.4], num_samples=3)
    parts = local_energy(tiny_network(), ragged, [0.4], num_samples=3, measure=measure)
    torch.testing.assert_close(whole.samples, parts.samples)
    assert set(sizes) == {5, len(inputs) - 5}
