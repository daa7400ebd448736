"""The page of the report: a little HTML, with style.css inside it and nothing from the network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import chain, repeat

from matplotlib.figure import Figure

from multiace.report.figures import image

__all__ = ["Markup", "Section", "cards", "code", "figure", "page", "paragraph", "table"]


class Markup(str):
    """Text that is HTML already."""


@dataclass(frozen=True)
class Section:
    """A heading and the HTML below it."""

    title: str
    body: str


def page(
    title: str,
    subtitle: str,
    lead: str,
    sections: Sequence[Section],
    kicker: str = "multiace report",
    style: str = "",
    script: str = "",
) -> str:
    """Return the whole document; figures are numbered by the style sheet.

    Args:
        title: Of the document.
        subtitle: Below it.
        lead: HTML before the sections.
        sections: In their order.
        kicker: Above the title.
        style: More of the style sheet.
        script: JavaScript that runs once the page is there.
    """
    links = "".join(f'<a href="#s{k}">{escape(section.title)}</a>' for k, section in enumerate(sections))
    style = files("multiace.report").joinpath("style.css").read_text(encoding="utf-8") + style
    body = "".join(
        f'<section id="s{k}"><h2>{escape(section.title)}</h2>{section.body}</section>'
        for k, section in enumerate(sections)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>"
        f"<header><p class=kicker>{escape(kicker)}</p><h1>{escape(title)}</h1>"
        f"<p class=subtitle>{escape(subtitle)}</p></header>"
        f"{lead}<nav>{links}</nav>{body}</main>{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )


def cards(items: Iterable[tuple[str, str, str]]) -> str:
    """Return large figures: (value, unit, what it is)."""
    return (
        "<div class=cards>"
        + "".join(
            f"<div><strong>{escape(value)}</strong> <small>{escape(unit)}</small>"
            f"<span>{escape(what)}</span></div>"
            for value, unit, what in items
        )
        + "</div>"
    )


def paragraph(text: str) -> str:
    """Return a paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def figure(content: Figure, description: str, caption: str) -> str:
    """Return a matplotlib figure with a caption; the description is for readers who cannot see it."""
    return f"<figure>{image(content, escape(description))}<figcaption>{escape(caption)}</figcaption></figure>"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str = "",
    numbers: int = 0,
    kinds: Sequence[str] = (),
    sortable: bool = False,
) -> str:
    """Return a table.

    Args:
        head: Column titles.
        rows: Cells, as text, or HTML if they are :class:`Markup`.
        caption: Above the table.
        numbers: How many columns, counted from the right, hold numbers (aligned right).
        kinds: Per row: ``group`` begins a group of rows, ``minor`` is a detail of the rows above.
        sortable: Whether scripts of the page may sort it.
    """
    first = len(head) - numbers

    def line(cells: Sequence[str], tag: str, kind: str = "") -> str:
        inner = "".join(
            f"<{tag}{' class=n' if k >= first else ''}>{cell if isinstance(cell, Markup) else escape(cell)}</{tag}>"
            for k, cell in enumerate(cells)
        )
        return f'<tr class="{kind}">{inner}</tr>' if kind else f"<tr>{inner}</tr>"

    body = "".join(line(row, "td", kind) for row, kind in zip(rows, chain(kinds, repeat("")), strict=False))
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = " class=sortable" if sortable else ""
    return f"<table{kind}>{title}<thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"


def code(lines: Iterable[str]) -> str:
    """Return command lines."""
    return "<pre>" + escape("\n".join(lines)) + "</pre>"
