"""The cache of decoded data sets: what makes it valid, damage of any kind, processes at once."""

import json
import os

import pytest

from sacreddnn import data
from sacreddnn.data import cache, folder, mnist, synthetic, synthetic_files
from sacreddnn.data.dataset import DataError


def raw_of(channels=3, size=32, num_classes=10, train=20, test=10):
    options = {"channels": channels, "image_size": size, "num_classes": num_classes}
    return synthetic.read(None, train_samples=train, test_samples=test, **options)


def load(name, root, **options):
    return data.load(name, root, download=False, **options)


def truncate(path, keep=0.6):
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def corrupt(path, place=0.5):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    path.write_bytes(content)


def test_a_corrupted_cache_is_rebuilt(tmp_path):
    raw = raw_of(channels=1, size=28)
    synthetic_files.write_idx(raw, tmp_path / "mnist")
    load("mnist", tmp_path)
    path = tmp_path / "mnist" / "mnist.cache"
    whole = path.read_bytes()
    for place in (0.0, 0.001, 0.5, 0.999):
        corrupt(path, place)
        assert load("mnist", tmp_path).train.images.equal(raw.train.images)
        assert path.read_bytes() == whole
    truncate(path)
    assert load("mnist", tmp_path).train.images.equal(raw.train.images)
    assert path.read_bytes() == whole


def edit_header(path, edit, seal):
    """Changes the header of a cache, with or without a checksum that fits."""
    magic, line, payload = path.read_bytes().split(b"\n", 2)
    header = json.loads(line)
    payload = edit(header, payload) or payload
    if seal:
        header["sha256"] = cache._digest(header, [payload])
    path.write_bytes(b"\n".join([magic, json.dumps(header).encode(), payload]))


def transpose(header, payload):
    header["arrays"][0][2] = [20, 14, 56, 1]


def negate(header, payload):
    header["arrays"][0][2] = [-20, -28, 28, 1]


def rename_classes(header, payload):
    header["classes"].reverse()


def append(header, payload):
    return payload + bytes(8)


@pytest.mark.parametrize(
    ("edit", "seal"), [(transpose, False), (rename_classes, False), (negate, True), (append, True), (append, False)]
)
def test_a_cache_whose_header_does_not_fit_is_rebuilt(tmp_path, edit, seal):
    raw = raw_of(channels=1, size=28)
    synthetic_files.write_idx(raw, tmp_path / "mnist")
    before = load("mnist", tmp_path)
    path = tmp_path / "mnist" / "mnist.cache"
    whole = path.read_bytes()
    edit_header(path, edit, seal)
    after = load("mnist", tmp_path)
    assert after.train.images.equal(raw.train.images)
    assert after.classes == before.classes
    assert path.read_bytes() == whole


def test_an_image_moved_to_another_class_has_the_label_of_that_class(tmp_path):
    raw = raw_of(size=4, num_classes=2, train=1200, test=2)  # beyond what torch prints of a tensor
    synthetic_files.write_image_folder(raw, tmp_path)
    first, second = tmp_path / "train" / "class_0", tmp_path / "train" / "class_1"
    for image in second.iterdir():
        image.rename(second / f"z{image.name}")
    before = load("folder", tmp_path)
    last = max(first.iterdir())
    last.rename(second / last.name)  # names, sizes and times in the order of the files are what they were
    after = load("folder", tmp_path)
    assert before.train.labels.bincount().tolist() == [600, 600]
    assert after.train.labels.bincount().tolist() == [599, 601]


def test_a_cache_moves_with_its_folder(tmp_path, monkeypatch):
    synthetic_files.write_image_folder(raw_of(size=4, num_classes=2, train=4, test=2), tmp_path / "here")
    before = load("folder", tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.setattr(folder, "decode_images", lambda *_, **__: pytest.fail("decoded again"))
    assert load("folder", tmp_path / "there").train.images.equal(before.train.images)


def test_the_cache_is_used_and_follows_its_sources(tmp_path, monkeypatch):
    raw, other = raw_of(channels=1, size=28), raw_of(channels=1, size=28, train=30)
    synthetic_files.write_idx(raw, tmp_path / "mnist")
    load("mnist", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(mnist.idx, "decode", lambda *_: pytest.fail("decoded again"))
        assert load("mnist", tmp_path).train.images.equal(raw.train.images)
    synthetic_files.write_idx(other, tmp_path / "mnist")
    assert load("mnist", tmp_path).train.images.equal(other.train.images)


def test_a_fault_of_the_source_leaves_the_cache_untouched(tmp_path):
    synthetic_files.write_idx(raw_of(channels=1, size=28), tmp_path / "mnist")
    load("mnist", tmp_path)
    path = tmp_path / "mnist" / "mnist.cache"
    whole = path.read_bytes()
    truncate(tmp_path / "mnist" / "train-images-idx3-ubyte.gz")
    with pytest.raises(DataError, match="damaged or truncated"):
        load("mnist", tmp_path)
    assert path.read_bytes() == whole
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_that_cannot_be_written_needs_no_cache(tmp_path, monkeypatch):
    synthetic_files.write_idx(raw_of(channels=1, size=28), tmp_path / "mnist")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_write", full)
    assert len(load("mnist", tmp_path).train) == 20
    monkeypatch.setattr(cache, "locked", full)
    assert len(load("mnist", tmp_path).train) == 20


def _load_and_count(folder):
    """Runs in a process of its own: loads, and leaves a mark when it had to decode."""
    real = mnist.idx.decode

    def counting(*arguments):
        (folder / f"decoded_{os.getpid()}").touch()
        return real(*arguments)

    mnist.idx.decode = counting
    load("mnist", folder)


def test_processes_that_start_at_once_decode_once(tmp_path):
    import multiprocessing

    synthetic_files.write_idx(raw_of(channels=1, size=28, train=2000), tmp_path / "mnist")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_load_and_count, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(list(tmp_path.glob("decoded_*"))) == 1
