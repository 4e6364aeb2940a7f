import os
import signal

import pytest
import torch
from algorithm_cases import make_algorithm, num_networks
from cases import tiny_batches, tiny_network
from torch import nn

from sacreddnn.algorithms import ALGORITHMS, SGD, frozen_statistics
from sacreddnn.training import checkpoint
from sacreddnn.training.batchnorm import CenterNetwork, has_batch_norm, reestimate
from sacreddnn.training.fit import Diverged, Training, fit
from sacreddnn.training.interrupt import Interrupted, StopRequest
from sacreddnn.training.objective import Objective, make_loss
from sacreddnn.training.schedules import lr_schedule


class Cycle:
    """A stream that goes around a few fixed minibatches."""

    def __init__(self, seed):
        self.batches, self.position = tiny_batches(5, seed=seed), 0

    def __next__(self):
        self.position += 1
        return self.batches[self.position % 5]

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


def with_dropout(seed):
    network = tiny_network(seed)
    return nn.Sequential(*network[:4], nn.Dropout(0.3), *network[4:])


def make_training(name="sgd", *, steps=24, epochs=4, lr=0.1, dtype=torch.float32):
    """A small training with a registered algorithm, or "adam": SGD's class with another base optimizer."""
    if name == "adam":
        networks = [with_dropout(0)]
        algorithm = SGD(networks[0].parameters(), lr / 10, optimizer="adam")
    else:
        networks = [with_dropout(seed) for seed in range(num_networks(name))]
        algorithm = make_algorithm(name, networks, lr=lr)
    objective = Objective(networks, make_loss(), dtype, torch.device("cpu"))
    return Training(
        networks, algorithm, objective, [Cycle(a) for a in range(len(networks))], num_steps=steps, num_epochs=epochs,
        lr=lr, lr_schedule=lr_schedule("cosine", epochs), seed=7,
    )  # fmt: skip


def nothing(training):
    pass


def bits(training):
    tensors = [training.algorithm.weights.values, training.algorithm.center()]
    tensors += [b for n in training.networks for b in n.buffers()]
    return [t.clone() for t in tensors]


@pytest.mark.parametrize("name", ["adam", *ALGORITHMS])
@pytest.mark.parametrize("stop_at", [1, 13, 23])
def test_resumed_training_is_bit_identical(name, stop_at, tmp_path):
    whole = make_training(name)
    fit(whole, on_epoch=nothing, save=nothing)

    first = make_training(name)
    for _ in range(stop_at):
        first.advance()
    checkpoint.save(tmp_path, {"training": first.state_dict()}, first.step)
    torch.manual_seed(12345)  # whatever happened to the global generators meanwhile
    second = make_training(name)
    second.load_state_dict(checkpoint.load_last(tmp_path)["training"])
    fit(second, on_epoch=nothing, save=nothing)

    assert second.step == whole.step == 24
    assert second.algorithm.gradient_evaluations == whole.algorithm.gradient_evaluations
    for a, b in zip(bits(whole), bits(second), strict=True):
        assert torch.equal(a, b)


def test_epochs_divide_the_steps_evenly_also_when_they_do_not_divide():
    training = make_training(steps=11, epochs=4)
    ends = []
    fit(training, on_epoch=lambda t: ends.append(t.step), save=nothing)
    assert ends == [3, 6, 9, 11]


def test_lr_and_progress_are_functions_of_the_step():
    training = make_training(steps=10, epochs=2)
    seen = []
    step = training.algorithm.step

    def spy(closure):
        seen.append((training.algorithm.progress, training.algorithm.lr))
        return step(closure)

    training.algorithm.step = spy
    fit(training, on_epoch=nothing, save=nothing)
    schedule = lr_schedule("cosine", 2)
    assert seen == [(t / 10, 0.1 * schedule(t / 10)) for t in range(10)]


def test_divergence_stops_at_once_names_the_step_and_saves_nothing_bad():
    training = make_training(lr=1e30)
    saved = []
    with pytest.raises(Diverged, match=r"not finite at epoch 1, step \d+: most likely training.lr \(1e\+30"):
        fit(training, on_epoch=nothing, save=lambda t: saved.append(t.step), save_every_steps=1)
    assert training.step <= 4
    assert training.step not in saved


def test_weights_that_diverged_in_the_last_step_are_not_saved():
    """The losses are those before the step: they alone do not show it."""
    training = make_training(steps=1, epochs=1)
    step, saved = training.algorithm.step, []

    def diverge(closure):
        losses = step(closure)
        training.algorithm.weights.values[0, 3] = torch.inf
        return losses

    training.algorithm.step = diverge
    with pytest.raises(Diverged):
        fit(training, on_epoch=nothing, save=lambda t: saved.append(t.step))
    assert saved == []


