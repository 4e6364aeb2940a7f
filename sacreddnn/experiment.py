"""Training as a recorded command: `python scripts/train.py with fashion_mnist lenet rsgd training.epochs=10`."""

from __future__ import annotations

import os
import sys
from typing import Any

from sacreddnn import command
from sacreddnn.command import Command, Draw, Result
from sacreddnn.config import Config
from sacreddnn.tracking.recorder import Recorder

FOLDERS = ("dataset", "model", "algorithm", "training", "tracking", "experiments")


def main(argv: list[str] | None = None, draw: Draw | None = None) -> int:
    """Run the command line; returns the exit status (see command.py), or ends a process of torchrun's.

    Args:
        argv: as sys.argv.
        draw: makes figures of a finished run's folder; their files are added to its record.
    """
    argv = list(sys.argv if argv is None else argv)
    # Of the default algorithm only the name: its other keys are not keys of other algorithms. The check fills them in.
    defaults = Config().model_dump() | {"algorithm": {"name": "sgd"}}
    training = Command("sacreddnn", Config, FOLDERS, execute, summary, preflight, defaults, draw)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        from sacreddnn import processes

        processes.run(lambda: command.run(training, argv))
    return command.run(training, argv)


def preflight(config: Config) -> None:
    """Refuse what the schema cannot know: devices, names and options of networks, optimizers."""
    from sacreddnn.build import preflight  # imports torch, so only once the schema is satisfied

    preflight(config)


def execute(config: Config, recorder: Recorder) -> Result:
    """Train and measure, in all processes of the run."""
    from sacreddnn.processes import announce
    from sacreddnn.run import execute

    announce(config)
    return execute(config, recorder, recorder.folder)


def summary(config: Config, result: Result) -> str:
    """The numbers of a run in a line."""
    energy = ""
    if "local_energy" in result:
        sigma = config.evaluation.flatness.headline
        energy = f", local energy({sigma:g}) {result['local_energy']:.2f} ± {result['local_energy_se']:.2f}"
    numbers: dict[str, Any] = {name: result[f"{name}/center/error"] for name in ("test", "train")}
    return (
        f"test error {numbers['test']:.2f} %, train error {numbers['train']:.2f} %{energy}, "
        f"{result['gradient_evaluations']} gradient evaluations, {result['train_seconds']:.0f} s"
    )
