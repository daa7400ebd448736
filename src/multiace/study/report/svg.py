"""Figures that answer to the mouse: matplotlib's SVG in the page, with what each part of it is."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from html import escape
from typing import NamedTuple
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.figure import Figure

__all__ = ["Series", "figure", "mark"]

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
MARK = "marked:"


class Series(NamedTuple):
    """What the legend shows and hides: its key in the figure, name and colour, and whether it is dashed or dots."""

    key: str
    name: str
    color: str
    dashed: bool = False
    dots: bool = False

    @property
    def sample(self) -> str:
        """A line or circle as in the figure."""
        if self.dots:
            return f'<circle cx=10 cy=4 r=3 fill=white stroke="{self.color}" />'
        dashes = " stroke-dasharray=5,3" if self.dashed else ""
        return f'<line x1=0 x2=20 y1=4 y2=4 stroke="{self.color}" stroke-width=3{dashes} />'


def mark(artists: Iterable[Artist], series: str, tip: str = "") -> None:
    """Say of parts of a figure which series they belong to, and what is told where the mouse is on them."""
    for artist in artists:
        artist.set_gid(MARK + json.dumps([series, tip]))


def figure(content: Figure, legend: Iterable[Series], description: str, caption: str) -> str:
    """Return a figure with a legend whose entries show and hide what they name.

    Args:
        content: The figure; its colours are those of the legend.
        legend: Of it.
        description: For readers who cannot see it.
        caption: Below it.
    """
    entries = "".join(
        f'<button type=button aria-pressed=true data-series="{escape(s.key)}"><svg width=20 height=8 aria-hidden=true>'
        f"{s.sample}</svg>{escape(s.name)}</button>"
        for s in legend
    )
    return (
        f"<figure class=drawn><div class=legend>{entries}</div>{inline(content, description)}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def inline(content: Figure, description: str) -> str:
    """Return the <svg> element; text stays text."""
    file = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        content.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", file.getvalue().decode()))
    for parent in root.iter():
        for child in [c for c in parent if c.tag.endswith("metadata")]:
            parent.remove(child)
        name = parent.get("id", "")
        if name.startswith(MARK):
            series, tip = json.loads(name.removeprefix(MARK))
            parent.set("data-series", series)
            if tip:
                parent.set("data-tip", tip)
        if name not in used:
            parent.attrib.pop("id", None)  # matplotlib numbers the parts of every figure alike
        shorten(parent)
    for size in ("width", "height"):
        root.attrib.pop(size)
    root.attrib |= {"role": "img", "aria-label": description}
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def shorten(part: ElementTree.Element) -> None:
    """Leave out what nobody sees: spaces between parts, digits beyond 0.01 pt, and fonts, which are the page's."""
    part.text, part.tail = (text if text and text.strip() else None for text in (part.text, part.tail))
    for place in {"d", "x", "y", "transform"} & part.attrib.keys():
        part.set(place, re.sub(r"\d+\.\d{3,}", lambda x: f"{float(x[0]):.2f}", part.attrib[place]))
    if "style" in part.attrib:
        part.set("style", re.sub(r"font-family:[^;]*;? ?", "", part.attrib["style"]))
    if part.get("transform", "").startswith("rotate(-0 "):
        del part.attrib["transform"]
