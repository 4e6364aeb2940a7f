"""From a checked config to the objects of a run: data, networks, algorithm, training."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sacreddnn import data, models
from sacreddnn.algorithm_config import ReplicatedSGDConfig
from sacreddnn.algorithms import ALGORITHMS, Algorithm
from sacreddnn.algorithms.optimizers import takes
from sacreddnn.collective import Group
from sacreddnn.config import Config, ConfigError
from sacreddnn.data import Dataset, Pipeline, make_stream, sources
from sacreddnn.data.seeds import derive_seed
from sacreddnn.training import distributed
from sacreddnn.training.batchnorm import CenterNetwork
from sacreddnn.training.evaluate import CleanBatches
from sacreddnn.training.fit import Training
from sacreddnn.training.objective import Objective, choose_device, choose_precision, make_loss
from sacreddnn.training.schedules import lr_schedule


@dataclass
class Session:
    """What a run works with."""

    config: Config
    device: torch.device
    dtype: torch.dtype
    dataset: Dataset
    pipeline: Pipeline
    training: Training
    center: CenterNetwork

    def clean(self, split: str, limit: int | None = None) -> CleanBatches:
        """The clean view of "train", "validation" or "test"."""
        part = getattr(self.dataset, split)
        return CleanBatches(part, self.pipeline.clean, self.config.evaluation.batch_size, limit)

    @property
    def splits(self) -> list[str]:
        """The parts of the data set that there are."""
        return ["train", *(["validation"] if self.dataset.validation is not None else []), "test"]


def preflight(config: Config) -> None:
    """Refuse before any data is read what the schema cannot know: devices, names and options of networks, optimizers.

    Raises:
        ConfigError: with one line.
    """
    try:
        choose_device(distributed.local_device(config.training.device))
        distributed.check_placement(num_replicas(config))
        known = models.options(config.model.name)
        for option in config.model.options:
            if option not in known:
                raise ValueError(
                    f"model.{option}: {config.model.name} takes no such option; it takes {', '.join(known)}"
                )
        sources.reader(config.dataset.name, config.dataset.options)
        Pipeline((0.5,), (0.5,), config.dataset.augmentation, num_classes=2)
        make_algorithm(config, [nn.Linear(1, 1, bias=False) for _ in range(num_replicas(config))], num_epochs=1)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def num_replicas(config: Config) -> int:
    """y; one for algorithms of a single network."""
    algorithm = config.algorithm
    return algorithm.replicas if isinstance(algorithm, ReplicatedSGDConfig) else 1


def build(config: Config) -> Session:
    """Everything a run works with. The same config gives the same session, bit for bit.

    Raises:
        ConfigError: a combination that only the data can show to be impossible.
        ValueError, OSError: data that cannot be read; one line says what to do.
    """
    if config.training.num_threads is not None:
        torch.set_num_threads(config.training.num_threads)
    device = choose_device(distributed.local_device(config.training.device))
    dtype = choose_precision(config.training.precision, device)
    torch.set_float32_matmul_precision("highest")  # float32 means float32, on every device
    dataset, pipeline = load_data(config, device)
    group = distributed.make_group(num_replicas(config), config.training.timeout)
    networks = [make_network(config, dataset, pipeline, replica, device) for replica in group.replicas]
    algorithm = make_algorithm(config, networks, config.training.epochs, group)
    training = make_training(config, dataset, pipeline, networks, algorithm, dtype, device)
    return Session(config, device, dtype, dataset, pipeline, training, CenterNetwork(networks, algorithm))


def load_data(config: Config, device: torch.device) -> tuple[Dataset, Pipeline]:
    """The data set on the device, and what turns its images into network inputs."""
    c = config.dataset
    dataset = data.load(**c.model_dump(exclude={"augmentation", "num_workers"}), seed=config.seed)
    pipeline = Pipeline(dataset.mean, dataset.std, c.augmentation, num_classes=dataset.num_classes)
    if config.training.batch_size > len(dataset.train):
        raise ConfigError(
            f"training.batch_size: {config.training.batch_size} is larger than the training set, "
            f"{len(dataset.train)} images of {c.name}"
        )
    return dataset.to(device), pipeline


def make_network(config: Config, dataset: Dataset, pipeline: Pipeline, replica: int, device: torch.device) -> nn.Module:
    """The network of one replica, initialised from (seed, replica), on the device, in its memory format."""
    channels, height, width = dataset.train.shape
    try:
        network = models.build(
            config.model.name,
            num_classes=dataset.num_classes,
            in_channels=channels,
            image_size=pipeline.image_size(height, width),
            seed=derive_seed(config.seed, "initialization", replica),
            **config.model.options,
        )
    except ValueError as error:  # images that the network does not take
        raise ConfigError(str(error)) from None
    memory_format = torch.channels_last if config.training.channels_last else torch.contiguous_format
    return network.to(device).to(memory_format=memory_format)


def make_algorithm(config: Config, networks: list[nn.Module], num_epochs: int, group: Group | None = None) -> Algorithm:
    """The algorithm over the networks' parameters; it flattens them."""
    c = config.algorithm
    cls: Any = ALGORITHMS[c.name]
    options = c.model_dump(exclude={"name", "replicas", "budget", "optimizer_options"}, exclude_none=True)
    options |= {"group": group, **c.optimizer_options}
    if takes(c.optimizer, "weight_decay") or config.training.weight_decay > 0:
        options["weight_decay"] = config.training.weight_decay
    if "generator" in inspect.signature(cls).parameters:
        device = next(networks[0].parameters()).device
        options["generator"] = torch.Generator(device).manual_seed(derive_seed(config.seed, "noise"))
    if not isinstance(c, ReplicatedSGDConfig):
        return cls(networks[0].parameters(), config.training.lr, networks=networks, **options)
    options["coupling_updates"] = num_epochs if c.coupling_updates == "epoch" else None
    if (rate := options.pop("coupling_rate")) != "auto":
        options["coupling_growth"] = (1 + rate) ** config.training.epochs
    return cls([n.parameters() for n in networks], config.training.lr, networks=networks, **options)


