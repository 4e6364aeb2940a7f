"""What the benchmarks share: timing in turn, and a table of what was aimed at and what was measured.

    bench = measure.start(__doc__, "arithmetic")
    times = bench.in_turn({"ours": step, "copy": copy})
    bench.ratio("sgd: arithmetic over a memory copy", times["ours"], times["copy"], at_most=1.3)
    bench.finish()

Times on shared machines are noise, so that what is compared runs in turn in one process, and the result is a ratio:
the median, with its quartiles, of the ratios of neighbouring repeats. `finish` prints the table and writes it with
commit, machine, versions and threads to results/benchmarks/NAME.md and NAME.csv. A target that is missed is called
missed; it does not end the program.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from sacreddnn.tracking import provenance
from sacreddnn.training.allocator import keep_freed_memory
from sacreddnn.training.objective import choose_device

RESULTS = Path(__file__).resolve().parent.parent / "results" / "benchmarks"


@dataclass(frozen=True)
class Row:
    """One measured number: its median and quartiles, in a unit, and what was aimed at."""

    what: str
    measured: float
    low: float
    high: float
    unit: str = "ratio"
    at_most: float | None = None
    at_least: float | None = None

    @property
    def target(self) -> str:
        """The target in words, "-" where there is none."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "-" if self.at_least is None else f">= {self.at_least:g}"

    @property
    def verdict(self) -> str:
        """Whether the median meets the target."""
        if self.target == "-":
            return "-"
        met = self.measured <= self.at_most if self.at_most is not None else self.measured >= (self.at_least or 0)
        return "met" if met else "MISSED"


class Benchmark:
    """A benchmark in progress.

    Args:
        name: of its files.
        claim: what it is about; the docstring of the script.
        options: of the command line.
    """

    def __init__(self, name: str, claim: str, options: argparse.Namespace) -> None:
        self.name, self.claim, self.options = name, claim, options
        self.toy: bool = options.toy
        self.device = choose_device(options.device)
        self.rows: list[Row] = []
        self.start = time.perf_counter()

    def repeats(self, usual: int) -> int:
        """How often to repeat: as the command line says, else as usual; twice at toy size."""
        return self.options.repeats or (2 if self.toy else usual)

    def in_turn(
        self, calls: Mapping[str, Callable[[], object]], repeats: int = 7, warm_up: int = 2
    ) -> dict[str, list[float]]:
        """Seconds of every call, the calls taking turns so that a busy machine slows all alike, after some rounds."""
        repeats = self.repeats(repeats)
        times: dict[str, list[float]] = {name: [] for name in calls}
        gc.collect()
        for repeat in range(repeats + warm_up):
            for name, call in calls.items():
                self.synchronize()
                start = time.perf_counter()
                call()
                self.synchronize()
                if repeat >= warm_up:
                    times[name].append(time.perf_counter() - start)
        return times

    def synchronize(self) -> None:
        """Wait for the device, so that a clock shows what it did."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def ratio(
        self, what: str, above: Sequence[float], below: Sequence[float], scale: float = 1.0, **target: float
    ) -> None:
        """A row: scale times the ratio of two series of times, repeat by repeat."""
        self.row(what, [scale * a / b for a, b in zip(above, below, strict=True)], "ratio", **target)

    def row(self, what: str, values: Sequence[float], unit: str, **target: float) -> None:
        """A row: median and quartiles of some numbers; `at_most` or `at_least` is what was aimed at."""
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [*values]
        row = Row(what, middle, low, high, unit, **target)
        self.rows.append(row)
        print(f"{row.what:64s} {row.measured:9.4g} {row.unit:12s} {row.target:>8s} {row.verdict}", flush=True)

    def finish(self) -> None:
        """Write the table; nothing is written at toy size unless the command line names a folder."""
        if self.options.out is None and self.toy:
            return
        folder = RESULTS if self.options.out is None else self.options.out
        folder.mkdir(parents=True, exist_ok=True)
        about = provenance.git(Path(__file__).parent)[0]
        commit = about.get("commit", "unknown")[:12] + (" with changes" if about.get("dirty") else "")
        facts = {
            "commit": commit,
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "machine": f"{provenance.host()['cpu']}, {os.cpu_count()} cores",
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            "threads": torch.get_num_threads(),
            "versions": ", ".join(f"{name} {version}" for name, version in provenance.versions().items()),
            "seconds": round(time.perf_counter() - self.start),
        }
        write_csv(folder / f"{self.name}.csv", self.rows, facts)
        (folder / f"{self.name}.md").write_text(self._page(facts))

    def _page(self, facts: Mapping[str, object]) -> str:
        claim = self.claim.strip()
        size = " at toy size, which shows nothing" if self.toy else ""
        lines = [f"# {self.name}", "", claim, "", f"Made by `python benchmarks/{self.name}.py`{size}.", ""]
        lines += [f"- {key}: {value}" for key, value in facts.items()]
        lines += ["", "| what | median | quartiles | unit | target | |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {r.what} | {r.measured:.4g} | {r.low:.4g} to {r.high:.4g} | {r.unit} | {r.target} | {r.verdict} |"
            for r in self.rows
        ]
        return "\n".join(lines) + "\n"


def write_csv(path: Path, rows: Sequence[Row], facts: Mapping[str, object]) -> None:
    """One line a row, the facts of the run repeated on each."""
    names = [field.name for field in fields(Row)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "target", "verdict", *facts])
        for row in rows:
            writer.writerow([*(getattr(row, name) for name in names), row.target, row.verdict, *facts.values()])


def parser(doc: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=doc.strip().splitlines()[0])
    made.add_argument("--toy", action="store_true", help="seconds instead of minutes, to see that it runs")
    made.add_argument("--repeats", type=int, help="of every measurement")
    made.add_argument("--threads", type=int, default=os.cpu_count(), help="of the CPU; all by default")
    made.add_argument("--device", default="auto", help="as training.device")
    made.add_argument("--out", type=Path, help="folder of the tables, by default results/benchmarks")
    return made


def start(doc: str, name: str, options: argparse.Namespace | None = None) -> Benchmark:
    """A benchmark with the options of the command line, or with those given."""
    options = options or parser(doc).parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as every run does
    return Benchmark(name, doc, options)
