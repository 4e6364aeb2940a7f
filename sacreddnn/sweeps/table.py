"""What a sweep shows: the table of its runs, and while it runs a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TextIO

from sacreddnn.sweeps.grid import Run
from sacreddnn.sweeps.state import DONE, FAILED, INTERRUPTED, MISSING, RUNNING, State
from sacreddnn.sweeps.trial import Outcome

ORDER = (DONE, RUNNING, INTERRUPTED, FAILED, MISSING)
Costs = Mapping[str, int | None]


def text_table(heading: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Columns aligned with spaces, those of `right` to the right, and a rule below the heading."""
    widths = [max(len(row[i]) for row in (heading, *rows)) for i in range(len(heading))]

    def line(row: Sequence[str]) -> str:
        cells = [(str.rjust if i in right else str.ljust)(cell, widths[i]) for i, cell in enumerate(row)]
        return "  ".join(cells).rstrip()

    return [line(heading), "─" * len(line(["─" * width for width in widths])), *map(line, rows)]


def plan(runs: Sequence[Run], states: Mapping[str, State], costs: Costs, retries: int = 0) -> list[str]:
    """The table of `--dry-run`: every run with its hash, what there is of it, and what it costs.

    Without retries a failed run is not tried again, and its rest is not still to do.
    """
    failed = 0 if retries else sum(states[run.hash].kind == FAILED for run in runs)
    ended = (DONE,) if retries else (DONE, FAILED)
    rows = [
        [run.label, run.hash, states[run.hash].kind, states[run.hash].run_id, count(costs[run.hash])] for run in runs
    ]
    known = [cost for run in runs if (cost := costs[run.hash]) is not None]
    left = [
        cost * (1 - states[run.hash].progress)
        for run in runs
        if (cost := costs[run.hash]) is not None and states[run.hash].kind not in ended
    ]
    lines = text_table(["run", "config hash", "state", "number", "gradient evals"], rows, right=(3, 4))
    lines.append(f"{len(runs)} runs, {count(sum(known))} gradient evaluations, {count(round(sum(left)))} still to do")
    if failed:
        lines.append(f"{failed} failed runs are not tried again, nor counted in it; --retries 1 tries each once more")
    if len(known) < len(runs):
        lines.append(f"{len(runs) - len(known)} runs are not counted: their data are not on this machine")
    return lines


def status(runs: Sequence[Run], states: Mapping[str, State]) -> list[str]:
    """The table of `--status`."""
    rows = []
    for run in runs:
        one = states[run.hash]
        left = duration((1 - one.progress) / one.rate) if one.rate else ""
        rows.append([run.label, one.kind, one.run_id, f"{100 * one.progress:.0f} %", left, one.line])
    lines = text_table(["run", "state", "number", "progress", "time left", ""], rows, right=(2, 3, 4))
    return [*lines, counts(states)]


def counts(states: Mapping[str, State]) -> str:
    """How many runs are in each state, in a line."""
    number = Counter[str](one.kind for one in states.values())
    return ", ".join(f"{number[kind]} {kind}" for kind in ORDER if number[kind])


def count(number: int | None) -> str:
    """A whole number with its thousands apart, "?" for None."""
    return "?" if number is None else f"{number:,}"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that say something.

    >>> duration(42), duration(3900), duration(200000)
    ('42 s', '1 h 05 min', '2 d 07 h')
    """
    minutes, hours = seconds / 60, seconds / 3600
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes:.0f} min"
    if hours < 48:
        return f"{int(hours)} h {int(minutes) % 60:02d} min"
    return f"{int(hours // 24)} d {int(hours) % 24:02d} h"


def seconds_left(states: Mapping[str, State], costs: Costs) -> float | None:
    """Until all is done, at the pace in gradient evaluations of the runs that run now; None when it is not known."""
    pace = sum(one.rate * (costs[name] or 0) for name, one in states.items() if one.kind == RUNNING)
    open_runs = {name: one for name, one in states.items() if one.kind not in (DONE, FAILED)}
    if not pace or any(costs[name] is None for name in open_runs):
        return None
    return sum((1 - one.progress) * (costs[name] or 0) for name, one in open_runs.items()) / pace


def result_line(run: Run, outcome: Outcome, again: bool) -> str:
    """How a try ended, in a line."""
    more = "; another try follows" if again else ""
    return f"{outcome.kind}: {run.label}: {outcome.line} ({duration(outcome.seconds)}){more}"


class Lines:
    """A line for every run that ends, and where the sweep stands now and then."""

    def __init__(self, costs: Costs, out: TextIO, every: float = 60.0) -> None:
        self._costs, self._out, self._every = costs, out, every
        self._next = time.monotonic() + every

    def says(self, line: str) -> None:
        """Something to know."""
        print(line, file=self._out, flush=True)

    def ended(self, run: Run, outcome: Outcome, again: bool) -> None:
        """A try of a run has ended."""
        self.says(result_line(run, outcome, again))

    def tick(self, states: Mapping[str, State]) -> None:
        """Time has passed."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            self.says(headline(states, self._costs))

    def close(self) -> None:
        """Nothing more comes."""


def headline(states: Mapping[str, State], costs: Costs) -> str:
    """Counts, and the time left."""
    left = seconds_left(states, costs)
    return counts(states) + ("" if left is None else f"; {duration(left)} left")


class LiveTable(Lines):
    """The same lines, and below them a table of what runs now, drawn again in place."""

    def __init__(self, runs: Sequence[Run], costs: Costs, out: TextIO) -> None:
        super().__init__(costs, out)
        self._runs = runs
        self._height = 0

    def says(self, line: str) -> None:
        """Something to know, above the table."""
        self._clear()
        super().says(line)

    def tick(self, states: Mapping[str, State]) -> None:
        """Draw the table again."""
        width, height = shutil.get_terminal_size()
        active = [run for run in self._runs if states[run.hash].kind == RUNNING]
        rows = []
        for run in active[: max(height - 5, 1)]:
            one = states[run.hash]
            left = duration((1 - one.progress) / one.rate) if one.rate else "-"
            full = round(20 * one.progress)
            rows.append([run.label, one.run_id, f"{'█' * full}{'░' * (20 - full)} {100 * one.progress:3.0f} %", left])
        lines = text_table(["run", "number", "progress", "time left"], rows, right=(1, 3)) if rows else []
        if len(active) > len(rows):
            lines.append(f".. and {len(active) - len(rows)} more")
        lines.append(headline(states, self._costs))
        self._clear()
        self._out.write("".join(line[: width - 1] + "\n" for line in lines))
        self._out.flush()
        self._height = len(lines)

    def close(self) -> None:
        """Take the table away; the lines stay."""
        self._clear()
        self._out.flush()

    def _clear(self) -> None:
        if self._height:
            self._out.write(f"\x1b[{self._height}A\x1b[J")
            self._height = 0


def make_view(runs: Sequence[Run], costs: Costs, out: TextIO | None = None) -> Lines:
    """A live table where the output is a terminal that can draw one, else lines."""
    out = out or sys.stdout
    return LiveTable(runs, costs, out) if out.isatty() else Lines(costs, out)
