"""Time of a data-parallel SGD step: one all-reduce of the flat gradient against DistributedDataParallel.

torchrun --nproc-per-node 2 benchmarks/data_parallel.py --network resnet20 --batch 128
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.distributed as dist
from torch import nn

from sacreddnn import models
from sacreddnn.algorithms import SGD
from sacreddnn.training import distributed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--batch", type=int, default=128, help="over all processes")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    distributed.start()
    group = distributed.make_group(1, 60.0)
    n = options.batch // group.size
    inputs = torch.randn(n, 3, 32, 32).to(memory_format=torch.channels_last)
    targets = torch.randint(10, (n,))
    momentum = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}

    def make() -> nn.Module:
        network = models.build(options.network, num_classes=10, in_channels=3, image_size=(32, 32), seed=0)
        return network.to(memory_format=torch.channels_last)

    network = make()
    algorithm = SGD(network.parameters(), 0.1, group=group, **momentum)

    def flat() -> None:
        def closure() -> torch.Tensor:
            algorithm.zero_grad()
            loss = nn.functional.cross_entropy(network(inputs), targets)
            loss.backward()
            return group.combine_shards(algorithm.weights.gradients, loss.detach().view(1), n)

        algorithm.step(closure)

    wrapped = nn.parallel.DistributedDataParallel(make(), gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(wrapped.parameters(), 0.1, fused=True, **momentum)

    def buckets() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(wrapped(inputs), targets).backward()
        optimizer.step()

    times: dict[str, list[float]] = {"one all-reduce": [], "DistributedDataParallel": []}
    for repeat in range(options.repeats + 3):
        for name, step in zip(times, (flat, buckets), strict=True):
            dist.barrier()
            start = time.perf_counter()
            step()
            if repeat >= 3:
                times[name].append(1e3 * (time.perf_counter() - start))
    one, ddp = (statistics.median(of_one) for of_one in times.values())
    if group.rank == 0:
        print(f"{options.network} batch {options.batch} over {group.size} processes, {algorithm.weights.num_weights} "
              f"weights: one all-reduce {one:.1f} ms, DistributedDataParallel {ddp:.1f} ms, "
              f"ratio {one / ddp:.3f}")  # fmt: skip
    distributed.leave()
    distributed.end(0)


if __name__ == "__main__":
    main()
