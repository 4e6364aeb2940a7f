"""Columns of a table set as text or Markdown: aligned at the decimal point, value and error bar in one cell."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

MISSING = "-"


@dataclass(frozen=True)
class Column:
    """One column as strings.

    Attributes:
        full: heading where there is room for it.
        above: upper line of the heading in text, which neighbouring columns may share; may be empty.
        name: lower line of the heading in text.
        values: one per row.
        errors: standard errors, one per row, empty where there is none.
        left: set flush left.
    """

    full: str
    above: str
    name: str
    values: tuple[str, ...]
    errors: tuple[str, ...]
    left: bool = False


def words(name: str, values: Iterable[str], *, left: bool = True) -> Column:
    """A column of text."""
    values = tuple(values)
    return Column(name, "", name, values, ("",) * len(values), left)


def numbers(full: str, above: str, name: str, values: pd.Series, errors: pd.Series | None = None) -> Column:
    """A column of numbers: integers as they are, others with the decimals that their size or error bars deserve.

    Args:
        full: see `Column`, as `above` and `name`.
        above: ..
        name: ..
        values: NaN or NA where missing.
        errors: standard errors, NaN where there is none. With them there are two decimals, or one where every error
            bar is at least 1; without, none, or one where all values are below ten.
    """
    if errors is None:
        small = not pd.api.types.is_integer_dtype(values) and bool((values.dropna() < 10).all())
        decimals, errors = int(small), pd.Series(math.nan, index=values.index)
    else:
        decimals = 1 if (errors > 0).any() and bool((errors[errors > 0] >= 1).all()) else 2
    printed = tuple("" if pd.isna(error) else _fixed(error, decimals) for error in errors)
    return Column(full, above, name, tuple(_fixed(value, decimals) for value in values), printed)


def layout_text(heading: str, columns: Sequence[Column], notes: Sequence[str], width: int) -> str:
    """The table in at most `width` characters a line, as far as its numbers allow; ends with a newline."""
    for plus_minus, gap in ((" ± ", 3), (" ± ", 2), ("±", 2), ("±", 1)):
        widths, cells = _measure(columns, plus_minus, gap)
        excess = sum(widths) + gap * (len(widths) - 1) - width
        if excess <= 0:
            break
    labels = [[cell.rstrip()] for cell in cells[0]]
    if excess > 0:  # the numbers stay whole, the labels in the first column are wrapped
        widths[0] = max(widths[0] - excess, 12)
        labels = [textwrap.wrap(label, widths[0], subsequent_indent="  ") if label else [""] for [label] in labels]
    lines = [_spans(columns, widths, gap), _line(columns, widths, gap, [column.name for column in columns])]
    lines.append("─" * len(lines[1]))
    for i, label in enumerate(labels):
        lines.append(_line(columns, widths, gap, [label[0], *(column[i] for column in cells[1:])]))
        lines += label[1:]
    body = [*lines, "─" * len(lines[1])]
    for note in notes:
        body += textwrap.wrap(note, width, subsequent_indent="  ")
    return "\n".join([heading, *(line.rstrip() for line in body)]) + "\n"


def layout_markdown(heading: str, columns: Sequence[Column], notes: Sequence[str]) -> str:
    """The table in GitHub's Markdown; ends with a newline."""
    rows = [
        [f"{value} ± {error}" if error else value for value, error in zip(column.values, column.errors, strict=True)]
        for column in columns
    ]
    names = [column.full for column in columns]
    lines = [names, ["---" if column.left else "---:" for column in columns], *map(list, zip(*rows, strict=True))]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([f"**{heading}**", "", *table, *(f"\n{note}" for note in notes)]) + "\n"


def _measure(columns: Sequence[Column], plus_minus: str, gap: int) -> tuple[list[int], list[list[str]]]:
    """Widths of the columns, wide enough for the headings they share, and the cells."""
    cells = [_cells(column, plus_minus) for column in columns]
    widths = [max(len(column.name), *map(len, cell)) for column, cell in zip(columns, cells, strict=True)]
    for above, indices in _shared(columns):
        lacking = len(above) - sum(widths[i] for i in indices) - gap * (len(indices) - 1)
        widths[indices[0]] += max(lacking, 0)
    return widths, cells


def _cells(column: Column, plus_minus: str) -> list[str]:
    """One string per row, all of one length, values and error bars each flush right."""
    width, error_width = max(map(len, column.values)), max(map(len, column.errors))
    if column.left:
        return [value.ljust(width) for value in column.values]
    blank = " " * (len(plus_minus) + error_width) if error_width else ""
    return [
        value.rjust(width) + (plus_minus + error.rjust(error_width) if error else blank)
        for value, error in zip(column.values, column.errors, strict=True)
    ]


def _shared(columns: Sequence[Column]) -> list[tuple[str, list[int]]]:
    """Runs of neighbouring columns under one heading."""
    runs = groupby(range(len(columns)), key=lambda i: columns[i].above)
    return [(above, list(indices)) for above, indices in runs]


def _spans(columns: Sequence[Column], widths: Sequence[int], gap: int) -> str:
    """The line of shared headings, each flush right over its columns with a rule that shows how far it reaches."""
    parts = []
    for above, indices in _shared(columns):
        span = sum(widths[i] for i in indices) + gap * (len(indices) - 1)
        rule = f" {above} ".center(span, "─") if len(indices) > 1 and span >= len(above) + 4 else above.rjust(span)
        parts.append(rule if above else " " * span)
    return (" " * gap).join(parts)


def _line(columns: Sequence[Column], widths: Sequence[int], gap: int, cells: Sequence[str]) -> str:
    aligned = [
        cell.ljust(width) if column.left else cell.rjust(width)
        for column, width, cell in zip(columns, widths, cells, strict=True)
    ]
    return (" " * gap).join(aligned)


def _fixed(value: float, decimals: int) -> str:
    if pd.isna(value):
        return MISSING
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text  # no "-0.00"
