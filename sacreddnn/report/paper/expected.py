"""What the paper and others report, read from configs/expected/paper.yaml: numbers and settings with their standing.

>>> expected = load()
>>> expected.rows["table1_cifar10_smallconvnet"].cells["sgd"]
Cell(value=16.5, standard_error=0.2, num_runs=None, standing='recalled', source='table1')
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from sacreddnn.command_line import CONFIGS
from sacreddnn.schema import ConfigError, Count, NonNegative, Section
from sacreddnn.yaml_file import read_yaml

FILE = CONFIGS / "expected" / "paper.yaml"
Standing = Literal["code", "recalled", "third_party", "open"]
WORDS = {"code": "code", "recalled": "recalled", "third_party": "third party", "open": "open"}  # as printed
Text = Annotated[str, Field(min_length=1)]


class Setting(Section):
    """The value of a config key, and how well it is known."""

    value: Any
    standing: Standing
    note: Text | None = None


class Cell(Section):
    """A reported number, in percent.

    Attributes:
        value: a mean, or the number of a single run.
        standard_error: None where none is reported.
        num_runs: behind the value; None: not known.
        standing: how well the number is known.
        source: key of `Expected.sources`.
    """

    value: NonNegative
    standard_error: NonNegative | None = None
    num_runs: Count | None = None
    standing: Standing
    source: Text


class Column(Section):
    """An algorithm: the named configs that follow the row's, and the standing of what they set."""

    label: Text
    configs: Annotated[list[Text], Field(min_length=1)]
    settings: dict[str, Setting]


class Table(Section):
    """Which columns in which order, the baseline first, and the name of the number in a run's result."""

    title: Text
    metric: Text
    columns: Annotated[list[Text], Field(min_length=1)]


class Row(Section):
    """A data set and a network; its key is the name of a config in configs/experiments.

    Attributes:
        table: key of `Expected.tables`.
        dataset: its name for people.
        network: its name for people.
        num_train: training images of the data set; runs on fewer are other runs.
        seeds: how many runs of a cell its sweep has.
        cells: by key of `Expected.columns`.
        settings: by dotted config key.
    """

    table: Text
    dataset: Text
    network: Text
    num_train: Count
    seeds: Count = 3
    cells: dict[str, Cell]
    settings: dict[str, Setting]


class Expected(Section):
    """The file: tables of rows and columns, with the standing and source of every number."""

    standings: dict[Standing, Text]
    sources: dict[str, Text]
    columns: dict[str, Column]
    tables: dict[str, Table]
    settings: dict[str, Setting]
    rows: dict[str, Row]

    @model_validator(mode="after")
    def _names_are_known(self) -> Expected:
        def known(where: str, name: str, allowed: Any) -> None:
            if name not in allowed:
                raise ValueError(f"{where}: {name!r} is not allowed, allowed: {', '.join(allowed)}")

        for key, table in self.tables.items():
            for column in table.columns:
                known(f"tables.{key}.columns", column, self.columns)
        for key, row in self.rows.items():
            known(f"rows.{key}.table", row.table, self.tables)
            for column, cell in row.cells.items():
                known(f"rows.{key}.cells", column, self.tables[row.table].columns)
                known(f"rows.{key}.cells.{column}.source", cell.source, self.sources)
        return self

    def rows_of(self, table: str) -> dict[str, Row]:
        """The rows of a table, in the order of the file."""
        return {key: row for key, row in self.rows.items() if row.table == table}

    def settings_of(self, row: str, column: str) -> dict[str, Setting]:
        """The settings of a cell: those of all rows, of the row, of the column, the later in place of the earlier."""
        return {**self.settings, **self.rows[row].settings, **self.columns[column].settings}


def load(path: str | Path = FILE) -> Expected:
    """The checked content of the file.

    Raises:
        ConfigError: it cannot be read, or one line per fault with file, key, value and what is allowed.
    """
    try:
        return Expected.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError("\n".join(_line(path, fault) for fault in error.errors(include_url=False))) from None


def _line(path: str | Path, fault: Any) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return f"{path}: {message}"
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] in ("missing", "extra_forbidden"):
        return f"{path}: {key}: {'is missing' if fault['type'] == 'missing' else 'unknown key'}"
    return f"{path}: {key}: {fault['input']!r} is not allowed, {message[0].lower()}{message[1:]}"
