"""Landscapes as a recorded command.

python scripts/landscape.py with 'runs=[7]'           # random filter-normalised directions around a network
python scripts/landscape.py with 'runs=[7, 8]'        # the line between two, and the barrier on it
python scripts/landscape.py with 'runs=[7, 8, 9]'     # the plane through three
"""

from __future__ import annotations

import json

from sacreddnn import command
from sacreddnn.command import Command, Draw, Result
from sacreddnn.landscape_config import LandscapeConfig
from sacreddnn.tracking.recorder import Recorder

FOLDERS = ("dataset", "tracking")


def main(argv: list[str] | None = None, draw: Draw | None = None) -> int:
    """Run the command line, as sys.argv; returns the exit status (see command.py)."""
    defaults = LandscapeConfig(runs=[0]).model_dump() | {"runs": []}
    return command.run(
        Command("landscape", LandscapeConfig, FOLDERS, execute, summary, preflight, defaults, draw), argv
    )


def preflight(config: LandscapeConfig) -> None:
    """Refuse a device that is not there."""
    from sacreddnn.schema import ConfigError
    from sacreddnn.training.objective import choose_device

    try:
        choose_device(config.device)
    except ValueError as error:
        raise ConfigError(str(error).replace("training.device", "device")) from None


def execute(config: LandscapeConfig, recorder: Recorder) -> Result:
    """Measure the cut; its values are kept as artifacts/landscape.json."""
    import torch

    from sacreddnn import recorded_network
    from sacreddnn.flatness import landscape
    from sacreddnn.training.interrupt import StopRequest
    from sacreddnn.training.objective import choose_device

    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    with StopRequest():
        device, root = choose_device(config.device), config.tracking.root
        targets = [recorded_network.of_run(run, root, config.dataset, device, config.batch_size) for run in config.runs]
        networks = [target.network for target in targets]
        batches = list(targets[0].clean(config.split, config.num_examples))
        result: Result = {}
        if len(networks) == 1:
            cut = landscape.random_cut(
                networks[0], batches, radius=config.radius, num_points=config.num_points,
                dimensions=config.dimensions, seed=config.seed, batch_norm=config.batch_norm,
            )  # fmt: skip
        elif len(networks) == 2:
            positions = torch.linspace(0, 1, config.num_points, dtype=torch.float64).tolist()
            between = landscape.barrier(
                networks[0], networks[1], batches, positions=positions, batch_norm=config.batch_norm
            )
            cut = between.line
            result |= {"barrier_loss": between.loss, "barrier_error": between.error}
        else:
            cut = landscape.plane(
                networks, batches, num_points=config.num_points, border=config.border, batch_norm=config.batch_norm
            )
        result |= {"smallest_loss": cut.loss.min().item(), "smallest_error": cut.error.min().item()}
        kept = {
            "axes": [axis.tolist() for axis in cut.axes], "loss": cut.loss.tolist(), "error": cut.error.tolist(),
            "networks": cut.networks.tolist(), "batch_norm": cut.batch_norm, "split": config.split,
            "names": [target.origin for target in targets],
        }  # fmt: skip
        recorder.info |= {"source": [target.origin for target in targets], "num_examples": config.num_examples}
        path = recorder.folder / "artifacts" / "landscape.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept))
        recorder.artifact(path)
    return result


def summary(config: LandscapeConfig, result: Result) -> str:
    """The numbers of a run in a line."""
    if "barrier_loss" in result:
        return f"barrier {result['barrier_loss']:.3f} nats, {result['barrier_error']:.2f} points of error"
    return f"smallest loss {result['smallest_loss']:.4f}, smallest error {result['smallest_error']:.2f} %"
