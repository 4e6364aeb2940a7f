import math

import pytest
import torch
from cases import tiny_batches, tiny_network
from curvature_cases import Fingerprint, nan_network, ragged_batches, seeded, trained_network
from torch import nn

from sacreddnn.flatness import frobenius_norm, margins, path_norm, spectral_norms


def mlp(bias=True):
    network = nn.Sequential(nn.Linear(3, 4, bias=bias), nn.ReLU(), nn.Linear(4, 2, bias=bias)).double()
    for k, p in enumerate(network.parameters()):
        nn.init.normal_(p, generator=seeded(k))
    return network


def test_frobenius_norm():
    network = mlp()
    flat = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert frobenius_norm(network) == pytest.approx(flat.norm().item(), rel=1e-12)


def test_path_norm_is_the_sum_over_enumerated_paths():
    network = mlp()
    W1, b1, W2, b2 = (p.detach() for p in network.parameters())
    total = sum(b2[o] ** 2 for o in range(2))
    for o in range(2):
        for h in range(4):
            total += (W2[o, h] * b1[h]) ** 2
            total += sum((W2[o, h] * W1[h, i]) ** 2 for i in range(3))
    assert path_norm(network, torch.randn(5, 3)) == pytest.approx(math.sqrt(total), rel=1e-12)


def test_path_norm_of_a_convolution_and_a_folded_batch_norm():
    """Batch norm as the affine map of its running statistics is a scale and a bias of the layer before."""
    network = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    network.double().eval()
    nn.init.normal_(network[1].running_mean, generator=seeded())
    nn.init.uniform_(network[1].running_var, 0.5, 2.0, generator=seeded(1))
    nn.init.normal_(network[1].weight, generator=seeded(2))
    scale = network[1].weight / (network[1].running_var + network[1].eps).sqrt()
    folded = nn.Conv2d(2, 3, 3, padding=1).double()
    with torch.no_grad():
        folded.weight.copy_(network[0].weight * scale.view(-1, 1, 1, 1))
        folded.bias.copy_(network[1].bias + scale * (network[0].bias - network[1].running_mean))
    x = torch.randn(1, 2, 4, 4, generator=seeded(3), dtype=torch.float64)
    other = nn.Sequential(folded, nn.ReLU(), nn.Flatten(), network[4])
    torch.testing.assert_close(network(x), other(x))
    # without biases, whose paths differ: the folded bias is one path, scale times two biases are two
    for bias in (network[0].bias, network[1].bias, network[1].running_mean, folded.bias):
        nn.init.zeros_(bias)
    assert path_norm(network, x) == pytest.approx(path_norm(other, x), rel=1e-9)
    A = torch.autograd.functional.jacobian(folded, x).reshape(48, 32)
    W, b = network[4].weight, network[4].bias
    paths = (W.square() @ A.square()).sum() + b.square().sum()
    assert path_norm(other, x) == pytest.approx(paths.sqrt().item(), rel=1e-9)


def test_path_norm_is_invariant_under_rescaling_and_refuses_other_activations():
    network, x = mlp(bias=False), torch.randn(1, 3)
    before = path_norm(network, x)
    with torch.no_grad():
        network[0].weight.mul_(5)
        network[2].weight.div_(5)
    assert path_norm(network, x) == pytest.approx(before, rel=1e-12)
    assert frobenius_norm(network) != pytest.approx(before)
    network[1] = nn.Tanh()
    with pytest.raises(ValueError, match="not linear for positive values"):
        path_norm(network, x)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Conv2d(2, 4, 3, stride=2, groups=2),
        nn.Conv2d(2, 3, 5, padding=2, padding_mode="circular", bias=False),
        nn.Conv2d(2, 3, 1),
    ],
)
def test_spectral_norm_of_a_convolution_matches_its_dense_matrix(layer):
    layer = layer.double()
    nn.init.normal_(layer.weight, generator=seeded(5))
    x = torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    dense = torch.autograd.functional.jacobian(layer, x).reshape(-1, x.numel())
    found = spectral_norms(nn.Sequential(layer), torch.randn(3, 2, 8, 8, dtype=torch.float64), tolerance=1e-7)
    assert found["0"] == pytest.approx(torch.linalg.matrix_norm(dense, 2).item(), rel=1e-6)


