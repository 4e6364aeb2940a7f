"""Images left in their files: the same interface, the same determinism, whatever the number of workers."""

import copy
import os

import pytest
import torch
from PIL import Image

from sacreddnn import data
from sacreddnn.data import synthetic, synthetic_files
from sacreddnn.data.dataset import Split
from sacreddnn.data.streaming import FileSplit, FileStream


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    raw = synthetic.read(None, image_size=(24, 32), num_classes=3, train_samples=30, test_samples=9)
    synthetic_files.write_image_folder(raw, root)
    return root


def load(folder, **options):
    return data.load("folder", folder, options={"image_size": 16, **options})


def streamed(folder, **options):
    return data.load("folder", folder, options={"image_size": 16, "in_memory": False}, **options)


def stream_of(split, augmentation="crop:2+flip", **options):
    pipeline = data.Pipeline((0.5,) * 3, (0.25,) * 3, augmentation, num_classes=3)
    return data.make_stream(split, 8, pipeline=pipeline, drop_last=False, **options)


def take(stream, count):
    return [next(stream) for _ in range(count)]


def equal(first, second):
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))


def test_streaming_gives_the_very_minibatches_of_memory(folder):
    in_memory, in_files = load(folder).train, streamed(folder).train
    assert isinstance(in_files, FileSplit)
    assert isinstance(stream_of(in_files), FileStream)
    assert (len(in_files), in_files.shape) == (len(in_memory), in_memory.shape)
    expected = take(stream_of(in_memory, seed=2), 9)
    assert equal(take(stream_of(in_files, seed=2, num_workers=0), 9), expected)
    assert equal(take(stream_of(in_files, seed=2, num_workers=2), 9), expected)


@pytest.mark.parametrize("augmentation", ["resized_crop+flip", "resized_crop:12+mixup:0.4"])
def test_streams_resume_and_do_not_depend_on_workers_or_processes(folder, augmentation):
    split = streamed(folder).train
    whole = take(stream_of(split, augmentation, num_workers=0), 10)
    stream = stream_of(split, augmentation, num_workers=1 if "mixup" in augmentation else 0)
    assert equal(take(stream, 5), whole[:5])
    state = stream.state_dict()
    assert (state["epoch"], state["position"]) == (1, 1)
    take(stream, 2)
    stream.load_state_dict(state)
    assert equal(take(stream, 5), whole[5:])
    parts = [take(stream_of(split, augmentation, num_workers=0, shard=(rank, 2)), 4) for rank in range(2)]
    joined = [tuple(torch.cat(t) for t in zip(*batch, strict=True)) for batch in zip(*parts, strict=True)]
    assert equal(joined, whole[:4])


def test_random_resized_crops_are_torchvisions(folder):
    from torchvision.transforms import v2

    split = streamed(folder).train
    stream = stream_of(split, "resized_crop", num_workers=0)
    keys = next(copy.copy(stream)._keys())
    inputs, labels = next(stream)
    transform = v2.Compose([v2.RandomResizedCrop(16, antialias=True), v2.PILToTensor()])
    for (index, seed), result, label in zip(keys, inputs, labels, strict=True):
        torch.manual_seed(seed)
        expected = transform(Image.open(split.images.files[index]).convert("RGB"))
        torch.testing.assert_close(result * 0.25 + 0.5, expected / 255)
        assert label == split.labels[index]


def test_global_random_state_is_left_alone(folder):
    split = streamed(folder).train
    before = torch.get_rng_state()
    take(stream_of(split, "resized_crop", num_workers=0), 2)
    take(stream_of(split, "resized_crop", num_workers=1), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_and_selection_work_as_in_memory(folder):
    in_memory, in_files = load(folder), streamed(folder)
    assert (in_files.mean, in_files.std) == (in_memory.mean, in_memory.std)
    pipeline = data.Pipeline(in_files.mean, in_files.std, "resized_crop")
    assert torch.equal(pipeline.clean(in_files.test.images[2:7]), pipeline.clean(in_memory.test.images[2:7]))
    assert torch.equal(in_files.test.labels, in_memory.test.labels)
    options = {"classes": [2, 0], "validation": 4, "num_train": 9, "noise": 0.3, "seed": 4}
    subset = streamed(folder, **options)
    expected = data.load("folder", folder, options={"image_size": 16}, **options)
    for name in ("train", "validation", "test"):
        mine, theirs = getattr(subset, name), getattr(expected, name)
        assert torch.equal(mine.labels, theirs.labels)
        assert torch.equal(mine.images[:], theirs.images)


def test_streaming_needs_a_size(folder):
    with pytest.raises(ValueError, match="image_size: needed to stream"):
        data.load("folder", folder, options={"in_memory": False})


def test_where_the_images_are_does_not_depend_on_the_memory_that_is_free(folder, monkeypatch):
    sysconf = os.sysconf
    monkeypatch.setattr(os, "sysconf", lambda name: 0 if name == "SC_AVPHYS_PAGES" else sysconf(name))
    assert type(load(folder).train) is Split
    num_bytes = 39 * 3 * 16**2
    for bound, kind in ((num_bytes, Split), (num_bytes - 1, FileSplit)):
        monkeypatch.setattr("sacreddnn.data.folder.IN_MEMORY_BYTES", bound)
        assert type(load(folder).train) is kind


def test_images_that_are_larger_than_the_memory_are_refused_in_a_line(folder, monkeypatch):
    monkeypatch.setattr("sacreddnn.data.folder.total_memory", lambda: 1000.0)
    with pytest.raises(
        ValueError, match=r"^dataset.options.in_memory: 0.0 GiB of pixels do not fit .* set it to false"
    ):
        load(folder)
    assert type(streamed(folder).train) is FileSplit


def test_a_stream_from_files_and_one_from_memory_do_not_take_each_others_state(folder):
    in_memory, in_files = stream_of(load(folder).train), stream_of(streamed(folder).train)
    line = "images_from: the saved stream read images from {}, this one from {}; dataset.options.in_memory decides it"
    with pytest.raises(ValueError, match=line.format("memory", "files")):
        in_files.load_state_dict(in_memory.state_dict())
    with pytest.raises(ValueError, match=line.format("files", "memory")):
        in_memory.load_state_dict(in_files.state_dict())
    old = in_files.state_dict() | {"position": 2}
    del old["images_from"]
    in_files.load_state_dict(old)
    assert in_files.position == 2


def test_every_image_of_every_epoch_has_a_seed_of_its_own(folder):
    keys = copy.copy(stream_of(streamed(folder).train, "resized_crop"))._keys()
    seeds = [seed for _ in range(8) for _, seed in next(keys)]  # two epochs of 30 images
    assert len(set(seeds)) == len(seeds) == 60
