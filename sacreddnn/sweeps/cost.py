"""Before the first run starts: can each be run at all, and what does it cost in gradient evaluations?"""

from __future__ import annotations

import json
from collections.abc import Sequence

from torch import nn

from sacreddnn import build, data
from sacreddnn.config import Config, DatasetConfig
from sacreddnn.schema import ConfigError
from sacreddnn.sweeps.grid import Run
from sacreddnn.sweeps.sweep_file import TrialConfig


def check_runs(runs: Sequence[Run], trial: TrialConfig) -> dict[str, int | None]:
    """Refuse what cannot be run; the gradient evaluations of every run by its hash.

    They are exact, counted as the run will count them. Data that are not on this machine are not fetched for it: the
    cost of their runs is None.

    Raises:
        ConfigError: one line per fault, each with the first run that has it.
    """
    faults: dict[str, str] = {}
    seen: dict[str, int | None] = {}  # seeds change neither
    sizes: dict[str, int | None] = {}
    costs: dict[str, int | None] = {}
    for run in runs:
        about = run.config.model_dump(mode="json", exclude={"seed", "tracking", "resume"})
        kind = json.dumps(about, sort_keys=True)
        try:
            if kind not in seen:
                seen[kind] = None
                _check_device(run.config, trial)
                # the devices are those of the nodes, which the engine looks at
                training = run.config.training.model_copy(update={"device": "cpu"})
                build.preflight(run.config.model_copy(update={"training": training}))
                name = json.dumps(about["dataset"], sort_keys=True)
                if name not in sizes:
                    sizes[name] = count_images(run.config.dataset)
                seen[kind] = gradient_evaluations(run.config, sizes[name])
            costs[run.hash] = seen[kind]
        except ConfigError as error:
            for line in str(error).splitlines():
                faults.setdefault(line, f"{run.label}: {line}")
    if faults:
        raise ConfigError("\n".join(faults.values()))
    return costs


def _check_device(config: Config, trial: TrialConfig) -> None:
    kind, _, number = config.training.device.partition(":")
    if kind == "cuda" and not trial.gpus:
        raise ConfigError(
            f"training.device: {config.training.device!r}, but trial.gpus is 0; set it to 1 or a part of 1"
        )
    if number:
        raise ConfigError(
            f"training.device: {config.training.device!r} names one device; a trial is given its own, use {kind!r}"
        )


def count_images(config: DatasetConfig) -> int | None:
    """How many images are trained on; None where the data are not here.

    Raises:
        ConfigError: a choice that the data do not allow.
    """
    options = config.model_dump(exclude={"augmentation", "num_workers"}) | {"download": False}
    try:
        return len(data.load(**options).train)
    except OSError:
        return None
    except ValueError as error:
        raise ConfigError(str(error)) from None


def gradient_evaluations(config: Config, num_train: int | None) -> int | None:
    """Minibatches through forward and backward in the whole run, over all replicas.

    Raises:
        ConfigError: the data do not suffice for one step an epoch.
    """
    if num_train is None:
        return None
    if config.training.batch_size > num_train:
        raise ConfigError(
            f"training.batch_size: {config.training.batch_size} is larger than the training set, "
            f"{num_train} images of {config.dataset.name}"
        )
    networks: list[nn.Module] = [nn.Linear(1, 1, bias=False) for _ in range(build.num_replicas(config))]
    algorithm = build.make_algorithm(config, networks, config.training.epochs)
    steps = build.count_steps(config, algorithm, num_train)
    return steps * algorithm.evaluations_per_step * algorithm.num_streams
