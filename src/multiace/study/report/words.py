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
SHOWN = (
    "Changes of mean errors in percent, in brackets their 95 % intervals; below zero is better. The table below has "
    "them in their units."
)
NOTHING = "No change makes a difference that its interval tells apart from none."


def summary(analysis: Analysis) -> str:
    """Return the summary as HTML."""
    chosen = {measure.quantity for measure in analysis.main}
    effects = [f for f in analysis.effects if f.measure.quantity in chosen]
    interactions = [f for f in analysis.interactions if f.measure.quantity in chosen and f.interval.n > 1]
    tested = [found for found in effects if found.interval.n > 1]
    together = [found for found in interactions if found.interval.excludes_zero]
    body = f"<h3>In short</h3>{bullets(both)}" if (both := in_and_out(tested)) else ""
    if any(found.interval.excludes_zero for found in [*tested, *together]):
        body += html.paragraph(SHOWN)
    for domain, title in DOMAINS.items():
        here = [found for found in tested if place(found.measure.quantity) == domain]
        if here:
            body += f"<h3>{title}</h3>{bullets(changes(here))}"
    if together:
        body += "<h3>Changes that depend on each other, beyond the sum of both alone</h3>" + bullets(
            f"<b>{escape(short(f.effect.change))}</b>: {escape(by_title([(f, claim(f))]))}." for f in together
        )
    if best := leaders(analysis):
        body += f"<h3>Best points</h3>{bullets(best)}"
    body += html.paragraph(" ".join(caveats(analysis, tested + interactions)))
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
        claims = [f for f in found if f.interval.excludes_zero]
        rest = by_title((f, f.measure.quantity.where) for f in found if not f.interval.excludes_zero)
        if claims:
            told = by_title((f, claim(f)) for f in claims)
            items.append(
                f"<b>{escape(words)}</b>: {escape(told + (f'. Not told apart: {rest}' if rest else ''))}."
            )
        else:
            nothing.append(words)
    if nothing and items:
        items.append(f"Not told apart from no change: {escape('; '.join(nothing))}.")
    return items or [NOTHING]


def by_title(found: Iterable[tuple[Finding, str]]) -> str:
    """Texts on several sets, behind what they are about."""
    texts: dict[str, list[str]] = {}
    for finding, text in found:
        texts.setdefault(finding.measure.quantity.title, []).append(text)
    return "; ".join(f"{title}: {', '.join(of)}" for title, of in texts.items())


def by_change(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Findings of each change."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(described(finding.effect), []).append(finding)
    return found


def claim(found: Finding) -> str:
    """A difference whose interval excludes zero: in percent, or in its unit where the reference is zero."""
    interval, quantity = found.interval, found.measure.quantity
    scale, unit = (100 / found.reference, "%") if found.reference else (1.0, quantity.unit)
    mean, low, high = (signed(scale * x) for x in (interval.mean, interval.low, interval.high))
    return f"{mean} {unit} on {quantity.where} ({low} to {high})"


def signed(value: float) -> str:
    """A number with its sign, as it is printed: two digits, or all before the point."""
    text = f"{value:+,.0f}" if abs(value) >= 9.95 else f"{value:+.2g}"
    return text.replace("-", "\N{MINUS SIGN}")


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
    inside, outside = both & sides["in"], both & sides["out"]
    groups = {
        "They matter in the domain and outside": inside & outside,
        "They matter in the domain, and outside are not told apart from no change": inside - outside,
        "They matter outside of the domain, and in it are not told apart from no change": outside - inside,
        "They are not told apart from no change, neither in the domain nor outside": both - inside - outside,
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
            f"Of {n} intervals {k} exclude zero; about {n / 20:.1f} would by chance if no change made any "
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