def test_a_signal_during_the_last_save_is_obeyed():
    training = make_training(steps=2, epochs=1)
    with StopRequest() as stop, pytest.raises(Interrupted):
        fit(training, on_epoch=nothing, save=lambda t: os.kill(os.getpid(), signal.SIGTERM), stop=stop)
    assert training.step == 2


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_and_handlers_are_put_back(signum):
    training = make_training()
    before = signal.getsignal(signum)
    saved = []

    def on_epoch(t):
        os.kill(os.getpid(), signum)

    with StopRequest() as stop, pytest.raises(Interrupted) as stopped:
        fit(training, on_epoch=on_epoch, save=lambda t: saved.append(t.step), save_every_epochs=100, stop=stop)
    assert stopped.value.signum == signum
    assert saved == [training.step] == [7]  # the step after the signal
    assert signal.getsignal(signum) == before


def test_center_is_the_mean_of_weights_and_statistics():
    training = make_training("rsgd")
    fit(training, on_epoch=nothing, save=nothing)
    center = CenterNetwork(training.networks, training.algorithm).update()
    for name, value in center.state_dict().items():
        replicas = torch.stack([n.state_dict()[name] for n in training.networks])
        expected = replicas.mean(0) if value.is_floating_point() else replicas[0]
        torch.testing.assert_close(value, expected)


def test_center_of_entropy_sgd_is_not_where_its_inner_steps_are():
    training = make_training("esgd", steps=23)
    fit(training, on_epoch=nothing, save=nothing)
    center = CenterNetwork(training.networks, training.algorithm).update()
    assert not torch.equal(center[0].weight, training.networks[0][0].weight)
    views = training.algorithm.weights.views(training.algorithm.w.detach())
    for p, view in zip(center.parameters(), views, strict=True):
        assert torch.equal(p, view)


def test_center_of_one_network_is_that_network():
    training = make_training()
    fit(training, on_epoch=nothing, save=nothing)
    center = CenterNetwork(training.networks, training.algorithm).update()
    for name, value in center.state_dict().items():
        assert torch.equal(value, training.networks[0].state_dict()[name])


def test_reestimated_statistics_are_those_of_the_data():
    network = tiny_network()
    assert has_batch_norm(network)
    assert not has_batch_norm(tiny_network(batch_norm=False))
    network.eval()
    batches = tiny_batches(3)
    reestimate(network, batches)
    features = torch.stack([network[0](x) for x, _ in batches])  # batches of equal size: averages of averages
    torch.testing.assert_close(network[1].running_mean, features.mean((0, 1, 3, 4)))
    assert not network.training


def test_reestimation_draws_no_random_numbers_of_others_and_leaves_out_ragged_batches():
    networks = [with_dropout(0), with_dropout(0)]
    batches = [*tiny_batches(3), *tiny_batches(1, size=1)]
    reestimate(networks[0], batches)
    state = torch.get_rng_state()
    torch.rand(5)
    reestimate(networks[1], batches[:3])
    torch.set_rng_state(state)
    for a, b in zip(*(n.buffers() for n in networks), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_kind_is_refused():
    state = make_training("rsgd").state_dict()
    with pytest.raises(ValueError, match=r"holds \(3, \d+\) weights .* this run has \(1, "):
        make_training("sgd").load_state_dict(state)
    with pytest.raises(ValueError, match="of a training of 24 steps, this run has 48"):
        make_training("sgd", steps=48).load_state_dict(make_training("sgd").state_dict())
    with pytest.raises(ValueError, match="written by EntropySGD, cannot be loaded into SGD"):
        make_training("sgd").load_state_dict(make_training("esgd").state_dict())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_bfloat16_trains_with_float32_weights(name):
    training = make_training(name, steps=60, dtype=torch.bfloat16)
    losses = []
    fit(training, on_epoch=lambda t: losses.append(t.epoch_loss()), save=nothing)
    assert losses[-1] < losses[0]
    assert training.algorithm.weights.values.dtype == torch.float32


@pytest.mark.parametrize("name", ["sam", "weight_noise"])
def test_all_evaluations_of_a_step_see_the_same_minibatch_and_dropout_and_move_statistics_once(name):
    training = make_training(name)
    masks = []
    training.networks[0][4].register_forward_hook(lambda module, x, out: masks.append((x[0] != 0, out == 0)))
    for step in range(1, 4):
        training.advance()
        assert int(training.networks[0][1].num_batches_tracked) == step
    evaluations = training.algorithm.evaluations_per_step
    assert len(masks) == 3 * evaluations > 3
    for step in range(3):
        (alive, dropped), *others = masks[step * evaluations : (step + 1) * evaluations]
        assert all(torch.equal(dropped & alive & also, out & alive & also) for also, out in others)
    assert not torch.equal(masks[0][1], masks[evaluations][1])


def test_frozen_statistics_come_back_also_after_an_error():
    network = tiny_network()
    before = [buffer.clone() for buffer in network.buffers()]
    with pytest.raises(RuntimeError, match="size of tensor"), frozen_statistics([network]):
        network(tiny_batches(1)[0][0]) + torch.zeros(7, 7)  # fails after the statistics have moved
    assert all(torch.equal(a, b) for a, b in zip(before, network.buffers(), strict=True))
