"""Every cell of the paper's tables end to end at toy size: each recipe starts, trains, measures, records and reports.

A toy run is the cell's own config, on few synthetic images in the on-disk format of its data set, for two epochs of
minibatches of eight. Its numbers mean nothing: it carries the tag "toy", and no report counts it as a run of the paper.
Without an accelerator the 272 layers of PyramidNet, of which eight images need more memory than many machines have, are
29 of the same blocks; all other networks are whole.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacreddnn import experiment
from sacreddnn.report import grouped, tables
from sacreddnn.report.paper import cells, hours, recipe, toy
from sacreddnn.report.paper.expected import Expected, load
from sacreddnn.tracking import runs

NUM_TRAIN, BATCH_SIZE, EPOCHS = 40, 8, 2
SIZE = {
    "dataset.num_train": NUM_TRAIN,
    "dataset.download": "false",
    "training.epochs": EPOCHS,
    "training.batch_size": BATCH_SIZE,
    "evaluation.every": 1,
    "evaluation.num_train": 16,
    "evaluation.batch_size": 50,
    "evaluation.flatness.num_samples": 2,
    "evaluation.flatness.num_examples": 16,
    "evaluation.flatness.sigmas": "[0.0, 0.3]",
    "checkpoint.keep": 1,
}
SHRUNK = {"pyramidnet272": {"model.name": "pyramidnet", "model.depth": 29}}  # where there is no accelerator


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cells that the command line names, by default all, and print a line each and how many went through."""
    expected = load()
    parser = argparse.ArgumentParser(prog="paper_smoke.py", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=list(expected.rows), default=list(expected.rows), metavar="ROW")
    parser.add_argument("--columns", nargs="+", choices=list(expected.columns), default=list(expected.columns),
                        metavar="COLUMN")  # fmt: skip
    parser.add_argument("--folder", type=Path, help="keep data and runs in this folder; by default they are removed")
    arguments = parser.parse_args(argv)
    chosen = [(row, column) for row in arguments.rows for column in expected.rows[row].cells
              if column in arguments.columns]  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        failed = []
        for row, column in chosen:
            start = time.perf_counter()
            fault = run_cell(expected, row, column, folder)
            failed += [f"{row} {column}"] if fault else []
            print(f"{fault or 'ok':6s} {row} {column}, {time.perf_counter() - start:.0f} s", flush=True)
    print(f"{len(chosen) - len(failed)} of {len(chosen)} cells start, train, measure, record and report"
          + (f"; not: {', '.join(failed)}" if failed else ""))  # fmt: skip
    return 1 if failed else 0


def run_cell(expected: Expected, row: str, column: str, folder: Path) -> str:
    """Run a cell at toy size below a folder; "" if all went well, else what did not.

    Data sets that are already there are used, runs go to a folder of their own.
    """
    config = recipe.recipe(expected, row, column)
    data, root = folder / "data", folder / f"{row}_{column}"
    if not any(data.rglob(f"*{_archive(config.dataset.name)}*")):
        data.mkdir(parents=True, exist_ok=True)
        toy.write(config.dataset.name, data)
    words = [row, *expected.columns[column].configs, *changes(config.model.name, data, root)]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = experiment.main(["train.py", "with", *words])
    if status != 0:
        said = output.getvalue().strip().splitlines() or ["nothing said"]
        return f"FAILED with status {status}: {said[-1]}"
    try:
        check(expected, row, column, root)
    except (OSError, ValueError) as error:
        return f"FAILED after training: {error}"
    return ""


def changes(model: str, data: Path, root: Path) -> list[str]:
    """What makes a toy of a cell, as words of the command line."""
    keys: dict[str, Any] = {**SIZE, **(SHRUNK.get(model, {}) if not _has_accelerator() else {})}
    keys |= {
        "dataset.root": data, "tracking.root": root, "tracking.database": "false", "tracking.tags": f"[{recipe.TOY}]",
    }  # fmt: skip
    return [f"{key}={value}" for key, value in keys.items()]


def check(expected: Expected, row: str, column: str, root: Path) -> None:
    """Refuse a record that is not what the cell's run should have left, or that the report cannot use.

    Raises:
        ValueError: what is wrong.
    """
    (record,) = runs.load_spool(root)
    table = expected.tables[expected.rows[row].table]
    if record.status != "COMPLETED":
        raise ValueError(f"its status is {record.status}")
    if not math.isfinite(record.result.get(table.metric) or math.nan):
        raise ValueError(f"its result has no {table.metric}")
    wanted = hours.num_images(recipe.check(record.config), NUM_TRAIN) // BATCH_SIZE
    done = record.result["gradient_evaluations"]
    if not 0.8 * wanted <= done <= wanted:  # whole steps of y replicas only
        raise ValueError(f"{done} gradient evaluations, {wanted} are its budget")
    for key, setting in expected.settings_of(row, column).items():
        if key.startswith("algorithm.") and recipe.flatten(record.config).get(key) != setting.value:
            raise ValueError(f"{key} is recorded as {recipe.flatten(record.config).get(key)}, not {setting.value}")
    tables.comparison([record], [0.3])
    grouped.grouped([record], metrics=[table.metric])
    if any(one.runs for one in cells.compare(expected, [record])):
        raise ValueError("a toy run counts as a run of the paper")


def _archive(name: str) -> str:
    return {"cifar10": "cifar-10-", "cifar100": "cifar-100-", "tiny_imagenet": "tiny-imagenet"}[name]


def _has_accelerator() -> bool:
    from sacreddnn.training.objective import choose_device  # imports torch, so only for a run

    return choose_device("auto").type != "cpu"
