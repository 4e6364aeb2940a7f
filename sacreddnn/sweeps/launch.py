"""What runs next: starts the runs of a sweep that are not done, tries again what failed, stops when told to."""

from __future__ import annotations

import signal
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sacreddnn.sweeps import state
from sacreddnn.sweeps.grid import Run
from sacreddnn.sweeps.state import DONE, FAILED, RUNNING, Records, State
from sacreddnn.sweeps.sweep_file import TrialConfig
from sacreddnn.sweeps.trial import Outcome, Trial

MAX_LOST = 5  # times that a run is started again when its worker or node was lost, which is not its own fault
BUSY_SECONDS = 90.0  # that runs which others are at are waited for, once nothing else is left to do
LOOK = 1.0  # seconds between two looks at the disk


class Engine(Protocol):
    """Runs trials somewhere."""

    def capacity(self) -> int:
        """How many trials fit at once."""
        ...

    def submit(self, trial: Trial) -> Any:
        """Start a trial; a handle on it."""
        ...

    def wait(self, handles: Sequence[Any], seconds: float) -> list[tuple[Any, Outcome]]:
        """The trials that have ended, after waiting so long at most."""
        ...


class View(Protocol):
    """Shows what happens."""

    def ended(self, run: Run, outcome: Outcome, again: bool) -> None:
        """A try of a run has ended; `again`: another follows."""
        ...

    def says(self, line: str) -> None:
        """Something to know."""
        ...

    def tick(self, states: dict[str, State]) -> None:
        """Time has passed."""
        ...


@dataclass
class Item:
    """A run to be done.

    Attributes:
        run: which.
        tries: that it may still take.
        lost: times that it may still be lost.
        outcome: of the last try.
        trial: the try that goes on.
    """

    run: Run
    tries: int
    lost: int = MAX_LOST
    outcome: Outcome | None = None
    trial: Trial | None = None