def make_training(config: Config, dataset: Dataset, pipeline: Pipeline, networks: list[nn.Module],
                  algorithm: Algorithm, dtype: torch.dtype, device: torch.device) -> Training:  # fmt: skip
    """The training: streams, objective, and how many steps the budget of gradient evaluations allows.

    `epochs` counts passes over the data that one network would make with the same gradient evaluations. With a shared
    budget each of y replicas makes epochs / y of them, with a budget per replica all of them.
    """
    c = config.training
    n = len(dataset.train)
    batches_per_pass = n // c.batch_size if c.drop_last else math.ceil(n / c.batch_size)
    cost = algorithm.evaluations_per_step
    if getattr(config.algorithm, "budget", "shared") == "shared":
        cost *= algorithm.num_streams
    num_steps = c.epochs * batches_per_pass // cost
    if num_steps < c.epochs:
        raise ConfigError(
            f"training.epochs: {c.epochs} of {batches_per_pass} minibatches, shared by {algorithm.num_streams} "
            f"replicas, are {num_steps} steps, less than one an epoch; use more data, smaller batches or fewer replicas"
        )
    streams = [
        make_stream(
            dataset.train, c.batch_size, num_workers=config.dataset.num_workers, seed=config.seed, stream=a,
            pipeline=pipeline, drop_last=c.drop_last, shard=algorithm.group.shard,
        )
        for a in algorithm.group.replicas
    ]  # fmt: skip
    if c.compile:
        for network in networks:
            network.compile()
    objective = Objective(
        networks, make_loss(c.loss, c.label_smoothing), dtype, device,
        flood=c.flood, accumulate=c.accumulate, clip_norm=c.clip_norm,
    )  # fmt: skip
    schedule = lr_schedule(epochs=c.epochs, **c.lr_schedule.model_dump())
    return Training(
        networks, algorithm, objective, streams, num_steps=num_steps, num_epochs=c.epochs, lr=c.lr,
        lr_schedule=schedule, seed=config.seed,
    )  # fmt: skip
