"""The tables of a study."""

from __future__ import annotations

from collections.abc import Sequence

from multiace.study.analysis import Analysis, Finding, verdict
from multiace.study.effects import Effect
from multiace.study.measures import EXACT, MEASURED_BY_THE_CLOCK, OF_CORES, Measure, Quantity
from multiace.study.numbers import MINUS, decimals, plus_minus
from multiace.study.ranking import beaten, ranks
from multiace.study.report.formats import Cell, Column, Table
from multiace.study.statistics import Interval
from multiace.study.tables import short

__all__ = [
    "ONE_SEED",
    "all_tables",
    "beating",
    "cost_table",
    "described",
    "effect_table",
    "even",
    "means",
    "priced",
    "ranking_table",
    "rule",
    "score_table",
    "titled",
]

OVER = ("combinations", "opposite")
INTERVAL = (Column("from", signed=True), Column("to", signed=True))
ONE_SEED = "Single numbers: with one seed there are no standard deviations and no intervals."


def rule(analysis: Analysis) -> str:
    """What the numbers of the points are, and their ranks."""
    reference = analysis.reference.name
    text = (
        f"Mean over seeds, standard deviation of a sample (n {MINUS} 1)."
        if analysis.is_repeated
        else ONE_SEED
    )
    if not analysis.is_compared:
        return text
    if not analysis.is_repeated:
        return f"{text} Difference to {reference}."
    return (
        f"{text} Difference to {reference}, paired by seed and structure, with its 95 % interval. Rank: points whose "
        "difference to the best has an interval that includes 0, or that share no two seeds with it, share its rank; "
        "the next rank begins with the best of the others. A point with a wide interval may be tied with the best, "
        "though its mean is higher than one of a later rank."
    )


def spread(analysis: Analysis) -> str:
    """What stands behind a mean."""
    return f"Mean ± standard deviation over seeds (n {MINUS} 1)." if analysis.is_repeated else ONE_SEED


def all_tables(analysis: Analysis) -> list[Table]:
    """Return what ``--tables`` writes."""
    tables = [overview(analysis), error_table(analysis), effect_table(analysis.effects, "effects")]
    if analysis.interactions:
        tables.append(effect_table(analysis.interactions, "interactions"))
    return [*tables, cost_table(priced(analysis), analysis)]


def overview(analysis: Analysis) -> Table:
    """A row for each point: mean ± s.d. of what the summary speaks of."""
    main = analysis.main
    digits = {measure.quantity: even(measure, analysis) for measure in main}
    rows: list[Sequence[Cell]] = [
        (
            point.name,
            *(plus_minus(measure.mean(point.folder), digits[measure.quantity]) for measure in main),
            len(point.done),
        )
        for point in analysis.points
    ]
    columns = [Column("point", number=False), *(Column(m.quantity.label) for m in main), Column("seeds")]
    return Table("overview", spread(analysis), columns, rows)


def even(measure: Measure, analysis: Analysis) -> int | None:
    """Decimals of all points: two digits of the standard deviation, or three of the mean where there is none."""
    found = [mean for point in analysis.folders if (mean := measure.mean(point))]
    of_deviations = decimals(mean.deviation for mean in found)
    return decimals((mean.mean for mean in found), 3) if of_deviations is None else of_deviations


def described(effect: Effect) -> str:
    """A change, and in a grid what it is compared with."""
    known = {"base": "", "the point before": ""}
    return short(effect.change) + known.get(effect.against, f" instead of {effect.against}")


def error_table(analysis: Analysis) -> Table:
    """All measures of all points."""
    rows: list[Sequence[Cell]] = []
    for measure in analysis.measures:
        if measure.quantity.kind == "cost":
            continue
        ranked = ranks(measure, analysis.folders)
        for point in analysis.points:
            if (found := measure.mean(point.folder)) is not None:
                change = measure.difference(point.folder, analysis.reference.folder)
                rank = ranked.get(point.folder)
                q = measure.quantity
                words = (point.name, q.where, q.domain or "", q.title, q.unit, verdict(change))
                rows.append(
                    (
                        *words,
                        found.mean,
                        found.deviation,
                        *bounds(found)[1:],
                        found.n,
                        *bounds(change),
                        rank,
                        measure.structures or None,
                    )
                )
    words = ("point", "of", "domain", "quantity", "unit", "difference is")
    columns = [
        *(Column(title, number=False) for title in words),
        *map(Column, ("mean", "s.d.", "mean from", "mean to", "seeds")),
    ]
    columns += [Column("difference", signed=True), *INTERVAL, Column("rank"), Column("structures")]
    return Table("errors", rule(analysis), columns, rows)


