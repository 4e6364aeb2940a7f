"""`report.py page`: a set of runs as one HTML page that opens from disk."""

from __future__ import annotations

import argparse
from pathlib import Path

from sacreddnn.report.run_page import run_page
from sacreddnn.report.selection import add_choice, read_records
from sacreddnn.tracking.plain import write_atomic

TEXT = "one self-contained HTML page of a set of runs: tables, figures, configs, origin"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options beside those of every command."""
    add_choice(command)
    command.add_argument("--title", help="of the page; by default the tag")
    command.add_argument("--out", type=Path, required=True, help="the file, such as results/sweep.html")


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    page = run_page(read_records(arguments), arguments.title or arguments.tag or "Recorded runs")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(arguments.out, page)
    print(f"{arguments.out}: {len(page) / 1024:,.0f} KiB, opens without anything else")
    return 0
