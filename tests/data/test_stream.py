"""Streams: every sample once an epoch, exact continuation, independence of the number of processes."""

import pytest
import torch

from sacreddnn import data
from sacreddnn.data.seeds import derive_seed


@pytest.fixture(scope="module")
def split():
    """Seventy images whose label is their index."""
    images = torch.randint(0, 256, (70, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return data.Split(images, torch.arange(70))


def stream_of(split, batch_size=16, augmentation="crop:2+flip", **options):
    pipeline = data.Pipeline((0.5,) * 3, (0.25,) * 3, augmentation, num_classes=70)
    return data.Stream(split, batch_size, pipeline=pipeline, **options)


def take(stream, count):
    return [next(stream) for _ in range(count)]


def equal(first, second):
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))


def test_an_epoch_has_every_sample_once_and_the_next_another_order(split):
    stream = stream_of(split, drop_last=False)
    assert len(stream) == 5
    epochs = [torch.cat([labels for _, labels in take(stream, 5)]) for _ in range(2)]
    for order in epochs:
        assert torch.equal(order.sort().values, torch.arange(70))
    assert not torch.equal(*epochs)


def test_drop_last_leaves_out_the_partial_batch(split):
    stream = stream_of(split, drop_last=True)
    assert len(stream) == 4
    assert [len(labels) for _, labels in take(stream, 9)] == [16] * 9
    assert (stream.epoch, stream.position) == (2, 1)


@pytest.mark.parametrize("augmentation", ["none", "crop:2+flip", "crop:2+cutout:3+mixup:0.5"])
def test_a_restored_stream_continues_bit_for_bit(split, augmentation):
    stream = stream_of(split, augmentation=augmentation, drop_last=False, seed=3, stream=1)
    take(stream, 7)
    state = stream.state_dict()
    expected = take(stream, 8)
    restored = stream_of(split, augmentation=augmentation, drop_last=False, seed=3, stream=1)
    restored.load_state_dict(state)
    assert equal(take(restored, 8), expected)


@pytest.mark.parametrize("augmentation", ["none", "crop:2+flip", "crop:2+flip+mixup:0.5"])
@pytest.mark.parametrize("world", [2, 3])
def test_the_parts_of_all_processes_make_the_same_minibatches(split, augmentation, world):
    whole = take(stream_of(split, augmentation=augmentation, drop_last=False), 6)
    parts = [
        take(stream_of(split, augmentation=augmentation, drop_last=False, shard=(rank, world)), 6)
        for rank in range(world)
    ]
    joined = [tuple(torch.cat(tensors) for tensors in zip(*batch, strict=True)) for batch in zip(*parts, strict=True)]
    assert equal(joined, whole)


def test_streams_and_seeds_give_different_minibatches(split):
    first = take(stream_of(split, seed=1, stream=2), 1)
    for other in (stream_of(split, seed=2, stream=1), stream_of(split, seed=1, stream=3), stream_of(split)):
        assert not torch.equal(take(other, 1)[0][1], first[0][1])


def test_streams_read_the_images_of_the_split_itself(split):
    copy = data.Split(split.images.clone(), split.labels)
    streams = [stream_of(copy, stream=i, augmentation="none") for i in range(2)]
    copy.images.zero_()
    assert all((next(stream)[0] == -2).all() for stream in streams)


def test_a_minibatch_is_channels_last_and_holds_the_right_images(split):
    inputs, labels = next(stream_of(split, augmentation="none"))
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    expected = (split.images[labels].float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(inputs, expected)


def test_mixup_blends_inputs_and_targets_by_the_same_weight(split):
    inputs, targets = next(stream_of(split, augmentation="mixup:1.0"))
    clean = (split.images.float() / 255 - 0.5) / 0.25
    assert targets.shape == (16, 70)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(targets.sum(1), torch.ones(16))
    torch.testing.assert_close(inputs, torch.einsum("nk,kchw->nchw", targets, clean), atol=1e-5, rtol=1e-5)
    assert targets.max(1).values.std() > 0.1
    assert (targets > 0).sum() == 32


def test_a_state_of_another_stream_is_refused(split):
    state = stream_of(split, batch_size=8).state_dict()
    with pytest.raises(ValueError, match=r"^batch_size: the saved stream had 8, this one has 16$"):
        stream_of(split).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 71}, "batch_size: 71 is out of range, allowed 1 to 70"),
        ({"shard": (2, 2)}, "shard: rank 2 of 2"),
        ({"drop_last": False, "shard": (0, 7)}, "a minibatch of 6 cannot be shared by 7"),
    ],
)
def test_impossible_streams_are_refused(split, options, message):
    with pytest.raises(ValueError, match=message):
        stream_of(split, **options)


def test_derived_seeds_do_not_collide_and_do_not_change():
    tuples = [(seed, stream, epoch) for seed in range(20) for stream in range(20) for epoch in range(20)]
    assert len({derive_seed(*parts) for parts in tuples}) == len(tuples)
    assert derive_seed(1, "order", 2) != derive_seed(1, "noise", 2)
    assert derive_seed(0, "order", 0, 0) == 7949518961591634244
    assert 0 <= derive_seed(-1) < 2**63
