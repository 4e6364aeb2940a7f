"""From a checked config to the objects of a run: data, networks, algorithm, training."""

from __future__ import annotations

import inspect
import logging
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sacreddnn import data, models
from sacreddnn.algorithm_config import ReplicatedSGDConfig
from sacreddnn.algorithms import ALGORITHMS, SWA, Algorithm
from sacreddnn.algorithms.optimizers import takes
from sacreddnn.collective import Group
from sacreddnn.config import Config
from sacreddnn.data import Dataset, Pipeline, make_stream, sources
from sacreddnn.data.seeds import derive_seed
from sacreddnn.models.probe import output_shape
from sacreddnn.schema import ConfigError
from sacreddnn.training import distributed
from sacreddnn.training.allocator import keep_freed_memory
from sacreddnn.training.batchnorm import CenterNetwork
from sacreddnn.training.evaluate import CleanBatches
from sacreddnn.training.fit import Training
from sacreddnn.training.objective import Objective, choose_device, choose_precision, make_loss, smallest_part
from sacreddnn.training.schedules import lr_schedule

log = logging.getLogger(__name__)


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

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: the training, and the precision, device and threads that round its numbers."""
        return {
            "training": self.training.state_dict(),
            "precision": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "num_threads": torch.get_num_threads(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned, in the precision in which it began whatever `auto` means here.

        On the CPU a line warns of another number of threads, whose sums are rounded otherwise.

        Raises:
            ConfigError: it began on another kind of device, whose random numbers do not go on here.
        """
        if state["device"] != self.device.type:
            raise ConfigError(
                f"training.device: {self.device.type!r} differs from {state['device']!r}, on which this run began; "
                f"go on there, with training.device={state['device']}"
            )
        self.dtype = self.training.objective.dtype = getattr(torch, state["precision"])
        self.training.load_state_dict(state["training"])
        here, then = torch.get_num_threads(), state.get("num_threads")
        if self.device.type == "cpu" and then not in (None, here) and self.training.group.rank == 0:
            log.warning("training.num_threads: %d here, %d until now; the run goes on, but not bit for bit as it would "
                        "have with training.num_threads=%d", here, then, then)  # fmt: skip

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
        _check_model_options(config)
        sources.reader(config.dataset.name, config.dataset.options)
        Pipeline((0.5,), (0.5,), config.dataset.augmentation, num_classes=2)
        make_algorithm(config, [nn.Linear(1, 1, bias=False) for _ in range(num_replicas(config))], num_epochs=1)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:  # torch.optim raises what it likes
        raise ConfigError(str(error)) from None


def _check_model_options(config: Config) -> None:
    """Build the network without memory; the size of its images is known, and looked at, only when they are there."""
    options = {name: value for name, value in config.model.options.items() if name != "pretrained"}
    try:
        with torch.device("meta"):
            models.build(config.model.name, num_classes=10, in_channels=3, image_size=64, **options)
    except models.ImageSizeError:
        pass


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
    keep_freed_memory()
    device = choose_device(distributed.local_device(config.training.device))
    dtype = choose_precision(config.training.precision, device)
    # float32 means float32, and the same run the same numbers, on every device
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    dataset, pipeline = load_data(config, device)
    group = distributed.make_group(num_replicas(config), config.training.timeout)
    networks = [make_network(config, dataset, pipeline, replica, device) for replica in group.replicas]
    algorithm = make_algorithm(config, networks, config.training.epochs, group)
    training = make_training(config, dataset, pipeline, networks, algorithm, dtype, device)
    return Session(config, device, dtype, dataset, pipeline, training, CenterNetwork(networks, algorithm))


def load_data(config: Config, device: torch.device) -> tuple[Dataset, Pipeline]:
    """The data set on the device, and what turns its images into network inputs."""
    c = config.dataset
    try:
        dataset = data.load(**c.model_dump(exclude={"augmentation", "num_workers"}), seed=config.seed)
        pipeline = Pipeline(dataset.mean, dataset.std, c.augmentation, num_classes=dataset.num_classes)
    except ValueError as error:  # a choice that the data do not allow; damaged files are an OSError
        raise ConfigError(str(error)) from None
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


# Of what optimizers and algorithms take as keywords, what a config does not set through optimizer_options.
NOT_OPTIMIZER_OPTIONS = {
    "capturable", "differentiable", "foreach", "fused", "generator", "group", "lr", "networks", "params",
    "weight_decay",
}  # fmt: skip


