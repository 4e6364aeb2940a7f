"""The cost of a minibatch: against a training step of LeNet, and against torchvision image by image.

All is measured in turn on synthetic images of the shapes of Fashion-MNIST and CIFAR-10. torchvision's transforms act on
PIL images, in a DataLoader without workers and with as many as processors, at their best: the workers live on and the
clock starts when they are warm.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import measure
import torch
from reference_loop import AUGMENTATIONS, loader

from sacreddnn import data, models

BATCH_SIZE = 128


def of_a_step(bench: measure.Benchmark, augmentation: str, num_images: int) -> None:
    """A minibatch over a step of LeNet on images like those of Fashion-MNIST."""
    dataset = data.load("synthetic", options={"channels": 1, "image_size": 28, "train_samples": num_images})
    pipeline = data.Pipeline(dataset.mean, dataset.std, augmentation)
    stream = data.Stream(dataset.to(bench.device).train, BATCH_SIZE, pipeline=pipeline)
    network = models.build("lenet", num_classes=10, in_channels=1, image_size=28, seed=0)
    network = network.to(bench.device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    inputs, targets = next(stream)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()

    times = bench.in_turn({"minibatch": lambda: next(stream), "step": step}, repeats=50)
    bench.ratio(f"lenet, {augmentation}: a minibatch / a step in float32", times["minibatch"], times["step"])


def against_torchvision(bench: measure.Benchmark, dataset: data.Dataset, name: str, num_workers: int) -> None:
    """A minibatch of torchvision's over one of ours."""
    pipeline = data.Pipeline(dataset.mean, dataset.std, name)
    stream = data.Stream(dataset.train, BATCH_SIZE, pipeline=pipeline)
    batches = loader(dataset, name, BATCH_SIZE, num_workers)
    iterator = iter(batches)

    def advance() -> None:
        nonlocal iterator
        try:
            next(iterator)
        except StopIteration:
            iterator = iter(batches)
            next(iterator)

    ours, theirs = [], []
    for _ in range(bench.repeats(7)):
        # the workers read ahead: what waits in their queues is drained before the clock starts, and while ours is timed
        # they are idle because the queues are full again
        for _ in range(2 * max(num_workers, 1)):
            advance()
        theirs.append(statistics.mean(seconds(advance, 8)))
        time.sleep(0.05 + 4 * theirs[-1] * max(num_workers, 1))
        ours.append(statistics.median(seconds(lambda: next(stream), 30)))
    bench.ratio(f"{name}, {num_workers} workers: torchvision / ours", theirs, ours)


def seconds(call: Callable[[], object], repeats: int) -> list[float]:
    """The time of each of some calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    bench = measure.start(__doc__, "pipeline")
    num_images = 2_000 if bench.toy else 20_000
    for name in ("none", "crop:4+flip"):
        of_a_step(bench, name, num_images)
    dataset = data.load("synthetic", options={"train_samples": num_images})
    for name in list(AUGMENTATIONS)[: 1 if bench.toy else None]:
        for num_workers in (0, os.cpu_count() or 1)[: 1 if bench.toy else None]:
            against_torchvision(bench, dataset, name, num_workers)
    bench.finish()


if __name__ == "__main__":
    main()
