"""Recorded runs of the paper's cells, made by hand, and the files of throughput that the tests write."""

from __future__ import annotations

import copy
from typing import Any

from report_cases import Run

from sacreddnn.report.paper import hours, recipe
from sacreddnn.report.paper.expected import Expected, load

EXPECTED: Expected = load()
ROW = "table1_cifar10_smallconvnet"


def trained(run_id: int, column: str, seed: int, test: float, row: str = ROW, **changes: Any) -> Run:
    """A completed run of a cell's whole config; `changes` are config keys, with __ for the dot."""
    config = copy.deepcopy(recipe.recipe(EXPECTED, row, column).model_dump())
    config["seed"] = seed
    config["dataset"]["root"] = "somewhere/else"
    for key, value in changes.items():
        section, _, name = key.partition("__")
        config[section][name] = value
    return Run(run_id, config=config, result={"test/center/error": test},
               info={"num_train": EXPECTED.rows[row].num_train})  # fmt: skip


def three_seeds(column: str, tests: list[float], first: int = 1, row: str = ROW) -> list[Run]:
    """Runs of seeds 0, 1, .. with these test errors."""
    return [trained(first + seed, column, seed, test, row) for seed, test in enumerate(tests)]


def throughput(path: Any, rates: dict[str, float], device: str = "cpu", machine: str | None = None) -> None:
    """A file as benchmarks/throughput.py writes it, in its columns that count."""
    machine = machine or hours.this_machine()
    lines = ["what,measured,unit,commit,machine,device"]
    lines += [f'{what},{rate},{hours.UNIT},0123456789ab,"{machine}",{device}' for what, rate in rates.items()]
    path.write_text("\n".join(lines) + "\n")
