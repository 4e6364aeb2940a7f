"""Every benchmark, one after another, and one table of targets against measurements.

    python benchmarks/all.py                    # minutes; `make bench`
    python benchmarks/all.py --toy              # seconds each: only to see that all run
    python benchmarks/all.py --only training    # one of them, and the table of all that are in the results
    python benchmarks/all.py --only load queries scheduling    # minutes more: the database under load, and large; Ray

Each runs in a process of its own and leaves its table in results/benchmarks/; one that fails is named in the summary
and does not keep the others from running. The summary is results/benchmarks/summary.md. Exit status 1 if one failed; a
target that is missed is a result.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

import measure

NAMES = (
    "arithmetic", "local_energy", "checkpoint", "startup", "recording", "pipeline", "replicas_on_one_device",
    "data_parallel", "growth", "shallow", "training",
)  # fmt: skip
ALONE = ("load", "queries", "scheduling")  # more minutes: only when they are asked for
SECONDS = 400  # after which a benchmark counts as failed


def run(name: str, arguments: list[str]) -> bool:
    """Run one benchmark; whether it ended well."""
    print(f"\n== {name}", flush=True)
    start = time.perf_counter()
    try:
        status = subprocess.run(
            [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *arguments], timeout=SECONDS, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        status = f"not done after {SECONDS} s"
    ended = "done" if status == 0 else f"FAILED ({status})"
    print(f"== {name}: {ended}, {time.perf_counter() - start:.0f} s", flush=True)
    return status == 0


def summary(folder: Path, failed: list[str]) -> str:
    """The rows of all tables in the folder that have a target."""
    about = "Medians (quartiles) of what was measured in turn; how, and on what machine, is in each benchmark's page."
    lines = ["# Targets and measurements", "", about, ""]
    lines += ["| benchmark | what | measured | target | | commit |", "|---|---|---|---|---|---|"]
    for name in (*NAMES, *ALONE):
        path = folder / f"{name}.csv"
        if name in failed or not path.is_file():
            lines.append(f"| {name} | {'it failed' if name in failed else 'not run'} | | | | |")
            continue
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["target"] != "-":
                    measured = f"{float(row['measured']):.3g} ({float(row['low']):.3g} to {float(row['high']):.3g})"
                    lines.append(
                        f"| [{name}]({name}.md) | {row['what']} | {measured} | {row['target']} | {row['verdict']} | "
                        f"{row['commit']} |"
                    )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--only", choices=(*NAMES, *ALONE), nargs="+", default=NAMES, help="only these")
    options = parser.parse_args()
    arguments = ["--threads", str(options.threads), "--device", options.device]
    arguments += ["--toy"] if options.toy else []
    arguments += ["--repeats", str(options.repeats)] if options.repeats else []
    arguments += ["--out", str(options.out)] if options.out else []
    failed = [name for name in options.only if not run(name, arguments)]
    folder = options.out or measure.RESULTS
    if options.out or not options.toy:
        text = summary(folder, failed)
        (folder / "summary.md").write_text(text)
        print("\n" + text)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