def test_spectral_norms_of_a_whole_network():
    network = trained_network()
    found = spectral_norms(network, ragged_batches()[0][0])
    assert list(found) == ["0", "1", "5"]
    norm = network[1]
    assert found["1"] == pytest.approx((norm.weight / (norm.running_var + norm.eps).sqrt()).abs().max().item())
    assert found["5"] == pytest.approx(torch.linalg.svdvals(network[5].weight)[0].item())
    with pytest.raises(ValueError, match=r"max_steps: 1 .*network\.0"):
        spectral_norms(network, ragged_batches()[0][0], max_steps=1)


def test_margins_match_their_definition():
    scores = torch.tensor([[2.0, 0.5, 1.0], [0.0, 0.0, 4.0], [1.0, 3.0, 0.0], [1.0, 1.0, 0.0]])
    targets = torch.tensor([0, 1, 1, 0])
    network = nn.Linear(3, 3, bias=False)
    nn.init.eye_(network.weight)
    network.weight.data *= 2
    found = margins(network, [(scores[:3], targets[:3]), (scores[3:], targets[3:])])
    assert found.values.tolist() == [2.0, -8.0, 4.0, 0.0]
    assert found.error == 50
    assert found.quantile(0) == -8
    assert found.quantile(1) == 4
    assert found.quantile(0.5) == pytest.approx(1.0)
    normalized = margins(network, [(scores, targets)], normalized=True)
    assert normalized.scale == pytest.approx(2.0)
    assert normalized.values.tolist() == pytest.approx([1.0, -4.0, 2.0, 0.0])


def test_normalized_margins_do_not_see_the_scale_of_a_layer():
    network, batches = tiny_network(batch_norm=False).double(), ragged_batches()
    nn.init.zeros_(network[-1].bias)
    a = margins(network, batches, normalized=True)
    with torch.no_grad():
        network[-1].weight.mul_(7)
    b = margins(network, batches, normalized=True)
    torch.testing.assert_close(a.values, b.values)
    assert b.scale == pytest.approx(7 * a.scale)


def test_left_as_found():
    network = tiny_network()
    found = Fingerprint(network)
    frobenius_norm(network)
    path_norm(network, tiny_batches()[0][0])
    spectral_norms(network, tiny_batches()[0][0])
    margins(network, tiny_batches(), normalized=True)
    found.check()
    assert not network[0]._forward_pre_hooks


def test_bad_arguments():
    x = tiny_batches()[0][0]
    for call, message in [
        (lambda: frobenius_norm(nn.ReLU()), "no parameters"),
        (lambda: frobenius_norm(nan_network()), "network: nan"),
        (lambda: path_norm(nan_network(), x), "network: nan"),
        (lambda: spectral_norms(tiny_network(), x, tolerance=0.0), "tolerance: 0.0"),
        (lambda: spectral_norms(tiny_network(), x, max_steps=0), "max_steps: 0"),
        (lambda: margins(tiny_network(), []), "batches: empty"),
        (lambda: margins(tiny_network(), iter(tiny_batches())), "one-shot"),
        (lambda: margins(nan_network(), tiny_batches()), "network: its loss"),
        (lambda: margins(tiny_network(), tiny_batches()).quantile(2), "q: 2"),
        (lambda: margins(nn.Linear(2, 1), [(torch.ones(1, 2), torch.zeros(1).long())]), "two classes"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    network = tiny_network()
    nn.init.constant_(network[0].weight, math.nan)
    with pytest.raises(ValueError, match=r"network\.0: its weights are not finite"):
        spectral_norms(network, x)
