"""A data-parallel SGD step: one all-reduce of the flat gradient over DistributedDataParallel.

Two processes on this machine, one thread each, gloo (NCCL and one device each where there are two). One all-reduce is
the simpler of the two and is kept as long as it takes at most 1.1 times as long as the other.

    python benchmarks/data_parallel.py
    torchrun --nproc-per-node 4 benchmarks/data_parallel.py --network resnet18 --batch 128     # in any other setting
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import measure
import torch
import torch.distributed as dist
from torch import nn

from sacreddnn import models
from sacreddnn.algorithms import SGD
from sacreddnn.training import distributed

MOMENTUM = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}


def worker(bench: measure.Benchmark, name: str, batch_size: int) -> None:
    """Steps of both kinds in turn in every process; rank 0 has the table."""
    torch.set_num_threads(1)
    distributed.start()
    group = distributed.make_group(1, 60.0)
    device = torch.device(distributed.local_device("auto"))
    n = batch_size // group.size
    inputs = torch.randn(n, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    targets = torch.randint(10, (n,), device=device)

    def make() -> nn.Module:
        network = models.build(name, num_classes=10, in_channels=3, image_size=(32, 32), seed=0)
        return network.to(device).to(memory_format=torch.channels_last)

    network = make()
    algorithm = SGD(network.parameters(), 0.1, group=group, **MOMENTUM)

    def flat() -> None:
        def closure() -> torch.Tensor:
            algorithm.zero_grad()
            loss = nn.functional.cross_entropy(network(inputs), targets)
            loss.backward()
            return group.combine_shards(algorithm.weights.gradients, loss.detach().view(1), n)

        algorithm.step(closure)

    wrapped = nn.parallel.DistributedDataParallel(make(), gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(wrapped.parameters(), 0.1, fused=True, **MOMENTUM)

    def buckets() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(wrapped(inputs), targets).backward()
        optimizer.step()

    times: dict[str, list[float]] = {"one": [], "ddp": []}
    for repeat in range(bench.repeats(12) + 2):
        for of_one, step in zip(times.values(), (flat, buckets), strict=True):
            dist.barrier()
            start = time.perf_counter()
            step()
            bench.synchronize()
            if repeat >= 2:
                of_one.append(time.perf_counter() - start)
    if group.rank == 0:
        what = f"{name}, {batch_size} over {group.size} processes: one all-reduce / DistributedDataParallel"
        bench.ratio(what, times["one"], times["ddp"], at_most=1.1)
        bench.row(f"{name}: a step", [1e3 * statistics.median(times["one"])], "ms")
        bench.finish()
    distributed.leave()
    distributed.end(0)


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--batch", type=int, default=128, help="over all processes")
    options = parser.parse_args()
    if torch.cuda.device_count() == 1:
        print("two processes need two devices: nothing is measured")
        measure.start(__doc__, "data_parallel", options).finish()
        return
    if "RANK" not in os.environ:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        sys.exit(subprocess.run([*torchrun, *sys.argv], timeout=600, check=False).returncode)
    bench = measure.start(__doc__, "data_parallel", options)
    worker(bench, options.network, 8 if bench.toy else options.batch)


if __name__ == "__main__":
    main()
