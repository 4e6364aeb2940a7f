"""`report.py paper`: the paper's numbers against ours."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sacreddnn.report.paper import cells, expected, hours, table
from sacreddnn.report.selection import read_records
from sacreddnn.tracking import runs

TEXT = "the numbers of the paper against ours, cell by cell, and the hours that are to go"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options beside those of every command."""
    command.add_argument("--from-disk", action="store_true", help="read the run folders, not the database")
    command.add_argument("--gpu", help="accelerator of the last column; by default the first that was measured")
    command.add_argument("--rates", type=Path, default=hours.FOLDER, help="folder of throughput*.csv (%(default)s)")
    command.add_argument("--expected", type=Path, default=expected.FILE, help="the numbers as data (%(default)s)")
    command.add_argument("--out", type=Path, help="folder for paper.md, .csv, .tex, .html and runs.csv")
    command.set_defaults(ids=[], tag=None, allow_none=True)


def run(arguments: argparse.Namespace) -> int:
    """Print the tables; with --out write them in four formats, and the runs behind them."""
    rates = hours.read(arguments.rates)
    known = hours.accelerators(rates)
    if arguments.gpu and arguments.gpu not in known:
        raise ValueError(
            f"--gpu: {arguments.gpu!r} was not measured, measured: {', '.join(known) or 'none'}; "
            "there, run python benchmarks/throughput.py"
        )
    gpu = arguments.gpu or next(iter(known), None)
    numbers = expected.load(arguments.expected)
    comparisons = cells.compare(numbers, read_records(arguments))
    frame = table.frame(numbers, comparisons, rates, gpu)
    sets = table.sets(numbers, frame, gpu)
    print(table.to_text(sets))
    if (out := arguments.out) is not None:
        table.write(sets, frame, out)
        behind: dict[int, Any] = {record.run_id: record for one in comparisons for record in one.runs}
        runs.provenance([behind[run_id] for run_id in sorted(behind)]).to_csv(out / "runs.csv")
        print(f"{out}/: paper.md, .csv, .tex and .html, runs.csv")
    return 0
