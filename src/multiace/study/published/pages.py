"""What is told of a published table: its numbers beside ours, the settings, and what is different."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multiace.fields import plain
from multiace.model.config import ModelConfig
from multiace.study.plan import Plan
from multiace.study.published.printed import difference
from multiace.study.published.table import QUANTITIES, Model, PublishedTable, Size, Source
from multiace.study.statistics import mean_interval
from multiace.study.store import Row
from multiace.train.config import RunConfig

__all__ = ["Page", "Section", "published_page", "result_page"]

UNITS = {"energy": "meV", "forces": "meV/Å"}
OF_DATA = ("elements", "isolated_energies")  # fields of a model
TITLES = {"full": "full size", "reduced": "REDUCED SIZE, no reproduction"}


@dataclass(frozen=True)
class Section:
    """A table of a page, whose last columns are numbers."""

    head: tuple[str, ...]
    lines: list[tuple[str, ...]]
    numbers: int
    caption: str


@dataclass(frozen=True)
class Page:
    """A title, tables, and sentences below them."""

    title: str
    sections: list[Section]
    notes: list[str]


def result_page(
    table: PublishedTable, size: Size, planned: Plan, rows: Sequence[Row], absent: Mapping[str, str]
) -> Page:
    """Put what came out of the runs of one size beside what is published.

    Args:
        table: The table.
        size: Of the runs.
        planned: The points of this size; no other runs are looked at.
        rows: Runs of a study.
        absent: Rows whose test file is missing, with its name.
    """
    names = {run.name for run in planned.runs}
    done = [row for row in rows if row.name in names and row.results is not None]
    head: tuple[str, ...] = ("set", "quantity", "model", "published", "here", "runs", "difference")
    lines = [*error_lines(table, done, absent), *parameter_lines(table, done)]
    if size == "full":
        head = (*head, "95 % interval", "here is")
    section = Section(head, [line[: len(head)] for line in lines], len(head) - 3, result_caption(table, size))
    missing = [
        f"no data for {row}: {name} is not there; once it is, the models of its set are trained anew"
        for row, name in absent.items()
    ]
    return Page(f"{table.title}: {TITLES[size]}", [section], [*missing, *differences(table, size)])


def error_lines(
    table: PublishedTable, done: Sequence[Row], absent: Mapping[str, str]
) -> Iterator[tuple[str, ...]]:
    """A line for each row, quantity and model that is published."""
    for row in table.rows:
        for quantity in QUANTITIES:
            for name, model in table.models.items():
                printed = model.printed(row, quantity)
                if printed is None:
                    continue
                source = table.sources[model.source]
                start = (row, f"{quantity} [{UNITS[quantity]}]", name, printed.shown(source))
                ours = errors(table, done, name, row, quantity)
                if not ours:
                    yield (*start, "no data" if row in absent else "", "", "", "", "")
                    continue
                found, change = mean_interval(ours), difference(ours, printed, source)
                d = printed.decimals
                here = f"{found.mean:.{d}f}"
                if found.n > 1:
                    here += f" ± {found.deviation:.{max(d, printed.deviation_decimals)}f}"
                interval = "" if change.low is None else f"{change.low:+.{d}f} .. {change.high:+.{d}f}"
                yield (*start, here, str(found.n), f"{change.value:+.{d}f}", interval, change.statement)


def errors(table: PublishedTable, done: Sequence[Row], model: str, row: str, quantity: str) -> list[float]:
    """Errors of all runs of a model that were tested on the file of a row."""
    results = [found.results["errors"] for found in done if found.results and found.labels["model"] == model]
    found = [of_set.get(table.rows[row], {}).get(quantity) for of_set in results]
    return [figures[table.statistic] for figures in found if figures is not None]


def parameter_lines(table: PublishedTable, done: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """Numbers of parameters, where they are published."""
    for name, model in table.models.items():
        if model.parameters is not None:
            ours = {row.results["parameters"] for row in done if row.results and row.labels["model"] == name}
            here = ", ".join(f"{number:,}" for number in sorted(ours))
            yield ("", "parameters", name, f"{model.parameters:,}", here, "", "", "", "")


def result_caption(table: PublishedTable, size: Size) -> str:
    """What the columns are."""
    text = f"{table.statistic.upper()}, mean ± standard deviation of the sample (n - 1) over runs."
    converted = [name for name, source in table.sources.items() if source.deviation == "population"]
    if converted:
        text += f" Those of {', '.join(converted)}, printed for the population (n), are multiplied by √(n / (n - 1))."
    if size == "reduced":
        return f"{text} Models, training or runs are smaller than published: differences say nothing of the method."
    return (
        f"{text} Differences with Welch's interval, wider by what printed numbers are rounded. There is none for one "
        "run, or without a published deviation; then, and where it holds 0, nothing is said."
    )


def published_page(table: PublishedTable, planned: Mapping[Size, Plan]) -> Page:
    """What is published, and with which settings; those here, in both sizes.

    Args:
        table: The table.
        planned: Its points in each size.
    """
    columns = (f"{model.column} [{model.source}]" for model in table.models.values())
    models = table.models.values()
    lines = [
        (row, f"{quantity} [{UNITS[quantity]}]", *(as_printed(model, row, quantity) for model in models))
        for row in table.rows
        for quantity in QUANTITIES
    ]
    if any(model.parameters for model in models):
        counts = (f"{model.parameters:,}" if model.parameters else "" for model in models)
        lines.append(("", "parameters", *counts))
    caption = f"{table.statistic.upper()} as printed, with standard deviations in brackets."
    published = Section(("set", "quantity", *columns), lines, len(table.models), caption)
    notes = [f"{name}: {source.cite}; {convention(source)}" for name, source in table.sources.items()]
    notes += [f"loss of {name}: {model.loss}" for name, model in table.models.items() if model.loss]
    return Page(table.title, [published, settings(table, planned)], [*notes, *differences(table, "full")])


def as_printed(model: Model, row: str, quantity: str) -> str:
    """A published number as its source has it."""
    printed = model.printed(row, quantity)
    return "" if printed is None else printed.text


def convention(source: Source) -> str:
    """What its standard deviations are."""
    runs = "" if source.runs is None else f" of {source.runs} runs"
    return (
        "no standard deviations"
        if source.deviation is None
        else f"standard deviations of the {source.deviation}{runs}"
    )


def settings(table: PublishedTable, planned: Mapping[Size, Plan]) -> Section:
    """Fields of the run files: what the source states, what is chosen, and what the reduced size has instead."""
    trained = next(iter(table.sets))
    given = {name: {s: table.fields(name, trained, s) for s in planned} for name in table.models}
    runs = {size: points_of(table, plan) for size, plan in planned.items()}
    configs = [run.model for of_size in runs.values() for of_model in of_size.values() for run in of_model]
    fields = dict.fromkeys(field for name in table.models for s in planned for field in given[name][s])
    fields |= dict.fromkeys(f"model.{field}" for config in configs for field in changed(config))
    lines = []
    for field in fields:
        cells = []
        for name, model in table.models.items():
            if model.solved and field.startswith("train.") and field not in given[name]["full"]:
                cells.append("")  # of gradients
                continue
            full, reduced = (of_runs(field, given[name][s], runs[s][name]) for s in ("full", "reduced"))
            mark = "°" if field not in given[name]["full"] else "" if table.is_stated(name, field) else "*"
            cells.append(f"{full}{mark}" + (f" → {reduced}" if reduced != full else ""))
        lines.append((field, *cells))
    seeds = [plain(list(table.seeds[size])) for size in ("full", "reduced")]
    caption = (
        "Fields of the run files, all others have their defaults; * not stated by the source, chosen here; ° as of the "
        f"preset or by default; → in the reduced size. Seeds: {seeds[0]} → {seeds[1]}."
    )
    return Section(("field", *table.models), lines, 0, caption)


def changed(config: ModelConfig) -> Iterator[str]:
    """Fields of a model that are not the default, without those that data set."""
    default = ModelConfig()
    for field in ModelConfig.model_fields:
        if field not in OF_DATA and getattr(config, field) != getattr(default, field):
            yield field


def points_of(table: PublishedTable, planned: Plan) -> dict[str, list[RunConfig]]:
    """Run files of each model, for all sets."""
    return {name: [p.run for p in planned.points if p.labels["model"] == name] for name in table.models}


def of_runs(field: str, given: Mapping[str, Any], runs: Sequence[RunConfig]) -> str:
    """The value of a field in the run files of a model; a range where those of several sets differ."""
    if field == "model.preset":
        return plain(given.get(field, ""))
    section, _, name = field.partition(".")
    values = [getattr(getattr(run, section), name) for run in runs]
    first, *others = dict.fromkeys(map(shown, values))
    return f"{shown(min(values))} to {shown(max(values))}" if others else first


def shown(value: Any) -> str:
    """A value as a run file has it; numbers without trailing zeros."""
    return f"{value:g}" if isinstance(value, float) else plain(value)


def differences(table: PublishedTable, size: Size) -> list[str]:
    """Everything in which the runs of a size differ from the original, in sentences."""
    notes = [*table.differences]
    notes += [f"{name}: {text}" for name, model in table.models.items() for text in model.differences]
    chosen = {"all but solved models": table.chosen} | {n: m.chosen for n, m in table.models.items()}
    notes += [f"not stated, chosen for {name}: {listed(fields)}" for name, fields in chosen.items() if fields]
    if size == "reduced":
        notes += [f"reduced, {name}: {text}" for name in table.models if (text := replaced(table, name))]
        notes.append(
            f"reduced: seeds {plain(list(table.seeds['reduced']))} of {plain(list(table.seeds['full']))}"
        )
    return notes


def replaced(table: PublishedTable, model: str) -> str:
    """What the reduced size of a model has in place of the full one."""
    trained = next(iter(table.sets))
    full, reduced = (table.fields(model, trained, size) for size in ("full", "reduced"))
    changed = {field: value for field, value in reduced.items() if value != full.get(field)}
    return ", ".join(
        f"{field} = {shown(value)}" + (f" in place of {shown(full[field])}" if field in full else "")
        for field, value in changed.items()
    )


def listed(fields: Mapping[str, Any]) -> str:
    """Fields with their values."""
    return ", ".join(f"{field} = {shown(value)}" for field, value in fields.items())
