"""What a study says, in words: of changes whose intervals exclude zero, and of no others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from multiace.report import html
from multiace.study.analysis import Analysis, Finding
from multiace.study.effects import Effect
from multiace.study.measures import Quantity
from multiace.study.ranking import ranks
from multiace.study.report.tables import plus_minus, short

__all__ = ["cards", "summary"]

DOMAINS = {
    "in": "In the domain of the training data",
    "out": "Outside of the domain of the training data",
    None: "On the test sets",
    "dynamics": "In dynamics",
}
MOST_CARDS = 5
NOTHING = "No change makes a difference that its interval tells apart from none."


def summary(analysis: Analysis) -> str:
    """Return the summary as HTML."""
    chosen = {measure.quantity for measure in analysis.main}
    effects = [f for f in analysis.effects if f.measure.quantity in chosen]
    interactions = [
        f for f in analysis.interactions if f.measure.quantity in chosen and f.interval.excludes_zero
    ]
    tested = [found for found in effects if found.interval.n > 1]
    body = ""
    for domain, title in DOMAINS.items():
        here = [found for found in tested if place(found.measure.quantity) == domain]
        if here:
            body += f"<h3>{title}</h3>{bullets(changes(here))}"
    if both := in_and_out(tested):
        body += f"<h3>In and out</h3>{bullets(both)}"
    if interactions:
        body += "<h3>Changes that depend on each other</h3>" + bullets(
            f"<b>{escape(short(f.effect.change))}</b>: {escape(claim(f))} than both alone add up to."
            for f in interactions
        )
    if best := leaders(analysis):
        body += f"<h3>Best points</h3>{bullets(best)}"
    body += html.paragraph(" ".join(caveats(analysis, tested)))
    return body.replace(" %", "\N{NO-BREAK SPACE}%")


def place(quantity: Quantity) -> str | None:
    """Under which heading a quantity is told."""
    return "dynamics" if quantity.kind == "dynamics" else quantity.domain


def bullets(items: Iterable[str]) -> str:
    """A list; items are HTML."""
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def described(effect: Effect) -> str:
    """A change, and what it is compared with."""
    known = {"base": ", against the base", "the point before": ", on top of the point before"}
    return short(effect.change) + known.get(effect.against, f" instead of {effect.against}")


def changes(findings: Sequence[Finding]) -> list[str]:
    """What each change does to these measures, and which changes cannot be told apart from none."""
    items, nothing = [], []
    for words, found in by_change(findings).items():
        claims = [claim(f) for f in found if f.interval.excludes_zero]
        rest = [f.measure.quantity.name for f in found if not f.interval.excludes_zero]
        if claims:
            text = escape("; ".join(claims) + (f". Not told apart: {'; '.join(rest)}" if rest else "") + ".")
            items.append(f"<b>{escape(words)}</b>: {text}")
        else:
            nothing.append(words)
    if nothing and items:
        items.append(f"Not told apart from no change: {escape('; '.join(nothing))}.")
    return items or [NOTHING]


def by_change(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Findings of each change."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(described(finding.effect), []).append(finding)
    return found


def claim(found: Finding) -> str:
    """A difference whose interval excludes zero."""
    interval, quantity = found.interval, found.measure.quantity
    low, high = sorted((abs(interval.low), abs(interval.high)))
    unit = f" {quantity.unit}" if quantity.unit else ""
    share = "" if found.percent is None else f"{abs(found.percent):.3g} %; "
    side = "lower" if interval.mean < 0 else "higher"
    return f"{quantity.name} {side} by {abs(interval.mean):.3g}{unit} ({share}95 % interval {low:.3g} to {high:.3g})"


def in_and_out(findings: Sequence[Finding]) -> list[str]:
    """Which changes matter on one side of the domain alone, as far as the intervals tell."""
    sides: dict[str, set[str]] = {"in": set(), "out": set()}
    seen: dict[str, set[str]] = {"in": set(), "out": set()}
    for words, found in by_change(findings).items():
        for f in found:
            if (domain := f.measure.quantity.domain) in sides:
                seen[domain].add(words)
                if f.interval.excludes_zero:
                    sides[domain].add(words)
    both = seen["in"] & seen["out"]
    if not both:
        return []
    groups = {
        "Told apart in the domain and outside": sides["in"] & sides["out"],
        "In the domain alone": both & sides["in"] - sides["out"],
        "Outside alone": both & sides["out"] - sides["in"],
        "Neither in the domain nor outside": both - sides["in"] - sides["out"],
    }
    return [f"{title}: {escape('; '.join(sorted(words)))}." for title, words in groups.items() if words]


def leaders(analysis: Analysis) -> list[str]:
    """The first rank of each measure."""
    names = {point.folder: short(point.name) for point in analysis.points}
    items = []
    for measure in analysis.main:
        ranked = ranks(measure, analysis.folders)
        first = [names[point] for point, rank in ranked.items() if rank == 1]
        if len(ranked) > 1:
            if len(first) == len(ranked):
                text = f"all {len(first)} points share the first rank"
            else:
                others = f"; not told apart from it: {'; '.join(first[1:])}" if first[1:] else ""
                text = f"{first[0]}{others}"
            items.append(f"{escape(measure.quantity.name)}: {escape(text)}.")
    return items


def caveats(analysis: Analysis, tested: Sequence[Finding]) -> Iterable[str]:
    """What the summary is silent about, and how far it can be trusted."""
    single = [short(point.name) for point in analysis.points if len(point.done) == 1]
    empty = [short(point.name) for point in analysis.points if not point.done]
    if single:
        verb = "has" if len(single) == 1 else "have"
        yield f"Nothing is claimed of points with one run, which {verb} no interval: {'; '.join(single)}."
    if empty:
        yield f"Without any run so far: {'; '.join(empty)}."
    if tested:
        n, k = len(tested), sum(found.interval.excludes_zero for found in tested)
        yield (
            f"Of {n} intervals of changes {k} exclude zero; about {n / 20:.1f} would by chance if no change made any "
            "difference. One that is not told apart from none may still be one: more seeds narrow its interval."
        )


def cards(analysis: Analysis) -> str:
    """The best point by each measure in which not all are alike, with its mean and standard deviation."""
    names = {point.folder: short(point.name) for point in analysis.points}
    items = []
    for measure in analysis.main:
        ranked = ranks(measure, analysis.folders)
        ties = sum(rank == 1 for rank in ranked.values()) - 1
        if ties + 1 < len(ranked):
            best = next(iter(ranked))
            tied = f"; {ties} more share{'s' if ties == 1 else ''} its rank" if ties else ""
            value, _, deviation = plus_minus(measure.mean(best)).partition(" ")
            text = f"{measure.quantity.name}: {names[best]}{tied}"
            items.append((value, f"{deviation} {measure.quantity.unit}", text))
    return html.cards(items[:MOST_CARDS]) if items else ""
