"""How cost grows: flat in the number of replicas and of inner steps; two processes are as fast as two threads.

LeNet. Time per gradient evaluation of Replicated-SGD with y = 2, 4, 8 over that with y = 1, and of Entropy-SGD with L
= 2, 5, 10, 20 over that with L = 1: at most 1.1. Then two replicas in two processes with one thread each against the
same in one process with two threads, coupled at every step (LeNet, and ResNet-18 where the all-reduce is long): the
time of a step, and the share of it that goes into the all-reduce, waiting for the other process included. The starts
of the processes alternate; a time is the median step of one start. Two processes need two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import measure
from torch import Tensor
from training import LENET, RESNET, Case, Ours, config_of

from sacreddnn.build import build
from sacreddnn.training import distributed

REPLICAS, INNER_STEPS = (1, 2, 4, 8), (1, 2, 5, 10, 20)


def in_replicas(bench: measure.Benchmark, batch_size: int) -> None:
    """Time per gradient evaluation against y."""
    steps = 2 if bench.toy else 6
    all_of_them = {}
    for y in REPLICAS[: 2 if bench.toy else None]:
        coupling = {} if y > 1 else {"coupling": 0}
        all_of_them[y] = Ours(config_of(LENET, "rsgd", batch_size, bench.options.device, replicas=y, **coupling))
    times = bench.in_turn({str(y): lambda ours=ours: ours(steps) for y, ours in all_of_them.items()})
    for y, ours in all_of_them.items():
        if y > 1:
            bench.ratio(f"rsgd y={y} / y=1, per gradient evaluation", times[str(y)], times["1"], 1 / y, at_most=1.1)
        ours.close()


def in_inner_steps(bench: measure.Benchmark, batch_size: int) -> None:
    """Time per gradient evaluation against L."""
    all_of_them = {}
    for inner_steps in INNER_STEPS[: 2 if bench.toy else None]:
        config = config_of(LENET, "esgd", batch_size, bench.options.device, inner_steps=inner_steps)
        all_of_them[inner_steps] = Ours(config)
    steps = 2 if bench.toy else 20  # whole outer steps of each
    times = bench.in_turn({str(n): lambda ours=ours: ours(steps) for n, ours in all_of_them.items()})
    for n, ours in all_of_them.items():
        if n > 1:
            bench.ratio(f"esgd L={n} / L=1, per gradient evaluation", times[str(n)], times["1"], at_most=1.1)
        ours.close()


def worker(model: str, batch_size: int, steps: int) -> None:
    """Some steps of two replicas in this process, or in this and others; rank 0 prints the medians."""
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    if several:
        distributed.start()
    case = {"lenet": LENET, "resnet18": RESNET}[model]
    training = build(config_of(case, "rsgd", batch_size, "cpu", replicas=2)).training
    group, waiting = training.group, 0.0
    sum_replicas = group.sum_replicas

    def timed(values: Tensor) -> Tensor:
        nonlocal waiting
        start = time.perf_counter()
        summed = sum_replicas(values)
        waiting += time.perf_counter() - start
        return summed

    group.sum_replicas = timed  # type: ignore[method-assign]
    seconds, shares = [], []
    for step in range(steps + 2):
        start, waiting = time.perf_counter(), 0.0
        training.advance()
        if step >= 2:
            seconds.append(time.perf_counter() - start)
            shares.append(waiting / seconds[-1])
    if group.rank == 0:
        print(json.dumps({"seconds": statistics.median(seconds), "share": statistics.median(shares)}), flush=True)
    if several:
        distributed.leave()
        distributed.end(0)


def in_processes(bench: measure.Benchmark, case: Case, batch_size: int, steps: int) -> None:
    """Two processes with one thread each against one with two."""
    words = [__file__, "--worker", case.model, str(batch_size), str(steps)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    starts = {"two": [*torchrun, *words, "--threads", "1"], "one": [sys.executable, *words, "--threads", "2"]}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in starts}
    for _ in range(1 if bench.toy else 2):
        for name, command in starts.items():
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=300)
            line = next(line for line in done.stdout.decode().splitlines() if line.startswith("{"))
            found[name].append(json.loads(line))
    two, one = ([run["seconds"] for run in found[name]] for name in ("two", "one"))
    what = f"{case.model} y=2"
    bench.ratio(f"{what}: 2 processes x 1 thread / 1 process x 2 threads", two, one, at_most=1.1)
    bench.row(f"{what}: share of the all-reduce in a step", [run["share"] for run in found["two"]], "of a step")


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    bench = measure.start(__doc__, "growth", options)
    if options.worker:
        model, batch_size, steps = options.worker
        worker(model, int(batch_size), int(steps))
        return
    batch_size = 16 if bench.toy else 128
    in_replicas(bench, batch_size)
    in_inner_steps(bench, batch_size)
    if bench.device.type != "cpu":
        print("two processes with one thread each are a question about CPUs: left out")
    elif (os.cpu_count() or 1) < 2:
        print("two processes need two cores: left out")
    else:
        in_processes(bench, LENET, batch_size, 3 if bench.toy else 30)
        if not bench.toy:
            in_processes(bench, RESNET, 32, 3)
    bench.finish()


if __name__ == "__main__":
    main()
