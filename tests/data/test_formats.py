"""Every reader, end to end, on files of the real formats with known content."""

import pytest
import torch

from sacreddnn import data
from sacreddnn.data import idx, synthetic, synthetic_files
from sacreddnn.data.unpickle import unpickle


def raw_of(channels=3, size=32, num_classes=10, train=40, test=20):
    options = {"channels": channels, "image_size": size, "num_classes": num_classes}
    return synthetic.read(None, train_samples=train, test_samples=test, **options)


def assert_same(dataset, raw, any_order=False):
    for split, expected in ((dataset.train, raw.train), (dataset.test, raw.test)):
        order = torch.arange(len(expected))
        if any_order:  # readers of folders go class by class
            order = expected.labels.argsort(stable=True)
        assert torch.equal(split.images, expected.images[order])
        assert torch.equal(split.labels, expected.labels[order])


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "mnist"), ("mnist", "MNIST/raw"), ("fashion_mnist", "fashion_mnist")]
)
def test_idx(tmp_path, name, folder, compress):
    raw = raw_of(channels=1, size=28)
    synthetic_files.write_idx(raw, tmp_path / folder, compress=compress)
    dataset = data.load(name, tmp_path, download=False)
    assert_same(dataset, raw)
    assert dataset.num_classes == len(dataset.classes) == 10


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "folder"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "python"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("below", [True, False], ids=["own_folder", "root"])
def test_cifar(tmp_path, name, binary, archive, below):
    raw = raw_of(num_classes=10 if name == "cifar10" else 100, train=200, test=100)
    synthetic_files.write_cifar(raw, tmp_path / name if below else tmp_path, name, binary=binary, archive=archive)
    dataset = data.load(name, tmp_path, download=False)
    assert_same(dataset, raw)
    assert dataset.classes == raw.classes


def test_the_python_version_written_here_is_what_torchvision_reads(tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    raw = raw_of()
    synthetic_files.write_cifar(raw, tmp_path, binary=False, archive=False)
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "_check_integrity", lambda self: True)
    monkeypatch.setattr(kind, "_load_meta", lambda self: None)
    theirs = kind(tmp_path, train=True)
    assert torch.equal(torch.from_numpy(theirs.data).permute(0, 3, 1, 2), raw.train.images)
    assert theirs.targets == raw.train.labels.tolist()


def test_a_pickle_as_python_2_wrote_it_is_read():
    pixels = bytes(range(256)) * 12
    content = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00" + pixels + b"tb"
        b"U\x06labels](K\x07eu."
    )
    batch = unpickle(content, "data_batch_1")
    assert batch["labels"] == [7]
    assert batch["data"].array("data_batch_1").tobytes() == pixels


def test_svhn(tmp_path):
    from scipy.io import savemat

    raw = raw_of()
    (tmp_path / "svhn").mkdir()
    for name, split in (("train", raw.train), ("test", raw.test), ("extra", raw.test)):
        labels = torch.where(split.labels == 0, 10, split.labels)  # the digit zero is stored as ten
        content = {"X": split.images.permute(2, 3, 1, 0).numpy(), "y": labels[:, None].numpy().astype("uint8")}
        savemat(tmp_path / "svhn" / f"{name}_32x32.mat", content)
    assert_same(data.load("svhn", tmp_path, download=False), raw)
    more = data.load("svhn", tmp_path, download=False, options={"extra": True})
    assert len(more.train) == 60
    assert torch.equal(more.train.images[40:], raw.test.images)


@pytest.mark.parametrize("extracted", [False, True])
def test_tiny_imagenet(tmp_path, extracted):
    raw = raw_of(size=64, num_classes=3, train=9, test=6)
    path = synthetic_files.write_tiny_imagenet(raw, tmp_path / "tiny_imagenet")
    if extracted:
        import zipfile

        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "tiny_imagenet")
        path.unlink()
    dataset = data.load("tiny_imagenet", tmp_path, download=False)
    order = raw.train.labels.argsort(stable=True)
    assert torch.equal(dataset.train.images, raw.train.images[order])
    assert torch.equal(dataset.test.images, raw.test.images)
    assert torch.equal(dataset.test.labels, raw.test.labels)
    assert dataset.classes == raw.classes


