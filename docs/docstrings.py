"""Docstrings as Markdown: their equations, references and tables are written as in Sphinx."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import griffe

__all__ = ["Extension", "equations", "to_markdown"]

MATH = re.compile(
    r"^( *)\.\. math::[ \n]*((?:.*\S.*\n?|\n(?=\1 +\S))(?:(?:\1 +\S.*| *)(?:\n|$))*)", re.MULTILINE
)
BORDER = re.compile(r"^ *=+(?: +=+)+ *$")
REFERENCE = re.compile(r":(?:class|func|meth|data|mod):`(?:[^`<]*<)?~?(?:[\w.]*\.)?(\w+)>?`")


class Extension(griffe.Extension):
    """Rewrite every docstring when it is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """Turn equations, references and simple tables of a docstring into Markdown."""
    text = MATH.sub(lambda match: textwrap.indent(f"\n$$\n{one_line(match[2])}\n$$\n\n", match[1]), text)
    text = re.sub(r":math:`([^`]*)`", lambda match: f"${one_line(match[1])}$", text)
    text = REFERENCE.sub(r"`\1`", text)
    return "\n".join(tables(text.split("\n")))


def equations(text: str) -> list[str]:
    """Return the displayed equations of a docstring, in LaTeX."""
    return [one_line(match[2]) for match in MATH.finditer(text)]


def one_line(text: str) -> str:
    """Join the lines of an equation."""
    return " ".join(text.split())


def tables(lines: list[str]) -> Iterator[str]:
    """Yield the lines of a text with its simple tables (rows of ``===`` around them) as Markdown tables."""
    index = 0
    while index < len(lines):
        if not BORDER.match(lines[index]):
            yield lines[index]
            index += 1
            continue
        end = index + 1
        borders = [index]
        while end < len(lines) and lines[end].strip():
            if BORDER.match(lines[end]):
                borders.append(end)
            end += 1
        yield from table(lines[index:end], [border - index for border in borders])
        index = end


def table(lines: list[str], borders: list[int]) -> Iterator[str]:
    """Yield one table; its columns begin where the ``===`` of the first line do."""
    starts = [match.start() for match in re.finditer("=+", lines[0])]
    indent = " " * starts[0]
    rows: list[list[str]] = []
    for number, line in enumerate(lines):
        if number in borders:
            continue
        cells = [line[a:b].strip() for a, b in pairwise([*starts, None])]
        if rows and not cells[0]:
            rows[-1] = [" ".join([*filter(None, pair)]) for pair in zip(rows[-1], cells, strict=True)]
        else:
            rows.append(cells)
    header = rows.pop(0) if len(borders) == 3 else [""] * len(starts)
    yield ""
    for row in (header, ["---"] * len(starts), *rows):
        yield indent + "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""
