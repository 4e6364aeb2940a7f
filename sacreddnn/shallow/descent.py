r"""Training of committee machines: SGD, Replicated-SGD and Entropy-SGD on the relaxed loss, all restarts at once.

    SGD              w <- w - lr g
    Replicated-SGD   w^a <- w^a - lr (g^a + gamma (w^a - mean_a w^a))          the network is the center
    Entropy-SGD      w', mu <- w; L times: w' <- w' - lr (g + gamma (w' - w)) + sqrt(lr) eps N(0, 1),
                                           mu <- alpha mu + (1 - alpha) w'; then w <- mu

(Pittorino et al. 2021; Chaudhari et al. 2017.) After every step each unit is put back on its sphere. As training goes
on, beta and omega of the loss (relaxation.py) and the coupling gamma grow; how slowly makes "fast" and "slow". The
restarts, and the replicas of each, are rows of one batch (R, K, N): a step of fifty networks is two matrix products.
Rows share nothing but the time: each has its own initial weights and its own order of the patterns.

A restart is kept as it was at the end of its schedule. One that still makes training errors goes on at the final beta,
omega and gamma, for `finish` more epochs at most, and is kept as it was when it first made fewest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sacreddnn.shallow import relaxation
from sacreddnn.shallow.committee import Array
from sacreddnn.shallow.relaxation import Growth

INDEPENDENT = Growth(0.0, 0.0)
Advance = Callable[[Tensor, float], None]  # (minibatch (R, B, N), progress)


@dataclass(frozen=True)
class Schedule:
    """How long and how slowly.

    Attributes:
        epochs: passes over the patterns of each row; of Entropy-SGD its inner steps count.
        batch_size: patterns in a minibatch.
        lr: of each step, in units in which a weight is about 1.
        beta: slope of the units.
        omega: hardness of the loss.
        finish: epochs at most that restarts with training errors get besides.
    """

    epochs: int
    batch_size: int
    lr: Growth
    beta: Growth
    omega: Growth
    finish: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("finish", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)} is not allowed, it must be at least {least}")


@dataclass(frozen=True)
class Trained:
    """What training leaves.

    Attributes:
        weights: float64, shape (restarts, K, N), each unit on its sphere.
        num_errors: on the training patterns, of the sign machine, shape (restarts,).
        gradient_evaluations: minibatches that one restart, with its replicas, has seen, at most.
        spread: of Replicated-SGD, 1 - cosine of a replica with its center per weight, mean over both; else 0.
    """

    weights: Array
    num_errors: list[int]
    gradient_evaluations: int
    spread: float = 0.0


def replicated_sgd(
    patterns: Array, labels: Array, schedule: Schedule, *, num_units: int, num_restarts: int, replicas: int = 1,
    coupling: Growth = INDEPENDENT, seed: int = 0,
) -> Trained:  # fmt: skip
    """SGD, with `replicas` > 1 Replicated-SGD.

    Args:
        patterns: shape (P, N).
        labels: +-1, shape (P,).
        schedule: of each replica.
        num_units: K, odd.
        num_restarts: networks trained side by side.
        replicas: y; one is SGD.
        coupling: gamma; 0 leaves the replicas independent. lr gamma < 1, or the replicas jump over their center.
        seed: of initial weights and orders.

    Cost: epochs P/batch_size steps, each of two products (restarts y) x (batch, N, K).
    """
    if replicas < 1:
        raise ValueError(f"replicas: {replicas} is not allowed, at least 1 is needed")
    x, weights, generator = _start(patterns, labels, num_units, num_restarts * replicas, seed)
    by_restart = weights.view(num_restarts, replicas, *weights.shape[1:])

    def advance(batch: Tensor, progress: float) -> None:
        g = relaxation.gradient(weights, batch, schedule.beta.at(progress), schedule.omega.at(progress))
        if replicas > 1 and (gamma := coupling.at(progress)):
            away = by_restart - by_restart.mean(1, keepdim=True)
            g.add_(away.view_as(g), alpha=gamma)
        relaxation.to_spheres(weights.add_(g, alpha=-schedule.lr.at(progress)))

    def center() -> Tensor:
        return relaxation.to_spheres(by_restart.mean(1))

    kept, errors, steps = _train(x, schedule, len(weights), advance, center, generator)
    cosines = torch.einsum("rakn,rkn->ra", by_restart, center()) / weights[0].numel()
    return Trained(kept, errors, replicas * steps, 1 - cosines.mean().item())


def entropy_sgd(
    patterns: Array, labels: Array, schedule: Schedule, *, num_units: int, num_restarts: int, coupling: Growth,
    inner_steps: int = 5, averaging: float = 0.75, noise: float = 1e-4, seed: int = 0,
) -> Trained:  # fmt: skip
    """Entropy-SGD.

    Args:
        patterns: shape (P, N).
        labels: +-1, shape (P,).
        schedule: of the inner steps.
        num_units: K, odd.
        num_restarts: networks trained side by side.
        coupling: gamma.
        inner_steps: L; steps that are left over at the end make no outer step.
        averaging: alpha, in [0, 1).
        noise: eps >= 0.
        seed: of initial weights, orders and noise.
    """
    for name, value, valid, allowed in (
        ("inner_steps", inner_steps, inner_steps >= 1, ">= 1"),
        ("averaging", averaging, 0 <= averaging < 1, "in [0, 1)"),
        ("noise", noise, 0 <= noise < float("inf"), ">= 0"),
    ):
        if not valid:
            raise ValueError(f"{name}: {value} is not allowed, it must be {allowed}")
    x, weights, generator = _start(patterns, labels, num_units, num_restarts, seed)
    inner, average = weights.clone(), weights.clone()
    steps = 0

    def advance(batch: Tensor, progress: float) -> None:
        nonlocal steps
        g = relaxation.gradient(inner, batch, schedule.beta.at(progress), schedule.omega.at(progress))
        g.add_(inner - weights, alpha=coupling.at(progress))
        lr = schedule.lr.at(progress)
        inner.add_(g, alpha=-lr)
        if noise:
            inner.add_(torch.randn(inner.shape, generator=generator), alpha=lr**0.5 * noise)
        average.lerp_(relaxation.to_spheres(inner), 1 - averaging)
        steps += 1
        if steps % inner_steps == 0:
            weights.copy_(relaxation.to_spheres(average))
            inner.copy_(weights)

    kept, errors, seen = _train(x, schedule, num_restarts, advance, lambda: weights, generator)
    return Trained(kept, errors, seen)


def _start(
    patterns: Array, labels: Array, num_units: int, num_rows: int, seed: int
) -> tuple[Tensor, Tensor, torch.Generator]:
    """Patterns with their labels absorbed, in float32; initial weights, uniform on their spheres; the generator."""
    if num_units < 1 or num_units % 2 == 0:
        raise ValueError(f"num_units: {num_units} is not allowed, K is odd, so that no vote is a tie")
    if num_rows < 1:
        raise ValueError(f"num_restarts: {num_rows} is not allowed, at least 1 is needed")
    x = torch.from_numpy(labels[:, None] * patterns).float()
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(num_rows, num_units, x.shape[1], generator=generator)
    return x, relaxation.to_spheres(weights), generator


def _train(
    x: Tensor, schedule: Schedule, num_rows: int, advance: Advance, center: Callable[[], Tensor],
    generator: torch.Generator,
) -> tuple[Array, list[int], int]:  # fmt: skip
    """Take every step; the weights of each restart, their training errors, the number of steps of a row."""
    num_patterns = len(x)
    num_batches = -(-num_patterns // schedule.batch_size)

    def epoch(number: int) -> None:
        order = torch.rand(num_rows, num_patterns, generator=generator).argsort(1)
        for i, chosen in enumerate(order.split(schedule.batch_size, 1)):
            advance(x[chosen], min(1.0, (number + i / num_batches) / schedule.epochs))

    for number in range(schedule.epochs):
        epoch(number)
    kept = center().clone()
    fewest = relaxation.num_errors(kept, x)
    finish = 0
    while finish < schedule.finish and fewest.max() > 0:
        epoch(schedule.epochs + finish)
        finish += 1
        networks = center()
        errors = relaxation.num_errors(networks, x)
        better = errors < fewest
        kept[better], fewest[better] = networks[better], errors[better]
    exact = relaxation.to_spheres(kept.double())
    return exact.numpy(), relaxation.num_errors(exact, x.double()).tolist(), (schedule.epochs + finish) * num_batches