@dataclass
class Stop:
    """Whether somebody asked to stop: Ctrl-C or SIGTERM once; a second Ctrl-C ends the command at once."""

    asked: bool = False
    announced: bool = False

    def _handle(self, signum: int, frame: object) -> None:
        if self.asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take signals as a request as long as the context lasts."""
        before = {signum: signal.signal(signum, self._handle) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


@dataclass
class Launch:
    """A sweep that is being run.

    Args:
        name: of the sweep.
        runs: all of them.
        config: resources, retries.
        engine: runs them.
        view: shows them.
        command: that trains one, to be followed by `with ..`.
        root: the folder that holds all runs.
        stop: set when somebody asks to stop.

    Attributes:
        pending: hashes of the runs that are done, but not all in the database.
    """

    name: str
    runs: Sequence[Run]
    config: TrialConfig
    engine: Engine
    view: View
    command: list[str]
    root: Path
    stop: Stop = field(default_factory=Stop)
    pending: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.records = Records(self.root)
        self.hashes = [run.hash for run in self.runs]
        self._running: dict[Any, Item] = {}
        self._stop_files: list[Path] = []
        self._noted = ""

    def to_do(self) -> deque[Item]:
        """The runs that are not done, in the order of `in_rounds`; one that failed before has had its first try."""
        states = self.records.states(self.hashes)
        items = [
            Item(run, self.config.retries + (states[run.hash].kind != FAILED))
            for run in in_rounds(self.runs)
            if states[run.hash].kind != DONE
        ]
        return deque(item for item in items if item.tries)

    def run(self) -> dict[str, State]:
        """Run what is not done; returns the state of all runs."""
        waiting = self.to_do()
        alone_since = time.monotonic()
        try:
            while self._running or (waiting and not self.stop.asked):
                states = self.records.states(self.hashes)
                self.view.tick(states)
                started = self._start(waiting, {name for name, one in states.items() if one.kind == RUNNING})
                ended = self.engine.wait(list(self._running), LOOK) if self._running else []
                for handle, outcome in ended:
                    self._end(self._running.pop(handle), outcome, waiting)
                if self.stop.asked:
                    self._stop_all()
                if started or self._running:
                    alone_since = time.monotonic()
                elif waiting:
                    if time.monotonic() - alone_since > BUSY_SECONDS:
                        self._leave(waiting)
                        break
                    time.sleep(LOOK)
        finally:
            self._stop_all()
            for path in self._stop_files if not self._running else ():
                path.unlink(missing_ok=True)
        return self.records.states(self.hashes)

    def _start(self, waiting: deque[Item], busy: set[str]) -> int:
        """Hand over as many runs as there is room for, those aside that somebody is at; their number."""
        if self.stop.asked:
            return 0
        room = self.engine.capacity() - len(self._running)
        if room + len(self._running) <= 0:
            self._note("no node has room for a trial now; waiting for one to join")
        started = 0
        for _ in range(len(waiting)):
            if room <= 0:
                break
            item = waiting.popleft()
            if item.run.hash in busy or state.is_busy(self.root, item.run.hash):
                waiting.append(item)
                continue
            item.trial = self._trial(item.run)
            self._running[self.engine.submit(item.trial)] = item
            room, started = room - 1, started + 1
        return started

    def _trial(self, run: Run) -> Trial:
        return Trial(
            hash=run.hash, root=str(self.root.absolute()), config=run.config.model_dump(mode="json"),
            command=self.command, cwd=str(Path.cwd()), sweep=self.name, token=uuid.uuid4().hex[:12],
            patience=self.config.patience, grace=self.config.grace,
        )  # fmt: skip

    def _end(self, item: Item, outcome: Outcome, waiting: deque[Item]) -> None:
        """Take note of how a try ended, and decide whether another follows."""
        item.outcome = outcome
        if outcome.kind == "lost":
            self._request_stop(item)  # it may still be alive on a machine that cannot be reached
            item.lost -= 1
            again = item.lost > 0
        elif outcome.kind == "failed":
            item.tries -= 1
            again = outcome.again and item.tries > 0
        else:  # interrupted by somebody else: it goes on where it stopped
            again = outcome.kind in ("busy", "interrupted")
            item.tries -= outcome.kind == "interrupted" and not self.stop.asked
            again = again and item.tries > 0
        if outcome.kind == "done" and not outcome.recorded:
            self.pending.add(item.run.hash)
        again = again and not self.stop.asked
        if again:
            waiting.append(item)
        if outcome.kind != "busy":
            self.view.ended(item.run, outcome, again)

    def _request_stop(self, item: Item) -> None:
        assert item.trial is not None
        item.trial.stop_file.parent.mkdir(parents=True, exist_ok=True)
        item.trial.stop_file.touch()
        self._stop_files.append(item.trial.stop_file)

    def _stop_all(self) -> None:
        """Ask everything that runs to save and stop, once."""
        if self._running and not self.stop.announced:
            self.stop.announced = True
            self.view.says(f"stopping: {len(self._running)} runs save what they have (Ctrl-C again: at once)")
            for item in self._running.values():
                self._request_stop(item)

    def _leave(self, waiting: deque[Item]) -> None:
        for item in waiting:
            who = state.owner(self.root, item.run.hash)
            self.view.says(f"{item.run.label}: left to {who}, which is at this run; start this sweep again later")

    def _note(self, line: str) -> None:
        """Say it once."""
        if line != self._noted:
            self._noted = line
            self.view.says(line)


def in_rounds(runs: Sequence[Run]) -> list[Run]:
    """The first run of every case, then the second of every case ..: a sweep that is cut short still compares them."""
    rounds: Counter[str] = Counter()
    placed = []
    for run in runs:
        placed.append((rounds[run.case], run))
        rounds[run.case] += 1
    return [run for _, run in sorted(placed, key=lambda pair: pair[0])]
