"""The trials of schedules for Figure 1, as they were recorded: trials.csv.

    python scripts/shallow.py with trials on_disk    # a round of trials, recorded with the tag figure1_trials
    python results/shallow/trials.py                 # writes trials.csv beside this file, from all such runs

The first round had learning rates that fall, the second constant ones. Errors are means over restarts, in percent, with
their standard errors; the local energy in points. The last columns say what code made it, and where.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sacreddnn.tracking.folder import folders
from sacreddnn.tracking.runs import Record, read_folder

TAG, SIGMA = "figure1_trials", 0.5


def growth(schedule: dict[str, float]) -> str:
    """Its first and last value."""
    return f"{schedule['first']:g} to {schedule['last']:g}"


def rows(record: Record, folder: Path) -> list[dict[str, Any]]:
    """One for every solver of a run."""
    found = json.loads((folder / "artifacts" / "shallow.json").read_text())
    made = []
    for name, solver in record.config["solvers"].items():
        algorithm, energies = solver["algorithm"], np.array(found["solvers"][name]["local_energy"])
        made.append({
            "round": 2 if solver["lr"]["first"] == solver["lr"]["last"] else 1,
            "trial": name,
            "algorithm": algorithm,
            "epochs": solver["epochs"],
            "lr": growth(solver["lr"]),
            "beta": growth(solver["beta"]),
            "omega": growth(solver["omega"]),
            "coupling": "" if algorithm == "sgd" else growth(solver["coupling"]),
            "noise": solver["noise"] if algorithm == "esgd" else None,
            "validation_error": round(record.result[f"{name}/validation_error"], 3),
            "validation_error_se": round(record.result[f"{name}/validation_error_se"], 3),
            "with_training_errors": record.result[f"{name}/unsolved"],
            "restarts": record.config["restarts"],
            "gradient_evaluations": record.result[f"{name}/gradient_evaluations"],
            "local_energy_at_0_5": round(float(energies[:, found["sigmas"].index(SIGMA)].mean()), 3),
            "seed": record.config["seed"],
            "commit": record.git.get("commit", ""),
            "uncommitted_changes": record.git.get("dirty"),
            "config_hash": record.config_hash,
            "machine": record.host.get("cpu", ""),
        })  # fmt: skip
    return made


def main() -> None:
    """Write trials.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", default="results/runs", help="the folder that holds all runs")
    root = parser.parse_args().root
    table: list[dict[str, Any]] = []
    for folder in folders(root):
        record = read_folder(folder)
        if record.status == "COMPLETED" and TAG in record.config["tracking"]["tags"]:
            table += rows(record, folder)
    if not table:
        raise SystemExit(f"{root}: no finished run with the tag {TAG} is there; name the folder that holds all runs")
    pd.DataFrame(table).to_csv(Path(__file__).with_name("trials.csv"), index=False, lineterminator="\r\n")
    print(f"{len(table)} trials")


if __name__ == "__main__":
    main()
