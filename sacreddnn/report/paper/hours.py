"""How long the runs of a cell take on a device, from measured throughput only.

`python benchmarks/throughput.py` measures it, whole training steps of each cell's own config, and writes
results/benchmarks/throughput.csv, for an accelerator throughput_NAME.csv. What is not in these files is "not measured".
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from sacreddnn.config import Config
from sacreddnn.tracking import provenance

FOLDER = Path(__file__).resolve().parents[3] / "results" / "benchmarks"


UNIT = "images/s"  # of the lines that count; those of toy size have another


@dataclass(frozen=True)
class Rate:
    """A measured throughput: training images a second, over all replicas."""

    row: str
    column: str
    device: str
    machine: str
    images_per_second: float
    commit: str

    @property
    def name(self) -> str:
        """Of the device: that of the accelerator, or of the machine's processor."""
        return self.machine if self.device == "cpu" else self.device


def read(folder: Path = FOLDER) -> list[Rate]:
    """The rates in throughput*.csv of a folder, in the order of names and lines.

    Raises:
        ValueError: a file that benchmarks/throughput.py has not written.
    """
    rates = []
    for path in sorted(folder.glob("throughput*.csv")):
        with path.open(newline="") as file:
            for line in csv.DictReader(file):
                try:
                    if line["unit"] != UNIT:
                        continue
                    row, column = line["what"].split()
                    rate = float(line["measured"])
                    rates.append(Rate(row, column, line["device"], line["machine"], rate, line["commit"]))
                except (KeyError, ValueError) as error:
                    raise ValueError(f"{path}: {error} is not what benchmarks/throughput.py writes") from None
    return rates


def this_machine() -> str:
    """The name under which `benchmarks/throughput.py` writes down this machine's processor."""
    host = provenance.host()
    return f"{host['cpu']}, {host['num_cpus']} cores"


def accelerators(rates: list[Rate]) -> list[str]:
    """The devices with a measurement that are no processor, by name."""
    return sorted({rate.name for rate in rates if rate.device != "cpu"})


def num_images(config: Config, num_train: int) -> int:
    """Training images through forward and backward in a run, all replicas together.

    With a budget per replica each of y replicas makes `training.epochs` passes, else all of them share these.

    Args:
        config: of the run.
        num_train: images of the training set.
    """
    training, algorithm = config.training, config.algorithm
    per_pass = num_train - num_train % training.batch_size if training.drop_last else num_train
    replicas = getattr(algorithm, "replicas", 1) if getattr(algorithm, "budget", "shared") == "per_replica" else 1
    return training.epochs * per_pass * replicas


def estimate(rates: list[Rate], device: str, row: str, column: str, images: int) -> float | None:
    """Hours for so many images, None where this row and column was not measured on the device."""
    for rate in rates:
        if (rate.name, rate.row, rate.column) == (device, row, column):
            return images / rate.images_per_second / 3600
    return None
