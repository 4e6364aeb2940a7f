"""`report.py diff A B`: what differs between two runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sacreddnn.report import difference, figures
from sacreddnn.report.layout import layout_markdown, layout_text
from sacreddnn.report.selection import read_records
from sacreddnn.tracking.plain import write_atomic

TEXT = "two runs: what differs in config and origin, their results, their curves"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options beside those of every command."""
    command.add_argument("ids", nargs=2, type=int, metavar="ID", help="two run ids")
    command.add_argument("--from-disk", action="store_true", help="read the run folders, not the database")
    command.add_argument("--metric", default="test/center/error", metavar="NAME", help="of the curves (%(default)s)")
    command.add_argument("--axis", choices=list(figures.AXES), default="gradient_evaluations", help="(%(default)s)")
    command.add_argument("--out", type=Path, help="folder for difference.md and the curves as PNG and PDF")
    command.set_defaults(tag=None)


def run(arguments: argparse.Namespace) -> int:
    """Print the differences; with --out write them, and draw both runs in one figure."""
    if arguments.ids[0] == arguments.ids[1]:
        raise ValueError(f"run {arguments.ids[0]} is one run; give two")
    by_id = {record.run_id: record for record in read_records(arguments)}
    a, b = (by_id[run_id] for run_id in arguments.ids)
    frames = {
        "config": difference.config_difference(a, b),
        "origin": difference.origin_difference(a, b),
        "results": difference.result_difference(a, b),
    }
    parts: list[Any] = [(name, difference.columns(frame, a, b), []) for name, frame in frames.items() if len(frame)]
    same = [f"{name}: the same" for name, frame in frames.items() if not len(frame)]
    print("\n".join([*(layout_text(head, columns, notes, 120) for head, columns, notes in parts), *same]))
    if (out := arguments.out) is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(out / "difference.md", "\n".join([*(layout_markdown(*part) for part in parts), *same]) + "\n")
        curves = figures.learning_curves([a, b], arguments.metric, arguments.axis, average_seeds=False)
        figures.save(curves, out / "curves")
        print(f"{out}/: difference.md, curves.png and .pdf")
    return 0
