"""A table of a study, once, and how it is written: HTML, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from multiace.report import html
from multiace.study.numbers import MINUS, number

__all__ = [
    "FORMATS",
    "Cell",
    "Column",
    "Table",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
]

Cell = str | int | float | None


class Column(NamedTuple):
    """A column: its title, whether it holds numbers, whether they are written with their sign, and their decimals."""

    title: str
    number: bool = True
    signed: bool = False
    decimals: int | None = None


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers; None, and numbers that are not finite, are empty cells.

    Attributes:
        name: Of its file, without ending.
        caption: What it shows.
        columns: Those of text come first.
        rows: A cell for each column.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def shown(self) -> list[list[str]]:
        """The cells as text."""
        return [
            [
                cell if isinstance(cell, str) else number(cell, column.signed, column.decimals)
                for cell, column in pairs
            ]
            for pairs in (zip(row, self.columns, strict=True) for row in self.rows)
        ]


def to_html(table: Table, links: Mapping[str, str] = {}) -> str:
    """Return a table that sorts on a click on a title.

    Args:
        table: The table.
        links: Places of the page, by the text of first cells.

    Columns without any cell are left out.
    """
    shown = table.shown()
    columns = [
        (column, k) for k, column in enumerate(table.columns) if k == 0 or any(row[k] for row in shown)
    ]
    rows = [
        [
            html.Markup(f'<a href="{links[row[0]]}">{escape(row[0])}</a>') if row[0] in links else row[0],
            *(row[k] for _, k in columns[1:]),
        ]
        for row in shown
    ]
    numbers = sum(column.number for column, _ in columns)
    return html.table(
        [column.title for column, _ in columns], rows, table.caption, numbers=numbers, sortable=True
    )


def to_markdown(table: Table) -> str:
    """Return a table of Markdown, below its caption."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def plain(text: str) -> str:
        return re.sub(r"([\\|_*`$])", r"\\\1", escape(text, quote=False))

    rule = ["---:" if column.number else "---" for column in table.columns]
    titles = [plain(column.title) for column in table.columns]
    rows = [[plain(cell) for cell in row] for row in table.shown()]
    return "\n".join([plain(table.caption), "", *map(line, [titles, rule, *rows]), ""])


LATEX = {
    MINUS: "$-$",
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "Å": r"\AA{}",
    "µ": r"\textmu{}",
    "±": r"$\pm$",
    "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}",
    "ν": r"$\nu$",
}


def to_latex(table: Table) -> str:
    """Return a table of LaTeX, with the rules of booktabs."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(LATEX.get(c, c) for c in cell) for cell in cells) + r" \\"

    columns = "".join("r" if column.number else "l" for column in table.columns)
    caption = "".join(LATEX.get(c, c) for c in table.caption)
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line([column.title for column in table.columns])]
    body += [r"\midrule", *map(line, table.shown()), r"\bottomrule", r"\end{tabular}"]
    return "\n".join(
        [r"% \usepackage{booktabs}", r"\begin{table}", rf"\caption{{{caption}}}", *body, r"\end{table}", ""]
    )


def to_csv(table: Table) -> str:
    """Return comma-separated values, numbers with all their digits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column.title for column in table.columns])
    for row in table.rows:
        writer.writerow(["" if isinstance(x, float) and not math.isfinite(x) else x for x in row])
    return buffer.getvalue()


FORMATS: dict[str, Callable[[Table], str]] = {"md": to_markdown, "tex": to_latex, "csv": to_csv}
"""How tables are written to files, by the ending of their names."""
