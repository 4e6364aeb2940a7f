"""What several processes do, against one process: run by test_distributed.py in each of 2, 3 and 4 processes."""

import copy
import os
import signal
import sys
import time

import pytest
import torch
import torch.distributed as dist
from algorithm_cases import OPTIONS
from cases import tiny_network
from torch import nn

from sacreddnn.algorithms import ALGORITHMS, SGD
from sacreddnn.collective import Group
from sacreddnn.data import Pipeline, Split, Stream
from sacreddnn.training import distributed
from sacreddnn.training.batchnorm import CenterNetwork, all_networks
from sacreddnn.training.distributed import ProcessGroup
from sacreddnn.training.evaluate import CleanBatches, Ensemble, evaluate
from sacreddnn.training.fit import Diverged, Training, fit
from sacreddnn.training.interrupt import Interrupted, StopRequest
from sacreddnn.training.objective import Objective, make_loss
from sacreddnn.training.schedules import lr_schedule

STEPS, EPOCHS = 12, 3
NESTEROV = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}
SPLIT = Split(
    torch.randint(256, (50, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.randint(3, (50,), generator=torch.Generator().manual_seed(1)),
)
PIPELINE = Pipeline((0.5,), (0.3,), ["crop", "flip"])


def make(group, name="rsgd", *, batch_size=12, batch_norm=True, dropout=0.3, lr=0.1, **options):
    def network(replica):
        layers = tiny_network(replica, batch_norm=batch_norm)
        return nn.Sequential(*layers[:-1], nn.Dropout(dropout), layers[-1])

    networks = [network(a) for a in group.replicas]
    options = options if "optimizer" in options else NESTEROV | options
    parameters = [n.parameters() for n in networks]
    algorithm = ALGORITHMS[name](parameters if name == "rsgd" else parameters[0], lr, group=group, **options)
    streams = [Stream(SPLIT, batch_size, seed=5, stream=a, pipeline=PIPELINE, shard=group.shard)
               for a in group.replicas]  # fmt: skip
    objective = Objective(networks, make_loss(), torch.float32, torch.device("cpu"))
    return Training(networks, algorithm, objective, streams, num_steps=STEPS, num_epochs=EPOCHS, lr=lr,
                    lr_schedule=lr_schedule("cosine", EPOCHS), seed=7)  # fmt: skip


def train(training):
    """Everything that is recorded on the way and at the end."""
    batches, group = CleanBatches(SPLIT, PIPELINE.clean, 16), training.group
    center = CenterNetwork(training.networks, training.algorithm)
    seen = []

    def on_epoch(t):
        seen.append((t.epoch_loss(), t.algorithm.metrics(), evaluate(center.update(), batches, group=group)))

    fit(training, on_epoch=on_epoch, save=lambda t: None)
    networks = all_networks(training.networks, training.algorithm)
    seen.append([evaluate(network, batches, group=group) for network in networks])
    seen.append(evaluate(Ensemble(networks), batches, group=group))
    seen.append(training.algorithm.gradient_evaluations)
    return seen, [t.clone() for n in (center.update(), *networks) for t in n.state_dict().values()]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def check_replicas_give_the_bits_of_one_process(size):
    for options in (
        {},  # automatic coupling, K = 1
        {"coupling_period": 5, "coupling": 0.1},
        {"coupling_form": "gradient", "coupling": 0.01, "coupling_growth": 10.0},
        {"use_center": True},
        {"optimizer": "adam"},
    ):
        seen, tensors = train(make(ProcessGroup(3, 60), **options))
        expected_seen, expected = train(make(Group(3), **options))
        assert seen == expected_seen, options
        assert same(tensors, expected), options
        assert seen[-1] == 3 * STEPS


def check_the_mean_has_the_same_bits_for_any_number_of_replicas(size):
    for y in (size, size + 2, 7):
        W = torch.randn(y, 1000, generator=torch.Generator().manual_seed(y))
        W[:, ::7] *= 1e-6
        group = ProcessGroup(y, 60)
        mine = W[group.replicas.start : group.replicas.stop]
        assert torch.equal(group.mean(mine), Group(y).mean(W))
        assert torch.equal(group.gather(mine), W)
        torch.testing.assert_close(group.mean(mine.double()), W.double().mean(0), rtol=1e-14, atol=1e-15)


def check_a_checkpoint_goes_on_in_any_number_of_processes(size):
    whole = make(Group(3))
    _, expected = train(whole)
    together = make(ProcessGroup(3, 60))
    for _ in range(5):
        together.advance()
    state = together.group.share(together.state_dict())
    assert (together.state_dict() is None) == (dist.get_rank() > 0)
    for group in (Group(3), ProcessGroup(3, 60)):
        resumed = make(group)
        resumed.load_state_dict(copy.deepcopy(state))
        assert same(train(resumed)[1], expected)


def weights_after(training, steps=STEPS):
    for _ in range(steps):
        training.advance()
    return training.algorithm.weights.values.clone()


def check_minibatches_shared_by_processes(size):
    """Without batch norm and dropout, of which each process has its own, only rounding differs."""
    plain = {"batch_norm": False, "dropout": 0.0}
    for name in ALGORITHMS:
        replicas, batch_size = (2, 13) if name == "rsgd" else (1, 13 if name == "esgd" else 12)
        if size % replicas:
            continue
        options = plain | {key: value for key, value in OPTIONS[name].items() if key != "lr"}
        group = ProcessGroup(replicas, 60)
        shared, alone = (make(g, name, batch_size=batch_size, **options) for g in (group, Group(replicas)))
        W = weights_after(shared)
        expected = weights_after(alone)[group.replicas.start : group.replicas.stop]
        torch.testing.assert_close(W, expected, rtol=2e-4, atol=2e-6, msg=lambda m, name=name: f"{name}: {m}")
        torch.testing.assert_close(shared.algorithm.center(), alone.algorithm.center(), rtol=2e-4, atol=2e-6)
        assert shared.algorithm.gradient_evaluations == alone.algorithm.gradient_evaluations, name
        assert torch.equal(group._reduce(W.clone(), group._of_replica, dist.ReduceOp.MAX), W)  # all have the same
    # one process's dropout and batch norm see its own part; statistics are averaged, and recorded once
    shared = make(ProcessGroup(1, 60), "sgd")
    weights_after(shared)
    buffers = shared.group.share(shared.state_dict())["replicas"][0]["buffers"]
    mine = dict(shared.networks[0].named_buffers())
    mean = shared.group.sum_all(mine["1.running_mean"].clone()) / size
    torch.testing.assert_close(buffers["1.running_mean"], mean)
    assert not torch.equal(mine["1.running_mean"], mean)
    assert shared.algorithm.gradient_evaluations == STEPS


def check_the_gradient_of_a_linear_network_is_exact(size):
    """Small whole numbers and parts of equal size, powers of two: nothing is rounded."""
    if size == 3:
        return
    torch.manual_seed(0)
    inputs = torch.randint(-4, 5, (8, 3), dtype=torch.float64)
    targets = torch.randint(-4, 5, (8, 2), dtype=torch.float64)
    network = nn.Linear(3, 2).double()
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randint_like(p, -3, 4))

    def gradient(group):
        algorithm = SGD(copy.deepcopy(network).parameters(), 0.1, group=group)
        part, parts = group.shard
        x, y = (values.chunk(parts)[part] for values in (inputs, targets))
        w = algorithm.weights.views(algorithm.weights.values[0])
        residual = x @ w[0].T + w[1] - y
        loss = residual.square().sum(1).mean().view(1)
        G = algorithm.weights.gradients
        G[0, :6], G[0, 6:] = (2 * residual.T @ x / len(x)).flatten(), 2 * residual.mean(0)
        loss = group.combine_shards(G, loss, len(x))
        return G.clone(), loss

    for a, b in zip(gradient(ProcessGroup(1, 60)), gradient(Group(1)), strict=True):
        assert torch.equal(a, b)


def check_one_process_may_be_at_work_alone_for_longer_than_the_timeout(size):
    if size == 2:
        group = ProcessGroup(size, 5)
        if dist.get_rank() == 0:
            time.sleep(7)
        group.wait()


def check_all_stop_at_the_same_step(size):
    training = make(ProcessGroup(3, 60) if size < 4 else ProcessGroup(1, 60), "rsgd" if size < 4 else "sgd")
    advance, saved = training.advance, []

    def signalled():
        if dist.get_rank() == size - 1 and training.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance()

    training.advance = signalled
    with StopRequest() as stop, pytest.raises(Interrupted) as stopped:
        fit(training, on_epoch=lambda t: None, save=lambda t: saved.append(t.step), save_every_epochs=100, stop=stop)
    assert stopped.value.signum == signal.SIGTERM
    assert 5 <= training.step < STEPS
    assert saved == [training.step]
    assert training.group.largest(training.step, -training.step) == [training.step, -training.step]


def check_all_hear_of_a_divergence(size):
    if size == 4:
        return
    training = make(ProcessGroup(3, 60), coupling=0.0)
    if dist.get_rank() == size - 1:
        training.algorithm.weights.values[-1].fill_(torch.nan)
    with pytest.raises(Diverged, match=r"loss of replica 2 is not finite at epoch 1"):
        fit(training, on_epoch=lambda t: None, save=lambda t: None)


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.start()
    try:
        for check in [value for name, value in list(globals().items()) if name.startswith("check_")]:
            if int(os.environ["WORLD_SIZE"]) < 4 or not check.__name__.startswith(("check_replicas", "check_a_")):
                check(dist.get_world_size())
            if dist.get_rank() == 0:
                print(check.__name__, flush=True)
        distributed.leave()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    distributed.end(code)
