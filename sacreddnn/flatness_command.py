"""Measuring flatness as a recorded command.

python scripts/flatness.py with run=7 'measures=[local_energy, hessian]'
python scripts/flatness.py with checkpoint=results/runs/7/checkpoints/step-000004680.pt
python scripts/flatness.py with cifar10 timm/resnet18 weights=resnet18.safetensors
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from sacreddnn import command
from sacreddnn.command import Command, Draw, Result
from sacreddnn.flatness_config import FlatnessConfig
from sacreddnn.tracking.recorder import Recorder

if TYPE_CHECKING:
    from sacreddnn.recorded_network import RecordedNetwork

FOLDERS = ("dataset", "model", "flatness", "tracking")


def main(argv: list[str] | None = None, draw: Draw | None = None) -> int:
    """Run the command line, as sys.argv; returns the exit status (see command.py)."""
    # a default with neither network nor weights cannot be checked: the command line must name them
    defaults = FlatnessConfig(run=0).model_dump() | {"run": None}
    measuring = Command("flatness", FlatnessConfig, FOLDERS, execute, summary, preflight, defaults, draw)
    return command.run(measuring, argv)


def preflight(config: FlatnessConfig) -> None:
    """Refuse a device that is not there and a network that has no such name."""
    from sacreddnn import recorded_network

    recorded_network.preflight(config.device, config.model)


def execute(config: FlatnessConfig, recorder: Recorder) -> Result:
    """Load the network, take one measure after another; each is recorded as soon as it is there, and kept on resume.

    A measure that a network does not admit keeps no other from being taken; the run has failed all the same.
    """
    import torch

    from sacreddnn.measures import errors
    from sacreddnn.training.interrupt import StopRequest

    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    with StopRequest():
        target = load(config)
        origin = target.origin | {"dataset": target.config.dataset.name, "model": target.config.model.name}
        recorder.info |= {"source": origin, "num_weights": sum(p.numel() for p in target.network.parameters())}
        result: Result = dict(errors(target))
        recorder.result(result)
        view = target.clean(config.split, config.num_examples)
        batches = list(view)
        recorder.info |= {"split": config.split, "view": "clean", "num_examples": view.num_examples}
        failed: list[str] = []
        for name in config.measures:
            try:
                values, details = _measured(name, target, batches, config, recorder)
            except (ValueError, ArithmeticError) as error:  # the others are measured all the same
                failed.append(f"{name}: {error}")
                print(failed[-1], file=sys.stderr)
                continue
            recorder.info |= _in_record(name, details)
            result |= values
            recorder.result(values)
        if failed:
            raise ValueError("; ".join(failed))
    return result


def _measured(name: str, target: RecordedNetwork, batches: list, config: FlatnessConfig,
              recorder: Recorder) -> tuple[dict[str, float], dict]:  # fmt: skip
    """(numbers, details) of one measure, from the attempt that this one goes on from where it has them."""
    from sacreddnn.measures import MEASURES

    path = recorder.folder / "artifacts" / f"{name}.json"
    if path.exists():
        kept = json.loads(path.read_text())
        return kept["values"], kept["details"]
    start = time.perf_counter()
    values, details = MEASURES[name](target, batches, config)
    values = {key: float(value) for key, value in values.items()}
    seconds = round(time.perf_counter() - start, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps({"values": values, "details": details, "seconds": seconds}, indent=1))
    aside.replace(path)
    recorder.artifact(path)
    print(f"{name}: {', '.join(f'{key} {value:.4g}' for key, value in values.items())}  ({seconds:.1f} s)")
    return values, details


def load(config: FlatnessConfig) -> RecordedNetwork:
    """The network that the config names, on its data."""
    from sacreddnn import recorded_network
    from sacreddnn.training.objective import choose_device

    device = choose_device(config.device)
    if config.run is not None:
        return recorded_network.of_run(config.run, config.tracking.root, config.dataset, device, config.batch_size)
    if config.checkpoint is not None:
        return recorded_network.of_checkpoint(config.checkpoint, config.dataset, device, config.batch_size)
    assert config.weights is not None
    assert config.model is not None
    assert config.dataset is not None
    return recorded_network.of_weights(config.weights, config.model, config.dataset, device, config.batch_size)


def summary(config: FlatnessConfig, result: Result) -> str:
    """The numbers of a run in a line."""
    shown = [f"test error {result['test/center/error']:.2f} %"]
    if "local_energy" in result:
        sigma = config.local_energy.headline
        shown.append(f"local energy({sigma:g}) {result['local_energy']:.2f} ± {result['local_energy_se']:.2f}")
    others = ("hessian_trace", "hessian_largest", "sharpness", "pac_bayes_sigma", "local_entropy_loss", "path_norm")
    shown += [f"{name.replace('_', ' ')} {result[name]:.4g}" for name in others if name in result]
    return ", ".join(shown)


def _in_record(name: str, details: dict) -> dict:
    """Profiles of the local energy stand in `info` under the names that training gives them."""
    return details if name == "local_energy" else {name: details}
