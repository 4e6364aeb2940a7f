"""Running statistics of batch norm against re-estimated ones, within each run: writes batch_norm.md beside itself.

Of every run the test error with the statistics that training left (the average over the replicas for Replicated-SGD)
minus that of the same weights with statistics of clean training images; mean and standard error over seeds.
"""

from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parent
RUNNING, REESTIMATED = "test/center/error", "test/center_reestimated/error"
NAMES = {"sgd": "SGD", "esgd": "Entropy-SGD", "rsgd": "Replicated-SGD"}


def line(name: str, runs: pd.DataFrame) -> str:
    """A row of the table."""
    difference = runs[RUNNING] - runs[REESTIMATED]
    cells = [f"{one.mean():.2f} ± {one.sem():.2f}" for one in (runs[RUNNING], runs[REESTIMATED], difference)]
    return f"| {' | '.join([name, str(len(runs)), *cells, f'{difference.min():.2f} to {difference.max():.2f}'])} |"


def main() -> None:
    """Read runs.csv, write and print the table."""
    runs = pd.read_csv(FOLDER / "runs.csv")
    lines = [
        "| algorithm | runs | running statistics (%) | re-estimated (%) | difference | of single runs |",
        "|---|---|---|---|---|---|",
        *(line(NAMES[name], of) for name, of in runs.groupby("config.algorithm.name", sort=False)),
    ]
    (FOLDER / "batch_norm.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