def bounds(found: Interval | None) -> tuple[float | None, float | None, float | None]:
    """A mean and its interval, which one run does not have."""
    if found is None:
        return None, None, None
    return (found.mean, found.low, found.high) if found.n > 1 else (found.mean, None, None)


def ranking_table(measure: Measure, analysis: Analysis) -> Table:
    """All points by one measure."""
    ranked = ranks(measure, analysis.folders)
    told = {point: "1, tied with the best" if rank == 1 else str(rank) for point, rank in ranked.items()}
    told |= dict.fromkeys(list(ranked)[:1], "1, the best")
    changes = {p: measure.difference(p, analysis.reference.folder) for p in analysis.folders}
    fine = decimals((c.high - c.low) / 2 for c in changes.values() if c and c.n > 1)
    rows: list[Sequence[Cell]] = []
    for point in analysis.points:
        if (found := measure.mean(point.folder)) is not None:
            change = changes[point.folder]
            numbers = (found.mean, found.deviation, found.n, *bounds(change), told.get(point.folder))
            rows.append((point.name, verdict(change), *numbers))
    digits = even(measure, analysis)
    head = [Column("point", number=False), Column("difference is", number=False)]
    head += [
        Column(measure.quantity.title, decimals=digits),
        Column("s.d.", decimals=digits),
        Column("seeds"),
    ]
    of_changes = digits if fine is None else fine
    head += [Column(title, signed=True, decimals=of_changes) for title in ("difference", "from", "to")] + [
        Column("rank")
    ]
    over = f"seeds and {measure.structures} structures" if measure.structures else "seeds alone"
    intervals = f", intervals over {over}" if analysis.is_repeated else ""
    against = f"differences to {analysis.reference.name}{intervals}" if analysis.is_compared else "one point"
    return Table("ranking", "; ".join(filter(None, (measure.quantity.unit, against))) + ".", head, rows)


def effect_table(findings: Sequence[Finding], name: str) -> Table:
    """What changes do, or pairs of them."""
    averaged = any(found.effect.averaged > 1 for found in findings)
    rows: list[Sequence[Cell]] = []
    for found in findings:
        q, change, effect = found.measure.quantity, found.interval, found.effect
        words = (effect.change, effect.against, q.label, q.domain or "", verdict(change))
        over = [effect.averaged, len(found.opposite)] if averaged else []
        rows.append((*words, *bounds(change), found.percent, change.n, *over))
    words = ("change", "against", "quantity", "domain", "difference is")
    columns = [Column(title, number=False) for title in words] + [
        Column("difference", signed=True),
        *INTERVAL,
    ]
    columns += [
        Column("%", signed=True, decimals=1),
        Column("seeds"),
        *(map(Column, OVER) if averaged else []),
    ]
    interval = ", with its 95 % interval" if any(found.interval.n > 1 for found in findings) else ""
    captions = {
        "effects": f"What each change does: the difference{interval}, and in % of the mean without it.",
        "interactions": f"How far what two changes do together is from the sum of what both do alone{interval}; 0 "
        "where effects add up. In % of the mean without both.",
    }
    text = (
        " It is the mean over so many combinations of the other axes; in so many of them its sign is the opposite."
        if averaged
        else ""
    )
    return Table(name, captions[name] + text, columns, rows)


