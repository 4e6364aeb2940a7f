"""Each augmentation against a loop over images with torchvision's own transform."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from sacreddnn import data
from sacreddnn.data.augment import Crop, Cutout, Flip, Mixup, Resize
from sacreddnn.data.draws import Draws
from sacreddnn.data.resized_crop import ResizedCrop

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def generator_of(seed=0):
    return torch.Generator().manual_seed(seed)


def draws_of(num, seed=0):
    return Draws(generator_of(seed), num)


def images_of(num=9, channels=3, height=12, width=16):
    return torch.randint(0, 256, (num, channels, height, width), dtype=torch.uint8, generator=generator_of())


def pixels_of(images):
    return images.permute(0, 2, 3, 1).contiguous()


def images_from(pixels):
    return pixels.permute(0, 3, 1, 2)


def test_normalisation_is_torchvisions():
    images = images_of()
    inputs = data.Pipeline(MEAN, STD).clean(images)
    expected = functional.normalize(functional.to_dtype(images, torch.float32, scale=True), MEAN, STD)
    torch.testing.assert_close(inputs, expected, atol=1e-5, rtol=1e-5)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    grey = data.Pipeline((0.3,), (0.2,), dtype=torch.bfloat16).clean(images[:, :1])
    assert grey.dtype == torch.bfloat16
    assert grey.stride() == (192, 1, 16, 1)


def test_normalised_pixels_have_mean_zero_and_deviation_one():
    dataset = data.load("synthetic", options={"train_samples": 64})
    inputs = data.Pipeline(dataset.mean, dataset.std).clean(dataset.train.images).double()
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3, dtype=torch.double), atol=1e-6, rtol=0)
    torch.testing.assert_close(inputs.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.double))


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_is_torchvisions_at_the_same_places(channels):
    images, crop = images_of(channels=channels), Crop(3)
    places = draws_of(len(images)).integers(7, 2)
    padded = functional.pad(images, [3])
    expected = [
        functional.crop(image, top, left, 12, 16) for image, (top, left) in zip(padded, places.tolist(), strict=True)
    ]
    result = crop(pixels_of(images), draws_of(len(images)))
    assert torch.equal(images_from(result), torch.stack(expected))


def test_crop_places_are_uniform_as_torchvisions():
    num = 4000
    image = torch.arange(16, dtype=torch.uint8).view(1, 4, 4) + 1
    pixels = pixels_of(image.expand(num, 1, 4, 4))
    mine = images_from(Crop(1)(pixels, draws_of(num)))
    torch.manual_seed(0)
    theirs = torch.stack([v2.RandomCrop(4, padding=1)(image) for _ in range(num)])
    counts = []
    for crops in (mine, theirs):
        distinct, count = crops.flatten(1).unique(dim=0, return_counts=True)
        assert len(distinct) == 9
        counts.append(count / num)
        assert count.div(num).sub(1 / 9).abs().max() < 0.02
    torch.testing.assert_close(*counts, atol=0.03, rtol=0)


def test_flip_mirrors_half_of_the_samples():
    images = images_of(2000)
    result = images_from(Flip()(pixels_of(images), draws_of(2000)))
    mirrored = functional.horizontal_flip(images)
    is_mirrored, is_same = (result == mirrored).flatten(1).all(1), (result == images).flatten(1).all(1)
    assert (is_mirrored ^ is_same).all()
    assert is_mirrored.float().mean() == pytest.approx(0.5, abs=0.04)
    assert torch.equal(images_from(Flip(1.0)(pixels_of(images), draws_of(2000))), mirrored)
    assert torch.equal(images_from(Flip(0.0)(pixels_of(images), draws_of(2000))), images)


@pytest.mark.parametrize("size", [1, 5, 6, 40])
def test_cutout_erases_what_torchvision_erases(size):
    images = images_of(50).float() + 1
    draws = draws_of(50)
    rows, columns = draws.integers(12), draws.integers(16)
    expected = []
    for image, row, column in zip(images, rows.tolist(), columns.tolist(), strict=True):
        top, left = max(row - size // 2, 0), max(column - size // 2, 0)
        bottom, right = min(row - size // 2 + size, 12), min(column - size // 2 + size, 16)
        expected.append(functional.erase(image, top, left, bottom - top, right - left, torch.tensor(0.0)))
    result = Cutout(size)(pixels_of(images), draws_of(50))
    assert torch.equal(images_from(result), torch.stack(expected))


def test_cutout_acts_after_normalisation_whatever_the_order():
    inputs = data.Pipeline(MEAN, STD, "cutout:40+flip")(images_of(), generator_of())
    assert (inputs == 0).all()


@pytest.mark.parametrize("size", [8, 20])
def test_resize_is_torchvisions(size):
    images = images_of()
    expected = functional.resize(images, [size, size], antialias=True)
    assert torch.equal(images_from(Resize(size)(pixels_of(images), draws_of(9))), expected)
    pipeline = data.Pipeline(MEAN, STD, [{"resize": size}])
    assert pipeline.image_size(12, 16) == (size, size)
    assert pipeline.clean(images).shape == (9, 3, size, size)


@pytest.mark.parametrize("size", [5, 8, 20])
def test_resized_crop_is_torchvisions_for_the_same_boxes(size):
    images, transform = images_of(60), ResizedCrop(size)
    boxes = transform.boxes(draws_of(60), 12, 16).tolist()
    expected = []
    for image, box in zip(images, boxes, strict=True):
        resized = functional.resized_crop(image.float(), *box, [size, size], antialias=True)
        expected.append(resized.round().clamp(0, 255))
    result = images_from(transform(pixels_of(images), draws_of(60)))
    # exact but where the last digit of a float decides how a pixel is rounded
    difference = (result - torch.stack(expected)).abs()
    assert difference.max() <= 1
    assert difference.count_nonzero() <= 5e-3 * difference.numel()


@pytest.mark.parametrize(
    ("scale", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.9, 1.0), (0.3, 0.4)), ((1, 1), (3, 3))]
)
def test_resized_crop_boxes_are_distributed_as_torchvisions(scale, ratio):
    num = 3000
    mine = ResizedCrop(scale=scale, ratio=ratio).boxes(draws_of(num), 60, 90).double()
    torch.manual_seed(1)
    theirs_transform = v2.RandomResizedCrop(8, scale=scale, ratio=ratio)
    image = torch.zeros(3, 60, 90)
    params = [theirs_transform.make_params([image]) for _ in range(num)]
    theirs = torch.tensor([[p["top"], p["left"], p["height"], p["width"]] for p in params]).double()
    for column in range(4):
        # two-sample Kolmogorov-Smirnov, level 1e-4
        grid = torch.cat([mine[:, column], theirs[:, column]]).unique()
        cumulative = [(sample[:, column, None] <= grid).double().mean(0) for sample in (mine, theirs)]
        assert (cumulative[0] - cumulative[1]).abs().max() < 2.2 * math.sqrt(2 / num)


def test_mixup_is_torchvisions_for_the_same_weight(monkeypatch):
    inputs, targets = torch.rand(6, 3, 4, 4), torch.nn.functional.one_hot(torch.arange(6) % 4, 4).float()
    theirs = v2.MixUp(num_classes=4)
    monkeypatch.setattr(theirs, "_dist", type("", (), {"sample": staticmethod(lambda _: torch.tensor([0.3]))}))
    expected_inputs, expected_targets = theirs(inputs, torch.arange(6) % 4)
    weights = torch.full((6,), 0.3)
    torch.testing.assert_close(Mixup.mix(inputs, inputs.roll(1, 0), weights), expected_inputs)
    torch.testing.assert_close(Mixup.mix(targets, targets.roll(1, 0), weights), expected_targets)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixup_weights_follow_the_beta_distribution(alpha):
    from scipy.stats import beta, kstest

    weights = Mixup(alpha).weights(draws_of(4000)).double().numpy()
    assert kstest(np.clip(weights, 0, 1), beta(alpha, alpha).cdf).pvalue > 1e-3


def test_the_same_generator_gives_the_same_batch_and_samples_differ():
    images = images_of(1).expand(20, -1, -1, -1)
    pipeline = data.Pipeline(MEAN, STD, "crop:4+flip+cutout:4")
    first, again = pipeline(images, generator_of(1)), pipeline(images, generator_of(1))
    assert torch.equal(first, again)
    assert len(first.flatten(1).unique(dim=0)) > 15


def test_a_pipeline_leaves_the_stored_images_alone():
    images = pixels_of(images_of()).permute(0, 3, 1, 2)
    before = images.clone()
    data.Pipeline(MEAN, STD, "flip:1.0+auto_augment+cutout:4")(images, generator_of())
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        ("crp+flip", "unknown name 'crp'.*did you mean 'crop'"),
        ("crop:0", "crop: padding 0"),
        ("crop:x", "crop: padding 'x'"),
        ("flip:1.5", "flip: probability 1.5"),
        ("cutout:-1", "cutout: size -1"),
        ("resize", "resize with"),
        ([{"crop": True}], "crop with padding True: wanted is a padding, not yes or no"),
        ([{"flip": True}], "flip with probability True: .*flip alone has its default"),
        ([{"flip": False}], "flip with probability False"),
        ([{"cutout": {"size": True}}], "cutout with size True"),
        ([{"resize": True}], "resize with size True"),
        ([{"mixup": True}], "mixup with alpha True"),
        ([{"rand_augment": {"num_ops": True}}], "rand_augment with num_ops True"),
        ("mixup:0", "mixup: alpha 0"),
        ("mixup:inf", "mixup: alpha inf is out of range, allowed finite numbers above 0"),
        ([{"mixup": float("nan")}], "mixup: alpha nan"),
        ("mixup", "num_classes"),
        ([{"crop": {"pad": 4}}], "crop has no argument 'pad', allowed: padding"),
        ([{"resized_crop": {"scale": [0.5, 0.1]}}], "resized_crop: scale"),
        ([{"crop": 4, "flip": 0.5}], "must be a name or one name with its arguments"),
        ([4], "must be a name or one name with its arguments"),
    ],
)
def test_bad_augmentations_are_refused(augmentation, message):
    with pytest.raises(ValueError, match=message) as caught:
        data.Pipeline(MEAN, STD, augmentation)
    assert "\n" not in str(caught.value)


def test_forms_of_the_same_augmentation():
    images = images_of()
    forms = ["crop:2+flip", [{"crop": 2}, "flip"], [{"crop": {"padding": 2}}, {"flip": {}}], ["crop:2+flip"]]
    results = [data.Pipeline(MEAN, STD, form)(images, generator_of()) for form in forms[:3]]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    for nothing in ("none", [], ["none"], ""):
        pipeline = data.Pipeline(MEAN, STD, nothing)
        assert torch.equal(pipeline(images, generator_of()), pipeline.clean(images))
