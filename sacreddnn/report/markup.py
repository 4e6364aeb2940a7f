"""Columns of a table as LaTeX and as HTML; `layout.py` sets them as text and Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from sacreddnn.report.layout import Column

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$",
    "±": r"$\pm$", "×": r"$\times$", "σ": r"$\sigma$", "τ": r"$\tau$", "γ": r"$\gamma$", "−": "$-$",
}  # fmt: skip

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #e6e6e6; vertical-align: baseline; }
td { white-space: nowrap; }
th { border-bottom: 2px solid #666; font-weight: 600; }
.left { text-align: left; }
.note { color: #595959; font-size: 13px; margin: .2rem 0; }
img { max-width: 100%; height: auto; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(28rem, 1fr)); gap: 1rem; }
.wide { overflow-x: auto; }
""".strip()


def layout_latex(heading: str, columns: Sequence[Column], notes: Sequence[str]) -> str:
    """The table for a document with the package booktabs; ends with a newline."""
    names = [escape_latex(column.full) for column in columns]
    rows = [[escape_latex(cell) for cell in row] for row in _rows(columns)]
    lines = [
        r"\begin{table}", rf"\caption{{{escape_latex(heading)}}}",
        rf"\begin{{tabular}}{{{''.join('l' if column.left else 'r' for column in columns)}}}",
        r"\toprule", " & ".join(names) + r" \\", r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows), r"\bottomrule", r"\end{tabular}",
        *(rf"\par\footnotesize {escape_latex(note)}" for note in notes), r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def layout_html(heading: str, columns: Sequence[Column], notes: Sequence[str]) -> str:
    """The table and its notes as elements of a page; ends with a newline."""

    def line(tag: str, cells: Sequence[str]) -> str:
        marked = [
            f'<{tag} class="left">{html.escape(cell)}</{tag}>' if column.left else f"<{tag}>{html.escape(cell)}</{tag}>"
            for column, cell in zip(columns, cells, strict=True)
        ]
        return f"<tr>{''.join(marked)}</tr>"

    lines = [
        '<div class="wide"><table>', f"<caption>{html.escape(heading)}</caption>",
        f"<thead>{line('th', [column.full for column in columns])}</thead>", "<tbody>",
        *(line("td", row) for row in _rows(columns)), "</tbody></table></div>",
        *(f'<p class="note">{html.escape(note)}</p>' for note in notes),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def page(title: str, body: str) -> str:
    """A whole page that needs nothing else: neither files beside it nor a network."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}</body>\n</html>\n"
    )


def escape_latex(text: str) -> str:
    r"""The text with LaTeX's special characters as what they look like.

    >>> print(escape_latex("error (%) ± 1, rsgd_xy"))
    error (\%) $\pm$ 1, rsgd\_xy
    """
    return re.sub("|".join(map(re.escape, _SPECIAL)), lambda found: _SPECIAL[found[0]], text)


def _rows(columns: Sequence[Column]) -> list[tuple[str, ...]]:
    cells = [
        [f"{value} ± {error}" if error else value for value, error in zip(column.values, column.errors, strict=True)]
        for column in columns
    ]
    return list(zip(*cells, strict=True))
