"""`report.py table`: any results of runs, grouped by any keys of their configs."""

from __future__ import annotations

import argparse
from pathlib import Path

from sacreddnn.report import grouped, markup, tables
from sacreddnn.report.groups import trainings
from sacreddnn.report.layout import layout_markdown, layout_text
from sacreddnn.report.selection import add_choice, read_records
from sacreddnn.tracking import runs
from sacreddnn.tracking.plain import write_atomic

TEXT = "any results of runs, mean and standard error over the runs that agree in the given keys"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options beside those of every command."""
    add_choice(command)
    command.add_argument(
        "--by", nargs="+", default=grouped.NAMES, metavar="KEY", help="config keys, or dataset, model, algorithm"
    )
    command.add_argument("--metrics", nargs="+", metavar="NAME", help="names in the results or of recorded points")
    command.add_argument(
        "--against", metavar="VALUE", help="row of the baseline, as SGD: differences with paired tests"
    )
    command.add_argument("--out", type=Path, help="folder for table.md, .csv, .tex, .html and runs.csv")


def run(arguments: argparse.Namespace) -> int:
    """Print the table; with --out write it in four formats with the list of runs."""
    records = read_records(arguments)
    metrics = arguments.metrics or [
        name for name in grouped.METRICS if any(name in r.result for r in trainings(records))
    ]
    frame = grouped.grouped(records, arguments.by, metrics, arguments.against)
    parts = ("Recorded runs", grouped.columns(frame, arguments.by, metrics), frame.attrs["notes"])
    print(layout_text(*parts, 120))
    if (out := arguments.out) is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(out / "table.md", layout_markdown(*parts))
        write_atomic(out / "table.csv", tables.to_csv(frame))
        write_atomic(out / "table.tex", "% needs \\usepackage{booktabs}\n" + markup.layout_latex(*parts))
        write_atomic(out / "table.html", markup.page("Recorded runs", markup.layout_html(*parts)))
        runs.provenance(trainings(records)).to_csv(out / "runs.csv")
        print(f"{out}/: table.md, .csv, .tex and .html, runs.csv")
    return 0
