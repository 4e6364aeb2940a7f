"""How many training images a second each cell of the paper's tables gets through on this device.

Whole training steps of each cell's own config (network, minibatch, augmentation, algorithm, precision of the device) on
synthetic images of its data set's shape, with the record of an epoch; not the looks at the test set. Images are counted
over all replicas. `python scripts/report.py paper` turns these numbers, and no others, into hours. Rows that were
measured on this device earlier stay in the CSV.

    python benchmarks/throughput.py                                        # all
    python benchmarks/throughput.py --rows table1_cifar10_smallconvnet     # some
    python benchmarks/throughput.py --columns sgd                          # the baseline of each row
"""

from __future__ import annotations

import csv
import gc
import re
from pathlib import Path

import measure
import torch
from training import Ours

from sacreddnn.config import Config, check
from sacreddnn.report.paper import hours, recipe, toy
from sacreddnn.report.paper.expected import Expected, load

SECONDS = 1.0  # that one timed call should take at least, as far as whole steps allow
LONG = 4.0  # seconds of a step after which it is timed once: three of each of the largest networks take an hour


def config_of(expected: Expected, row: str, column: str, device: str, batch_size: int | None) -> Config:
    """The config of a cell for one epoch of synthetic images at a constant learning rate."""
    values = recipe.recipe(expected, row, column).model_dump()
    size = batch_size or values["training"]["batch_size"]
    options = toy.options(values["dataset"]["name"], 15 * size, 16)  # whole steps of three replicas and of eSGD
    recipe.merge(values, {"dataset": {"name": "synthetic", "options": options}})
    recipe.merge(values, {"training": {"epochs": 1, "batch_size": size, "device": device}})
    values["training"]["lr_schedule"] = {"name": "constant"}
    return check(values)


def measure_cell(bench: measure.Benchmark, config: Config, name: str) -> None:
    """The row of a cell."""
    ours = Ours(config)
    algorithm = ours.session.training.algorithm
    whole = getattr(algorithm, "inner_steps", 1)  # an outer step of Entropy-SGD
    ours(1)  # what is compiled, chosen and allocated once
    first = bench.in_turn({"ours": lambda: ours(whole)}, 1, warm_up=0)["ours"]
    steps, times = whole, first
    if first[0] < LONG:
        steps = whole if bench.toy else whole * max(1, round(SECONDS / first[0]))
        times = bench.in_turn({"ours": lambda: ours(steps)}, 3, warm_up=0)["ours"]
    images = steps * algorithm.evaluations_per_step * algorithm.num_streams * config.training.batch_size
    bench.row(name, [images / seconds for seconds in times], "images/s at toy size" if bench.toy else hours.UNIT)
    ours.close()


def earlier(path: Path, device: str) -> list[dict[str, str]]:
    """The lines of a CSV that were measured on this device of this machine."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        place = (device, hours.this_machine())
        return [line for line in csv.DictReader(file) if (line["device"], line["machine"]) == place]


def keep_earlier(path: Path, lines: list[dict[str, str]]) -> None:
    """Add those lines to a CSV whose cells it does not have."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        now, names = list(reader), list(reader.fieldnames or [])
    measured = {line["what"] for line in now}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        kept = [line for line in lines if line["what"] not in measured]
        writer.writerows(sorted(now + kept, key=lambda line: line["what"]))


def main() -> None:
    expected = load()
    parser = measure.parser(__doc__)
    parser.add_argument("--rows", nargs="+", choices=list(expected.rows), metavar="ROW")
    parser.add_argument("--columns", nargs="+", choices=list(expected.columns), default=list(expected.columns),
                        metavar="COLUMN")  # fmt: skip
    options = parser.parse_args()
    bench = measure.start(__doc__, "throughput", options)
    cuda = bench.device.type == "cuda"
    device = torch.cuda.get_device_name(bench.device) if cuda else bench.device.type
    if cuda:
        bench.name += "_" + re.sub(r"\W+", "_", device.lower())
    rows = options.rows or (["table1_cifar10_smallconvnet"] if bench.toy else list(expected.rows))
    for row in rows:
        for column in (c for c in expected.rows[row].cells if c in options.columns):
            config = config_of(expected, row, column, options.device, 8 if bench.toy else None)
            try:
                measure_cell(bench, config, f"{row} {column}")
            except (MemoryError, torch.OutOfMemoryError):
                print(f"{row} {column}: not measured, it needs more memory than there is", flush=True)
            gc.collect()
            if cuda:
                torch.cuda.empty_cache()
    path = (options.out or measure.RESULTS) / f"{bench.name}.csv"
    lines = earlier(path, device)
    bench.finish()
    if lines:
        keep_earlier(path, lines)


if __name__ == "__main__":
    main()
