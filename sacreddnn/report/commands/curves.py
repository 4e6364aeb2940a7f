"""`report.py curves`: a metric against gradient evaluations, epochs or seconds."""

from __future__ import annotations

import argparse
from pathlib import Path

from sacreddnn.report import curve_table, figures, tables
from sacreddnn.report.selection import add_choice, read_records
from sacreddnn.tracking.plain import write_atomic

TEXT = "a recorded metric against gradient evaluations, epochs or seconds, as PNG, PDF and CSV"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options beside those of every command."""
    add_choice(command)
    command.add_argument("--metric", default="test/center/error", metavar="NAME", help="(%(default)s)")
    command.add_argument("--axis", choices=list(figures.AXES), default="gradient_evaluations", help="(%(default)s)")
    command.add_argument("--out", type=Path, required=True, help="folder for the files")


def run(arguments: argparse.Namespace) -> int:
    """Draw the curves and write down what is drawn."""
    records = read_records(arguments)
    figure = figures.learning_curves(records, arguments.metric, arguments.axis)
    stem = f"{arguments.metric.replace('/', '_')}_against_{arguments.axis}"
    figures.save(figure, arguments.out / stem)
    frame = curve_table.curve_table(records, arguments.metric, arguments.axis)
    write_atomic(arguments.out / f"{stem}.csv", tables.to_csv(frame))
    print(f"{arguments.out}/: {stem}.png, .pdf and .csv")
    return 0
