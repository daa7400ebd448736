"""Sections about errors: of the points, of each change, and against their cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from multiace.report.html import Section, paragraph
from multiace.study.analysis import Analysis, Finding
from multiace.study.measures import OF_DOMAIN, Measure
from multiace.study.numbers import number, plus_minus
from multiace.study.ranking import beaten, front
from multiace.study.report import figures, svg
from multiace.study.report.figures import Bar, Dot
from multiace.study.report.formats import Table, to_html
from multiace.study.report.points import ALL
from multiace.study.report.svg import Series
from multiace.study.report.tables import (
    ONE_SEED,
    beating,
    cost_table,
    described,
    effect_table,
    means,
    priced,
    ranking_table,
    rule,
)
from multiace.study.statistics import Interval
from multiace.study.tables import short

__all__ = [
    "cost_section",
    "effect_section",
    "error_section",
    "forests",
    "of_points",
    "panels",
    "scroll",
    "told",
]

IN, OUT, UNKNOWN = (
    ("#0b6e8f", "#2f5fd0", "#44546a"),
    ("#d1632a", "#b8912a", "#c8323a", "#8a4f9e", "#7a3b1d", "#d67aa5", "#e3a23c", "#5d2a66"),
    ("#5b8c3a", "#6b7480", "#9aa53c"),
)

COMPARE = (
    " Intervals of means overlap more than those of differences, which are paired: compare points by the tables "
    "below."
)
BARS = "Filled: the 95 % interval excludes zero. Long intervals leave the panel."


def told(found: Interval, unit: str) -> str:
    """A mean and its interval, for the mouse."""
    if found.n < 2:
        return f"{number(found.mean)} {unit}\none seed: no interval"
    low, high = number(found.low), number(found.high)
    return f"{number(found.mean)} {unit}\n95 %: {low} to {high} {unit}\n{found.n} seeds"


def panels(parts: Mapping[str, str], printed: int | None = None) -> str:
    """Parts of HTML of which one is shown, chosen by its title; on paper the first, so many of them."""
    inner = "".join(
        f'<div data-title="{escape(title)}"{"" if printed is None or k < printed else " class=screen"}>'
        f"<h3>{escape(title)}</h3>{part}</div>"
        for k, (title, part) in enumerate(parts.items())
    )
    return f"<div class=panels>{inner}</div>"


def of_sets(measures: Sequence[Measure]) -> dict[str, Series]:
    """The legend of sets and curves: blue in the domain, orange out of it, green where nobody says."""
    found: dict[str, Series] = {}
    counts = {"in": 0, "out": 0, None: 0}
    for measure in measures:
        where, domain = measure.quantity.where, measure.quantity.domain
        if where not in found:
            colors = {"in": IN, "out": OUT}.get(domain or "", UNKNOWN)
            name = where if domain is None else f"{where} ({OF_DOMAIN[domain]})"
            found[where] = Series(where, name, colors[counts[domain] % len(colors)])
            counts[domain] += 1
    return found


def of_points(analysis: Analysis) -> dict[str, Series]:
    """The legend of points with runs."""
    return figures.series({point.folder: short(point.name) for point in analysis.points if point.done})


def forests(measures: Sequence[Measure]) -> dict[str, list[Measure]]:
    """Measures of sets that belong into one panel: the same quantity of several sets."""
    found: dict[str, list[Measure]] = {}
    for measure in measures:
        curve = " of curves" if measure.quantity.kind == "curve" and "RMSE" in measure.quantity.title else ""
        unit = f" [{measure.quantity.unit}]" if measure.quantity.unit else ""
        found.setdefault(f"{measure.quantity.title}{curve}{unit}", []).append(measure)
    return found


def error_section(analysis: Analysis, links: Mapping[str, str]) -> Section:
    """Errors of all points: a figure, and a table for each measure with its ranking."""
    shown: dict[str, list[Bar]] = {}
    for title, of in forests(analysis.main).items():
        for measure in of:
            for point in analysis.points:
                if (found := measure.mean(point.folder)) is not None:
                    q = measure.quantity
                    tip = f"{point.name}\n{q.name}: {told(found, q.unit)}"
                    ends = (found.low, found.high)
                    dots = tuple(measure.values[point.folder].values())
                    bar = Bar(short(point.name), q.where, found.mean, *ends, tip, dots)
                    shown.setdefault(title, []).append(bar)
    legend = of_sets(analysis.main)
    body = svg.figure(
        figures.forest(shown, legend, differences=False),
        legend.values(),
        "Errors of each point on each set",
        "Mean over seeds with its 95 % interval, over seeds and structures where these are kept, and the single runs "
        "(ticks)." + COMPARE * analysis.is_compared
        if analysis.is_repeated
        else ONE_SEED,
    )
    body += paragraph(rule(analysis))
    main = analysis.main
    chosen = main + [measure for measure in analysis.tested if measure not in main]
    tables = {m.quantity.name: scroll(to_html(ranking_table(m, analysis), links)) for m in chosen}
    return Section("Errors of the points", body + panels(tables, printed=len(main)))


def scroll(table: str) -> str:
    """A wide table."""
    return f"<div class=scroll>{table}</div>"


def of_changes(found: Sequence[Finding], analysis: Analysis, links: Mapping[str, str]) -> dict[str, str]:
    """Where the points of each change are on the page: its own, or the table of all where it is a mean of several."""
    places = {point.folder: links[point.name] for point in analysis.points}
    changed: dict[str, set[str]] = {}
    for effect in (one.effect for one in found):
        points = {p for p, weight in effect.contrast.items() if weight > 0} - set(effect.reference)
        changed.setdefault(short(effect.change), set()).update(points)
    return {change: places[min(of)] if len(of) == 1 else ALL for change, of in changed.items()}


def effect_section(analysis: Analysis, links: Mapping[str, str]) -> Section | None:
    """What each change does, and which depend on each other."""
    if not analysis.effects:
        return None
    main = {measure.quantity for measure in analysis.main}
    chosen = [found for found in analysis.effects if found.measure.quantity in main]
    drawn = [(found, relative) for found in chosen if (relative := found.relative) is not None]
    legend = of_sets([found.measure for found, _ in drawn])
    shown: dict[str, list[Bar]] = {}
    for title, of in forests([found.measure for found, _ in drawn]).items():
        for found, (scale, unit) in drawn:
            if found.measure in of:
                q = found.measure.quantity
                tip = f"{found.effect.change}, against {found.effect.against}\n{q.name}: "
                tip += told(found.interval, q.unit)
                mean, low, high = (
                    scale * x for x in (found.interval.mean, found.interval.low, found.interval.high)
                )
                bar = Bar(described(found.effect), q.where, mean, low, high, tip=tip)
                shown.setdefault(f"{title.partition(' [')[0]} [change, {unit}]", []).append(bar)
    words = {
        "grid": "from one value of an axis to another, as the mean over all combinations of the other axes",
        "one_at_a_time": "from the base to each value",
        "path": "of each step of the path, from the point before",
    }
    body = (
        svg.figure(
            figures.forest(shown, legend, differences=True),
            legend.values(),
            "What each change does to errors in and out of the domain",
            f"Changes of the mean error, {words[analysis.design]}; left of the line errors are lower. "
            + ("What is zero without the change is in the table alone. " if len(drawn) < len(chosen) else "")
            + (BARS if analysis.is_repeated else ONE_SEED),
        )
        if shown
        else ""
    )
    tables = {"main errors": chosen, "everything measured": analysis.effects}
    changes = of_changes([*analysis.effects, *analysis.interactions], analysis, links)
    parts = {
        title: scroll(to_html(shortened(effect_table(of, "effects")), changes))
        for title, of in tables.items()
    }
    body += panels(parts, printed=1)
    if analysis.interactions:
        few = [found for found in analysis.interactions if found.measure.quantity in main]
        body += "<h3>Interactions</h3>" + scroll(
            to_html(shortened(effect_table(few, "interactions")), changes)
        )
    return Section("What each change does", body)


def shortened(table: Table) -> Table:
    """The same with short names of changes, which leave room for the numbers."""
    return replace(table, rows=[(short(str(change)), *rest) for change, *rest in table.rows])


def cost_section(analysis: Analysis, links: Mapping[str, str]) -> Section:
    """Error against parameters, training and time of a prediction."""
    legend = of_points(analysis)
    line = "the line joins points to which none is as good in both and better in one."
    caption = f". {ONE_SEED[:-1]}; {line}"
    if analysis.is_repeated:
        caption = (
            f": means, with the 95 % intervals of the error. Beaten points are hollow; of the others {line}"
        )
    parts = {}
    for measure in priced(analysis):
        errors, fronts = means(measure, analysis), {}
        shown: dict[str, dict[str, Dot]] = {}
        for cost in analysis.costs:
            costs = {point: value for point, value in means(cost, analysis).items() if point in errors}
            losers, label = beaten(measure, cost, list(costs)), cost.quantity.label
            fronts[label] = front({point: costs[point] for point in costs if point not in losers}, errors)
            for point in analysis.points:
                found, spent = measure.mean(point.folder), cost.mean(point.folder)
                if found is not None and spent is not None:
                    tip = f"{point.name}\n{measure.quantity.name}: {told(found, measure.quantity.unit)}\n"
                    tip += f"{label}: {plus_minus(spent)}"
                    ends = (found.mean, found.low, found.high)
                    dot = Dot(spent.mean, *ends, point.folder in losers, tip)
                    shown.setdefault(label, {})[point.folder] = dot
        drawn = (
            ""
            if not analysis.is_compared
            else svg.figure(
                figures.pareto(shown, fronts, legend, measure.quantity.label),
                legend.values(),
                f"{measure.quantity.name} against what it costs",
                f"{measure.quantity.name[:1].upper()}{measure.quantity.name[1:]} against cost{caption}",
            )
        )
        table = replace(cost_table([measure], analysis), caption="")
        parts[measure.quantity.name] = drawn + scroll(to_html(table, links))
    return Section("Error against cost", paragraph(beating(analysis)) + panels(parts))
