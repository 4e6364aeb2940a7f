"""The loop that speed is compared with: a plain transcription of how the reference implementation trains.

Images are transformed one by one by torchvision in a DataLoader without workers; everything is float32 and contiguous;
y replicas read y loaders, their minibatches are concatenated into one, split again, and pass the replicas one after
another; coupling and Entropy-SGD are Python loops over the parameters. It is written from a description of that
implementation, not copied from it, and serves the benchmarks only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

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
        pixels = split.images.permute(0, 2, 3, 1).cpu().numpy()
        self.arrays = np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        self.labels = split.labels.tolist()
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def loader(dataset, augmentation: str, batch_size: int, num_workers: int = 0) -> DataLoader:
    """A shuffling DataLoader over the training images with torchvision's transforms."""
    transform = transforms.Compose(
        [*AUGMENTATIONS[augmentation], transforms.ToTensor(), transforms.Normalize(dataset.mean, dataset.std)]
    )
    return DataLoader(
        Images(dataset.train, transform), batch_size, shuffle=True, drop_last=True, num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )  # fmt: skip


def forever(batches: DataLoader, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch."""
    while True:
        for inputs, targets in batches:
            yield inputs.to(device), targets.to(device)


class ReferenceSGD:
    """Nesterov SGD."""

    def __init__(self, networks, batches, *, lr=0.01, momentum=0.9, weight_decay=1e-4):
        self.networks, self.batches = networks, batches
        self.parameters = [list(network.parameters()) for network in networks]
        self.optimizer = torch.optim.SGD(
            [p for parameters in self.parameters for p in parameters],
            lr=lr, momentum=momentum, nesterov=True, weight_decay=weight_decay,
        )  # fmt: skip

    def __call__(self) -> float:
        """One step; returns the loss, as the reference prints it."""
        drawn = [next(batches) for batches in self.batches]
        inputs, targets = torch.cat([x for x, _ in drawn]), torch.cat([y for _, y in drawn])
        self.optimizer.zero_grad()
        parts = zip(self.networks, inputs.chunk(len(self.networks)), strict=True)
        outputs = torch.cat([network(part) for network, part in parts])
        loss = nn.functional.cross_entropy(outputs, targets)
        loss.backward()
        with torch.no_grad():
            self.update()
        return loss.item()

    def update(self) -> None:
        """From the gradients to the next weights."""
        self.optimizer.step()


class ReferenceReplicatedSGD(ReferenceSGD):
    """The gradient of the coupling added parameter by parameter, then Nesterov SGD."""

    coupling = 1e-3

    def update(self) -> None:
        """Couple, then step."""
        for replicas in zip(*self.parameters, strict=True):
            center = torch.zeros_like(replicas[0])
            for p in replicas:
                center += p / len(replicas)
            for p in replicas:
                p.grad += self.coupling * (p - center)
        self.optimizer.step()


class ReferenceEntropySGD(ReferenceSGD):
    """Inner Langevin steps and the outer step, parameter by parameter."""

    inner_steps, inner_lr, inner_momentum, inner_weight_decay = 5, 0.01, 0.9, 1e-4
    noise, averaging, coupling = 1e-4, 0.75, 0.5

    def __init__(self, networks, batches, **options):
        super().__init__(networks, batches, **options)
        self.step = 0
        self.center = [p.detach().clone() for p in self.parameters[0]]
        self.mean = [p.detach().clone() for p in self.parameters[0]]
        self.velocity = [torch.zeros_like(p) for p in self.parameters[0]]

    def update(self) -> None:
        """One inner step; after the last of them the outer one."""
        for p, w, mu, v in zip(self.parameters[0], self.center, self.mean, self.velocity, strict=True):
            g = p.grad + self.coupling * (p - w)
            g = g + self.inner_weight_decay * p
            v.mul_(self.inner_momentum).add_(g)
            g = g + self.inner_momentum * v
            p.add_(g, alpha=-self.inner_lr)
            p.add_(torch.randn_like(p) * (math.sqrt(2 * self.inner_lr) * self.noise))
            mu.mul_(self.averaging).add_(p, alpha=1 - self.averaging)
        self.step += 1
        if self.step % self.inner_steps == 0:
            for p, w, mu, v in zip(self.parameters[0], self.center, self.mean, self.velocity, strict=True):
                p.grad = w - mu
                p.copy_(w)
                v.zero_()
            self.optimizer.step()
            for p, w, mu in zip(self.parameters[0], self.center, self.mean, strict=True):
                w.copy_(p)
                mu.copy_(p)


REFERENCES = {"sgd": ReferenceSGD, "esgd": ReferenceEntropySGD, "rsgd": ReferenceReplicatedSGD}