def make_algorithm(config: Config, networks: list[nn.Module], num_epochs: int, group: Group | None = None) -> Algorithm:
    """The algorithm over the networks' parameters; it flattens them."""
    c = config.algorithm
    cls: Any = ALGORITHMS[c.name]
    options = c.model_dump(exclude={"name", "replicas", "budget", "optimizer_options"}, exclude_none=True)
    if clash := set(c.optimizer_options) & (set(type(c).model_fields) | NOT_OPTIMIZER_OPTIONS):
        name = min(clash)
        where = f"training.{name}" if name in ("lr", "weight_decay") else f"algorithm.{name}"
        raise ConfigError(f"algorithm.optimizer_options.{name}: is not set here; {where} is its key, if it has one")
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
        try:
            options["coupling_growth"] = (1 + rate) ** config.training.epochs
        except OverflowError:
            raise ConfigError(
                f"algorithm.coupling_rate: {rate} makes (1 + rate)^epochs of training.epochs={config.training.epochs} "
                "larger than any float; use a smaller one, or auto and algorithm.coupling_growth"
            ) from None
    return cls([n.parameters() for n in networks], config.training.lr, networks=networks, **options)


def count_steps(config: Config, algorithm: Algorithm, num_train: int) -> int:
    """Steps of the algorithm that the budget of gradient evaluations allows with so many training images.

    `epochs` counts passes over the data that one network would make with the same gradient evaluations. With a shared
    budget each of y replicas makes epochs / y of them, with a budget per replica all of them.

    Raises:
        ConfigError: less than one an epoch, or too few for SWA and EMA to average any weights.
    """
    c = config.training
    batches_per_pass = num_train // c.batch_size if c.drop_last else math.ceil(num_train / c.batch_size)
    cost = algorithm.evaluations_per_step
    if getattr(config.algorithm, "budget", "shared") == "shared":
        cost *= algorithm.num_streams
    affordable = c.epochs * batches_per_pass // cost
    inner_steps = getattr(algorithm, "inner_steps", 1)
    num_steps = affordable - affordable % inner_steps  # Entropy-SGD: whole outer steps, nothing in vain
    if num_steps < c.epochs <= affordable:
        raise ConfigError(
            f"algorithm.inner_steps: {inner_steps} leaves {num_steps} of {affordable} steps (training.epochs="
            f"{c.epochs}) in whole outer steps, less than one an epoch; use fewer inner steps, more epochs or more data"
        )
    if num_steps < c.epochs:
        raise ConfigError(
            f"training.epochs: {c.epochs} of {batches_per_pass} minibatches are {num_steps} steps of {cost} gradient "
            "evaluations, less than one an epoch; use more data, smaller batches, fewer replicas or draws"
        )
    if isinstance(algorithm, SWA):
        _check_averaging(algorithm, num_steps)
    return num_steps


def _check_averaging(algorithm: SWA, num_steps: int) -> None:
    """Refuse a start or a period that would make the average plain SGD."""
    left = algorithm.steps_to_average(num_steps)
    if left == 0:
        raise ConfigError(
            f"algorithm.start: {algorithm.start:g} leaves none of the {num_steps} steps to average, "
            f"allowed 0 to {(num_steps - 1) / num_steps:.4g}; use a smaller one or more steps"
        )
    if algorithm.period > left:
        raise ConfigError(
            f"algorithm.period: {algorithm.period} is longer than the {left} of {num_steps} steps from "
            f"algorithm.start={algorithm.start:g} on, nothing would be averaged; allowed 1 to {left}"
        )


def _check_parts(config: Config, network: nn.Module, dataset: Dataset, pipeline: Pipeline,
                 num_steps: int, num_shards: int) -> None:  # fmt: skip
    """Refuse, before hours of training, single images that leave batch norm with single values to normalise."""
    c = config.training
    num_whole, rest = divmod(len(dataset.train), c.batch_size)
    sizes = {"batch_size": c.batch_size}
    if rest and not c.drop_last and num_steps > num_whole:
        sizes["drop_last"] = rest
    for key, num_images in sizes.items():
        of_processes = (num_images // num_shards, -(-num_images // num_shards))
        if min(smallest_part(n, c.accumulate) for n in of_processes) > 1:
            continue
        channels, height, width = dataset.train.shape
        try:
            output_shape(network, channels, pipeline.image_size(height, width), num_images=1)
        except models.ImageSizeError:
            key = "accumulate" if of_processes[0] > 1 else key
            remedy = {"accumulate": "use fewer parts", "drop_last": "set it to true", "batch_size": "use a larger one"}
            raise ConfigError(
                f"training.{key}: {getattr(c, key)!r} sends a single image of a minibatch of {num_images} through "
                f"{config.model.name}, whose batch norm cannot be trained on one; {remedy[key]}"
            ) from None


def make_training(config: Config, dataset: Dataset, pipeline: Pipeline, networks: list[nn.Module],
                  algorithm: Algorithm, dtype: torch.dtype, device: torch.device) -> Training:  # fmt: skip
    """The training: streams, objective, and as many steps as the budget of gradient evaluations allows."""
    c = config.training
    num_steps = count_steps(config, algorithm, len(dataset.train))
    streams = [
        make_stream(
            dataset.train, c.batch_size, num_workers=config.dataset.num_workers, seed=config.seed, stream=a,
            pipeline=pipeline, drop_last=c.drop_last, shard=algorithm.group.shard,
        )
        for a in algorithm.group.replicas
    ]  # fmt: skip
    _check_parts(config, networks[0], dataset, pipeline, num_steps, algorithm.group.shard[1])
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
