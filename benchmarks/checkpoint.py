"""A checkpoint of ResNet-18 stalls training for less than two steps.

A run's own state, written as a run writes it: copied, serialised, flushed to the disk and renamed; against a training
step on minibatches of 128, for SGD (weights and velocity) and Entropy-SGD (five vectors).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import measure
from training import LENET, RESNET, Ours, config_of

from sacreddnn.training import checkpoint


def main() -> None:
    bench = measure.start(__doc__, "checkpoint")
    case = LENET if bench.toy else RESNET
    for algorithm in ("sgd", "esgd"):
        ours = Ours(config_of(case, algorithm, 16 if bench.toy else case.batch_size, bench.options.device))
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:

            def save(ours=ours, folder=Path(name)) -> None:
                checkpoint.save(folder, ours.session.state_dict(), ours.session.training.step)

            times = bench.in_turn({"step": lambda ours=ours: ours(1), "save": save}, repeats=5, warm_up=1)
            size = checkpoint.list_checkpoints(Path(name))[0].stat().st_size
        bench.ratio(f"{case.model} {algorithm}: stall of a checkpoint, in steps", times["save"], times["step"],
                    at_most=2.0)  # fmt: skip
        bench.row(f"{case.model} {algorithm}: a checkpoint", [size / 2**20], "MiB")
        ours.close()
    bench.finish()


if __name__ == "__main__":
    main()
