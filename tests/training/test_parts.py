import math

import pytest
import torch
from cases import tiny_network
from torch import nn

from sacreddnn.data.dataset import Split
from sacreddnn.training.evaluate import CleanBatches, Ensemble, evaluate
from sacreddnn.training.objective import choose_device, choose_precision, make_loss
from sacreddnn.training.schedules import lr_schedule


def test_schedules():
    milestones = lr_schedule("milestones", 160, milestones=[110])
    assert [milestones(e / 160) for e in (0, 109.9, 110, 159)] == pytest.approx([1, 1, 0.1, 0.1])
    step = lr_schedule("step", 100, every=30, decay=0.5)
    assert [step(e / 100) for e in (0, 29.9, 30, 60, 90)] == [1, 1, 0.5, 0.25, 0.125]
    cosine = lr_schedule("cosine", 10)
    assert [cosine(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert lr_schedule("constant", 10)(0.3) == 1
    warm = lr_schedule("constant", 10, warmup=2, warmup_start=0.1)
    assert [warm(e / 10) for e in (0, 1, 2, 5)] == pytest.approx([0.1, 0.55, 1, 1])
    with pytest.raises(ValueError, match="'cos' is unknown"):
        lr_schedule("cos", 10)


def test_evaluation_counts_every_sample_once():
    network = tiny_network()
    images = torch.randint(256, (23, 1, 8, 8), dtype=torch.uint8)
    labels = torch.randint(3, (23,))
    clean = lambda x: x.float() / 255
    values = evaluate(network, CleanBatches(Split(images, labels), clean, batch_size=5))
    network.eval()
    with torch.no_grad():
        outputs = network(clean(images))
    assert values["error"] == pytest.approx(100 * (outputs.argmax(1) != labels).float().mean().item())
    assert values["loss"] == pytest.approx(nn.functional.cross_entropy(outputs, labels).item(), rel=1e-5)
    assert "top5_error" not in values
    network.train()
    part = evaluate(network, CleanBatches(Split(images, labels), clean, batch_size=5, limit=7))
    rows = torch.linspace(0, 22, 7).round().long()
    assert part["error"] == pytest.approx(100 * (outputs[rows].argmax(1) != labels[rows]).float().mean().item())
    assert network.training


def test_a_part_of_a_split_is_spread_over_it():
    """Some data sets are stored class by class: the first images would be of a few classes."""
    labels = torch.arange(10).repeat_interleave(100)
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    part = CleanBatches(Split(images, labels), lambda x: x.float(), batch_size=7, limit=50)
    inputs, targets = (torch.cat(tensors) for tensors in zip(*part, strict=True))
    assert targets.bincount().tolist() == [5] * 10
    assert torch.equal(inputs[:, 0, 0, 0].long(), targets)
    resized = CleanBatches(Split(images, labels), lambda x: x.float().repeat(1, 1, 2, 1), 7, 50)
    assert resized.num_bytes == 4 * 50 * 32


def test_in_random_order_every_minibatch_has_all_classes_and_none_is_lost():
    labels = torch.arange(10).repeat_interleave(150)
    images = torch.arange(1500).div(6, rounding_mode="floor").to(torch.uint8).view(-1, 1, 1, 1)
    view = CleanBatches(Split(images, labels), lambda x: x, batch_size=1000)
    shuffled = view.in_random_order()
    assert [len(targets) for _, targets in view] == [1000, 500]
    assert [len(targets) for _, targets in shuffled] == [750, 750]  # a smaller one would not count
    for (inputs, targets), (again, _) in zip(shuffled, view.in_random_order(), strict=True):
        assert targets.bincount(minlength=10).min() > 40
        assert torch.equal(inputs, again)
    stored, drawn = (torch.cat([inputs for inputs, _ in batches]).flatten() for batches in (view, shuffled))
    assert torch.equal(stored, drawn.sort().values)
    part = CleanBatches(Split(images, labels), lambda x: x, batch_size=7, limit=30).in_random_order()
    assert torch.cat([targets for _, targets in part]).bincount().tolist() == [3] * 10
    pairs = CleanBatches(Split(images, labels), lambda x: x, batch_size=2, limit=7).in_random_order()
    assert [len(targets) for _, targets in pairs] == [2, 2, 2, 1]


def test_top5_and_nan_outputs():
    images, labels = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 5, 9, 4])

    class Fixed(nn.Module):
        def __init__(self, outputs):
            super().__init__()
            self.outputs = outputs

        def forward(self, x):
            return self.outputs.expand(len(x), 10)

    scores = torch.arange(10.0, 0, -1)  # class 0 first, the top five are 0 to 4
    batches = CleanBatches(Split(images, labels), lambda x: x, batch_size=4)
    values = evaluate(Fixed(scores), batches)
    assert (values["error"], values["top5_error"]) == (75.0, 50.0)
    values = evaluate(Fixed(scores * math.nan), batches)
    assert (values["error"], values["top5_error"]) == (100.0, 100.0)


def test_the_ensemble_predicts_the_mean_of_the_probabilities():
    networks = [tiny_network(seed) for seed in range(3)]
    images = torch.randint(256, (23, 1, 8, 8), dtype=torch.uint8)
    labels = torch.randint(3, (23,))
    clean = lambda x: x.float() / 255
    values = evaluate(Ensemble(networks), CleanBatches(Split(images, labels), clean, batch_size=5))
    assert all(network.training for network in networks)
    with torch.no_grad():
        mean = sum(network.eval()(clean(images)).softmax(1) for network in networks) / 3
    assert values["error"] == pytest.approx(100 * (mean.argmax(1) != labels).float().mean().item())
    assert values["loss"] == pytest.approx(nn.functional.nll_loss(mean.log(), labels).item(), rel=1e-5)


def test_losses():
    outputs = torch.randn(6, 3)
    classes = torch.tensor([0, 1, 2, 2, 1, 0])
    onehot = nn.functional.one_hot(classes, 3).float()
    for name in ("cross_entropy", "mse"):
        torch.testing.assert_close(make_loss(name)(outputs, classes), make_loss(name)(outputs, onehot))
    torch.testing.assert_close(make_loss("mse")(outputs, classes), ((outputs - onehot) ** 2).sum() / 6)
    smooth = onehot * 0.7 + 0.1
    torch.testing.assert_close(make_loss("mse", 0.3)(outputs, classes), ((outputs - smooth) ** 2).sum() / 6)
    with pytest.raises(ValueError, match="training.loss: 'hinge' is unknown"):
        make_loss("hinge")


def test_device_and_precision():
    cpu = torch.device("cpu")
    assert choose_device("cpu") == cpu
    assert choose_precision("float32", cpu) == torch.float32
    assert choose_precision("bfloat16", cpu) == torch.bfloat16
    assert choose_precision("auto", cpu) in (torch.float32, torch.bfloat16)
    with pytest.raises(ValueError, match="training.device: 'cuda:77' is not on this machine, available: auto, cpu"):
        choose_device("cuda:77")