def test_image_folder(tmp_path, monkeypatch):
    raw = raw_of(size=20, num_classes=3, train=9, test=6)
    synthetic_files.write_image_folder(raw, tmp_path / "mine")
    dataset = data.load("folder", tmp_path, options={"path": "mine"})
    assert_same(dataset, raw, any_order=True)
    assert dataset.classes == raw.classes
    monkeypatch.setenv("HOME", str(tmp_path))
    smaller = data.load("folder", tmp_path / "elsewhere", options={"path": "~/mine", "image_size": 12})
    assert smaller.train.shape == (3, 12, 12)


def test_imagenet_is_resized_and_cropped_as_torchvision_does(tmp_path):
    from PIL import Image
    from torchvision.transforms import v2

    raw = raw_of(size=(40, 56), num_classes=2, train=4, test=2)
    synthetic_files.write_image_folder(raw, tmp_path / "imagenet")
    dataset = data.load("imagenet", tmp_path, options={"image_size": 28}, normalization="imagenet")
    per_image = v2.Compose([v2.Resize(32), v2.CenterCrop(28), v2.PILToTensor()])
    expected = [per_image(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in raw.train.images]
    order = raw.train.labels.argsort(stable=True)
    assert torch.equal(dataset.train.images, torch.stack(expected)[order])
    assert dataset.mean == (0.485, 0.456, 0.406)


def test_digits_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    digits, theirs = data.load("digits"), datasets.load_digits()
    images = torch.cat([digits.train.images, digits.test.images]).squeeze(1)
    assert torch.equal((images.double() * 16 / 255).round(), torch.from_numpy(theirs.images))
    assert torch.cat([digits.train.labels, digits.test.labels]).tolist() == theirs.target.tolist()
    assert (len(digits.train), len(digits.test), digits.num_classes) == (1500, 297, 10)


def test_synthetic_classes_can_be_told_apart_and_the_seed_decides():
    first, again = raw_of(), raw_of()
    assert_same(first, again)
    assert not torch.equal(synthetic.read(None, seed=1, train_samples=40).train.images, first.train.images)
    raw = synthetic.read(None, channels=1, image_size=(16, 12), num_classes=4, train_samples=400, contrast=2.0)
    assert raw.train.shape == (1, 16, 12)
    assert raw.train.labels.bincount().tolist() == [100] * 4
    means = torch.stack([raw.train.images[raw.train.labels == c].float().mean(0) for c in range(4)]).flatten(1)
    nearest = torch.cdist(raw.test.images.float().flatten(1), means).argmin(1)
    assert (nearest == raw.test.labels).float().mean() > 0.9


@pytest.mark.parametrize("shape", [(3,), (2, 3), (0, 4), (2, 3, 4)])
def test_read_idx_returns_the_array_of_the_header(tmp_path, shape):
    expected = torch.arange(torch.Size(shape).numel(), dtype=torch.uint8).view(shape)
    header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    path = tmp_path / "array"
    path.write_bytes(header + expected.numpy().tobytes())
    assert torch.equal(idx.read_idx(path), expected)


REAL = [folder for folder in [data.mnist.SYSTEM_FOLDER] if data.mnist.find([folder])]


@pytest.mark.skipif(not REAL, reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_real_fashion_mnist(tmp_path):
    dataset = data.load("fashion_mnist", tmp_path, download=False)
    assert (len(dataset.train), len(dataset.test), dataset.train.shape) == (60_000, 10_000, (1, 28, 28))
    assert dataset.train.labels.bincount().tolist() == [6000] * 10
    reference = data.load("fashion_mnist", tmp_path, download=False, normalization="reference")
    assert torch.allclose(
        torch.tensor(dataset.mean + dataset.std), torch.tensor(reference.mean + reference.std), atol=5e-5
    )
