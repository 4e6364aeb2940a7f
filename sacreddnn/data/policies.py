"""AutoAugment and RandAugment, drawn per sample, applied to the whole minibatch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from sacreddnn.data.augment import Augmentation
from sacreddnn.data.draws import Draws
from sacreddnn.data.operations import Operations

POLICIES = ("cifar10", "svhn", "imagenet")


class _Policy(Augmentation):
    """What both share: the operations of one image size, made when the first images of that size come."""

    def __init__(self) -> None:
        self._prepared: dict[tuple[int, int, torch.device], tuple[Operations, Tensor]] = {}

    def __call__(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Returns the samples, each after the operations drawn for it."""
        _, height, width, channels = pixels.shape
        if channels not in (1, 3):
            raise ValueError(f"images: {channels} channels, but AutoAugment and RandAugment need 1 or 3")
        key = (height, width, pixels.device)
        if key not in self._prepared:
            operations, numbers = self.prepare(height, width)
            if channels == 1:  # as in torchvision, an image without colours keeps them
                operations = [("Identity", 0.0) if name == "Color" else (name, size) for name, size in operations]
            self._prepared[key] = Operations(operations, height, width, pixels.device), numbers
        operations_of_size, numbers = self._prepared[key]
        for chosen in self.draw(draws, numbers):
            pixels = operations_of_size.apply(pixels, chosen)
        return pixels

    def prepare(self, height: int, width: int) -> tuple[list[tuple[str, float]], Tensor]:
        """Returns the distinct operations, and their numbers in the policy's own order."""
        raise NotImplementedError

    def draw(self, draws: Draws, numbers: Tensor) -> list[Tensor]:
        """Returns for each operation applied in turn its number for each sample, -1 for none."""
        raise NotImplementedError


class AutoAugment(_Policy):
    """One of 25 learned pairs of operations, each done with its own probability (Cubuk et al. 2019a).

    The tables are torchvision's. A pair is drawn uniformly for each sample; the sign of a signed magnitude is a coin.

    Args:
        policy: "cifar10" (also for CIFAR-100), "svhn" or "imagenet".

    Raises:
        ValueError: an unknown policy.
    """

    def __init__(self, policy: str = "cifar10") -> None:
        super().__init__()
        if policy not in POLICIES:
            raise ValueError(f"auto_augment: unknown policy {policy!r}, allowed: {', '.join(POLICIES)}")
        from torchvision.transforms import autoaugment

        self._torchvision = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy(policy))
        pairs = self._torchvision.policies
        self._probabilities = torch.tensor([[operation[1] for operation in pair] for pair in pairs])

    def prepare(self, height: int, width: int) -> tuple[list[tuple[str, float]], Tensor]:
        """Returns the operations, and their numbers by pair, place in the pair and sign, shape (25, 2, 2)."""
        space = self._torchvision._augmentation_space(10, (height, width))
        found: dict[tuple[str, float], int] = {}
        numbers = torch.empty(len(self._torchvision.policies), 2, 2, dtype=torch.int64)
        for i, pair in enumerate(self._torchvision.policies):
            for place, (name, _, bin_number) in enumerate(pair):
                magnitudes, signed = space[name]
                magnitude = 0.0 if bin_number is None else float(magnitudes[bin_number])
                for sign in range(2):
                    operation = (name, -magnitude if signed and sign == 0 else magnitude)
                    numbers[i, place, sign] = found.setdefault(operation, len(found))
        return list(found), numbers

    def draw(self, draws: Draws, numbers: Tensor) -> list[Tensor]:
        """Returns the numbers of the first and of the second operation of each sample."""
        pair = draws.integers(len(numbers))
        done = draws.uniform(2) <= self._probabilities[pair]
        sign = draws.integers(2, 2)
        return [torch.where(done[:, i], numbers[pair, i, sign[:, i]], -1) for i in range(2)]


class RandAugment(_Policy):
    """Some operations in turn, each drawn uniformly from fourteen, all of one strength (Cubuk et al. 2019b).

    Args:
        magnitude: strength, 0 to 30.
        num_ops: operations applied to each sample, one or more.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(self, magnitude: int = 9, num_ops: int = 2) -> None:
        super().__init__()
        if not isinstance(magnitude, int) or not 0 <= magnitude <= 30:
            raise ValueError(f"rand_augment: magnitude {magnitude!r} is out of range, allowed 0 to 30")
        if not isinstance(num_ops, int) or num_ops < 1:
            raise ValueError(f"rand_augment: num_ops {num_ops!r} is out of range, allowed 1 and above")
        self.magnitude, self.num_ops = magnitude, num_ops

    def prepare(self, height: int, width: int) -> tuple[list[tuple[str, float]], Tensor]:
        """Returns the operations, and their numbers by name and sign, shape (14, 2)."""
        from torchvision.transforms.autoaugment import RandAugment as TorchvisionRandAugment

        space = TorchvisionRandAugment(magnitude=self.magnitude)._augmentation_space(31, (height, width))
        operations: list[tuple[str, float]] = []
        numbers = []
        for name, (magnitudes, signed) in space.items():
            magnitude = float(magnitudes[self.magnitude]) if magnitudes.ndim > 0 else 0.0
            numbers.append([len(operations), len(operations) + (1 if signed else 0)])
            operations.append((name, magnitude))
            if signed:
                operations.append((name, -magnitude))
        return operations, torch.tensor(numbers)

    def draw(self, draws: Draws, numbers: Tensor) -> list[Tensor]:
        """Returns the numbers of the operations of each sample, in turn."""
        which, sign = draws.integers(len(numbers), self.num_ops), draws.integers(2, self.num_ops)
        return list(numbers[which, sign].unbind(1))
