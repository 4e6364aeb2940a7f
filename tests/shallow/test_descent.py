"""Training: the gradient against autograd, the algorithms against loops written out, and their limits."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from shallow_cases import solved

from sacreddnn.shallow import committee, descent, relaxation
from sacreddnn.shallow.descent import Schedule
from sacreddnn.shallow.relaxation import Growth

SHORT = Schedule(3, 8, Growth(3.0, 1.0), Growth(0.5, 3.0), Growth(0.3, 10.0))
SIZE = {"num_units": 3, "num_restarts": 2, "seed": 5}


def problem(num_units=3, num_inputs=41, num_patterns=20):
    return solved(num_units, num_inputs, num_patterns)[1:]


def loss(weights, batch, beta, omega):
    """The relaxed loss of one network (K, N) on (B, N), written out."""
    total = 0.0
    for x in batch:
        output = sum(torch.tanh(beta * (w @ x) / math.sqrt(len(w))) for w in weights) / math.sqrt(len(weights))
        total = total + torch.log1p(torch.exp(-2 * omega * output)) / (2 * omega)
    return total / len(batch)


def slope(weights, batch, beta, omega):
    weights = weights.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(weights, batch, beta, omega), weights)[0]


@pytest.mark.parametrize(("beta", "omega"), [(0.5, 0.1), (2.0, 3.0), (10.0, 30.0)])
def test_gradient_is_that_of_the_loss(beta, omega):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(4, 3, 11, generator=generator, dtype=torch.float64)
    batch = torch.randn(4, 5, 11, generator=generator, dtype=torch.float64)
    found = relaxation.gradient(weights, batch, beta, omega)
    for row in range(4):
        torch.testing.assert_close(found[row], slope(weights[row], batch[row], beta, omega))
        assert relaxation.loss(weights, batch, beta, omega)[row].item() == pytest.approx(
            loss(weights[row], batch[row], beta, omega).item(), rel=1e-9
        )
    step = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
    up, down = (relaxation.loss(weights + s * step, batch, beta, omega) for s in (1e-6, -1e-6))
    torch.testing.assert_close((up - down) / 2e-6, (found * step).sum((1, 2)), rtol=1e-5, atol=1e-9)


def test_the_loss_hardens_to_that_of_sign_units():
    weights, batch = torch.randn(2, 3, 11).double(), torch.randn(2, 5, 11).double()
    hard = (-(batch @ weights.mT).sign().sum(2) / math.sqrt(3)).clamp(min=0).mean(1)
    torch.testing.assert_close(relaxation.loss(weights, batch, 1e6, 1e5), hard, rtol=1e-4, atol=1e-4)


def test_growth():
    assert Growth(2.0, 8.0).at(0.5) == pytest.approx(4.0)
    assert (Growth(2.0, 8.0).at(0.0), Growth(2.0, 8.0).at(1.0)) == (2.0, 8.0)
    assert descent.INDEPENDENT.at(0.3) == 0.0
    for first, last in ((0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (1.0, math.inf)):
        with pytest.raises(ValueError, match="growth: from"):
            Growth(first, last)


def draws(x, num_rows, num_units, schedule, seed, noise_every_step=False):
    """The random numbers of a training, as it draws them: initial weights, then (rows of a minibatch, noise) .."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(num_rows, num_units, x.shape[1], generator=generator)
    steps, num_batches = [], -(-len(x) // schedule.batch_size)
    for number in range(schedule.epochs):
        order = torch.rand(num_rows, len(x), generator=generator).argsort(1)
        for i, chosen in enumerate(order.split(schedule.batch_size, 1)):
            noise = torch.randn(start.shape, generator=generator) if noise_every_step else torch.zeros_like(start)
            steps.append((chosen, noise, (number + i / num_batches) / schedule.epochs))
    return start, steps


def on_spheres(weights):
    return weights * math.sqrt(weights.shape[-1]) / weights.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("coupling", [descent.INDEPENDENT, Growth(0.01, 0.2)])
@pytest.mark.parametrize("replicas", [1, 3])
def test_restarts_of_a_batch_are_what_they_are_alone(replicas, coupling):
    """(Replicated-)SGD of each restart in a loop of its own."""
    x, y = problem()
    found = descent.replicated_sgd(x, y, SHORT, replicas=replicas, coupling=coupling, **SIZE)
    F = torch.from_numpy(y[:, None] * x).float()
    start, steps = draws(F, 2 * replicas, 3, SHORT, SIZE["seed"])
    spreads = []
    for restart in range(2):
        mine = slice(restart * replicas, (restart + 1) * replicas)
        replica = [on_spheres(w) for w in start[mine]]
        for chosen, _, progress in steps:
            center = sum(replica) / replicas
            replica = [
                on_spheres(w - SHORT.lr.at(progress) * (
                    slope(w, F[batch], SHORT.beta.at(progress), SHORT.omega.at(progress))
                    + coupling.at(progress) * (w - center)
                ))
                for w, batch in zip(replica, chosen[mine], strict=True)
            ]  # fmt: skip
        center = on_spheres(sum(replica) / replicas)
        np.testing.assert_allclose(found.weights[restart], center.numpy(), atol=2e-3)
        spreads += [1 - ((w * center).sum() / w.numel()).item() for w in replica]
    assert found.gradient_evaluations == replicas * 9
    assert found.spread == pytest.approx(np.mean(spreads), abs=1e-4)


def test_entropy_sgd_is_its_equations():
    x, y = problem()
    options = {"coupling": Growth(0.05, 0.3), "inner_steps": 2, "averaging": 0.6, "noise": 0.05}
    found = descent.entropy_sgd(x, y, SHORT, **options, **SIZE)
    F = torch.from_numpy(y[:, None] * x).float()
    start, steps = draws(F, 2, 3, SHORT, SIZE["seed"], noise_every_step=True)
    for restart in range(2):
        w = on_spheres(start[restart])
        inner, mean = w, w
        for number, (chosen, noise, progress) in enumerate(steps, 1):
            lr = SHORT.lr.at(progress)
            g = slope(inner, F[chosen[restart]], SHORT.beta.at(progress), SHORT.omega.at(progress))
            g = g + options["coupling"].at(progress) * (inner - w)
            inner = on_spheres(inner - lr * g + math.sqrt(lr) * 0.05 * noise[restart])
            mean = 0.6 * mean + 0.4 * inner
            if number % 2 == 0:
                w = on_spheres(mean)
                inner, mean = w, w
        np.testing.assert_allclose(found.weights[restart], w.numpy(), atol=2e-3)


def test_entropy_sgd_of_one_inner_step_is_sgd():
    x, y = problem()
    sgd = descent.replicated_sgd(x, y, SHORT, **SIZE)
    esgd = descent.entropy_sgd(x, y, SHORT, coupling=Growth(0.1, 1.0), inner_steps=1, averaging=0.0, noise=0.0, **SIZE)
    np.testing.assert_allclose(esgd.weights, sgd.weights, atol=1e-4)
    assert esgd.num_errors == sgd.num_errors


def test_uncoupled_replicas_are_runs_of_sgd():
    x, y = problem()
    sgd = descent.replicated_sgd(x, y, SHORT, num_units=3, num_restarts=6, seed=5)
    replicated = descent.replicated_sgd(x, y, SHORT, replicas=3, **SIZE)
    centers = committee.normalized(sgd.weights.reshape(2, 3, 3, -1).mean(1))
    np.testing.assert_allclose(replicated.weights, centers, atol=1e-4)


def test_strong_coupling_keeps_replicas_together():
    x, y = problem()
    schedule = dataclasses.replace(SHORT, lr=Growth(1.0, 1.0))
    free, bound = (descent.replicated_sgd(x, y, schedule, replicas=3, coupling=c, **SIZE)
                   for c in (descent.INDEPENDENT, Growth(0.5, 0.99)))  # fmt: skip
    assert bound.spread < 0.02 < free.spread


@pytest.mark.parametrize("algorithm", ["sgd", "rsgd", "esgd"])
def test_easy_patterns_are_learned_and_units_stay_on_their_spheres(algorithm):
    x, y = problem(num_inputs=101, num_patterns=40)
    schedule = Schedule(60, 10, Growth(10.0, 1.0), Growth(0.5, 10.0), Growth(0.1, 100.0), finish=200)
    options = {"num_units": 3, "num_restarts": 4}
    if algorithm == "esgd":
        found = descent.entropy_sgd(x, y, schedule, coupling=Growth(1e-4, 0.1), **options)
    else:
        replicas = 3 if algorithm == "rsgd" else 1
        found = descent.replicated_sgd(x, y, schedule, replicas=replicas, coupling=Growth(1e-4, 0.1), **options)
    assert found.num_errors == [0, 0, 0, 0]
    assert [committee.num_errors(w, x, y) for w in found.weights] == found.num_errors
    np.testing.assert_allclose((found.weights**2).sum(2), 101)
    assert found.weights.dtype == np.float64


def test_the_seed_decides():
    x, y = problem()
    for train in (descent.replicated_sgd, lambda *a, **b: descent.entropy_sgd(*a, coupling=Growth(0.1, 1.0), **b)):
        one, same, other = (train(x, y, SHORT, **SIZE | {"seed": seed}) for seed in (5, 5, 6))
        np.testing.assert_array_equal(one.weights, same.weights)
        assert not np.allclose(one.weights, other.weights)


def test_restarts_with_errors_go_on_and_keep_their_best():
    generator = np.random.default_rng(0)
    x, y = generator.choice((-1.0, 1.0), (60, 21)), generator.choice((-1.0, 1.0), 60)  # more than one unit can learn
    schedule = Schedule(2, 10, Growth(1.0, 1.0), Growth(5.0, 5.0), Growth(5.0, 5.0))
    options = {"num_units": 1, "num_restarts": 5}
    counts = [descent.replicated_sgd(x, y, dataclasses.replace(schedule, finish=f), **options) for f in (0, 10, 40)]
    for fewer, more in ((counts[1], counts[0]), (counts[2], counts[1])):
        assert all(a <= b for a, b in zip(fewer.num_errors, more.num_errors, strict=True))
    assert counts[1].num_errors != counts[0].num_errors
    assert [one.gradient_evaluations for one in counts] == [12, 72, 252]
    assert [committee.num_errors(w, x, y) for w in counts[2].weights] == counts[2].num_errors
    # steps so long that the errors jump up and down: the fewest are kept, epoch after epoch
    long_steps = dataclasses.replace(schedule, lr=Growth(10.0, 1.0), beta=Growth(3.0, 1.0))
    each = [descent.replicated_sgd(x, y, dataclasses.replace(long_steps, finish=f), **options) for f in range(8)]
    errors = np.array([one.num_errors for one in each])
    assert (np.diff(errors, axis=0) <= 0).all()
    # a restart that makes no errors any more is left alone
    x, y = problem(num_inputs=101, num_patterns=20)
    longer = Schedule(10, 10, Growth(10.0, 1.0), Growth(0.5, 10.0), Growth(0.1, 100.0))
    learned = [
        descent.replicated_sgd(x, y, dataclasses.replace(longer, finish=f), num_units=3, num_restarts=8)
        for f in (0, 50)
    ]
    done = [r for r, errors in enumerate(learned[0].num_errors) if not errors]
    assert 0 < len(done) < 8  # else nothing goes on
    np.testing.assert_array_equal(learned[0].weights[done], learned[1].weights[done])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"num_units": 2}, "num_units: 2 is not allowed, K is odd"),
        ({"num_restarts": 0}, "num_restarts: 0"),
        ({"replicas": 0}, "replicas: 0"),
    ],
)
def test_refuses(change, line):
    with pytest.raises(ValueError, match=line):
        descent.replicated_sgd(*problem(), SHORT, **SIZE | change)


@pytest.mark.parametrize(
    ("change", "line"),
    [({"inner_steps": 0}, "inner_steps: 0"), ({"averaging": 1.0}, "averaging: 1.0"), ({"noise": -1.0}, "noise: -1.0")],
)
def test_entropy_sgd_refuses(change, line):
    with pytest.raises(ValueError, match=line):
        descent.entropy_sgd(*problem(), SHORT, coupling=Growth(0.1, 1.0), **SIZE | change)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "finish"])
def test_schedules_refuse(name):
    with pytest.raises(ValueError, match=f"{name}: -1 is not allowed"):
        dataclasses.replace(SHORT, **{name: -1})
