"""`report.py profiles`: the local energy against the strength of the noise."""

from __future__ import annotations

import argparse
from pathlib import Path

from sacreddnn.report import curve_table, figures, tables
from sacreddnn.report.selection import add_choice, read_records
from sacreddnn.tracking.plain import write_atomic

TEXT = "local energy against the strength of the noise, as PNG, PDF and CSV"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options beside those of every command."""
    add_choice(command)
    command.add_argument("--quantity", choices=("error", "loss"), default="error", help="(%(default)s)")
    command.add_argument("--out", type=Path, required=True, help="folder for the files")


def run(arguments: argparse.Namespace) -> int:
    """Draw the profiles and write down what is drawn."""
    records = read_records(arguments)
    figures.save(figures.local_energy_profiles(records, arguments.quantity), arguments.out / "local_energy_profiles")
    frame = curve_table.profile_table(records, arguments.quantity)
    write_atomic(arguments.out / "local_energy_profiles.csv", tables.to_csv(frame))
    print(f"{arguments.out}/: local_energy_profiles.png, .pdf and .csv")
    return 0
