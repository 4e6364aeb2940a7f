import math

import pytest
import torch
from cases import tiny_batches, tiny_network
from torch import nn

from sacreddnn.flatness import error, error_and_loss, local_energy, loss

SIGMAS = [0.0, 0.2, 0.5]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class SignClassifier(nn.Module):
    """Two classes by the sign of w.x; outputs (-w.x, w.x), so class 1 means w.x > 0."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(w.clone())

    def forward(self, x):
        h = x @ self.w
        return torch.stack([-h, h], dim=1)


def test_linear_sign_classifier_matches_the_closed_form():
    """A pattern with margin m is misclassified with probability Phi(-m / (sigma sqrt(sum w_i^2 x_i^2)))."""
    x = torch.randn(40, 12, generator=seeded(1), dtype=torch.float64)
    w = torch.randn(12, generator=seeded(2), dtype=torch.float64)
    targets = (x @ w > 0).long()
    targets[:3] = 1 - targets[:3]  # three training errors
    margin = (x @ w) * (2 * targets - 1)
    estimate = local_energy(
        SignClassifier(w),
        [(x[:25], targets[:25]), (x[25:], targets[25:])],
        SIGMAS[1:],
        num_samples=4000,
    )
    for i, sigma in enumerate(SIGMAS[1:]):
        scale = sigma * (w.square() * x.square()).sum(1).sqrt()
        wrong = torch.special.ndtr(-margin / scale).mean()
        expected = 100 * (wrong.item() - 3 / 40)
        assert abs(estimate.mean[i].item() - expected) < 4 * estimate.standard_error[i].item()
        assert estimate.standard_error[i] < 0.2


def test_quadratic_measure_matches_its_expectation_and_error_bar():
    """For the measure w.w the energy is sigma^2 |w|^2, and the error bar covers it."""
    network = SignClassifier(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    batches = [(torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2).long())]
    norm = lambda outputs, targets: network.w.square().sum().expand(2)
    z_scores = []
    for seed in range(40):
        e = local_energy(network, batches, [0.3], num_samples=200, generator=seeded(seed), measure=norm)
        z_scores.append(((e.mean - 0.09 * 14) / e.standard_error).item())
    z = torch.tensor(z_scores)
    assert abs(z.mean()) < 4 / math.sqrt(40)
    assert 0.6 < z.std() < 1.4


def test_zero_noise_is_zero_and_energy_grows():
    estimate = local_energy(tiny_network(), tiny_batches(), SIGMAS, num_samples=20, measure=loss)
    assert estimate.samples.shape == (20, 3)
    assert (estimate.samples[:, 0] == 0).all()
    assert estimate.mean[2] > estimate.mean[1] > 0


def test_invariant_under_relu_rescaling_of_layers():
    """Multiplicative noise does not see a rescaling of two layers that leaves the function alone."""
    one, other = (tiny_network(batch_norm=False).double() for _ in range(2))
    with torch.no_grad():
        for p in other[0].parameters():
            p.mul_(4)
        other[-1].weight.div_(4)
    batches = [(x.double(), y) for x, y in tiny_batches()]
    torch.testing.assert_close(one(batches[0][0]), other(batches[0][0]))
    a, b = (local_energy(n, batches, SIGMAS, num_samples=5, measure=error_and_loss) for n in (one, other))
    torch.testing.assert_close(a.samples, b.samples, rtol=1e-9, atol=1e-9)


def test_common_random_numbers_do_not_depend_on_memory_format_or_batching():
    one, other = tiny_network(), tiny_network().to(memory_format=torch.channels_last)
    merged = [tuple(torch.cat(tensors) for tensors in zip(*tiny_batches(), strict=True))]
    a = local_energy(one, tiny_batches(), SIGMAS, num_samples=3, generator=seeded(7), measure=loss)
    b = local_energy(other, merged, SIGMAS, num_samples=3, generator=seeded(7), measure=loss)
    torch.testing.assert_close(a.samples, b.samples, rtol=1e-5, atol=1e-6)


def test_differences_between_networks_are_paired():
    """Two networks a little apart: the same draws move both alike, and the difference has the smaller error bar."""
    one, other = tiny_network(), tiny_network()
    with torch.no_grad():
        other[-1].weight.mul_(1.05)
    a, b = (local_energy(n, tiny_batches(), [0.3], num_samples=60, measure=loss) for n in (one, other))
    difference = b.minus(a)
    torch.testing.assert_close(difference.mean, b.mean - a.mean)
    assert difference.standard_error < 0.3 * (a.standard_error.square() + b.standard_error.square()).sqrt()
    fewer = local_energy(other, tiny_batches(), [0.3], num_samples=20, measure=loss)
    assert torch.equal(fewer.minus(a).samples, difference.samples[:20])
    with pytest.raises(ValueError, match=r"other: its draws have shape \(3,\), not \(1,\)"):
        a.minus(local_energy(one, tiny_batches(), SIGMAS, num_samples=2, measure=loss))


def test_every_parameter_is_perturbed_and_buffers_are_not():
    network, seen = tiny_network(), []
    before = {k: v.clone() for k, v in network.state_dict().items()}

    def spy(outputs, targets):
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        return error(outputs, targets)

    local_energy(network, tiny_batches(1), [0.1], num_samples=1, measure=spy)
    names = {name for name, _ in network.named_parameters()}
    for key, old in before.items():
        nonzero = old != 0
        if key in names:
            assert (seen[1][key] != old)[nonzero].all(), key
        else:
            assert torch.equal(seen[1][key], old), key


@pytest.mark.parametrize("interruption", [None, RuntimeError, KeyboardInterrupt])
def test_network_is_left_as_found(interruption):
    network = tiny_network()
    network.train()
    network[-1].eval()
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    calls = 0

    def measure(outputs, targets):
        nonlocal calls
        calls += 1
        if interruption and calls == 6:
            raise interruption
        return error(outputs, targets)

    if interruption:
        with pytest.raises(interruption):
            local_energy(network, tiny_batches(), [0.3], num_samples=2, measure=measure)
    else:
        local_energy(network, tiny_batches(), [0.3], num_samples=2, measure=measure)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert network.training
    assert network[1].training
    assert not network[-1].training
    assert all((p.grad == 1).all() for p in network.parameters())
    assert all(p.requires_grad and not p.is_inference() for p in network.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": []}, "batches: empty"),
        ({"batches": iter(tiny_batches())}, "one-shot"),
        ({"sigmas": [-0.1]}, "sigmas: -0.1"),
        ({"sigmas": []}, "sigmas: empty"),
        ({"num_samples": 0}, "num_samples: 0"),
        ({"standard_error": 0.1}, "standard_error: 0.1 is not allowed, it must be > 0 and needs num_samples >= 2"),
        ({"standard_error": 0.1, "num_samples": 4, "max_samples": 3}, "max_samples: 3"),
        ({"noise": "none"}, "noise: 'none' is not allowed, allowed: multiplicative, additive, filter"),
        ({"subset": "biases"}, "subset: 'biases' is not allowed"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"batches": tiny_batches(), "sigmas": [0.1], "num_samples": 1} | change
    with pytest.raises(ValueError, match=message):
        local_energy(tiny_network(), **arguments)


def test_nan_network_is_refused():
    network = tiny_network()
    with torch.no_grad():
        network[-1].bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        local_energy(network, tiny_batches(), [0.1], measure=loss)
    with pytest.raises(ValueError, match="not finite"):
        local_energy(network, tiny_batches(), [0.1])  # an argmax of NaNs would be a class like any other


@pytest.mark.parametrize("noise", ["multiplicative", "additive", "filter"])
def test_a_quadratic_has_its_closed_form_under_each_noise(noise):
    """For the measure sum_p c_p |p|^2 the energy is sigma^2 sum_p c_p E|direction_p|^2; linear terms average out."""
    network = tiny_network().double()
    batches = [(torch.zeros(2, 1, 8, 8, dtype=torch.float64), torch.zeros(2).long())]
    factors = torch.linspace(0.5, 2, len(list(network.parameters())), dtype=torch.float64)
    measure = lambda outputs, targets: sum(
        c * p.square().sum() for c, p in zip(factors, network.parameters(), strict=True)
    ).expand(2)
    squared = {
        "multiplicative": lambda p: p.square().sum(),
        "additive": lambda p: torch.tensor(float(p.numel())),
        "filter": lambda p: p.square().sum(),
    }
    for subset, moves in (("all", lambda p: True), ("weights", lambda p: p.ndim > 1)):
        estimate = local_energy(network, batches, [0.3], num_samples=2000, measure=measure, noise=noise, subset=subset)
        expected = sum(
            c * 0.09 * squared[noise](p) for c, p in zip(factors, network.parameters(), strict=True) if moves(p)
        )
        assert abs(estimate.mean - expected) < 4 * estimate.standard_error
        assert estimate.standard_error < 0.1 * expected


def test_additive_noise_sees_the_rescaling_of_layers():
    one, other = (tiny_network(batch_norm=False).double() for _ in range(2))
    with torch.no_grad():
        for p in other[0].parameters():
            p.mul_(4)
        other[-1].weight.div_(4)
    batches = [(x.double(), y) for x, y in tiny_batches()]
    a, b = (local_energy(n, batches, [0.2], num_samples=300, measure=loss, noise="additive") for n in (one, other))
    assert (a.mean - b.mean).abs() > 4 * (a.standard_error + b.standard_error)


def test_noises_are_paired():
    """The same z for every noise and subset."""
    seen = {}
    for noise in ("multiplicative", "additive"):
        for subset in ("all", "weights"):
            network = tiny_network()
            w = network[-1].weight.detach().clone()
            values = []

            def measure(outputs, targets, network=network, values=values):
                values.append(network[-1].weight.detach().clone())
                return error(outputs, targets)

            local_energy(network, tiny_batches(1), [0.5], num_samples=1, measure=measure, noise=noise, subset=subset)
            seen[noise, subset] = (values[1] - w) / (0.5 * (w if noise == "multiplicative" else 1))
    expected = seen["additive", "all"]
    for z in seen.values():
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-4)


def test_it_draws_until_the_standard_error_is_small_enough():
    options = {"measure": error_and_loss, "num_samples": 4, "standard_error": 1.0}
    estimate = local_energy(tiny_network(), tiny_batches(), SIGMAS, **options)
    assert estimate.standard_error[:, 0].max() <= 1.0
    assert len(estimate.samples) > 4
    fewer = local_energy(tiny_network(), tiny_batches(), SIGMAS, measure=error_and_loss,
                         num_samples=len(estimate.samples) - 1)  # fmt: skip
    assert fewer.standard_error[:, 0].max() > 1.0  # not one draw too many
    assert torch.equal(fewer.samples, estimate.samples[:-1])
    assert len(local_energy(tiny_network(), tiny_batches(), SIGMAS, **options, max_samples=5).samples) == 5


def test_statistics_can_be_estimated_anew_at_every_point():
    """With one batch, and its own statistics at every point, it is what the network gives in train mode."""
    network, (inputs, targets) = tiny_network(), tiny_batches(1, size=40)[0]
    before = {k: v.clone() for k, v in network.state_dict().items()}

    def reestimate(network):
        network[1].momentum = 1.0
        network.train()
        network(inputs)
        network.eval()
        n = inputs.numel()
        network[1].running_var.mul_((n - 1) / n)  # train mode divides by n, the running variance by n - 1

    running = local_energy(network, [(inputs, targets)], [0.5], num_samples=3, measure=loss)
    anew = local_energy(network, [(inputs, targets)], [0.5], num_samples=3, measure=loss, prepare=reestimate)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    network.train()
    w = [p.detach().clone() for p in network.parameters()]
    generator, expected = seeded(), []
    with torch.no_grad():
        first = loss(network(inputs), targets).mean().item()
        for _ in range(3):
            for p, start in zip(network.parameters(), w, strict=True):
                p.copy_(start + 0.5 * start * torch.randn(start.shape, generator=generator))
            expected.append(loss(network(inputs), targets).mean().item() - first)
    torch.testing.assert_close(anew.samples[:, 0].float(), torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(anew.mean, running.mean)


@pytest.mark.parametrize("at_once", [2, 3, 10])
@pytest.mark.parametrize("measure", [error, error_and_loss])
def test_several_draws_in_one_pass_are_the_same_draws(at_once, measure):
    """Seven draws in groups of two, three or all: ragged groups, ragged minibatches, batch norm in the network."""
    network = tiny_network().double()
    batches = [(x.double(), y) for x, y in tiny_batches()]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    one, several = (
        local_energy(network, batches, SIGMAS, num_samples=7, measure=measure, draws_at_once=n) for n in (1, at_once)
    )
    torch.testing.assert_close(several.samples, one.samples)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_draws_at_once_draw_on_until_the_error_bar_and_no_further():
    options = {"num_samples": 2, "standard_error": 1e-9, "max_samples": 5, "measure": loss}
    estimate = local_energy(tiny_network(), tiny_batches(), [0.3], draws_at_once=4, **options)
    assert len(estimate.samples) == 5


@pytest.mark.parametrize(("at_once", "prepare"), [(0, None), (2, lambda network: None)])
def test_draws_at_once_that_cannot_be(at_once, prepare):
    with pytest.raises(ValueError, match=f"draws_at_once: {at_once} is not allowed"):
        local_energy(tiny_network(), tiny_batches(), [0.3], draws_at_once=at_once, prepare=prepare)
