"""Networks of timm and torchvision by their names, and pretrained weights."""

import pytest
import torch
from safetensors.torch import save_file

from sacreddnn import models

SHAPE = {"num_classes": 3, "in_channels": 1, "image_size": 32}


@pytest.mark.parametrize(
    "name",
    [
        "timm/test_vit",  # of a fixed image size
        "timm/test_byobnet.r160_in1k",
        "torchvision/squeezenet1_1",  # its classifier is a convolution
        "torchvision/googlenet",  # with auxiliary outputs in training
        "torchvision/shufflenet_v2_x0_5",
    ],
)
@pytest.mark.parametrize("in_channels", [1, 5])
def test_channels_classes_and_size_are_adapted(name, in_channels):
    network = models.build(name, num_classes=7, in_channels=in_channels, image_size=64, seed=0)
    scores = network(torch.randn(2, in_channels, 64, 64))
    assert scores.shape == (2, 7)
    scores.sum().backward()


def test_dropout_reaches_the_classifier():
    for name in ("timm/test_resnet", "torchvision/mobilenet_v3_small"):
        network = models.build(name, **SHAPE, dropout=0.9, seed=0).train()
        images = torch.randn(4, 1, 32, 32)
        plain = models.build(name, **SHAPE, dropout=0.0, seed=0).train()
        torch.manual_seed(0)
        assert not torch.allclose(network(images), plain(images), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("torchvision/inception_v3", {}, r"image_size: Inception3 does not take images of 1x32x32"),
        ("torchvision/maxvit_t", {}, r"model\.name: torchvision/maxvit_t cannot be built with"),
        (
            "torchvision/vit_h_14",
            {},
            r"model\.name: torchvision/vit_h_14 .*'image_size': 32.* resize the images \(dataset\.augmentation",
        ),
        ("torchvision/resnet18", {"dropout": 0.1}, r"model\.dropout: torchvision/resnet18 has none"),
        (
            "torchvision/resnet18",
            {"drop_path": 0.1},
            r"model\.drop_path: torchvision/resnet18 takes no such option",
        ),
        ("timm/vgg11", {"drop_path": 0.5}, r"model\.name: timm/vgg11 cannot be built with .*drop_path_rate"),
        ("timm/resnet26d.nothing", {}, r"model\.name: 'resnet26d\.nothing' is unknown"),
        ("timm/test_resnet", {"pretrained": 3}, r"model\.pretrained: 3 is not allowed"),
        ("timm/resnet18c", {}, r"model\.name: 'timm/resnet18c' is unknown; did you mean timm/resnet18"),
    ],
)
def test_what_a_network_does_not_take_is_named(name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        models.build(name, **SHAPE, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("library", ["timm/test_resnet", "torchvision/shufflenet_v2_x0_5"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_from_disk_fit_other_channels_and_classes(tmp_path, library, suffix):
    colour = {**SHAPE, "in_channels": 3}
    source = models.build(library, **colour, seed=1).eval()
    path = str(tmp_path / f"weights{suffix}")
    (save_file if suffix == ".safetensors" else torch.save)(source.state_dict(), path)
    images = torch.randn(2, 1, 32, 32)

    same = models.build(library, **colour, seed=2, pretrained=path).eval()
    torch.testing.assert_close(same(images.repeat(1, 3, 1, 1)), source(images.repeat(1, 3, 1, 1)))
    # one channel, and six, respond to a gray image as three did
    for channels in (1, 6):
        gray = models.build(library, **{**SHAPE, "in_channels": channels}, seed=2, pretrained=path).eval()
        torch.testing.assert_close(
            gray(images.repeat(1, channels, 1, 1)), same(images.repeat(1, 3, 1, 1)), rtol=1e-3, atol=1e-5
        )
    # other classes: all but the classifier is loaded
    other = models.build(library, **{**colour, "num_classes": 5}, seed=2, pretrained=path)
    loaded, given = other.state_dict(), source.state_dict()
    different = [name for name in given if not torch.equal(loaded[name], given[name])]
    assert different == ["fc.weight", "fc.bias"]


def test_weights_of_another_network_are_refused(tmp_path):
    path = str(tmp_path / "weights.pt")
    torch.save(models.build("lenet", **SHAPE).state_dict(), path)
    with pytest.raises(ValueError, match=r"weights\.pt holds the weights of another network"):
        models.build("timm/test_resnet", **SHAPE, pretrained=path)


class Malicious:
    """Unpickling it would run code."""

    def __reduce__(self):
        return (pytest.fail, ("code in a weights file was run",))


def test_unsafe_or_missing_files_are_one_clear_line(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"conv1.weight": Malicious()}, path)
    for given, message in [
        (str(path), "cannot|safely"),
        (str(tmp_path / "nothing.pt"), "is no file"),
    ]:
        with pytest.raises(OSError, match=message) as error:
            models.build("timm/test_resnet", **SHAPE, pretrained=given)
        assert str(error.value).startswith("model.pretrained: ")
        assert "\n" not in str(error.value)
    torch.save([1, 2], path)
    with pytest.raises(OSError, match="is not a state dict"):
        models.build("timm/test_resnet", **SHAPE, pretrained=str(path))


def test_weights_inside_other_people_s_checkpoints_are_found(tmp_path, monkeypatch):
    source = models.build("timm/test_resnet", **SHAPE, seed=1)
    state = source.state_dict()
    path = tmp_path / "checkpoint.pth"
    monkeypatch.setenv("HOME", str(tmp_path))
    for kept in (
        {"net": {f"module.{name}": value for name, value in state.items()}, "acc": 93.0, "epoch": 3},
        {"state_dict": {f"module._orig_mod.{name}": value for name, value in state.items()}, "arch": "resnet"},
        {f"_orig_mod.{name}": value for name, value in state.items()},
    ):
        torch.save(kept, path)
        network = models.build("timm/test_resnet", **SHAPE, pretrained="~/checkpoint.pth", seed=2)
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["timm/test_resnet", "torchvision/resnet18"])
def test_downloads_without_a_network_are_one_clear_line(name, monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", unreachable)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", unreachable)
    with pytest.raises(OSError, match=r"^model\.pretrained: the weights of .* set pretrained to its path$") as error:
        models.build(name, **SHAPE, pretrained=True)
    assert "no route to host" in str(error.value)


def test_torchvision_weights_are_read_safely_and_fitted(monkeypatch):
    source = models.build("torchvision/resnet18", num_classes=1000, in_channels=3, image_size=32, seed=1)
    seen = {}

    def download(url, **kwargs):
        seen.update(kwargs)
        return source.state_dict()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    network = models.build("torchvision/resnet18", **SHAPE, pretrained=True)
    assert seen["weights_only"] is True
    assert seen["check_hash"] is True
    assert torch.equal(network.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    torch.testing.assert_close(network.conv1.weight, source.conv1.weight.sum(1, keepdim=True))


def test_pretrained_googlenet_sees_its_inputs_as_torchvision_scales_them(monkeypatch, tmp_path):
    """From torchvision's file, which holds auxiliary classifiers too, downloaded or on disk."""
    import torchvision.models

    weights = torchvision.models.get_model("googlenet", aux_logits=True, init_weights=False).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda url, **kwargs: weights)
    torch.save(weights, tmp_path / "googlenet.pth")
    theirs = torchvision.models.googlenet(weights="DEFAULT").eval()
    images = torch.randn(2, 3, 64, 64)
    for pretrained in (True, str(tmp_path / "googlenet.pth")):
        ours = models.build(
            "torchvision/googlenet", num_classes=1000, in_channels=3, image_size=64, pretrained=pretrained
        ).eval()
        assert torch.equal(ours(images), theirs(images))
    with pytest.raises(ValueError, match=r"^model\.pretrained: torchvision/googlenet rescales 3 .* have 1; .*$"):
        models.build("torchvision/googlenet", num_classes=5, in_channels=1, image_size=64, pretrained=True)
