"""AutoAugment and RandAugment against torchvision's, operation by operation and image by image."""

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import autoaugment as theirs

from sacreddnn.data import Pipeline
from sacreddnn.data.draws import Draws
from sacreddnn.data.operations import Operations
from sacreddnn.data.policies import AutoAugment, RandAugment


def draws_of(num, seed=0):
    return Draws(torch.Generator().manual_seed(seed), num)


def images_of(num=12, channels=3, size=(32, 32), seed=0):
    """Noise, smooth ramps, and flat images, where equalize and autocontrast have their special cases."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (num, channels, *size), dtype=torch.uint8, generator=generator)
    images[1] = torch.arange(size[1]).to(torch.uint8)
    images[2] = 77
    images[3] = images[3] // 4 + 100
    images[4] = torch.where(images[4] > 250, 3, 2).to(torch.uint8)
    return images


def all_operations(size):
    space = {**theirs.AutoAugment()._augmentation_space(10, size), **theirs.RandAugment()._augmentation_space(31, size)}
    operations = []
    for name, (magnitudes, signed) in space.items():
        for magnitude in magnitudes.flatten().tolist()[::3]:
            operations += [(name, magnitude), (name, -magnitude)] if signed else [(name, magnitude)]
    return operations


def one_by_one(images, operations):
    results = []
    for image, (name, magnitude) in zip(images, operations, strict=True):
        results.append(theirs._apply_op(image, name, magnitude, InterpolationMode.NEAREST, None))
    return torch.stack(results)


@pytest.mark.parametrize(("channels", "size"), [(3, (32, 32)), (1, (28, 28)), (3, (24, 36))])
def test_every_operation_is_torchvisions(channels, size):
    images, operations = images_of(channels=channels, size=size), all_operations(size)
    mine = Operations([o if channels == 3 or o[0] != "Color" else ("Identity", 0.0) for o in operations], *size)
    pixels = images.permute(0, 2, 3, 1).contiguous()
    for number, operation in enumerate(operations):
        result = mine.apply(pixels, torch.full((len(images),), number)).permute(0, 3, 1, 2)
        assert torch.equal(result, one_by_one(images, [operation] * len(images))), operation


def test_another_operation_for_each_sample():
    size = (32, 32)
    operations = all_operations(size)
    images = images_of(num=len(operations) + 1)
    numbers = torch.randperm(len(operations) + 1, generator=torch.Generator().manual_seed(1)) - 1
    expected = one_by_one(images, [operations[i] if i >= 0 else ("Identity", 0.0) for i in numbers.tolist()])
    pixels = images.permute(0, 2, 3, 1).contiguous()
    assert torch.equal(Operations(operations, *size).apply(pixels, numbers).permute(0, 3, 1, 2), expected)


@pytest.mark.parametrize("policy", ["cifar10", "svhn", "imagenet"])
def test_auto_augment_is_torchvisions_for_the_same_draws(policy, monkeypatch):
    num = 150
    images = images_of(num)
    draws = draws_of(num, seed=5)
    pair, probabilities, signs = draws.integers(25), draws.uniform(2), draws.integers(2, 2)
    params = zip(pair.tolist(), probabilities, signs, strict=True)
    monkeypatch.setattr(theirs.AutoAugment, "get_params", staticmethod(lambda _: next(params)))
    transform = theirs.AutoAugment(theirs.AutoAugmentPolicy(policy))
    expected = torch.stack([transform(image) for image in images])
    result = AutoAugment(policy)(images.permute(0, 2, 3, 1).contiguous(), draws_of(num, seed=5))
    assert torch.equal(result.permute(0, 3, 1, 2), expected)


def test_rand_augment_is_torchvisions_for_the_same_draws(monkeypatch):
    num = 150
    images = images_of(num)
    draws = draws_of(num, seed=5)
    which, sign = draws.integers(14, 2), draws.integers(2, 2)
    # torchvision draws the operation, and then the sign of a signed one: it is given ours in its order
    signed = [s for _, s in theirs.RandAugment()._augmentation_space(31, (32, 32)).values()]
    queue = []
    for sample in range(num):
        for i in range(2):
            queue.append(which[sample, i].view(1))
            if signed[which[sample, i]]:
                queue.append(sign[sample, i].view(1))
    transform = theirs.RandAugment(num_ops=2, magnitude=9)
    with monkeypatch.context() as patch:
        patch.setattr(theirs.torch, "randint", lambda *_, **__: queue.pop(0))
        expected = torch.stack([transform(image) for image in images])
    assert not queue
    result = RandAugment(9)(images.permute(0, 2, 3, 1).contiguous(), draws_of(num, seed=5))
    assert torch.equal(result.permute(0, 3, 1, 2), expected)


@pytest.mark.parametrize("augmentation", [AutoAugment("cifar10"), RandAugment(9)])
def test_operations_are_drawn_with_torchvisions_frequencies(augmentation):
    num = 20_000
    operations, numbers = augmentation.prepare(32, 32)
    drawn = torch.stack(augmentation.draw(draws_of(num), numbers))
    share = {name: 0.0 for name, _ in operations}
    for number, (name, _) in enumerate(operations):
        share[name] += (drawn == number).sum().item() / num
    expected = dict.fromkeys(share, 0.0)
    if isinstance(augmentation, RandAugment):
        expected = dict.fromkeys(share, 2 / 14)
    else:
        for pair in theirs.AutoAugment(theirs.AutoAugmentPolicy.CIFAR10).policies:
            for name, probability, _ in pair:
                expected[name] += probability / 25
    assert share == pytest.approx(expected, abs=0.015)
    signed = [i for i, (name, magnitude) in enumerate(operations) if magnitude < 0]
    positive = [operations.index((operations[i][0], -operations[i][1])) for i in signed]
    negative_count = sum((drawn == i).sum().item() for i in signed)
    positive_count = sum((drawn == i).sum().item() for i in positive)
    assert negative_count / (negative_count + positive_count) == pytest.approx(0.5, abs=0.02)


def test_policies_work_in_a_pipeline_and_refuse_bad_arguments():
    pipeline = Pipeline((0.5,), (0.25,), "crop+flip+auto_augment:svhn+rand_augment:5")
    images = images_of(channels=1, size=(28, 28))
    assert pipeline(images, torch.Generator().manual_seed(0)).shape == images.shape
    for bad in ("auto_augment:cifar11", "rand_augment:31", {"rand_augment": {"num_ops": 0}}):
        with pytest.raises(ValueError, match="allowed"):
            Pipeline((0.5,), (0.25,), bad if isinstance(bad, str) else [bad])
    two_channels = torch.zeros(2, 2, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="2 channels"):
        Pipeline((0.5,) * 2, (0.25,) * 2, "rand_augment")(two_channels, torch.Generator())
