"""The command line of `scripts/sweep.py`: many runs from one file.

    sweep.py configs/sweeps/NAME.yaml --dry-run      the table of runs and what they cost; runs nothing
    sweep.py configs/sweeps/NAME.yaml                runs what is not done; again after any interruption
    sweep.py configs/sweeps/NAME.yaml --status       done / running / interrupted / failed / missing, from any shell
    sweep.py configs/sweeps/NAME.yaml --retries 2    failed runs get so many more tries
    sweep.py configs/sweeps/NAME.yaml --address HOST:6379    on a Ray cluster (docs/cluster.md)

Ctrl-C once: every run saves and stops; the same command goes on from there. Exit status: 0 all runs are done; 1 some
are not; 2 a sweep that cannot be run; 75 all are done, but not all of it has reached the database
(`scripts/report.py replay` brings it there); 130 stopped.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sacreddnn.run_config import TrackingConfig, replay_command
from sacreddnn.schema import ConfigError
from sacreddnn.sweeps import table
from sacreddnn.sweeps.grid import Run, expand
from sacreddnn.sweeps.state import DONE, FAILED, Records, State, is_recorded
from sacreddnn.sweeps.sweep_file import Sweep, read_sweep

if TYPE_CHECKING:
    from sacreddnn.sweeps.engine import RayEngine

ALL_DONE, NOT_ALL, BAD_SWEEP, NOT_IN_DATABASE, STOPPED = 0, 1, 2, 75, 130
TRAIN = Path(__file__).resolve().parents[2] / "scripts" / "train.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        _check(arguments)
        sweep = read_sweep(arguments.file)
        if arguments.retries is not None:
            sweep = sweep.model_copy(update={"trial": sweep.trial.model_copy(update={"retries": arguments.retries})})
        runs = _chosen(expand(sweep, Path(arguments.file).stem), arguments.only, sweep)
        records = Records(Path(runs[0].config.tracking.root))
        states = records.states([run.hash for run in runs])
        if arguments.status:
            print("\n".join(table.status(runs, states)))
            return ALL_DONE if all(one.kind == DONE for one in states.values()) else NOT_ALL
        if arguments.dry_run:
            print("\n".join(table.plan(runs, states, _costs(runs, sweep), sweep.trial.retries)))
            return ALL_DONE
        with _sigterm_as_ctrl_c():
            return _run(arguments, sweep, runs, states)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_SWEEP
    except (OSError, ValueError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        return NOT_ALL
    except KeyboardInterrupt:
        print("sweep: stopped at once; runs go on from their last checkpoints with the same command", file=sys.stderr)
        return STOPPED


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM while a sweep starts, and while it ends, is as good as Ctrl-C; in between `launch.Stop` takes both."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse counts that are none."""
    for name, least in (("retries", 0), ("cpus", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name} {value}: is not allowed, give {least} or more")


def _chosen(runs: list[Run], cases: Sequence[str], sweep: Sweep) -> list[Run]:
    for case in cases:
        if case not in sweep.cases:
            raise ConfigError(f"--only {case}: no such case, there are: {', '.join(sweep.cases) or 'none'}")
    return [run for run in runs if not cases or run.case in cases]


def _costs(runs: Sequence[Run], sweep: Sweep) -> dict[str, int | None]:
    from sacreddnn.sweeps.cost import check_runs  # imports torch

    return check_runs(runs, sweep.trial)


def _run(arguments: argparse.Namespace, sweep: Sweep, runs: Sequence[Run], states: Mapping[str, State]) -> int:
    """Run what is not done."""
    failed = [run for run in runs if states[run.hash].kind == FAILED]
    ended = {DONE} if sweep.trial.retries else {DONE, FAILED}
    print(f"{len(runs)} runs: {table.counts(states)}", flush=True)
    for run in failed:
        print(f"failed before: {run.label}: {states[run.hash].line}", flush=True)
    if failed and not sweep.trial.retries:
        print(f"{len(failed)} failed runs are not tried again; --retries 1 tries each once more", flush=True)
    if all(one.kind in ended for one in states.values()):
        return _end(runs, dict(states), _pending(runs, states), False)
    engine, costs = _start(arguments, sweep, runs)
    try:
        _check_database(runs[0].config.tracking, len(engine.nodes()))
        from sacreddnn.sweeps.launch import Launch

        view = table.make_view(runs, costs)
        launch = Launch(
            Path(arguments.file).stem, runs, sweep.trial, engine, view, [sys.executable, str(TRAIN)],
            Path(runs[0].config.tracking.root),
        )  # fmt: skip
        try:
            with launch.stop.on_signals():
                after = launch.run()
        finally:
            view.close()
    finally:
        engine.close()
    return _end(runs, after, launch.pending | _pending(runs, after), launch.stop.asked)


def _start(arguments: argparse.Namespace, sweep: Sweep, runs: Sequence[Run]) -> tuple[RayEngine, dict[str, int | None]]:
    """The engine, and what the runs cost: Ray mostly waits while it starts, so the runs are checked meanwhile."""
    from sacreddnn.sweeps.engine import RayEngine

    costs: Future[dict[str, int | None]] = Future()

    def check() -> None:
        try:
            costs.set_result(_costs(runs, sweep))
        except BaseException as error:  # raised where the result is asked for
            costs.set_exception(error)

    threading.Thread(target=check, daemon=True).start()  # a daemon: Ctrl-C does not wait for its end
    try:
        engine = RayEngine(sweep.trial, arguments.address, arguments.cpus)
    except Exception:
        costs.result()  # a fault of the sweep comes first
        raise
    try:
        return engine, costs.result()
    except BaseException:
        engine.close()
        raise


def _pending(runs: Sequence[Run], states: Mapping[str, State]) -> set[str]:
    """Hashes of the runs that are done, but not all in the database, whichever command ran them."""
    return {
        run.hash
        for run in runs
        for tracking in [run.config.tracking]
        if states[run.hash].kind == DONE
        and not is_recorded(tracking.root, run.hash, states[run.hash].folder, tracking.model_dump())
    }


def _check_database(tracking: TrackingConfig, num_nodes: int) -> None:
    """The embedded server listens on its own machine only."""
    if num_nodes > 1 and tracking.database and tracking.mongo_url is None:
        raise ConfigError(
            f"tracking.mongo_url: None, but the embedded database serves one machine and there are {num_nodes} nodes; "
            "name a MongoDB, or use `base: [.., on_disk]` and scripts/report.py replay afterwards"
        )


def _end(runs: Sequence[Run], states: dict[str, State], pending: set[str], stopped: bool) -> int:
    """The last lines, and the exit status."""
    for run in runs:
        if states[run.hash].kind == FAILED:
            print(f"failed: {run.label}: {states[run.hash].line}")
    print(table.counts(states))
    if all(one.kind == DONE for one in states.values()):
        if pending:
            replay = " && ".join({replay_command(run.config.tracking): 0 for run in runs if run.hash in pending})
            print(f"{len(pending)} runs are not yet all in the database; later: {replay}")
            return NOT_IN_DATABASE
        return ALL_DONE
    if stopped:
        print("stopped; the same command goes on")
        return STOPPED
    return NOT_ALL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sweep.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="the sweep, see docs/sweeps.md")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="show the runs and their cost, run nothing")
    what.add_argument("--status", action="store_true", help="show what has become of the runs")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="only the runs of these cases")
    parser.add_argument("--retries", type=int, metavar="N", help="tries for failed runs, for trial.retries")
    parser.add_argument("--address", help="of a Ray cluster; without it Ray is started on this machine")
    parser.add_argument("--cpus", type=int, metavar="N", help="of this machine to use; all by default")
    return parser
