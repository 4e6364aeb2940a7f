"""Landscapes as a recorded command.

python scripts/landscape.py with 'runs=[7]'           # random filter-normalised directions around a network
python scripts/landscape.py with 'runs=[7, 8]'        # the line between two, and the barrier on it
python scripts/landscape.py with 'runs=[7, 8, 9]'     # the plane through three
python scripts/landscape.py with cifar10 timm/resnet18 'weights=[a.safetensors, b.pt]'
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sacreddnn import command
from sacreddnn.command import Command, Draw, Result
from sacreddnn.landscape_config import LandscapeConfig
from sacreddnn.tracking.recorder import Recorder

if TYPE_CHECKING:
    from sacreddnn.flatness import Landscape
    from sacreddnn.recorded_network import RecordedNetwork

FOLDERS = ("dataset", "model", "tracking")


def main(argv: list[str] | None = None, draw: Draw | None = None) -> int:
    """Run the command line, as sys.argv; returns the exit status (see command.py)."""
    defaults = LandscapeConfig(runs=[0]).model_dump() | {"runs": []}
    return command.run(
        Command("landscape", LandscapeConfig, FOLDERS, execute, summary, preflight, defaults, draw), argv
    )


def preflight(config: LandscapeConfig) -> None:
    """Refuse a device that is not there and a network that has no such name."""
    from sacreddnn import recorded_network

    recorded_network.preflight(config.device, config.model)


def execute(config: LandscapeConfig, recorder: Recorder) -> Result:
    """Measure the cut; its values are kept as artifacts/landscape.json."""
    import torch

    from sacreddnn.training.interrupt import StopRequest

    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    with StopRequest():
        targets = load(config)
        origins = [target.origin for target in targets]
        # in random order, because statistics are estimated on these minibatches where they are of the training set
        view = targets[0].clean(config.split, config.num_examples).in_random_order()
        result, cut = measure(config, targets, list(view))
        result |= {"smallest_loss": cut.loss.min().item(), "smallest_error": cut.error.min().item()}
        kept = {
            "axes": [axis.tolist() for axis in cut.axes], "loss": cut.loss.tolist(), "error": cut.error.tolist(),
            "networks": cut.networks.tolist(), "batch_norm": cut.batch_norm, "split": config.split, "names": origins,
        }  # fmt: skip
        of = targets[0].config
        recorder.info |= {
            "source": origins, "dataset": of.dataset.name, "model": of.model.name, "split": config.split,
            "num_examples": view.num_examples, "batch_norm": cut.batch_norm,
        }  # fmt: skip
        path = recorder.folder / "artifacts" / "landscape.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(kept))
        aside.replace(path)
        recorder.artifact(path)
    return result


def load(config: LandscapeConfig) -> list[RecordedNetwork]:
    """The networks that the config names, with the data of the first."""
    from sacreddnn import recorded_network
    from sacreddnn.training.objective import choose_device

    device, root, size = choose_device(config.device), config.tracking.root, config.batch_size
    targets = [recorded_network.of_run(run, root, config.dataset, device, size) for run in config.runs]
    targets += [recorded_network.of_checkpoint(file, config.dataset, device, size) for file in config.checkpoints]
    for file in config.weights:
        model, dataset = (getattr(config, part) or getattr(targets[0].config, part) for part in ("model", "dataset"))
        targets.append(recorded_network.of_weights(file, model, dataset, device, size))
    return targets


def measure(config: LandscapeConfig, targets: list[RecordedNetwork], batches: list) -> tuple[Result, Landscape]:
    """Numbers and values of the cut; batch-norm statistics are estimated on training images, whatever is measured."""
    import torch

    from sacreddnn.flatness import landscape
    from sacreddnn.training.batchnorm import has_batch_norm

    networks = [target.network for target in targets]
    statistics = None
    if config.batch_norm == "reestimated" and config.split != "train" and has_batch_norm(networks[0]):
        statistics = list(targets[0].clean("train", config.num_examples).in_random_order())
    if len(networks) == 1:
        return {}, landscape.random_cut(
            networks[0], batches, radius=config.radius, num_points=config.num_points,
            dimensions=config.dimensions, seed=config.seed, batch_norm=config.batch_norm, statistics=statistics,
        )  # fmt: skip
    if len(networks) == 2:
        positions = torch.linspace(0, 1, config.num_points, dtype=torch.float64).tolist()
        between = landscape.barrier(
            networks[0], networks[1], batches, positions=positions, batch_norm=config.batch_norm, statistics=statistics
        )
        return {"barrier_loss": between.loss, "barrier_error": between.error}, between.line
    return {}, landscape.plane(
        networks, batches, num_points=config.num_points, border=config.border, batch_norm=config.batch_norm,
        statistics=statistics,
    )  # fmt: skip


def summary(config: LandscapeConfig, result: Result) -> str:
    """The numbers of a run in a line."""
    if "barrier_loss" in result:
        return f"barrier {result['barrier_loss']:.3f} nats, {result['barrier_error']:.2f} points of error"
    return f"smallest loss {result['smallest_loss']:.4f}, smallest error {result['smallest_error']:.2f} %"
