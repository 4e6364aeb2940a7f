"""Networks whose loss is an exact quadratic, tiny ones with their dense Hessian, and what must not change."""

from __future__ import annotations

import torch
from cases import tiny_batches, tiny_network
from torch import Tensor, nn


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Quadratic(nn.Module):
    """Outputs sqrt(h) (w - m) for every sample: with `half_square` L(w) = 1/2 sum_i h_i (w_i - m_i)^2 (+ noise . w)."""

    def __init__(self, curvature: Tensor, minimum: Tensor, start: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(start.clone())
        self.register_buffer("root", curvature.sqrt())
        self.register_buffer("minimum", minimum)

    def forward(self, x: Tensor) -> Tensor:
        # each sample's x shifts the loss linearly; the samples of `quadratic_batches` sum to zero
        squares = 0.5 * (self.root * (self.w - self.minimum)).square().sum()
        return squares + x @ self.w


def linear_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs


def quadratic_batches(size: int, noise: float = 0.0, num: int = 12, batch_size: int = 4) -> list[tuple[Tensor, Tensor]]:
    """Samples that tilt the quadratic, with zero mean over the set and over no minibatch; a ragged last one."""
    x = noise * torch.randn(num, size, generator=seeded(3), dtype=torch.float64)
    x -= x.mean(0)
    return list(zip(x.split(batch_size), torch.zeros(num).split(batch_size), strict=True))


def ragged_batches() -> list[tuple[Tensor, Tensor]]:
    """23 samples of `tiny_batches` as 6 + 6 + 6 + 5 in float64."""
    *whole, (x, y) = [(x.double(), y) for x, y in tiny_batches()]
    return [*whole, (x[:5], y[:5])]


def trained_network(batch_norm: bool = True, steps: int = 20) -> nn.Sequential:
    """A tiny network after some steps, its batch-norm statistics not trivial; float64, training mode."""
    network = tiny_network(batch_norm=batch_norm).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(steps):
        for x, y in ragged_batches():
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    return network


def dense_hessian(network: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The Hessian of the mean cross-entropy over all samples, by torch.func, in eval mode."""
    was = network.training
    network.eval()
    names = [name for name, _ in network.named_parameters()]
    shapes = [p.shape for p in network.parameters()]
    x, y = (torch.cat(tensors) for tensors in zip(*batches, strict=True))

    def loss(w: Tensor) -> Tensor:
        parts = w.split([shape.numel() for shape in shapes])
        tensors = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(network, tensors, (x,)), y)

    w = torch.cat([p.detach().flatten() for p in network.parameters()])
    H = torch.func.jacrev(torch.func.grad(loss))(w)  # torch.func.hessian warns of torch.jit
    network.train(was)
    return H


class Fingerprint:
    """Everything about a network and the global generator that a measurement must leave alone."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        for p in network.parameters():
            p.grad = torch.ones_like(p)
        list(network.modules())[-1].eval()  # mixed modes
        self.state = {k: v.clone() for k, v in network.state_dict().items()}
        self.modes = [m.training for m in network.modules()]
        self.addresses = [p.data_ptr() for p in network.parameters()]
        self.random = torch.get_rng_state()

    def check(self) -> None:
        assert all(torch.equal(v, self.state[k]) for k, v in self.network.state_dict().items())
        assert [m.training for m in self.network.modules()] == self.modes
        assert [p.data_ptr() for p in self.network.parameters()] == self.addresses
        assert all((p.grad == 1).all() and p.requires_grad for p in self.network.parameters())
        assert torch.equal(torch.get_rng_state(), self.random)


def interrupting(loss, after: int, exception: type[BaseException] = KeyboardInterrupt):
    """The loss, raising at its call number `after`."""
    calls = 0

    def wrapped(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == after:
            raise exception
        return loss(outputs, targets)

    return wrapped


def nan_network() -> nn.Module:
    network = tiny_network()
    with torch.no_grad():
        network[-1].bias.fill_(float("nan"))
    return network
