"""Sizes and outputs: against the papers, against torchvision, against fixed numbers."""

import pytest
import torch
from network_cases import CASES
from torch import nn

from sacreddnn import models
from sacreddnn.models.cifar_resnet import BasicBlock
from sacreddnn.models.pyramidnet import PyramidBlock
from sacreddnn.models.shakedrop import ShakeDrop
from sacreddnn.models.wide_resnet import WideBlock


def count(name, num_classes=10, in_channels=3, image_size=32, **options):
    with torch.device("meta"):
        network = models.build(name, num_classes=num_classes, in_channels=in_channels, image_size=image_size, **options)
    return models.count_parameters(network)


# As printed in the papers, in millions, to the digits printed there.
PAPERS = [
    ("resnet20", 10, {}, "0.27"),
    ("resnet32", 10, {}, "0.46"),
    ("resnet44", 10, {}, "0.66"),
    ("resnet56", 10, {}, "0.85"),
    ("resnet110", 10, {}, "1.7"),
    ("wrn28_10", 10, {}, "36.5"),
    ("wrn40_4", 10, {}, "8.9"),
    ("wrn16_8", 10, {}, "11.0"),
    ("pyramidnet272", 10, {}, "26.0"),
    ("pyramidnet200_240", 10, {}, "26.6"),
    ("pyramidnet236_220", 10, {}, "26.8"),
    ("pyramidnet164_270", 100, {}, "27.3"),
    ("pyramidnet", 10, {"block": "basic", "depth": 110, "alpha": 48}, "1.7"),
    ("densenet121", 1000, {"image_size": 224}, "8.0"),
    ("efficientnet_b0", 1000, {"image_size": 224}, "5.3"),
    ("efficientnet_b1", 1000, {"image_size": 224}, "7.8"),
    ("efficientnet_b2", 1000, {"image_size": 224}, "9.1"),  # 9.2 in the paper, 9.1 in its authors' code
]


@pytest.mark.parametrize(("name", "num_classes", "options", "millions"), PAPERS)
def test_size_is_the_papers(name, num_classes, options, millions):
    digits = len(millions.partition(".")[2])
    assert f"{count(name, num_classes, **options) / 1e6:.{digits}f}" == millions


@pytest.mark.parametrize(
    ("name", "in_channels", "image_size", "size"),
    [
        ("lenet", 1, 28, 520 + 25_050 + 800 * 500 + 500 + 5_010),
        ("smallconvnet", 3, 32, 1_520 + 25_050 + 1250 * 500 + 500 + 5_010),
        ("lenet5", 1, 28, 61_706),
        ("lenet5", 1, 32, 61_706),
        ("mlp_20_30", 1, 8, 64 * 20 + 20 + 20 * 30 + 30 + 30 * 10 + 10),
        ("resnet18", 3, 32, 11_173_962),
        ("preactresnet18", 3, 32, 11_172_170),
    ],
)
def test_size_is_the_sum_of_the_layers(name, in_channels, image_size, size):
    assert count(name, 10, in_channels, image_size) == size


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121", "efficientnet_b0"])
def test_imagenet_stem_is_torchvisions_network(name):
    shape = {"num_classes": 3, "in_channels": 3, "image_size": 32}
    ours = models.build(name, seed=0, stem="imagenet", **shape).eval()
    theirs = models.build(f"torchvision/{name}", seed=1, **shape).eval()
    # timm's efficientnet has other names for the same layers in the same order
    state = dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True))
    ours.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lenet_pools_before_the_relu_which_is_the_same_to_the_last_bit(dtype):
    network = models.build("lenet", num_classes=10, in_channels=1, image_size=28, seed=0).to(dtype)
    images = torch.randn(16, 1, 28, 28, generator=torch.Generator().manual_seed(1)).to(dtype)

    def relu_first(x):
        for conv in (network.conv1, network.conv2):
            x = nn.functional.max_pool2d(conv(x).relu(), 2)
        return network.classifier(network.hidden(x.flatten(1)).relu())

    scores, gradients = [], []
    for function in (network, relu_first):
        network.zero_grad()
        scores.append(function(images))
        scores[-1].square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert torch.equal(*scores)
    assert torch.equal(*gradients)
    assert gradients[0].any()


def test_cifar_stems_keep_the_resolution():
    seen = {}
    first = {"resnet18": "layer1", "preactresnet18": "stages.0", "densenet121": "features.denseblock1"}
    for name, block in first.items():
        shape = {"num_classes": 3, "in_channels": 3, "image_size": 16}
        network = models.build(name, stem="cifar", seed=0, **shape).eval()
        network.get_submodule(block).register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: inputs[0].shape[-1]})
        )
        network(torch.zeros(1, 3, 16, 16))
    assert seen.keys() == first.keys()
    assert set(seen.values()) == {16}


def test_residual_blocks_without_residual_are_their_shortcuts():
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0)).relu()
    block = BasicBlock(4, 6, stride=2)
    nn.init.zeros_(block.bn2.weight)
    expected = torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 2, 3, 3)], dim=1)
    torch.testing.assert_close(block(x), expected)

    block = PyramidBlock(4, 2, stride=2, bottleneck=True, shake=ShakeDrop(0.5))
    nn.init.zeros_(block.residual[-1].weight)
    pooled = nn.functional.avg_pool2d(x, 2, ceil_mode=True)
    torch.testing.assert_close(block(x), torch.cat([pooled, torch.zeros(2, 4, 3, 3)], dim=1))

    block = WideBlock(4, 4, stride=1, dropout=0.0)
    nn.init.zeros_(block.conv2.weight)
    torch.testing.assert_close(block(x), x)
    # a projected shortcut sees the activated input
    block = WideBlock(4, 6, stride=2, dropout=0.0).eval()
    nn.init.zeros_(block.conv2.weight)
    nn.init.constant_(block.bn1.bias, -1e6)
    assert not block(x).any()


def test_pyramid_widens_by_equal_steps_and_decays_survival_linearly():
    network = models.build("pyramidnet", num_classes=3, in_channels=3, image_size=8, block="basic", depth=20, alpha=18)
    blocks = [m for m in network.modules() if isinstance(m, PyramidBlock)]
    assert [b.out_channels for b in blocks] == [18, 20, 22, 24, 26, 28, 30, 32, 34]
    assert [isinstance(b.pool, nn.AvgPool2d) for b in blocks] == [False] * 3 + [True, False, False] * 2
    assert [b.shake.survival for b in blocks] == pytest.approx([1 - k / 18 for k in range(1, 10)])


# Scores of the first of two wave images by the network of seed 0, in evaluation mode.
SEED_0 = {
    "lenet": [0.0245315, 0.0990663, 3.58876e-05],
    "lenet5": [-0.0463622, -0.00583233, 0.0115482],
    "mlp": [-0.452999, 0.16864, -0.154245],
    "resnet20": [-0.494325, 7.38405, -9.63709],
    "resnet18": [-0.028382, -0.00170899, -0.00811624],
    "preactresnet18": [-0.0782717, -0.000954505, -0.073818],
    "densenet121": [0.0145536, 0.0328297, -0.00759417],
    "wrn": [0.0484886, 0.12698, 0.165964],
    "pyramidnet": [-0.681261, 0.905012, 0.775091],
    "efficientnet_b0": [7.30632e-07, -2.6852e-06, -2.16943e-07],
}


@pytest.mark.parametrize("name", SEED_0)
def test_output_of_a_fixed_seed(name):
    with torch.no_grad():
        scores = CASES[name].build(seed=0).eval()(CASES[name].images())[0]
    expected = torch.tensor(SEED_0[name])
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-3 * expected.abs().max().item())
