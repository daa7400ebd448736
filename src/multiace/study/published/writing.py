"""A page for the terminal and as Markdown."""

from __future__ import annotations

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from multiace.study.published.pages import Page, Section
from multiace.tables import new_table

__all__ = ["markdown", "terminal"]


def terminal(page: Page) -> Group:
    """Return a page for the terminal."""
    return Group(
        Text(page.title, style="bold"),
        *(table(section) for section in page.sections),
        *(Text(f"- {note}") for note in page.notes),
    )


def table(section: Section) -> Table:
    """A table for the terminal; set and quantity are written once for all their models."""
    right = section.head[len(section.head) - section.numbers :]
    found = new_table(*section.head, right=right, caption=escape(section.caption))
    repeats = 2 if section.head[:2] == ("set", "quantity") else 0
    above: tuple[str, ...] = ()
    for line in section.lines:
        same = next((n for n in range(repeats) if line[: n + 1] != above[: n + 1]), repeats)
        if above and repeats and not same:
            found.add_section()
        found.add_row(*("" for _ in range(same)), *map(escape, line[same:]))
        above = line
    return found


def markdown(page: Page) -> str:
    """Return a page as Markdown."""
    parts = [f"# {page.title}"]
    for section in page.sections:
        left = len(section.head) - section.numbers
        rule = ["---"] * left + ["---:"] * section.numbers
        rows = [section.head, rule, *section.lines]
        parts += ["\n".join(f"| {' | '.join(row)} |" for row in rows), section.caption]
    parts.append("\n".join(f"- {note}" for note in page.notes))
    return "\n\n".join(parts) + "\n"
