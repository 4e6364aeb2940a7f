"""Training is at least 5 times (LeNet) and 2.4 times (ResNet-18) faster than the reference loop, near the limit.

Against the reference loop (reference_loop.py), in minibatches of equal size: SGD, Entropy-SGD with L=5, Replicated-SGD
with y=3; LeNet on images of Fashion-MNIST's shape, ResNet-18 with the stem for 32x32x3 images. Ours is the training of
a run: data and augmentation, forward, backward, algorithm, the looks at the loss, and its record on disk. Precision and
layout are each side's defaults: float32 and contiguous there, what the machine has natively here.

The limit is the bare forward and backward pass of the same network, minibatch, precision and layout on inputs that are
ready: a full step costs at most 1.15 (LeNet) and 1.05 (ResNet-18) of it, per gradient evaluation. How much faster than
the reference loop those passes alone are is the bound of what a loop around them can reach. Peak memory is that of a
process of its own for each loop; ours is not above the reference's. The images are synthetic.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure
import torch
from reference_loop import REFERENCES, forever, loader
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sacreddnn import build, models
from sacreddnn.config import Config, check
from sacreddnn.tracking.recorder import Recorder
from sacreddnn.training.fit import Training, fit
from sacreddnn.training.objective import choose_device


@dataclass(frozen=True)
class Case:
    """A network, the images it sees, and its targets."""

    model: str
    channels: int
    image_size: int
    augmentation: str  # the reference's name of it
    batch_size: int
    epoch: int  # training images of Fashion-MNIST, CIFAR-10
    faster: float
    over_bare: float


LENET = Case("lenet", 1, 28, "none", 128, 60_000, 5.0, 1.15)
RESNET = Case("resnet18", 3, 32, "crop+flip", 128, 50_000, 2.4, 1.05)
IMAGES = 20_000  # of the synthetic data set
STEPS_TO_PEAK = 3  # after the first the optimizer has its vectors
ALGORITHMS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "esgd": {"inner_steps": 5, "inner_lr": 0.01},
    "rsgd": {"replicas": 3},
    "sam": {},
}
# Dense bfloat16 rate without sparsity, from the vendor's data sheets, FLOP/s.
PEAKS = {"NVIDIA H100": 989e12, "NVIDIA H200": 989e12, "NVIDIA A100": 312e12}


def config_of(case: Case, algorithm: str, batch_size: int, device: str, **options: Any) -> Config:
    """A run of a case on synthetic images; `options` are more of the algorithm's."""
    return check(
        {
            "dataset": {
                "name": "synthetic",
                "augmentation": "none" if case.augmentation == "none" else "crop:4+flip",
                "options": {"channels": case.channels, "image_size": case.image_size, "train_samples": IMAGES},
            },
            "model": {"name": case.model},
            "algorithm": {"name": algorithm, **ALGORITHMS[algorithm], **options},
            "training": {"batch_size": batch_size, "lr": 0.01, "device": device, "lr_schedule": {"name": "constant"}},
        }
    )


class Ours:
    """A run's training loop, called for some steps at a time; an epoch ends only when `end_epoch` is called."""

    def __init__(self, config: Config) -> None:
        self.session = build.build(config)
        self.folder = tempfile.TemporaryDirectory()
        self.recorder = Recorder(self.folder.name)
        self.recorder.start(config.model_dump())

    def record(self, training: Training) -> None:
        """Log what is known without an evaluation."""
        for name, value in (("train/minibatch/loss", training.epoch_loss()), ("training/lr", training.algorithm.lr)):
            self.recorder.log(name, value, training.step, training.algorithm.gradient_evaluations)

    def __call__(self, steps: int, num_epochs: int = 0) -> None:
        """Train for some steps."""
        training = self.session.training
        training.num_steps, training.num_epochs = training.step + steps, num_epochs
        fit(training, on_epoch=self.record, save=lambda training: None)

    def end_epoch(self) -> None:
        """One step that ends an epoch: the look at all vectors, and the record."""
        self(1, num_epochs=1)

    def close(self) -> None:
        """End the record and remove it."""
        self.recorder.finish()
        self.folder.cleanup()


def make_reference(config: Config, case: Case) -> Callable[[], float]:
    """A step of the reference loop on the images of a config, however many replicas its algorithm has."""
    algorithm, device = config.algorithm.name, choose_device(config.training.device)
    dataset, _ = build.load_data(config, torch.device("cpu"))
    replicas = build.num_replicas(config)
    networks = [
        models.build(case.model, num_classes=10, in_channels=case.channels, image_size=case.image_size, seed=a)
        for a in range(replicas)
    ]
    batch_size = config.training.batch_size
    batches = [forever(loader(dataset, case.augmentation, batch_size), device) for _ in range(replicas)]
    return REFERENCES[algorithm]([network.to(device) for network in networks], batches)


def make_bare(case: Case, ours: Ours) -> Callable[[], None]:
    """Forward and backward alone, as anyone would write it, on inputs that are ready."""
    device, dtype = ours.session.device, ours.session.dtype
    network = models.build(case.model, num_classes=10, in_channels=case.channels, image_size=case.image_size, seed=0)
    network = network.to(device).to(memory_format=torch.channels_last)
    inputs, targets = next(ours.session.training.streams[0])

    def bare() -> None:
        network.zero_grad()
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            outputs = network(inputs)
        nn.functional.cross_entropy(outputs.float(), targets).backward()

    return bare


