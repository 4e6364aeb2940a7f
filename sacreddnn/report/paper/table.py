"""The table of reported numbers against ours, as text, Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sacreddnn.report import markup, tables
from sacreddnn.report.layout import Column, layout_markdown, layout_text, numbers, words
from sacreddnn.report.paper import hours
from sacreddnn.report.paper.cells import NOT_RUN, Comparison
from sacreddnn.report.paper.expected import WORDS, Expected
from sacreddnn.tracking.plain import write_atomic

NOT_MEASURED = "not measured"
Part = tuple[str, list[Column], list[str]]  # heading, columns, notes


def frame(
    expected: Expected, comparisons: Sequence[Comparison], rates: list[hours.Rate], gpu: str | None
) -> pd.DataFrame:
    """One row a cell, everything that is known of it.

    Columns: table, row, column, dataset, network, algorithm, paper, paper_se, paper_runs, standing, source, ours,
    ours_se (percent), runs, seeds, run_ids, difference, difference_se, p, verdict, seeds_to_go, hours_here, hours_gpu
    (of the runs that are to go; NaN where nothing was measured).

    Args:
        expected: the file.
        comparisons: of `cells.compare`.
        rates: measured throughput.
        gpu: name of the accelerator that hours_gpu is about.
    """
    here = hours.this_machine()
    rows = []
    for one in comparisons:
        row, images = expected.rows[one.row], hours.num_images(one.config, expected.rows[one.row].num_train)
        to_go = images * one.seeds_to_go

        def left(device: str | None, one: Comparison = one, to_go: int = to_go) -> float:
            found = hours.estimate(rates, device, one.row, one.column, to_go) if device else None
            return math.nan if found is None else found

        rows.append(
            {
                "table": row.table, "row": one.row, "column": one.column, "dataset": row.dataset,
                "network": row.network, "algorithm": expected.columns[one.column].label,
                "paper": one.cell.value, "paper_se": one.cell.standard_error, "paper_runs": one.cell.num_runs,
                "standing": WORDS[one.cell.standing], "source": expected.sources[one.cell.source],
                "ours": one.mean, "ours_se": one.error, "runs": len(one.runs),
                "seeds": " ".join(str(run.config.get("seed", 0)) for run in one.runs),
                "run_ids": " ".join(str(run.run_id) for run in one.runs),
                "difference": one.difference, "difference_se": one.difference_error, "p": one.p,
                "verdict": one.verdict, "seeds_to_go": one.seeds_to_go,
                "hours_here": left(here), "hours_gpu": left(gpu),
            }
        )  # fmt: skip
    made = pd.DataFrame(rows)
    made["paper_se"] = made["paper_se"].astype(float)
    made["paper_runs"] = made["paper_runs"].astype("Int64")
    return made


def sets(expected: Expected, made: pd.DataFrame, gpu: str | None) -> list[Part]:
    """Heading, columns and notes of each table of the file."""
    return [
        (table.title + ": test error (%) of the center", _columns(made[made["table"] == key], gpu),
         _notes(expected, made[made["table"] == key], gpu))
        for key, table in expected.tables.items()
    ]  # fmt: skip


def to_text(made: Sequence[Part], width: int = 132) -> str:
    """All tables for a terminal."""
    return "\n".join(layout_text(*one, width) for one in made)


def write(made: Sequence[Part], frame: pd.DataFrame, folder: Path) -> list[Path]:
    """Write paper.md, .csv, .tex and .html into a folder; their paths. Equal tables are equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "paper.md": "\n".join(layout_markdown(*one) for one in made),
        "paper.csv": tables.to_csv(frame),
        "paper.tex": "% needs \\usepackage{booktabs}\n" + "\n".join(markup.layout_latex(*one) for one in made),
        "paper.html": markup.page("The paper and our runs", "".join(markup.layout_html(*one) for one in made)),
    }
    for name, content in contents.items():
        write_atomic(folder / name, content)
    return [folder / name for name in contents]


def _columns(made: pd.DataFrame, gpu: str | None) -> list[Column]:
    named = ["" if same else name for name, same in zip(made["network"], _repeated(made, "row"), strict=True)]
    datasets = ["" if same else name for name, same in zip(made["dataset"], _repeated(made, "row"), strict=True)]
    # as they are reported, digit for digit
    paper = tuple(repr(float(value)) for value in made["paper"])
    paper_se = tuple("" if pd.isna(error) else repr(float(error)) for error in made["paper_se"])
    p = ["-" if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}" for value in made["p"]]
    verdicts = [
        f"{verdict} (recalled)" if standing == "recalled" and verdict not in (NOT_RUN, "one run") else verdict
        for verdict, standing in zip(made["verdict"], made["standing"], strict=True)
    ]
    return [
        words("data", datasets),
        words("network", named),
        words("algorithm", made["algorithm"]),
        Column("paper", "", "paper", paper, paper_se),
        words("standing", made["standing"]),
        numbers("ours", "", "ours", made["ours"], made["ours_se"]),
        words("runs", made["runs"].astype(str), left=False),
        numbers("difference from SGD", "from SGD,", "by seed", made["difference"], made["difference_se"]),
        words("p", p, left=False),
        words("verdict", verdicts),
        _hours("hours to go here", "hours", "here", made, "hours_here"),
        _hours(f"hours to go on {gpu or 'a GPU'}", "hours", "GPU", made, "hours_gpu"),
    ]


def _hours(full: str, above: str, name: str, made: pd.DataFrame, key: str) -> Column:
    values = [
        "-" if not to_go else NOT_MEASURED if pd.isna(value) else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
        for value, to_go in zip(made[key], made["seeds_to_go"], strict=True)
    ]
    return Column(full, above, name, tuple(values), ("",) * len(values))


def _repeated(made: pd.DataFrame, key: str) -> pd.Series:
    return made[key].eq(made[key].shift())


def _notes(expected: Expected, made: pd.DataFrame, gpu: str | None) -> list[str]:
    standings = {word: expected.standings[key] for key, word in WORDS.items()}  # type: ignore[index]
    notes = [f"paper: {source}." for source in dict.fromkeys(made["source"])]
    notes += [f"{word}: {standings[word]}." for word in dict.fromkeys(made["standing"])]
    if "recalled" in set(made["standing"]):
        notes.append("A recalled number is no target: agreeing with it or not proves nothing of either side.")
    notes += [
        "ours: mean ± standard error over seeds of the completed runs whose whole config is the cell's; "
        "an empty cell has no such run. An algorithm without a line has no number in the source.",
        "from SGD: mean difference of runs of equal seed ± its standard error; p: two-sided paired t-test.",
        "agrees: the means are within two standard errors of their difference and half a unit of the last digit "
        "reported.",
        f"hours: of the runs to go ({_listed(made)}), training steps alone, from what "
        "benchmarks/throughput.py measured; "
        f"here: {hours.this_machine()}; GPU: {gpu or 'none measured yet'}.",
    ]
    return notes


def _listed(made: pd.DataFrame) -> str:
    counts = sorted(set(made["seeds_to_go"]))
    return f"{counts[0]} a cell" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} a cell"