def score_table(chosen: Sequence[Measure], analysis: Analysis) -> Table:
    """All points by several scores, or by one of several pairs: mean ± s.d., whether they differ from the reference."""
    digits = [even(measure, analysis) for measure in chosen]
    rows: list[Sequence[Cell]] = []
    for point in analysis.points:
        found = [measure.mean(point.folder) for measure in chosen]
        if any(found):
            changes = [verdict(m.difference(point.folder, analysis.reference.folder)) for m in chosen]
            signs = [{"lower": " ↓", "higher": " ↑"}.get(change, "") for change in changes]
            means = map(plus_minus, found, digits)
            cells = [f"{mean}{sign}" for mean, sign in zip(means, signs, strict=True)]
            rows.append((point.name, *cells, max(of.n for of in found if of)))
    of_pairs = len({measure.quantity.title for measure in chosen}) < len(chosen)
    titles = [measure.quantity.where if of_pairs else titled(measure.quantity) for measure in chosen]
    columns = [Column(title, number=bool(k)) for k, title in enumerate(("point", *titles, "seeds"))]
    arrows = f" ↓ ↑: the interval of the difference to {analysis.reference.name} excludes 0."
    compared = analysis.is_repeated and analysis.is_compared
    return Table("scores", spread(analysis) + arrows * compared, columns, rows)


def titled(quantity: Quantity) -> str:
    """What a number is, with its unit."""
    return f"{quantity.title} [{quantity.unit}]" if quantity.unit else quantity.title


def priced(analysis: Analysis) -> list[Measure]:
    """Errors that are held against costs."""
    return [measure for measure in analysis.main if measure.quantity.kind != "dynamics"]


def cost_table(chosen: Sequence[Measure], analysis: Analysis) -> Table:
    """What the points cost, and in which costs another one beats them."""
    costs = {cost.quantity.title: cost for cost in analysis.costs}
    none = "none" if analysis.is_repeated and analysis.is_compared else ""
    rows: list[Sequence[Cell]] = []
    for measure in chosen:
        losers = {title: beaten(measure, cost, analysis.folders) for title, cost in costs.items()}
        for point in analysis.points:
            if (found := measure.mean(point.folder)) is not None:
                worse = "; ".join(title for title, of in losers.items() if point.folder in of)
                words = (measure.quantity.label, point.name) if len(chosen) > 1 else (point.name,)
                numbers = [x for cost in costs.values() for x in cost_cells(cost, point.folder)]
                rows.append((*words, worse or none, found.mean, found.deviation, found.n, *numbers))
    titles = (*["quantity"][: len(chosen) - 1], "point", "beaten in")
    columns = [Column(title, number=False) for title in titles]
    digits = even(chosen[0], analysis) if len(chosen) == 1 else None
    columns += [Column("mean", decimals=digits), Column("s.d.", decimals=digits), Column("seeds")]
    for title, cost in costs.items():
        digits = even(cost, analysis)
        columns.append(Column(cost.quantity.label, decimals=digits))
        columns += [Column(f"s.d. [{cost.quantity.unit}]", decimals=digits)] * (title != EXACT)
    return Table("cost", beating(analysis), columns, rows)


def cost_cells(cost: Measure, point: str) -> Sequence[float | None]:
    """What a point costs, and the standard deviation over seeds of what is not exact."""
    found = cost.mean(point)
    if cost.quantity.title == EXACT:
        return [None if found is None else round(found.mean)]
    return [None, None] if found is None else [found.mean, found.deviation]


def beating(analysis: Analysis) -> str:
    """What it means that a point is beaten, and what may be said of its costs."""
    titles = [cost.quantity.title for cost in analysis.costs]
    text = ONE_SEED
    if analysis.is_repeated:
        beaten = (
            "Beaten: another point has a lower error and no higher cost, as the intervals of both differences say, "
            "which are paired by seed; by costs that are not told apart no point is beaten. "
        )
        text = "Means and standard deviations over seeds. " + beaten * analysis.is_compared
        text += "The number of parameters is exact."
    if OF_CORES in titles:
        text += (
            f" {OF_CORES.capitalize()} is what all processor cores took together, which other programs hardly change "
            "where runs have one thread (threads that wait for each other count as well); of a GPU it says nothing."
        )
    clock = [title for title in titles if title in MEASURED_BY_THE_CLOCK]
    if clock:
        text += f" Measured by the clock, so that what else the machine did counts: {', '.join(clock)}."
    return text


def means(measure: Measure, analysis: Analysis) -> dict[str, float]:
    """Of all points that have the measure."""
    return {point: found.mean for point in analysis.folders if (found := measure.mean(point)) is not None}
