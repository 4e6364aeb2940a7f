"""The only training loop: for each step, one minibatch per stream, one step of the algorithm."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sacreddnn.algorithms import Algorithm
from sacreddnn.training.interrupt import Interrupted, StopRequest
from sacreddnn.training.objective import Objective
from sacreddnn.training.schedules import LrSchedule
from sacreddnn.training.seeding import random_state, seed_step, set_random_state

STEPS_BETWEEN_LOOKS = 50  # at the loss on devices where that means waiting for it
SECONDS_BETWEEN_LOOKS = 1.0  # at most about so many, where several processes must agree on what they see


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

    In a run of several processes each has a training of the replicas that it holds, and all call the same methods.

    Args:
        networks: the replicas of this process; their weights are the rows of the algorithm's W.
        algorithm: moves the weights; its group knows where the other replicas are.
        objective: losses and gradients of the replicas.
        streams: one per replica of this process.
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
        self.loss_sum = torch.zeros(len(networks), device=algorithm.weights.values.device)
        self.steps_in_epoch = 0
        self.group = algorithm.group

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return self.step * self.num_epochs // self.num_steps

    @property
    def progress(self) -> float:
        """Completed part of the training, in [0, 1]."""
        return self.step / self.num_steps

    def advance(self) -> Tensor:
        """One step of the algorithm on one minibatch per stream; returns the losses of this process's replicas."""
        self.algorithm.progress = self.progress
        self.algorithm.lr = self.lr * self.lr_schedule(self.progress)
        batches = [next(stream) for stream in self.streams]

        def seed(replica: int) -> None:
            seed_step(self.seed, self.group.replicas[replica], self.step, self.group.shard[0])

        def combine(losses: Tensor) -> Tensor:
            return self.group.combine_shards(self.algorithm.weights.gradients, losses, len(batches[0][0]))

        def closure() -> Tensor:
            self.algorithm.zero_grad()
            return self.objective(batches, seed, combine)

        losses = self.algorithm.step(closure)
        self.loss_sum += losses
        self.steps_in_epoch += 1
        self.step += 1
        return losses

    def epoch_loss(self) -> float:
        """Mean minibatch loss of all replicas since it was last asked for."""
        value = self.group.gather(self.loss_sum).mean().item() / max(self.steps_in_epoch, 1)
        self.loss_sum.zero_()
        self.steps_in_epoch = 0
        return value

    @torch.no_grad()
    def state_dict(self) -> dict[str, Any] | None:
        """What a checkpoint holds: the states of all replicas, in order, and what they share. None but on rank 0."""
        algorithm = self.algorithm.state_dict()
        of_rows = algorithm["base"].pop("state")
        replicas = self.group.collect(
            [
                {
                    "weights": self.algorithm.weights.values[a].clone(),
                    "buffers": {
                        name: self.group.mean_shards(buffer) if buffer.is_floating_point() else buffer
                        for name, buffer in network.named_buffers()
                    },
                    "optimizer": of_rows.get(a, {}),
                    "stream": stream.state_dict(),
                    "loss_sum": self.loss_sum[a].clone(),
                }
                for a, (network, stream) in enumerate(zip(self.networks, self.streams, strict=True))
            ]
        )
        if replicas is None:
            return None
        return {
            "replicas": replicas,
            "algorithm": algorithm,
            "random": random_state(),
            "step": self.step,
            "num_steps": self.num_steps,
            "seconds": self.seconds,
            "steps_in_epoch": self.steps_in_epoch,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned, in any number of processes.

        Raises:
            ValueError: it belongs to another network, number of replicas, algorithm or length of training.
        """
        replicas, values = state["replicas"], self.algorithm.weights.values
        saved, here = (len(replicas), len(replicas[0]["weights"])), (self.group.num_replicas, values.shape[1])
        if saved != here:
            raise ValueError(f"checkpoint: holds {saved} weights (replicas, weights of one), this run has {here}")
        if state["num_steps"] != self.num_steps:
            raise ValueError(f"checkpoint: of a training of {state['num_steps']} steps, this run has {self.num_steps}")
        mine = [replicas[a] for a in self.group.replicas]
        rows = list(range(len(mine)))
        base = {
            "state": {a: replica["optimizer"] for a, replica in enumerate(mine) if replica["optimizer"]},
            "param_groups": [group | {"params": rows} for group in state["algorithm"]["base"]["param_groups"]],
        }
        self.algorithm.load_state_dict(state["algorithm"] | {"base": base})
        for a, (replica, network, stream) in enumerate(zip(mine, self.networks, self.streams, strict=True)):
            values[a].copy_(replica["weights"])
            for name, buffer in network.named_buffers():
                buffer.copy_(replica["buffers"][name])
            stream.load_state_dict(replica["stream"])
            self.loss_sum[a].copy_(replica["loss_sum"])
        set_random_state(state["random"])
        self.step, self.seconds = state["step"], state["seconds"]
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

    Several processes stop at the same step, whichever of them was asked to or saw a loss that is not finite.

    Args:
        training: what to train.
        on_epoch: called after every epoch, to evaluate and record.
        save: writes a checkpoint; called every so many epochs or steps and at the end, never with a diverged state.
        save_every_epochs: how often to save, in epochs.
        save_every_steps: and in steps; None: only with epochs.
        stop: asked after every step (about once a second in a run of several processes); when set, saves and raises.

    Raises:
        Diverged: the loss is not finite; names epoch, step and the likely cause. Nothing is saved.
        Interrupted: `stop` was set, after saving.
    """
    for module in training.networks:
        module.train()
    with stop.deferred() if stop is not None else nullcontext():
        look = _Look(training, stop)
        since = time.perf_counter()
        for losses in _progress(training):
            at_epoch_end = training.epoch > (training.step - 1) * training.num_epochs // training.num_steps
            saving = save_every_steps is not None and training.step % save_every_steps == 0
            signum = look(losses, at_epoch_end or saving) if at_epoch_end or saving or look.is_due() else None
            if at_epoch_end or signum or saving:
                training.seconds += time.perf_counter() - since
                if at_epoch_end:
                    on_epoch(training)
                    saving |= training.epoch % save_every_epochs == 0 or training.step == training.num_steps
                if saving or signum:
                    save(training)
                if signum:
                    raise Interrupted(signum)
                since = time.perf_counter()
                look.start()
        (asked,) = training.group.largest(0 if stop is None else stop.signum or 0)
        if asked:  # during the last evaluation or save
            raise Interrupted(int(asked))


class _Look:
    """A look up from training: is the loss still finite, and has anybody asked to stop?"""

    def __init__(self, training: Training, stop: StopRequest | None) -> None:
        self.training, self.stop = training, stop
        self.interval = STEPS_BETWEEN_LOOKS if training.loss_sum.device.type != "cpu" else 1
        self.start()

    def start(self) -> None:
        """Begin to wait for the next look."""
        self.step, self.time = self.training.step, time.perf_counter()

    def is_due(self) -> bool:
        """Whether it is time to look; the same on all processes. One process alone sees a signal at once."""
        alone = self.training.group.size == 1
        return self.training.step >= self.step + self.interval or (alone and bool(self.stop))

    def __call__(self, losses: Tensor, saving: bool) -> int | None:
        """The signal that asks to stop, the same on all processes; raises Diverged on all if the loss is not finite."""
        training = self.training
        finite = math.isfinite(losses.sum().item()) and math.isfinite(training.loss_sum.sum().item())
        if saving or self.stop:  # the losses are those before the step, and what is saved must be good
            finite = finite and all(bool(v.isfinite().all()) for v in training.algorithm.vectors())
        signum = 0 if self.stop is None else self.stop.signum or 0
        pace = (time.perf_counter() - self.time) / max(training.step - self.step, 1)
        bad, asked, pace = training.group.largest(not finite, signum, pace)
        if bad:
            _raise_diverged(training, losses)
        if training.group.size > 1:
            self.interval = max(1, min(STEPS_BETWEEN_LOOKS, int(SECONDS_BETWEEN_LOOKS / max(pace, 1e-9))))
        self.start()
        return int(asked) or None


def _progress(training: Training) -> Iterator[Tensor]:
    """The steps still to do, with a bar on the terminal (and nowhere else: not in files, not in captured output)."""
    terminal = sys.__stderr__
    hidden = terminal is None or not terminal.isatty() or training.group.rank > 0
    with tqdm(total=training.num_steps, initial=training.step, unit="step", file=terminal, disable=hidden) as bar:
        while training.step < training.num_steps:
            losses = training.advance()
            if not hidden and training.step % STEPS_BETWEEN_LOOKS == 0:
                bar.set_postfix_str(
                    f"epoch {training.epoch + 1}/{training.num_epochs}, loss {losses.mean().item():.3f}"
                )
            bar.update()
            yield losses


def _raise_diverged(training: Training, losses: Tensor) -> NoReturn:
    epoch = (training.step - 1) * training.num_epochs // training.num_steps + 1
    bad = [a for a, loss in enumerate(training.group.gather(losses).tolist()) if not math.isfinite(loss)]
    one = training.group.num_replicas == 1
    who = "" if one else f" of replica {', '.join(map(str, bad))}" if bad else " (some steps ago)"
    raise Diverged(
        f"loss{who} is not finite at epoch {epoch}, step {training.step}: most likely training.lr "
        f"({training.lr:g}, now {training.algorithm.lr:.3g}) is too large"
        + (" or the coupling too strong" if getattr(training.algorithm, "coupling", 0) else "")
        + "; try a smaller training.lr, training.lr_schedule.warmup or training.precision=float32"
    )