def compare(bench: measure.Benchmark, case: Case, algorithm: str, steps: int, repeats: int, batch_size: int) -> None:
    """The rows of one network and one algorithm."""
    ours = Ours(config_of(case, algorithm, batch_size, bench.options.device))
    bare = make_bare(case, ours)
    optimizer = ours.session.training.algorithm
    evaluations = steps * optimizer.evaluations_per_step * optimizer.num_streams
    step = {"ours": lambda: ours(steps)}
    times = bench.in_turn(step | {"bare": lambda: [bare() for _ in range(evaluations)]}, repeats, warm_up=1)
    # the share of an epoch's end that falls on these steps
    end = min(bench.in_turn({"end": ours.end_epoch}, 2, warm_up=0)["end"]) - min(times["ours"]) / steps
    end *= steps / (case.epoch // batch_size)
    full = [seconds + end for seconds in times["ours"]]
    what = f"{case.model} {algorithm}"
    if algorithm in REFERENCES:
        reference = make_reference(ours.session.config, case)
        calls = step | {"reference": lambda: [reference() for _ in range(steps)]}
        against = bench.in_turn(calls, (repeats + 1) // 2, warm_up=1)
        whole = [seconds + end for seconds in against["ours"]]
        bench.ratio(f"{what}: reference loop / ours", against["reference"], whole, at_least=case.faster)
        free = statistics.median(a / b for a, b in zip(full, times["bare"], strict=True))
        bench.ratio(f"{what}: reference loop / bare passes, the bound of it", against["reference"], whole, free)
    bench.ratio(f"{what}: full step / bare forward and backward", full, times["bare"], at_most=case.over_bare)
    bench.row(f"{what}: images", [evaluations * batch_size / seconds for seconds in full], "per second")
    if algorithm == "sgd":
        with FlopCounterMode(display=False) as counter:
            bare()
        share_of_peak(bench, what, [counter.get_total_flops() * steps / seconds for seconds in full], ours)
    ours.close()


def share_of_peak(bench: measure.Benchmark, what: str, rates: list[float], ours: Ours) -> None:
    """FLOP/s of full steps over those of a large matrix product, and of the data sheet where the device is known."""
    a = torch.randn(256 if bench.toy else 2048, 2048, device=bench.device, dtype=ours.session.dtype)
    seconds = min(bench.in_turn({"product": lambda: a @ a.T}, 5)["product"])
    product = 2 * len(a) ** 2 * 2048 / seconds
    bench.row(f"{what}: FLOP/s over those of a matrix product", [rate / product for rate in rates], "ratio")
    if bench.device.type == "cuda":
        name = torch.cuda.get_device_name(bench.device)
        for known, peak in PEAKS.items():
            if name.startswith(known):
                bench.row(f"{what}: FLOP/s over the data sheet's", [rate / peak for rate in rates], "ratio")


def peak_of(which: str, case: Case, algorithm: str, batch_size: int, device: str) -> float:
    """MiB at the highest point of some steps in this process."""
    config = config_of(case, algorithm, batch_size, device)
    if which == "reference":
        step = make_reference(config, case)
        for _ in range(STEPS_TO_PEAK):
            step()
    else:
        ours = Ours(config)
        ours(STEPS_TO_PEAK)
        ours.close()
    if choose_device(device).type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    # of this program alone: getrusage begins at what the process was when it was forked
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def compare_memory(bench: measure.Benchmark, case: Case, algorithm: str, batch_size: int) -> None:
    """Peak memory of each loop in a process of its own."""
    peaks = {}
    for which in ("reference", "ours"):
        words = [which, case.model, algorithm, str(batch_size)]
        command = [sys.executable, __file__, "--threads", str(bench.options.threads), "--device", bench.options.device]
        done = subprocess.run([*command, "--peak", *words], stdout=subprocess.PIPE, check=True, timeout=300)
        peaks[which] = json.loads(done.stdout.splitlines()[-1])
        bench.row(f"{case.model} {algorithm}: peak memory, {which}", [peaks[which]], "MiB")
    bench.row(f"{case.model} {algorithm}: peak memory, ours / reference", [peaks["ours"] / peaks["reference"]], "ratio",
              at_most=1.0)  # fmt: skip


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--model", choices=("lenet", "resnet18"), help="only this one")
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    bench = measure.start(__doc__, "training", options)
    cases = {case.model: case for case in (LENET, RESNET)}
    if options.peak:
        which, model, algorithm, batch_size = options.peak
        print(json.dumps(peak_of(which, cases[model], algorithm, int(batch_size), options.device)))
        return
    chosen = [options.model] if options.model else ["lenet"] if bench.toy else list(cases)
    for case in (cases[name] for name in chosen):
        batch_size = 16 if bench.toy else case.batch_size
        for algorithm in ALGORITHMS:
            quick = case is LENET
            steps = 10 if quick else 5 if algorithm == "esgd" else 1
            repeats = 15 if quick else 4 if algorithm in ("esgd", "rsgd") else 7
            compare(bench, case, algorithm, steps, repeats, batch_size)
        for algorithm in ["rsgd"] if case is LENET else ["sgd", "esgd"]:
            compare_memory(bench, case, algorithm, batch_size)
    bench.finish()


if __name__ == "__main__":
    main()
