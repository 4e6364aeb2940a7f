"""Missing, truncated, corrupted and hostile files: one clear line, and the cache as it was."""

import io
import os
import pickle
import tarfile
import zipfile

import pytest

from sacreddnn import data
from sacreddnn.data import mnist, synthetic, synthetic_files
from sacreddnn.data.archive import read_members
from sacreddnn.data.dataset import DataError
from sacreddnn.data.unpickle import unpickle


def raw_of(channels=3, size=32, num_classes=10, train=20, test=10):
    options = {"channels": channels, "image_size": size, "num_classes": num_classes}
    return synthetic.read(None, train_samples=train, test_samples=test, **options)


def fails(message, call, *arguments, **options):
    with pytest.raises(DataError, match=message) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load(name, root, **options):
    return data.load(name, root, download=False, **options)


def truncate(path, keep=0.6):
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def corrupt(path, place=0.5):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "train-images-idx3-ubyte.gz"),
        ("cifar10", "cifar-10-binary.tar.gz"),
        ("cifar100", "cifar-100-python.tar.gz"),
        ("svhn", "train_32x32.mat"),
        ("tiny_imagenet", "tiny-imagenet-200.zip"),
        ("imagenet", "train"),
        ("folder", "train"),
    ],
)
def test_a_missing_data_set_says_which_file_to_put_where(tmp_path, name, file):
    message = fails(file, load, name, tmp_path)
    assert file in message
    assert str(tmp_path) in message


def test_missing_fashion_mnist_without_network_says_both_ways_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "SYSTEM_FOLDER", tmp_path / "none")
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    message = fails("apt-get install dataset-fashion-mnist", data.load, "fashion_mnist", tmp_path)
    assert f"put it at {tmp_path / 'fashion_mnist' / 'train-images-idx3-ubyte.gz'}" in message


def test_fashion_mnist_is_installed_where_this_is_allowed(tmp_path, monkeypatch):
    raw = raw_of(channels=1, size=28)
    calls = []

    def install(command, **_):
        calls.append(command)
        synthetic_files.write_idx(raw, tmp_path / "system")

    monkeypatch.setattr(mnist, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(mnist.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(mnist.subprocess, "run", install)
    assert len(data.load("fashion_mnist", tmp_path).train) == 20
    assert calls == [["apt-get", "install", "-y", "--no-install-recommends", "dataset-fashion-mnist"]]


@pytest.mark.parametrize("damage", [truncate, corrupt])
@pytest.mark.parametrize("compress", [True, False])
def test_damaged_idx(tmp_path, damage, compress):
    synthetic_files.write_idx(raw_of(channels=1, size=28), tmp_path / "mnist", compress=compress)
    path = tmp_path / "mnist" / f"train-images-idx3-ubyte{'.gz' if compress else ''}"
    if damage is corrupt and not compress:  # plain files hold no checksum, but their header must fit
        corrupt(path, 0.0004)
    else:
        damage(path)
    fails(str(path), load, "mnist", tmp_path)
    assert not list(tmp_path.rglob("*.cache"))


def test_idx_labels_out_of_range(tmp_path):
    synthetic_files.write_idx(raw_of(channels=1, size=28, num_classes=12), tmp_path / "mnist")
    fails("label 11, but there are 10 classes", load, "mnist", tmp_path)


@pytest.mark.parametrize("damage", [truncate, corrupt])
@pytest.mark.parametrize("binary", [True, False])
def test_damaged_cifar_archive(tmp_path, damage, binary):
    path = synthetic_files.write_cifar(raw_of(), tmp_path, binary=binary)
    damage(path)
    fails(str(path), load, "cifar10", tmp_path)


@pytest.mark.parametrize("binary", [True, False])
def test_damaged_cifar_folder(tmp_path, binary):
    folder = synthetic_files.write_cifar(raw_of(), tmp_path, binary=binary, archive=False)
    path = folder / ("data_batch_3.bin" if binary else "data_batch_3")
    truncate(path)
    fails("data_batch_3", load, "cifar10", tmp_path)
    path.unlink()
    fails("data_batch_3.*extract .* again", load, "cifar10", tmp_path)


def test_a_cifar_batch_cut_at_a_record(tmp_path):
    folder = synthetic_files.write_cifar(raw_of(), tmp_path, archive=False)
    truncate(folder / "data_batch_2.bin", 0.5)
    fails("one is truncated", load, "cifar10", tmp_path)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_a_pickle_that_calls_a_function_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails("system, which no data file needs", unpickle, pickle.dumps(Hostile()), "data_batch_1")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02}", b"hello", pickle.dumps([1, 2])])
def test_pickles_that_are_not_batches(tmp_path, content):
    folder = synthetic_files.write_cifar(raw_of(), tmp_path, binary=False, archive=False)
    (folder / "data_batch_1").write_bytes(content)
    fails("data_batch_1", load, "cifar10", tmp_path)


def test_damaged_svhn(tmp_path):
    (tmp_path / "svhn").mkdir()
    for name in ("train", "test"):
        (tmp_path / "svhn" / f"{name}_32x32.mat").write_bytes(b"MATLAB 5.0" + bytes(200))
    fails("train_32x32.mat: not a readable SVHN file", load, "svhn", tmp_path)


@pytest.mark.parametrize("damage", [truncate, corrupt])
def test_damaged_tiny_imagenet(tmp_path, damage):
    path = synthetic_files.write_tiny_imagenet(raw_of(size=64, num_classes=2, train=4, test=2), tmp_path)
    damage(path, 0.2)
    fails(str(path), load, "tiny_imagenet", tmp_path)


def test_a_class_of_tiny_imagenet_without_images(tmp_path):
    path = synthetic_files.write_tiny_imagenet(raw_of(size=64, num_classes=2, train=4, test=2), tmp_path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist() if "n00000001_" not in name}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    fails("class n00000001 has no training images", load, "tiny_imagenet", tmp_path)


def zip_with(path, name):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"content")


