"""One run: train, look at the center after every epoch, measure its flatness at the end, record everything."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from tqdm import tqdm

from sacreddnn import energy_profile
from sacreddnn.build import Session, build
from sacreddnn.config import Config
from sacreddnn.run_config import config_hash
from sacreddnn.schema import ConfigError
from sacreddnn.training import batchnorm, checkpoint, distributed
from sacreddnn.training.evaluate import Ensemble, evaluate
from sacreddnn.training.fit import Training, fit
from sacreddnn.training.interrupt import StopRequest

Result = dict[str, float | int | str]


class Recorder(Protocol):
    """Where the numbers of a run go."""

    info: dict[str, Any]

    def log(self, name: str, value: float, step: int, gradient_evaluations: int) -> None:
        """Take one point of a metric."""
        ...

    def result(self, values: Result) -> None:
        """Add to the summary."""
        ...

    def artifact(self, path: Path) -> object:
        """Take a file."""
        ...


def execute(config: Config, recorder: Recorder | None, folder: Path | None) -> Result:
    """Train and measure what the config says; go on from the last checkpoint in the folder if there is one.

    In a run of several processes all of them call this; only the first has a recorder and a folder.

    Args:
        config: the whole run.
        recorder: takes metrics, `info` and artifacts.
        folder: of the run; checkpoints/ and artifacts/ are in it.

    Returns:
        The summary of the run as plain numbers; empty where there is no recorder.

    Raises:
        Interrupted: SIGTERM or Ctrl-C, after saving a checkpoint.
        Diverged: the loss is not finite; the last good checkpoint is kept.
        ProcessLost: another process of the run has ended; the last checkpoint is kept.
    """
    with StopRequest() as stop:
        state = _load_checkpoint(config, folder) if folder else None
        session = build(config)
        state = session.training.group.share(state)
        if state is not None:
            session.resume(state)
        if recorder:
            recorder.info |= describe(session)

        def save(training: Training) -> None:
            saved = session.state_dict()
            if folder:
                saved |= {"config_hash": config_hash(config), "run": folder.name}
                checkpoint.save(folder / "checkpoints", saved, training.step, config.checkpoint.keep)

        fit(
            session.training,
            on_epoch=lambda training: record_epoch(session, recorder),
            save=save,
            save_every_epochs=config.checkpoint.every_epochs,
            save_every_steps=config.checkpoint.every_steps,
            stop=stop,
        )
        return measure(session, recorder, folder)


def _load_checkpoint(config: Config, folder: Path) -> dict[str, Any] | None:
    state = checkpoint.load_last(folder / "checkpoints")
    if state is None:
        return None
    if state["config_hash"] != config_hash(config):
        raise ConfigError(f"resume: the checkpoints in {folder} were written with another config")
    if state["run"] != folder.name:
        raise ConfigError(f"resume: the checkpoints in {folder} are those of run {state['run']}; put them back there")
    return state


def describe(session: Session) -> dict[str, Any]:
    """What the config leaves to the machine, and which views of the data the numbers are of."""
    training, device = session.training, session.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": str(device),
        "device_name": name,
        "num_threads": torch.get_num_threads(),
        "num_processes": training.group.size,
        "precision": str(session.dtype).removeprefix("torch."),
        "num_weights": training.algorithm.weights.num_weights,
        "num_train": len(session.dataset.train),
        "num_steps": training.num_steps,
        "view": {"train/center": "clean", "test/center": "clean", "train/minibatch": "augmented, as trained"},
        "batch_norm": _statistics_of(session),
        "precision_final": "float32",
    }


def center_network(session: Session) -> nn.Module:
    """The center of the algorithm as a network, with batch-norm statistics by the policy of the config."""
    network = session.center.update()
    if session.config.evaluation.batch_norm == "reestimated":
        _reestimate(session, network)
    return network


def evaluate_networks(session: Session, limit: int | None, dtype: torch.dtype) -> dict[str, float]:
    """Loss and errors by name: of the center on every split; if asked for, of replicas and ensemble on the test set.

    Args:
        session: the run.
        limit: of the training images looked at; None: all.
        dtype: of the forward passes.
    """
    config, training = session.config.evaluation, session.training
    group = training.group
    values: dict[str, float] = {}
    for name, network in _centers(session):
        for split in session.splits:
            batches = session.clean(split, limit if split == "train" else None)
            values |= _named(f"{split}/{name}", evaluate(network, batches, dtype, group))
    if config.replicas and group.num_replicas > 1:
        networks = batchnorm.all_networks(training.networks, training.algorithm)
        each = [evaluate(network, session.clean("test"), dtype, group) for network in networks]
        for a, of_replica in enumerate(each):
            values |= _named(f"test/replica_{a}", of_replica)
        values |= {f"test/replicas/{key}": sum(e[key] for e in each) / len(each) for key in each[0]}
        values |= _named("test/ensemble", evaluate(Ensemble(networks), session.clean("test"), dtype, group))
    return values


def _centers(session: Session) -> Iterator[tuple[str, nn.Module]]:
    """The center with each kind of batch-norm statistics that the config asks for; use one before you take the next."""
    network = center_network(session)
    yield "center", network
    if session.config.evaluation.batch_norm == "both" and batchnorm.has_batch_norm(network):
        _reestimate(session, network)
        yield "center_reestimated", network


def _reestimate(session: Session, network: nn.Module) -> None:
    if batchnorm.has_batch_norm(network):
        batchnorm.reestimate(network, energy_profile.statistics_view(session.clean))


def record_epoch(session: Session, recorder: Recorder | None) -> None:
    """Log the minibatch loss, the clean errors of the center, and what the algorithm has to say."""
    config, training = session.config.evaluation, session.training
    epoch = training.epoch
    values = {"train/minibatch/loss": training.epoch_loss(), "training/lr": training.algorithm.lr}
    values |= {f"training/{name}": value for name, value in training.algorithm.metrics().items()}
    if epoch % config.every == 0 or training.step == training.num_steps:
        values |= evaluate_networks(session, config.num_train, session.dtype)
    flatness = config.flatness
    center = center_network(session) if flatness.every and epoch % flatness.every == 0 else None  # all processes' work
    if center is not None:
        if recorder is not None:
            values |= energy_profile.during_training(center, session.clean, flatness)
        training.group.wait()
    if recorder is None:
        return
    for name, value in values.items():
        recorder.log(name, value, epoch, training.algorithm.gradient_evaluations)
    line = f"epoch {epoch}/{training.num_epochs}: loss {values['train/minibatch/loss']:.4f}"
    if "test/center/error" in values:
        line += f", test error {values['test/center/error']:.2f} %, train error {values['train/center/error']:.2f} %"
    tqdm.write(line)  # print, but not into a progress bar


def measure(session: Session, recorder: Recorder | None, folder: Path | None) -> Result:
    """Final errors on all data and the local energy, in float32; the center is kept as artifacts/center.pt."""
    start = time.perf_counter()
    config, training = session.config, session.training
    result: Result = {}
    result |= evaluate_networks(session, None, torch.float32)
    network = center_network(session)
    distributed.leave()  # the local energy is the first process's alone
    if recorder is None or folder is None:
        return {}
    result["generalization_gap"] = float(result["test/center/error"]) - float(result["train/center/error"])
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), artifacts / "center.pt")
    recorder.artifact(artifacts / "center.pt")
    recorder.result(result)  # what follows can fail, and what is known stays known
    made = energy_profile.profiles(network, session.clean, config.evaluation.flatness, _statistics_of(session))
    result |= energy_profile.headlines(made, config.evaluation.flatness.headline)
    for name, profile in made.items():
        recorder.info[name] = profile
        (artifacts / f"{name}.json").write_text(json.dumps(profile, indent=1))
        recorder.artifact(artifacts / f"{name}.json")
    result["gradient_evaluations"] = training.algorithm.gradient_evaluations
    result["train_seconds"] = round(training.seconds, 3)
    result["measure_seconds"] = round(time.perf_counter() - start, 3)
    return result


def _statistics_of(session: Session) -> str:
    """Which batch-norm statistics `center_network` has."""
    policy = session.config.evaluation.batch_norm
    if not batchnorm.has_batch_norm(session.center.network):
        return "none"
    return "running" if policy == "both" else policy


def _named(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}
