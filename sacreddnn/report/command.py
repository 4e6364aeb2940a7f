"""The command line of `scripts/report.py`: recorded runs listed, compared, and brought into the database.

    report.py runs                                   a line a run
    report.py runs --where algorithm.name=rsgd 'training.lr<0.1' --out runs.csv --metrics points.parquet
    report.py artifacts 7 --out DIR                  files of run 7 out of the database
    report.py delete 7 8                             from database and disk, after a question
    report.py compare 4 5 6 --out results/mine       table and figures of runs 4, 5 and 6
    report.py compare --tag demo                     of the newest run of each algorithm and seed with that tag
    report.py flatness 11 12 13 --out DIR            table and figures of networks measured by scripts/flatness.py
    report.py correlate --tag study --out DIR        rank correlation of each measure with the test error
    report.py table --by algorithm.name training.lr  any results, averaged over the runs that agree in these keys
    report.py curves 4 5 6 --axis seconds --out DIR  a metric against gradient evaluations, epochs or seconds
    report.py profiles 4 5 6 --out DIR               local energy against the strength of the noise
    report.py diff 4 5                               two runs: what differs in their configs, results, curves
    report.py page --tag demo --out page.html        one page that holds all of it
    report.py paper --out results/paper              the paper's numbers against ours
    report.py replay                                 bring the database in step with the runs on disk

Exit status: 0 done; 1 the database is away or a run cannot be read; 2 a command that cannot be understood.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sacreddnn.report import correlate, export, figures, flatness_table, selection, style, tables
from sacreddnn.report.commands import COMMANDS
from sacreddnn.report.groups import not_trainings, trainings
from sacreddnn.report.selection import opened, read_records
from sacreddnn.tracking import mirror, removal, runs
from sacreddnn.tracking.runs import Record

SIGMAS = (0.1, 0.3, 0.5)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except (OSError, ValueError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="report.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        selection.add_places(command)
        command.set_defaults(run=function)
        return command

    for name, function, text in (
        ("runs", list_runs, "list the recorded runs"),
        ("compare", compare, "table and figures of several runs"),
    ):
        command = add(name, function, text)
        selection.add_choice(command)
        if name == "runs":
            command.add_argument(
                "--out",
                type=Path,
                help="write config, result and origin of each run to this file, .csv, .json or .parquet",
            )
            command.add_argument("--metrics", type=Path, help="write all points of all metrics to this file")
        if name == "compare":
            command.add_argument("--sigmas", nargs="+", type=float, default=SIGMAS, help="columns of the local energy")
            command.add_argument("--out", type=Path, help="folder for the table and the figures")
    command = add("artifacts", artifacts, "copy the artifacts of a run out of the database")
    command.add_argument("id", type=int)
    command.add_argument("--out", type=Path, required=True, help="folder to write them to")
    command = add("delete", delete, "delete runs from the database and from disk")
    command.add_argument("ids", nargs="+", type=_number_or_uuid, metavar="ID", help="numbers or uuids of runs")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command = add("flatness", compare_flatness, "table and figures of networks measured by scripts/flatness.py")
    command.add_argument("ids", nargs="+", type=int, help="ids of the measurements")
    command.add_argument("--from-disk", action="store_true", help="read the run folders, not the database")
    command.add_argument("--out", type=Path, help="folder for the table and the figure")
    command = add("correlate", correlate_runs, "rank correlation of each measure of flatness with the test error")
    command.add_argument("ids", nargs="*", type=int, help="run ids; all runs if neither ids nor a tag are given")
    command.add_argument("--tag", help="only runs whose tracking.tags hold it")
    command.add_argument("--from-disk", action="store_true", help="read the run folders, not the database")
    command.add_argument("--target", choices=list(correlate.TARGETS), default="test_error")
    command.add_argument("--measures", nargs="+", help="names in the results; all if not given")
    command.add_argument("--out", type=Path, help="folder for the table and the figure")
    add("replay", replay, "bring the database in step with the runs on disk").add_argument(
        "--force", action="store_true", help="write again what the database says it has"
    )
    for name, module in COMMANDS.items():
        module.add_arguments(add(name, module.run, module.TEXT))
    return parser


def newest(records: list[Record]) -> list[Record]:
    """Of the completed trainings of one data set, network, algorithm and seed the last one."""
    last = {}
    for record in sorted(trainings(records), key=lambda r: r.run_id):
        names = (record.config[part]["name"] for part in ("dataset", "model"))
        if record.status == "COMPLETED":
            last[*names, style.algorithm_key(record.config), record.config["seed"]] = record
    return list(last.values())


def list_runs(arguments: argparse.Namespace) -> int:
    """Print a line a run; with --out write everything that is one value a run."""
    records = read_records(arguments)
    if arguments.out:
        frame = runs.frame(records).join(runs.provenance(records)[["config_hash", "commit", "machine", "device"]])
        # where a run went on from says nothing about it, and names a folder of one machine
        export.write(frame.drop(columns="config.resume", errors="ignore"), arguments.out)
    if arguments.metrics:
        export.write(runs.metrics(records), arguments.metrics)
    rows = [
        {
            "run": r.run_id,
            "status": r.status,
            "started (UTC)": r.start_time.strftime("%Y-%m-%d %H:%M") if r.start_time else "-",
            **{part: _name(r, part) for part in ("dataset", "model", "algorithm")},
            "seed": r.config.get("seed", "-"),
            "test error (%)": f"{r.result['test/center/error']:.2f}" if "test/center/error" in r.result else "-",
        }
        for r in records
    ]
    print(pd.DataFrame(rows).to_string(index=False))
    return 0


def _name(record: Record, part: str) -> str:
    """The name of a part of a run's config; of what was measured later, that of its source."""
    section = record.config.get(part) or record.info.get("source") or {}
    if isinstance(section, list):
        section = section[0]
    found = section.get("name") or section.get(part) or "-"
    return str(found["name"] if isinstance(found, dict) else found)