def tar_with(path, name):
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = 7
        archive.addfile(member, io.BytesIO(b"content"))


def tar_with_link(path, name):
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = tarfile.SYMTYPE, name
        archive.addfile(member)


@pytest.mark.parametrize("write", [zip_with, tar_with, tar_with_link])
@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "a/../../escaped", "C:\\escaped"])
def test_an_archive_whose_paths_escape_is_refused(tmp_path, write, name):
    path = tmp_path / ("archive.zip" if write is zip_with else "archive.tar.gz")
    write(path, name)
    fails("leads out of the archive", read_members, path, lambda _: True)


def test_an_archive_in_order_is_read(tmp_path):
    for write, name in ((zip_with, "archive.zip"), (tar_with, "archive.tar.gz")):
        write(tmp_path / name, "a/b")
        assert read_members(tmp_path / name, lambda name: name.startswith("a/")) == {"a/b": b"content"}
        assert read_members(tmp_path / name, lambda name: False) == {}


@pytest.mark.parametrize("top", [".", "./"])
def test_an_archive_of_the_present_folder_is_read(tmp_path, top):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"content")
    with tarfile.open(tmp_path / "archive.tar", "w") as archive:
        archive.add(tmp_path / "folder", top)  # names as `tar -C folder .` gives them
        archive.add(tmp_path / "file", "./a/b")
    assert read_members(tmp_path / "archive.tar", lambda _: True) == {"./a/b": b"content"}


def image_folder(tmp_path):
    synthetic_files.write_image_folder(raw_of(size=16, num_classes=2, train=4, test=2), tmp_path)
    return tmp_path


def test_faults_of_image_folders(tmp_path):
    folder = image_folder(tmp_path)
    (folder / "train" / "empty").mkdir()
    fails("empty: a class folder without images", load, "folder", folder)
    (folder / "train" / "empty").rmdir()
    image = folder / "train" / "class_0" / "000001.png"
    image = image if image.exists() else next((folder / "train" / "class_0").iterdir())
    content = image.read_bytes()
    image.write_bytes(content[:60])
    fails(f"{image.name}: not a readable image", load, "folder", folder)
    image.write_bytes(synthetic_files.png(raw_of(size=8).train, 0))
    fails("set the option image_size", load, "folder", folder)
    image.write_bytes(content)
    (folder / "val" / "class_1").rename(folder / "val" / "class_2")
    fails("class 'class_1' is not in both", load, "folder", folder)


@pytest.mark.parametrize("option", [{"image_size": "abc"}, {"image_size": 0}, {"crop_fraction": "half"}])
def test_bad_options_of_image_folders_are_refused(tmp_path, option):
    ((key, value),) = option.items()
    with pytest.raises(ValueError, match=f"^dataset.options.{key}: {value!r} .* allowed"):
        load("folder", tmp_path, options=option)
