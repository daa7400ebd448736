"""Sections about axes of numbers: errors against the number, such as that of training frames."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from multiace.report.html import Section
from multiace.study.analysis import Analysis
from multiace.study.effects import axes, rest, successive
from multiace.study.measures import Measure
from multiace.study.outcomes import Outcome
from multiace.study.report import figures, svg
from multiace.study.report.errors import forests, panels, told
from multiace.study.report.figures import Dot, Trend
from multiace.study.report.tables import ONE_SEED, titled
from multiace.study.statistics import Interval
from multiace.study.tables import short

__all__ = ["trend_sections"]

ONLY = "points of the study"  # where nothing else is changed
TRENDS = "means over seeds with their 95 % intervals."


def trend_sections(analysis: Analysis) -> list[Section]:
    """A section for each axis of three numbers or more: main errors against it, a line for all else being equal."""
    found = []
    for axis, labels in axes(analysis.points).items():
        lines = along(axis, analysis.points) if successive(labels) else {}
        if lines:
            legend = figures.series({words: short(words) or ONLY for words in lines})
            name = axis.rpartition(".")[2].replace("_", " ")
            parts = {}
            for title, of in forests(analysis.main).items():
                if shown := [trend for measure in of if (trend := against(measure, name, lines))]:
                    quantity = title.partition(" [")[0]
                    text = f"{quantity[:1].upper()}{quantity[1:]} against {name}"
                    caption = f"{text}: {TRENDS}" if analysis.is_repeated else f"{text}. {ONE_SEED}"
                    drawn = figures.trends(shown, legend)
                    parts[quantity] = svg.figure(drawn, legend.values(), text, caption)
            found.append(Section(f"Errors against {name}", panels(parts)))
    return found


def along(axis: str, points: Sequence[Outcome]) -> dict[str, list[tuple[float, Outcome]]]:
    """Points with runs by their labels on all other axes, in the order of the number; two or more of each."""
    found: dict[str, list[tuple[float, Outcome]]] = {}
    for point in points:
        if point.done and (x := number(axis, point)) is not None:
            found.setdefault(rest(point, axis), []).append((x, point))
    return {words: sorted(of, key=itemgetter(0)) for words, of in found.items() if len(of) > 1}


def number(axis: str, point: Outcome) -> float | None:
    """The value of a point on an axis of numbers; that of the base, which has no label, if the axis is a field."""
    if point.labels:
        return float(point.labels[axis]) if axis in point.labels else None
    section, _, field = axis.partition(".")
    value = (point.rows[0].config.get(section) or {}).get(field)
    return float(value) if isinstance(value, int | float) else None


def against(measure: Measure, name: str, lines: dict[str, list[tuple[float, Outcome]]]) -> Trend | None:
    """The panel of a measure; None without numbers."""
    q = measure.quantity

    def dot(x: float, point: Outcome, mean: Interval) -> Dot:
        tip = f"{point.name}\n{q.name}: {told(mean, q.unit)}"
        return Dot(x, mean.mean, mean.low, mean.high, False, tip)

    found = {
        words: [dot(x, point, mean) for x, point in of if (mean := measure.mean(point.folder)) is not None]
        for words, of in lines.items()
    }
    dots = {words: of for words, of in found.items() if of}
    return Trend(q.where, name, titled(q), dots) if dots else None