def artifacts(arguments: argparse.Namespace) -> int:
    """Copy the artifacts of one run to a folder and list them."""
    with opened(arguments) as db:
        for path in removal.copy_artifacts(db, arguments.id, arguments.out):
            print(path)
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """Ask, then delete runs everywhere: first from disk, which replay would bring back, then from the database."""
    with opened(arguments) as db:
        found = [removal.locate(arguments.root, db, name) for name in arguments.ids]
        if not arguments.yes:
            print(*found, sep="\n")
            print("Delete from disk and from the database? [y/N] ", end="", flush=True)
            if sys.stdin.readline().strip().lower() not in ("y", "yes"):
                print("nothing deleted")
                return 0
        for one in found:
            where = []
            if one.folder and removal.delete_from_disk(arguments.root, int(one.folder.name)):
                where.append("disk")
            if one.number is not None and removal.delete_from_database(db, one.number, one.uuid):
                where.append("database")
            print(f"run {one.name}: deleted from {' and '.join(where)}" if where else f"run {one.name}: was not there")
    return 0


def _number_or_uuid(text: str) -> str:
    """The number or uuid of a run as it was written."""
    if re.fullmatch(rf"[0-9a-f]{{{removal.UUID_LENGTH}}}", text):
        return text
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text}: must be the number of a run or its uuid")
    return str(int(text))


def compare(arguments: argparse.Namespace) -> int:
    """Print the table; with --out write it as Markdown and CSV, and the figures as PNG and PDF."""
    given = read_records(arguments)
    records = trainings(given) if arguments.ids else newest(given)
    if not records:
        raise ValueError(f"none of {len(given)} runs is a completed training; `report.py runs` lists them")
    frame = tables.comparison(records, arguments.sigmas)
    frame.attrs["notes"] += not_trainings(given)
    print(tables.to_text(frame))
    if (out := arguments.out) is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "comparison.md").write_text(tables.to_markdown(frame))
        (out / "comparison.csv").write_text(tables.to_csv(frame))
        runs.provenance(records).to_csv(out / "runs.csv")
        figures.save(figures.learning_curves(records), out / "learning_curves")
        figures.save(figures.local_energy_profiles(records), out / "local_energy_profiles")
        print(f"\n{out}/: comparison.md and .csv, runs.csv, learning_curves and local_energy_profiles as .png and .pdf")
    return 0


def compare_flatness(arguments: argparse.Namespace) -> int:
    """Print the table; with --out write it as Markdown and CSV, and the figure as PNG and PDF."""
    arguments.tag = None
    records = read_records(arguments)
    frame = flatness_table.flatness_table(records)
    print(frame.to_string())
    if (out := arguments.out) is not None:
        from sacreddnn.report.flatness_figures import flatness

        out.mkdir(parents=True, exist_ok=True)
        (out / "flatness.md").write_text(flatness_table.to_markdown(frame))
        frame.to_csv(out / "flatness.csv")
        runs.provenance(records).to_csv(out / "runs.csv")
        figures.save(flatness([record.info for record in records]), out / "flatness")
        print(f"\n{out}/: flatness.md, .csv, .png and .pdf, runs.csv")
    return 0


def correlate_runs(arguments: argparse.Namespace) -> int:
    """Print the table of rank correlations; with --out write it as CSV and text, and the scatter as PNG and PDF."""
    records = read_records(arguments)
    measured = correlate.networks(records)
    frame = correlate.correlate(measured, arguments.target, arguments.measures)
    num_algorithms = len({network.algorithm for network in measured})
    text = correlate.to_text(frame, arguments.target, num_algorithms, correlate.incomplete(records))
    print(text)
    if (out := arguments.out) is not None:
        from sacreddnn.report.correlate_figure import scatter

        out.mkdir(parents=True, exist_ok=True)
        frame.to_csv(out / "correlation.csv")
        rows = [{"run": one.run, "algorithm": one.algorithm} | one.values for one in measured]
        pd.DataFrame(rows).to_csv(out / "networks.csv", index=False)
        (out / "correlation.txt").write_text(text + "\n")
        figures.save(scatter(measured, frame, arguments.target), out / "correlation")
        print(f"\n{out}/: correlation.csv, .txt, .png and .pdf, networks.csv")
    return 0


def replay(arguments: argparse.Namespace) -> int:
    """Bring the database in step with the runs on disk and say what was done."""
    with opened(arguments) as db:
        done = mirror.replay(arguments.root, db, force=arguments.force)
    print(done)
    return 1 if done.failed else 0
