"""What a study says, in words: of changes whose intervals exclude zero, and of no others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from multiace.report import html
from multiace.study.analysis import Analysis, Finding, verdict
from multiace.study.effects import repeated
from multiace.study.measures import HOLE, SEEN, Quantity
from multiace.study.numbers import HUGE, MINUS, plus_minus
from multiace.study.ranking import ranks
from multiace.study.report.tables import described, means
from multiace.study.tables import short

__all__ = ["bullets", "cards", "summary"]

DOMAINS = {
    "in": "In the domain of the training data",
    "out": "Outside of the domain of the training data",
    None: "On the test sets",
    "dynamics": "In dynamics",
    "valid": "On the validation set",
}
MOST_CARDS = 5
SIDES = {"in": "in the domain", "out": "outside", None: "on the test sets", "valid": "on the validation set"}
AGAINST = {"grid": "", "one_at_a_time": " against the base", "path": " against the point before"}
SHOWN = (
    "Changes of mean errors{against} in percent of what they are without the change, which is taken as exact, or of "
    "shares in percentage points, in brackets their 95 % intervals; below zero is better. The table below has them in "
    "their units."
)
NOTHING = "No change makes a difference that its interval tells apart from none."
MIXED = "lowers some errors and raises others"
FEW = 3  # combinations of a grid that are named
DEEP = 0.01  # eV: holes that are told


def summary(analysis: Analysis) -> str:
    """Return the summary as HTML."""
    chosen = {measure.quantity for measure in analysis.main}
    effects = [f for f in analysis.effects if f.measure.quantity in chosen]
    interactions = [f for f in analysis.interactions if f.measure.quantity in chosen and f.interval.n > 1]
    tested = [found for found in effects if found.interval.n > 1]
    together = [found for found in interactions if found.interval.excludes_zero]
    body = f"<h3>In short</h3>{bullets(found)}" if (found := [*in_short(tested), *holes(analysis)]) else ""
    if any(found.interval.excludes_zero for found in [*tested, *together]):
        body += html.paragraph(SHOWN.format(against=AGAINST[analysis.design]))
    if analysis.is_repeated and not analysis.is_compared:
        body += f"<h3>Means over seeds, and their 95 % intervals</h3>{bullets(alone(analysis))}"
    for domain, title in DOMAINS.items():
        here = [found for found in tested if place(found.measure.quantity) == domain]
        if here:
            body += f"<h3>{title}</h3>{bullets(changes(here))}"
    if interactions:
        told = [
            f"<b>{escape(short(f.effect.change))}</b>: {escape(by_title([(f, claim(f))]))}." for f in together
        ]
        title = "Changes that depend on each other, beyond the sum of both alone"
        body += f"<h3>{title}</h3>{bullets([*told, *looked_at(len(interactions), len(together))])}"
    if best := leaders(analysis):
        body += f"<h3>Best points</h3>{bullets(best)}"
    body += html.paragraph(" ".join(caveats(analysis, tested + interactions)))
    return body.replace(" %", "\N{NO-BREAK SPACE}%")


def place(quantity: Quantity) -> str | None:
    """Under which heading a quantity is told."""
    if quantity.where in SEEN:
        return "valid"
    return "dynamics" if quantity.kind == "dynamics" else quantity.domain


def bullets(items: Iterable[str]) -> str:
    """A list; items are HTML."""
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def changes(findings: Sequence[Finding]) -> list[str]:
    """What each change does to these measures, and which changes cannot be told apart from none."""
    items, nothing = [], []
    for words, found in by_change(findings).items():
        claims = by_title((f, claim(f)) for f in found if f.interval.excludes_zero)
        rest = by_title((f, unclaimed(f)) for f in found if not f.interval.excludes_zero)
        if claims or any(hidden(f) for f in found):
            told = ". ".join(filter(None, (claims, f"Not told apart: {rest}" if rest else "")))
            items.append(f"<b>{escape(words)}</b>: {escape(told)}.")
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
    """A difference whose interval excludes zero: as it is told, or in its unit where the reference is zero."""
    interval, quantity = found.interval, found.measure.quantity
    scale, unit = found.relative or (1.0, quantity.unit)
    mean, low, high = (signed(scale * x) for x in (interval.mean, interval.low, interval.high))
    return (
        f"{mean} {unit} on {quantity.where} ({'; '.join(filter(None, (f'{low} to {high}', hidden(found))))})"
    )


def unclaimed(found: Finding) -> str:
    """Where a difference is not told apart from none."""
    words = hidden(found)
    return f"{found.measure.quantity.where} ({words})" if words else found.measure.quantity.where


def hidden(found: Finding) -> str:
    """What the mean over a grid hides: combinations in which the difference is the other way, if there are some."""
    verdicts = {words: verdict(cell) for words, cell in found.cells.items()}
    lower, higher = ([words for words, of in verdicts.items() if of == way] for way in ("lower", "higher"))
    if lower and higher:
        return f"lower with {named(lower, found)}, higher with {named(higher, found)}, by their own intervals"
    if not (found.interval.excludes_zero and found.opposite):
        return ""
    way = "higher" if found.interval.mean < 0 else "lower"
    told = any(verdicts[words] == way for words in found.opposite)
    return f"{way} with {named(found.opposite, found)}{'' if told else ', by the mean alone'}"


def named(combinations: Sequence[str], found: Finding) -> str:
    """Combinations of a grid, by their names if they are few."""
    if len(combinations) > FEW:
        return f"{len(combinations)} of {len(found.cells)} combinations"
    return " and ".join(map(short, combinations))


def signed(value: float) -> str:
    """A number with its sign, as it is printed."""
    return ("+" if value > 0 else "") + rounded(value)


def rounded(value: float) -> str:
    """A number as it is printed: two digits, or all before the point of those below ``HUGE``."""
    text = f"{value:,.0f}" if 9.95 <= abs(value) < HUGE else f"{value:.2g}"
    return text.replace("-", MINUS)


def in_short(findings: Sequence[Finding]) -> Iterable[str]:
    """A sentence for each change that is told apart from none: whether errors are lower or higher, and where."""
    nothing = []
    sides = [side for side in SIDES if any(place(f.measure.quantity) == side for f in findings)]
    for words, found in by_change(findings).items():
        does = {side: verb([f for f in found if place(f.measure.quantity) == side]) for side in sides}
        where: dict[str, list[str]] = {}
        for side, what in does.items():
            where.setdefault(what, []).append(SIDES[side])
        silent = where.pop("", [])
        if where:
            text = ", and ".join(f"{what} {' and '.join(places)}" for what, places in where.items())
            text += " (see below)" if MIXED in where else ""
            text += f"; {' and '.join(silent)} none is told apart from no change" if silent else ""
            yield f"<b>{escape(words)}</b> {escape(text)}."
        elif sides:
            nothing.append(words)
    if nothing:
        where_not = " and ".join(SIDES[side] for side in sides)
        yield f"Not told apart from no change, {where_not}: {escape('; '.join(nothing))}."


def verb(findings: Sequence[Finding]) -> str:
    """What a change does to errors; empty if nothing is told apart from no change."""
    ways = {verdict(f.interval) for f in findings if f.interval.excludes_zero}
    if len(ways) == 2:
        return MIXED
    some = "" if all(f.interval.excludes_zero for f in findings) else "some "
    return "".join({"lower": f"lowers {some}errors", "higher": f"raises {some}errors"}[way] for way in ways)


def looked_at(number: int, told: int) -> Iterable[str]:
    """How many interactions there are that are not told apart from zero."""
    if not told:
        yield f"None of {number} such interactions is told apart from zero: as far as intervals tell, effects add up."
    elif told < number:
        yield f"{number - told} of {number} such interactions are not told apart from zero."


def holes(analysis: Analysis) -> Iterable[str]:
    """Say that most points have holes, if they have: energies of two atoms that fall again as they approach."""
    deepest: dict[str, tuple[float, str]] = {}
    for measure in analysis.measures:
        if measure.quantity.title == HOLE:
            for point, depth in means(measure, analysis).items():
                deepest[point] = max(deepest.get(point, (0.0, "")), (depth, measure.quantity.where))
    deep = [of for of in deepest.values() if of[0] > DEEP]
    if len(deep) > len(deepest) / 2:
        pairs = ", ".join(dict.fromkeys(pair for _, pair in deep))
        low, high = (rounded(f(deep)[0]) for f in (min, max))
        over = ", mean over seeds" if analysis.is_repeated else ""
        yield escape(
            f"Holes: in {len(deep)} of {len(deepest)} points the energy of two atoms falls again where they are closer "
            f"than bonds, by {low} to {high} eV for the pair with the deepest one ({pairs}){over}."
        )


def leaders(analysis: Analysis) -> list[str]:
    """The first rank of each measure."""
    names = {point.folder: short(point.name) for point in analysis.points}
    items = []
    for measure in analysis.main:
        ranked = ranks(measure, analysis.folders)
        first = [names[point] for point, rank in ranked.items() if rank == 1]
        if ranked:
            if len(first) == len(ranked):
                text = f"all {len(first)} points are tied"
            else:
                others = f"; tied with the best: {'; '.join(first[1:])}" if first[1:] else ""
                text = f"{first[0]}{others}"
            items.append(f"{escape(measure.quantity.name)}: {escape(text)}.")
    return items


def alone(analysis: Analysis) -> Iterable[str]:
    """What the only point of a study has, for there is nothing that it is compared with."""
    for measure in analysis.main:
        if (found := measure.mean(analysis.reference.folder)) is not None and found.n > 1:
            unit, (low, mean, high) = measure.quantity.unit, map(rounded, (found.low, found.mean, found.high))
            yield escape(f"{measure.quantity.name}: {mean} {unit} ({low} to {high}).")


def caveats(analysis: Analysis, tested: Sequence[Finding]) -> Iterable[str]:
    """What the summary is silent about, and how far it can be trusted."""
    single = [short(point.name) for point in analysis.points if len(point.done) == 1]
    empty = [short(point.name) for point in analysis.points if not point.done]
    if single:
        has = "has" if len(single) == 1 else "have"
        yield f"Nothing is claimed of points with one run, which {has} no interval: {'; '.join(single)}."
    if empty:
        yield f"Without any run so far: {'; '.join(empty)}."
    if analysis.design == "grid":
        used = repeated(analysis.points)
        if left := [short(point.name) for point in analysis.points if point.done and point not in used]:
            yield (
                "Effects and interactions are of points that share seeds, and leave out those that have other runs: "
                f"{'; '.join(left)}."
            )
    differing = [f for f in tested if f.interval.mean or f.interval.low < f.interval.high]  # else no run does
    if differing:
        n, k = len(differing), sum(found.interval.excludes_zero for found in differing)
        yield (
            f"Of {n} intervals {k} exclude zero; about {n / 20:.1f} would by chance if no change made any "
            "difference, with two or three seeds up to twice as many. One that is not told "
            "apart from none may still be one: more seeds narrow its interval."
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
            tied = f"; {ties} more {'is' if ties == 1 else 'are'} tied with it" if ties else ""
            value, _, deviation = plus_minus(measure.mean(best)).partition(" ")
            text = f"{measure.quantity.name}: {names[best]}{tied}"
            items.append((value, f"{deviation} {measure.quantity.unit}", text))
    note = "<p class=note>The best point by each error: mean ± standard deviation over seeds.</p>"
    return html.cards(items[:MOST_CARDS]) + note if items else ""
