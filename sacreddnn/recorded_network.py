"""The network of a recorded run, of a checkpoint, or of a file of weights, with the data to measure it on.

Files are read with `weights_only`, so that none can run code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sacreddnn import build, models
from sacreddnn.config import Config, DatasetConfig, ModelConfig, check
from sacreddnn.data import Pipeline
from sacreddnn.data.dataset import Dataset
from sacreddnn.models import pretrained_weights
from sacreddnn.schema import ConfigError
from sacreddnn.tracking.folder import find, read_run
from sacreddnn.training import checkpoint
from sacreddnn.training.batchnorm import has_batch_norm
from sacreddnn.training.evaluate import CleanBatches
from sacreddnn.training.objective import choose_device
from sacreddnn.yaml_file import read_yaml


@dataclass
class RecordedNetwork:
    """A network to measure, in float32 on the device of its data.

    Attributes:
        network: with the batch-norm statistics that are stored with it.
        dataset: its images.
        pipeline: makes network inputs of them.
        batch_size: of forward passes.
        config: of the training it comes from, or as far as one is known.
        origin: what it is, for the record.
    """

    network: nn.Module
    dataset: Dataset
    pipeline: Pipeline
    batch_size: int
    config: Config
    origin: dict[str, Any]

    def clean(self, split: str, limit: int | None = None) -> CleanBatches:
        """The clean view of "train" or "test"."""
        return CleanBatches(getattr(self.dataset, split), self.pipeline.clean, self.batch_size, limit)

    @property
    def statistics(self) -> str:
        """Which batch-norm statistics it has, for the record."""
        return "as stored" if has_batch_norm(self.network) else "none"


def load_run(
    run: int | str, root: str = "results/runs", *, device: str = "auto", batch_size: int = 500
) -> RecordedNetwork:
    """The center of a recorded training run as a network, with its data set.

        recorded = sacreddnn.load_run(7)
        energy = sacreddnn.local_energy(recorded.network, list(recorded.clean("train", 2000)), [0.1, 0.3])

    Args:
        run: its number, or the path of its folder.
        root: folder of the runs on disk.
        device: of network and data; "auto" is CUDA, else MPS, else the CPU.
        batch_size: of the clean views.

    Raises:
        ConfigError: no such run, or one without a final center.
    """
    return of_run(run, root, None, choose_device(device), batch_size)


def preflight(device: str, model: ModelConfig | None) -> None:
    """Refuse a device that is not there and a network that has no such name, with a ConfigError."""
    try:
        choose_device(device)
        if model is not None:
            models.options(model.name)
    except ValueError as error:
        raise ConfigError(str(error).replace("training.device", "device")) from None


def of_run(
    run: int | str, root: str, dataset: DatasetConfig | None, device: torch.device, batch_size: int
) -> RecordedNetwork:
    """The center of a recorded training run."""
    try:
        folder = find(run, root)
    except (OSError, ValueError) as error:
        raise ConfigError(f"run: {error}") from None
    path = folder / "artifacts" / "center.pt"
    if not path.is_file():
        raise ConfigError(
            f"run: {run} has no final center ({path}); give checkpoint= one of its checkpoints, or resume it"
        )
    return of_checkpoint(str(path), dataset, device, batch_size)


def of_checkpoint(path: str, dataset: DatasetConfig | None, device: torch.device, batch_size: int) -> RecordedNetwork:
    """The center in a file of a run folder: artifacts/center.pt, or a state of the training in checkpoints/."""
    file = Path(path)
    if not file.is_file():
        raise ConfigError(
            f"checkpoint: {path} is no file; give artifacts/center.pt or checkpoints/step-*.pt of a run folder"
        )
    folder = file.resolve().parent.parent
    if not (folder / "config.yaml").is_file():
        raise ConfigError(
            f"checkpoint: {path} lies in no run folder; give the network and the data set and weights={path}"
        )
    trained = check(read_yaml(folder / "config.yaml"))
    config = trained if dataset is None else trained.model_copy(update={"dataset": dataset})
    origin = {"run": folder.name, "file": file.name, "algorithm": trained.algorithm.model_dump(), "seed": trained.seed}
    if uuid := read_run(folder).get("uuid"):  # the number is another run's in another root
        origin["uuid"] = uuid
    if file.parent.name == "checkpoints":
        state = checkpoint.load(file)
        on_device = trained.training.model_copy(update={"device": device.type})
        session = build.build(trained.model_copy(update={"training": on_device}))
        session.training.load_state_dict(state["training"])
        network, origin["step"] = session.center.update(), session.training.step
        data, pipeline = build.load_data(config, device)
        return RecordedNetwork(network, data, pipeline, batch_size, config, origin)
    return _from_file(path, "checkpoint", config, device, batch_size, origin)


def of_weights(
    path: str, model: ModelConfig, dataset: DatasetConfig, device: torch.device, batch_size: int
) -> RecordedNetwork:
    """A named network with the weights of a state dict."""
    config = Config(model=model, dataset=dataset)
    return _from_file(path, "weights", config, device, batch_size, {"file": Path(path).name})


def _from_file(path: str, key: str, config: Config, device: torch.device, batch_size: int,
               origin: dict[str, Any]) -> RecordedNetwork:  # fmt: skip
    data, pipeline = build.load_data(config, device)
    network = build.make_network(config, data, pipeline, 0, device)
    try:
        network.load_state_dict(pretrained_weights.read(path))
    except OSError as error:
        raise ConfigError(str(error).replace("model.pretrained", key)) from None
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ConfigError(f"{key}: {path} does not hold the weights of {config.model.name}: {first}") from None
    return RecordedNetwork(network, data, pipeline, batch_size, config, origin)
