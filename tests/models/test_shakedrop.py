"""ShakeDrop: the law of its forward and backward factors, its expectation, its randomness."""

import pytest
import torch

from sacreddnn.models.shakedrop import ShakeDrop, _Scale, linear_decay

NUM_PASSES, BATCH = 400, 32


def factors(survival, level="image"):
    """Forward and backward factors of many passes, each of shape (passes, batch)."""
    torch.manual_seed(0)
    layer = ShakeDrop(survival, level).train()
    forward, backward = [], []
    for _ in range(NUM_PASSES):
        x = torch.ones(BATCH, 2, 3, 3, requires_grad=True)
        y = layer(x)
        y.sum().backward()
        assert (y == y[:, :1, :1, :1]).all()  # one factor for all of an image
        forward.append(y[:, 0, 0, 0].detach())
        backward.append(x.grad[:, 0, 0, 0])
    return torch.stack(forward), torch.stack(backward)


def test_law_of_the_factors():
    forward, backward = factors(0.7)
    undisturbed = (forward == 1).all(1)
    # b is one for the batch, and the same in both passes
    assert (backward[undisturbed] == 1).all()
    assert ((forward != 1).all(1) == ~undisturbed).all()
    assert undisturbed.float().mean().item() == pytest.approx(0.7, abs=4 * (0.21 / NUM_PASSES) ** 0.5)
    a, c = forward[~undisturbed], backward[~undisturbed]
    count = a.numel()
    assert -1 <= a.min() < -0.99 < 0.99 < a.max() <= 1
    assert 0 <= c.min() < 0.01 < 0.99 < c.max() <= 1
    assert a.mean().item() == pytest.approx(0, abs=4 * (1 / 3 / count) ** 0.5)
    assert a.var().item() == pytest.approx(1 / 3, rel=0.03)
    assert c.mean().item() == pytest.approx(0.5, abs=4 * (1 / 12 / count) ** 0.5)
    assert c.var().item() == pytest.approx(1 / 12, rel=0.03)
    assert torch.corrcoef(torch.stack([a.flatten(), c.flatten()]))[0, 1].abs() < 4 / count**0.5


def test_images_share_the_factors_at_the_level_of_the_batch():
    forward, backward = factors(0.5, "batch")
    assert (forward == forward[:, :1]).all()
    assert (backward == backward[:, :1]).all()
    assert forward[:, 0].unique().numel() > NUM_PASSES / 3
    forward, _ = factors(0.5, "image")
    assert not (forward == forward[:, :1]).all()


def test_evaluation_is_the_expectation_of_training():
    x = torch.linspace(-1, 1, 8).view(2, 4)
    assert torch.equal(ShakeDrop(0.7).eval()(x), 0.7 * x)
    forward, _ = factors(0.7)
    error = forward.mean(1).std().item() / NUM_PASSES**0.5
    assert forward.mean().item() == pytest.approx(0.7, abs=4 * error)


def test_certain_survival_is_the_identity():
    x = torch.randn(2, 3)
    assert ShakeDrop(1.0).train()(x) is x


def test_survival_decays_linearly_to_the_last_block():
    assert linear_decay(90, 0.5)[0] == pytest.approx(1 - 0.5 / 90)
    assert linear_decay(90, 0.5)[44] == pytest.approx(0.75)
    assert linear_decay(90, 0.5)[-1] == 0.5


def test_draws_come_from_the_global_generator_in_equal_number():
    x = torch.ones(4, 2)
    layer = ShakeDrop(0.5).train()
    torch.manual_seed(3)
    first = layer(x), torch.rand(1)
    torch.manual_seed(3)
    second = layer(x), torch.rand(1)
    assert torch.equal(first[0], second[0])
    states = set()
    for survival in (1e-9, 1 - 1e-7):  # disturbed and not: the same number of draws
        torch.manual_seed(3)
        ShakeDrop(survival).train()(x)
        states.add(torch.rand(1).item())
    assert len(states) == 1


def test_bfloat16_keeps_its_type_in_both_passes():
    torch.manual_seed(0)
    x = torch.randn(4, 8, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = ShakeDrop(0.01).train()(x)
    y.float().square().sum().backward()
    assert y.dtype == x.grad.dtype == torch.bfloat16
    assert x.grad.isfinite().all()


def test_derivatives_of_the_scaling():
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    factor = torch.rand(3, 1, dtype=torch.float64)
    torch.autograd.gradcheck(lambda x: _Scale.apply(x, factor, factor), x)
    torch.autograd.gradgradcheck(lambda x: _Scale.apply(x, factor, factor).pow(3), x)


def test_per_sample_gradients_of_torch_func():
    layer = ShakeDrop(1e-9).train()
    x = torch.ones(5, 2)
    grad = torch.func.vmap(torch.func.grad(lambda x: layer(x[None]).sum()), randomness="different")(x)
    assert (grad == grad[:, :1]).all()
    assert grad[:, 0].unique().numel() == 5
    assert ((grad >= 0) & (grad <= 1)).all()


@pytest.mark.parametrize("survival", [0, -0.5, 1.5, "half", True])
def test_survival_is_a_probability(survival):
    with pytest.raises(ValueError, match=r"survival: .* is not allowed"):
        ShakeDrop(survival)
