"""One gradient evaluation of y replicas: stacked with torch.func.vmap over one after another, as we do it.

LeNet, y=3, minibatches of 128. Stacking would have to be faster to be worth a second path through the code; on CPUs
batched convolutions become grouped ones, and it is not.
"""

from __future__ import annotations

from collections.abc import Callable

import measure
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from sacreddnn import models
from sacreddnn.weights import Weights


def compare(bench: measure.Benchmark, replicas: int, batch_size: int, dtype: torch.dtype) -> None:
    """The row of one precision."""
    inputs = torch.randn(replicas, batch_size, 1, 28, 28, device=bench.device)
    inputs = torch.stack([x.to(memory_format=torch.channels_last) for x in inputs])
    targets = torch.randint(10, (replicas, batch_size), device=bench.device)

    def make(seed: int) -> nn.Module:
        network = models.build("lenet", num_classes=10, in_channels=1, image_size=28, seed=seed)
        return network.to(bench.device).to(memory_format=torch.channels_last)

    networks = [make(a) for a in range(replicas)]
    weights = Weights([network.parameters() for network in networks])

    def loss(network: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast(bench.device.type, dtype=dtype, enabled=dtype != torch.float32):
            outputs = network(x)
        return nn.functional.cross_entropy(outputs.float(), y)

    def one_after_another() -> Tensor:
        weights.zero_gradients()
        for network, x, y in zip(networks, inputs, targets, strict=True):
            loss(network, x, y).backward()
        return weights.gradients

    template = make(0)
    stacked, buffers = stack_module_state([make(a) for a in range(replicas)])

    def of_one(parameters: dict[str, Tensor], state: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss(lambda x: functional_call(template, (parameters, state), (x,)), x, y)

    def all_at_once() -> list[Tensor]:
        losses = vmap(of_one, randomness="different")(stacked, buffers, inputs, targets)
        return list(torch.autograd.grad(losses.sum(), list(stacked.values())))

    a, b = one_after_another(), torch.cat([g.detach().flatten(1) for g in all_at_once()], 1)
    assert torch.allclose(a.norm(), b.norm(), rtol=0.05)
    times = bench.in_turn({"vmap": all_at_once, "loop": one_after_another}, repeats=15)
    what = f"lenet y={replicas}, {str(dtype).removeprefix('torch.')}: vmap / one after another"
    bench.ratio(what, times["vmap"], times["loop"])


def main() -> None:
    bench = measure.start(__doc__, "replicas_on_one_device")
    for dtype in (torch.float32, torch.bfloat16):
        compare(bench, 2 if bench.toy else 3, 8 if bench.toy else 128, dtype)
    bench.finish()


if __name__ == "__main__":
    main()
