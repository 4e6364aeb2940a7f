"""The cost of a minibatch: against a training step of LeNet, and against torchvision image by image.

    python benchmarks/pipeline.py

All is measured in one run, in turn, on synthetic images of the shapes of Fashion-MNIST and CIFAR-10, and reported as
medians. torchvision's transforms act on PIL images, in a DataLoader with as many workers as processors, at their best:
the workers live on and the clock starts when they are warm.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from sacreddnn import data, models

BATCH_SIZE = 128
AUGMENTATIONS = {
    "none": [],
    "crop+flip": [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()],
    "crop+flip+auto_augment": [
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
    ],
}


class Images(Dataset):
    """Images as torchvision's data sets hold them: arrays, made into PIL images when they are asked for."""

    def __init__(self, split, transform):
        self.arrays = np.ascontiguousarray(split.images.permute(0, 2, 3, 1).numpy())
        self.labels = split.labels.tolist()
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def milliseconds(call, repeats):
    """Returns the time of each of some calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def share_of_a_step(augmentation, repeats):
    """Returns median milliseconds of a minibatch and of a step of LeNet on images like those of Fashion-MNIST."""
    dataset = data.load("synthetic", options={"channels": 1, "image_size": 28, "train_samples": 20_000})
    pipeline = data.Pipeline(dataset.mean, dataset.std, augmentation)
    stream = data.Stream(dataset.train, BATCH_SIZE, pipeline=pipeline)
    network = models.build("lenet", num_classes=10, in_channels=1, image_size=28, seed=0)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    inputs, targets = next(stream)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()

    minibatches, steps = [], []
    for _ in range(repeats):
        steps += milliseconds(step, 5)
        minibatches += milliseconds(lambda: next(stream), 5)
    return statistics.median(minibatches), statistics.median(steps)


def against_torchvision(dataset, name, rounds, num_workers):
    """Returns median milliseconds of a minibatch, ours and torchvision's, and the quartiles of the ratio by rounds."""
    pipeline = data.Pipeline(dataset.mean, dataset.std, name)
    stream = data.Stream(dataset.train, BATCH_SIZE, pipeline=pipeline)
    per_image = transforms.Compose(
        [*AUGMENTATIONS[name], transforms.ToTensor(), transforms.Normalize(dataset.mean, dataset.std)]
    )
    images = Images(dataset.train, per_image)
    loader = DataLoader(
        images, BATCH_SIZE, shuffle=True, drop_last=True, num_workers=num_workers, persistent_workers=num_workers > 0
    )
    iterator = iter(loader)
    ours, theirs = [], []
    for _ in range(rounds):
        # the workers read ahead: what waits in their queues is drained before the clock starts, and while ours is timed
        # they are idle because the queues are full again
        for _ in range(2 * max(num_workers, 1)):
            iterator = _advance(iterator, loader)
        start = time.perf_counter()
        for _ in range(8):
            iterator = _advance(iterator, loader)
        theirs.append(1e3 * (time.perf_counter() - start) / 8)
        time.sleep(0.05 + 4e-3 * theirs[-1] * max(num_workers, 1))
        ours.append(statistics.median(milliseconds(lambda: next(stream), 30)))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(ours), statistics.median(theirs), statistics.median(ratios), min(ratios), max(ratios)


def _advance(iterator, loader):
    try:
        next(iterator)
    except StopIteration:
        iterator = iter(loader)
        next(iterator)
    return iterator


def main():
    """Prints the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.threads} threads, minibatches of {BATCH_SIZE}, medians, milliseconds")
    print("\nLeNet on 28x28x1 images\naugmentation                minibatch     step   share")
    for name in ("none", "crop:4+flip"):
        minibatch, step = share_of_a_step(name, 10 * arguments.rounds)
        print(f"{name:26s} {minibatch:10.3f} {step:8.2f} {100 * minibatch / step:6.1f}%")
    print("\n32x32x3 images, torchvision per image in a DataLoader")
    print("augmentation               workers     ours   theirs    ratio   (lowest, highest)")
    dataset = data.load("synthetic", options={"train_samples": 20_000})
    for name in AUGMENTATIONS:
        for num_workers in (0, os.cpu_count()):
            ours, theirs, ratio, low, high = against_torchvision(dataset, name, arguments.rounds, num_workers)
            print(f"{name:26s} {num_workers:7d} {ours:8.3f} {theirs:8.2f} {ratio:8.1f}   ({low:.1f}, {high:.1f})")


if __name__ == "__main__":
    main()
