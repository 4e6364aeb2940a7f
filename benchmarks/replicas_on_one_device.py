"""Time of one gradient evaluation of y replicas: one after another against stacked with torch.func.vmap.

python benchmarks/replicas_on_one_device.py --network lenet --replicas 3 --batch 128 --precision float32
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from sacreddnn import models
from sacreddnn.weights import Weights


def median_ms(*runs: Callable[[], object], repeats: int) -> list[float]:
    """Median milliseconds of each run, the runs taking turns so that a busy machine slows all alike."""
    times: list[list[float]] = [[] for _ in runs]
    for repeat in range(repeats + 2):
        for run, of_run in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            if repeat >= 2:
                of_run.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(of_run) for of_run in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lenet")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.precision)
    channels, size = (1, 28) if options.network == "lenet" else (3, 32)
    inputs = torch.randn(options.replicas, options.batch, channels, size, size)
    inputs = torch.stack([x.to(memory_format=torch.channels_last) for x in inputs])
    targets = torch.randint(10, (options.replicas, options.batch))

    def make(seed: int) -> nn.Module:
        network = models.build(
            options.network, num_classes=10, in_channels=channels, image_size=(size, size), seed=seed
        )
        return network.to(memory_format=torch.channels_last)

    networks = [make(a) for a in range(options.replicas)]
    weights = Weights([network.parameters() for network in networks])

    def loss(network: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            outputs = network(x)
        return nn.functional.cross_entropy(outputs.float(), y)

    def one_after_another() -> Tensor:
        weights.zero_gradients()
        for network, x, y in zip(networks, inputs, targets, strict=True):
            loss(network, x, y).backward()
        return weights.gradients

    template = make(0)
    stacked, buffers = stack_module_state([make(a) for a in range(options.replicas)])

    def of_one(parameters: dict[str, Tensor], state: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss(lambda x: functional_call(template, (parameters, state), (x,)), x, y)

    def all_at_once() -> list[Tensor]:
        losses = vmap(of_one, randomness="different")(stacked, buffers, inputs, targets)
        return list(torch.autograd.grad(losses.sum(), list(stacked.values())))

    a, b = one_after_another(), torch.cat([g.detach().flatten(1) for g in all_at_once()], 1)
    assert torch.allclose(a.norm(), b.norm(), rtol=0.05)
    loop, stack = median_ms(one_after_another, all_at_once, repeats=options.repeats)
    what = f"{options.network} y={options.replicas} batch {options.batch} {options.precision} {options.threads} threads"
    print(f"{what}: one after another {loop:.1f} ms, vmap {stack:.1f} ms, ratio {stack / loop:.2f}")


if __name__ == "__main__":
    main()
