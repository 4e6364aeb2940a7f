"""The only training loop: for each step, one minibatch per stream, one step of the algorithm."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sacreddnn.algorithms import Algorithm
from sacreddnn.training.interrupt import Interrupted, StopRequest
from sacreddnn.training.objective import Objective
from sacreddnn.training.schedules import LrSchedule
from sacreddnn.training.seeding import random_state, seed_step, set_random_state

STEPS_BETWEEN_CHECKS = 50  # of the loss on devices where looking at it means waiting for it


class Stream(Protocol):
    """An endless stream of minibatches whose position can be saved."""

    def __next__(self) -> tuple[Tensor, Tensor]: ...
    def state_dict(self) -> dict[str, Any]:
        """Its position."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a position back."""
        ...


class Diverged(ArithmeticError):
    """The loss is no longer a finite number."""


class Training:
    """A training in progress: all that must be saved to go on exactly where it stopped.

    Args:
        networks: the replicas; their weights are the rows of the algorithm's W.
        algorithm: moves the weights.
        objective: losses and gradients of the replicas.
        streams: one per replica.
        num_steps: steps of the algorithm in all.
        num_epochs: epochs into which they are divided; epoch e = 1, 2, .. ends at step ceil(e num_steps / num_epochs).
        lr: base learning rate.
        lr_schedule: factor on it as a function of progress.
        seed: of all that is random in a step.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        algorithm: Algorithm,
        objective: Objective,
        streams: Sequence[Stream],
        *,
        num_steps: int,
        num_epochs: int,
        lr: float,
        lr_schedule: LrSchedule,
        seed: int,
    ) -> None:
        self.networks, self.algorithm, self.objective, self.streams = networks, algorithm, objective, streams
        self.num_steps, self.num_epochs = num_steps, num_epochs
        self.lr, self.lr_schedule, self.seed = lr, lr_schedule, seed
        algorithm.networks = list(networks)
        self.step = 0
        self.seconds = 0.0  # spent in training steps, over all attempts
        self.loss_sum = torch.zeros((), device=algorithm.weights.values.device)
        self.steps_in_epoch = 0

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return self.step * self.num_epochs // self.num_steps

    @property
    def progress(self) -> float:
        """Completed part of the training, in [0, 1]."""
        return self.step / self.num_steps

    def advance(self) -> Tensor:
        """One step of the algorithm on one minibatch per stream; returns the losses of the replicas, shape (y,)."""
        self.algorithm.progress = self.progress
        self.algorithm.lr = self.lr * self.lr_schedule(self.progress)
        batches = [next(stream) for stream in self.streams]

        def closure() -> Tensor:
            self.algorithm.zero_grad()
            return self.objective(batches, lambda stream: seed_step(self.seed, stream, self.step))

        losses = self.algorithm.step(closure)
        self.loss_sum += losses.mean()
        self.steps_in_epoch += 1
        self.step += 1
        return losses

    def epoch_loss(self) -> float:
        """Mean minibatch loss since it was last asked for."""
        value = self.loss_sum.item() / max(self.steps_in_epoch, 1)
        self.loss_sum.zero_()
        self.steps_in_epoch = 0
        return value

    def state_dict(self) -> dict[str, Any]:
        """Weights, buffers, algorithm, streams, random states, counters."""
        return {
            "weights": self.algorithm.weights.values.contiguous(),
            "buffers": [dict(network.named_buffers()) for network in self.networks],
            "algorithm": self.algorithm.state_dict(),
            "streams": [stream.state_dict() for stream in self.streams],
            "random": random_state(),
            "step": self.step,
            "num_steps": self.num_steps,
            "seconds": self.seconds,
            "loss_sum": self.loss_sum,
            "steps_in_epoch": self.steps_in_epoch,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned.

        Raises:
            ValueError: it belongs to another network, number of replicas, algorithm or length of training.
        """
        values = self.algorithm.weights.values
        if tuple(state["weights"].shape) != tuple(values.shape):
            raise ValueError(
                f"checkpoint: holds {tuple(state['weights'].shape)} weights (replicas, weights of one), "
                f"this run has {tuple(values.shape)}"
            )
        if state["num_steps"] != self.num_steps:
            raise ValueError(f"checkpoint: of a training of {state['num_steps']} steps, this run has {self.num_steps}")
        self.algorithm.load_state_dict(state["algorithm"])
        values.copy_(state["weights"])
        for network, buffers in zip(self.networks, state["buffers"], strict=True):
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])
        for stream, stream_state in zip(self.streams, state["streams"], strict=True):
            stream.load_state_dict(stream_state)
        set_random_state(state["random"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.loss_sum.copy_(state["loss_sum"])
        self.steps_in_epoch = state["steps_in_epoch"]


def fit(
    training: Training,
    *,
    on_epoch: Callable[[Training], None],
    save: Callable[[Training], None],
    save_every_epochs: int = 1,
    save_every_steps: int | None = None,
    stop: StopRequest | None = None,
) -> None:
    """Train to the end (or go on to the end after `load_state_dict`).

    Args:
        training: what to train.
        on_epoch: called after every epoch, to evaluate and record.
        save: writes a checkpoint; called every so many epochs or steps and at the end, never with a diverged state.
        save_every_epochs: how often to save, in epochs.
        save_every_steps: and in steps; None: only with epochs.
        stop: asked after every step; when set, saves and raises.

    Raises:
        Diverged: the loss is not finite; names epoch, step and the likely cause. Nothing is saved.
        Interrupted: `stop` was set, after saving.
    """
    for module in training.networks:
        module.train()
    last_look = time.perf_counter()
    for losses in _progress(training):
        at_epoch_end = training.epoch > (training.step - 1) * training.num_epochs // training.num_steps
        stopping = stop is not None and bool(stop)
        saving = save_every_steps is not None and training.step % save_every_steps == 0
        if (
            losses.device.type == "cpu"
            or at_epoch_end
            or stopping
            or saving
            or training.step % STEPS_BETWEEN_CHECKS == 0
        ):
            _refuse_nonfinite(training, losses)
        if at_epoch_end or stopping or saving:
            training.seconds += time.perf_counter() - last_look
            if at_epoch_end:
                on_epoch(training)
                saving |= training.epoch % save_every_epochs == 0 or training.step == training.num_steps
            if saving or stopping:
                save(training)
            if stopping and training.step < training.num_steps:
                assert stop is not None
                assert stop.signum is not None
                raise Interrupted(stop.signum)
            last_look = time.perf_counter()


def _progress(training: Training) -> Iterator[Tensor]:
    """The steps still to do, with a bar on the terminal (and nowhere else: not in files, not in captured output)."""
    terminal = sys.__stderr__
    hidden = terminal is None or not terminal.isatty()
    with tqdm(total=training.num_steps, initial=training.step, unit="step", file=terminal, disable=hidden) as bar:
        while training.step < training.num_steps:
            losses = training.advance()
            if not hidden and training.step % STEPS_BETWEEN_CHECKS == 0:
                bar.set_postfix_str(
                    f"epoch {training.epoch + 1}/{training.num_epochs}, loss {losses.mean().item():.3f}"
                )
            bar.update()
            yield losses


def _refuse_nonfinite(training: Training, losses: Tensor) -> None:
    if math.isfinite(losses.sum().item()) and math.isfinite(training.loss_sum.item()):
        return
    epoch = (training.step - 1) * training.num_epochs // training.num_steps + 1
    bad = [a for a, loss in enumerate(losses.tolist()) if not math.isfinite(loss)]
    who = "" if len(losses) == 1 else f" of replica {', '.join(map(str, bad))}" if bad else " (some steps ago)"
    raise Diverged(
        f"loss{who} is not finite at epoch {epoch}, step {training.step}: most likely training.lr "
        f"({training.lr:g}, now {training.algorithm.lr:.3g}) is too large"
        + (" or the coupling too strong" if getattr(training.algorithm, "coupling", 0) else "")
        + "; try a smaller training.lr, training.lr_schedule.warmup or training.precision=float32"
    )
