"""Each reported number beside the runs of this code that have its whole config.

Ours is the mean over seeds with its standard error. The difference from the baseline is that of runs of equal seed,
with the two-sided t-test of its mean: t = mean / (s / sqrt(n)), n - 1 degrees of freedom. The verdict compares the two
means: they agree if they are no further apart than two standard errors of their difference and half a unit of the last
digit of the reported number. Where none is reported, its standard error is taken to be that of as many of our runs as
are behind it (one if that is not known). Without a run a cell stays empty, and one run has no error bar to judge by.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sacreddnn.config import Config
from sacreddnn.report.groups import Record, mean_and_error, paired, seed
from sacreddnn.report.paper import recipe
from sacreddnn.report.paper.expected import Cell, Expected
from sacreddnn.report.tables import number

NOT_RUN, ONE_RUN, AGREES, DIFFERS = "not run", "one run", "agrees", "differs"
STANDARD_ERRORS = 2.0  # within which two means agree


@dataclass(frozen=True)
class Comparison:
    """A reported number and ours.

    Attributes:
        row: key of the row.
        column: key of the column.
        cell: what is reported.
        config: that runs of it have.
        runs: that are behind ours, one a seed.
        mean: of the runs, NaN without any.
        error: its standard error, NaN for fewer than two.
        difference: mean of ours minus the baseline's over the seeds that both have, NaN without any.
        difference_error: its standard error, NaN for fewer than two seeds.
        p: of the paired test that the difference is zero, NaN where there is no test.
        verdict: NOT_RUN, ONE_RUN, AGREES or DIFFERS.
        seeds_to_go: how many of the sweep's runs, seeds 0, 1, .., are not there.
    """

    row: str
    column: str
    cell: Cell
    config: Config
    runs: tuple[Record, ...]
    mean: float
    error: float
    difference: float
    difference_error: float
    p: float
    verdict: str
    seeds_to_go: int


def compare(expected: Expected, records: Sequence[Record]) -> list[Comparison]:
    """A comparison for every cell of every table, in the order of the file.

    Raises:
        ConfigError: a config that the file names is not there or cannot be run.
    """
    made = []
    for name, table in expected.tables.items():
        for key, row in expected.rows_of(name).items():
            baseline: dict[int, float] = {}
            for column in table.columns:
                if column not in row.cells:
                    continue
                config = recipe.recipe(expected, key, column)
                runs = recipe.behind(records, config, row.num_train)
                values = {seed(one): v for one in runs if (v := number(one.result.get(table.metric))) is not None}
                runs = [one for one in runs if seed(one) in values]
                if column == table.columns[0]:
                    baseline, difference = values, (math.nan, math.nan, math.nan)
                else:
                    difference = paired([values[s] - baseline[s] for s in sorted(values) if s in baseline])
                mean, error = mean_and_error(list(values.values()))
                cell = row.cells[column]
                to_go = sum(s not in values for s in range(row.seeds))  # other seeds are no runs of the sweep
                made.append(
                    Comparison(key, column, cell, config, tuple(runs), mean, error, *difference,
                               verdict(cell, list(values.values())), to_go)
                )  # fmt: skip
    return made


def verdict(cell: Cell, values: Sequence[float]) -> str:
    """Whether our runs and the reported number can be the same, as the head of this file says."""
    if len(values) < 2:
        return ONE_RUN if values else NOT_RUN
    spread = statistics.stdev(values)
    theirs = cell.standard_error if cell.standard_error is not None else spread / math.sqrt(cell.num_runs or 1)
    error = math.hypot(theirs, spread / math.sqrt(len(values)))
    apart = abs(statistics.fmean(values) - cell.value)
    return AGREES if apart <= STANDARD_ERRORS * error + last_digit(cell.value) / 2 else DIFFERS


def last_digit(value: float) -> float:
    """One unit of the last digit with which a number is written.

    >>> last_digit(16.5), last_digit(11.59), last_digit(1.0)
    (0.1, 0.01, 0.1)
    """
    return 10.0 ** -len(repr(float(value)).partition(".")[2])
