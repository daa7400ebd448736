"""What the command line prints as tables: presets, fields, errors, model facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from multiace.config import Config
from multiace.errors import InputError, did_you_mean
from multiace.fields import plain, type_name

if TYPE_CHECKING:
    import numpy as np

    from multiace.basis.ace import AceBasis
    from multiace.data.finding import DataCheck, Finding
    from multiace.model.potential import Potential

__all__ = [
    "CALIBRATION_CAPTION",
    "CALIBRATION_HEAD",
    "calibration_rows",
    "calibration_table",
    "change_table",
    "check_tables",
    "config_table",
    "error_rows",
    "error_table",
    "facts_table",
    "fields_help",
    "find_fields",
    "model_facts",
    "new_table",
    "presets_table",
    "quantity_name",
    "size",
    "split_table",
    "verification_rows",
    "verification_table",
    "verified_on",
]

EMPHASIS, DIM = "bold cyan", "dim"


def new_table(*columns: str, right: Iterable[str] = (), caption: str | None = None) -> Table:
    """Return an empty table in the one style of the command line; columns named in ``right`` align right."""
    table = Table(
        caption=caption,
        box=box.SIMPLE_HEAD,
        caption_justify="left",
        caption_style=DIM,
        pad_edge=False,
        padding=(0, 1),
    )
    right = set(right)
    for column in columns:
        table.add_column(escape(column), justify="right" if column in right else "left", overflow="fold")
    return table


def presets_table(presets: Mapping[str, Config], width: int) -> Group:
    """Presets side by side: rows are fields, columns presets; what differs within a row stands out.

    Values that are not the most common one of their row are bold; fields in which all presets agree are
    listed below. If the columns do not fit into ``width`` characters they continue in further tables.
    """
    fields = list(type(next(iter(presets.values()))).model_fields)
    rows = {
        field: {name: plain(getattr(config, field)) for name, config in presets.items()} for field in fields
    }
    common = {field: Counter(row.values()).most_common(1)[0][0] for field, row in rows.items()}
    differing = [field for field in fields if len(set(rows[field].values())) > 1]
    tables = []
    for names in side_by_side(presets, width - max(map(len, fields)) - 2):
        table = new_table("field")
        table.columns[0].no_wrap = True
        for name in names:
            table.add_column(name, max_width=column_width(name))
        for field in differing:
            values = [rows[field][name] for name in names]
            cells = [Text(value, style=EMPHASIS if value != common[field] else "") for value in values]
            table.add_row(field, *cells)
        tables.append(table)
    same = [f"{field} {common[field]}" for field in fields if field not in differing]
    return Group(*tables, Text("the same in all: " + ", ".join(same), style=DIM))


def side_by_side(names: Iterable[str], width: int) -> list[list[str]]:
    """Divide presets into tables whose columns fit into ``width`` characters, one at least."""
    tables: list[list[str]] = []
    for name in names:
        if not tables or sum(column_width(other) + 3 for other in [*tables[-1], name]) > width:
            tables.append([])
        tables[-1].append(name)
    return tables


def column_width(name: str) -> int:
    """Return the width of a preset's column: values that are longer wrap, its name does not."""
    return max(16, len(name))


def find_fields(sections: Mapping[str, type[Config]], name: str | None) -> list[tuple[str, str]]:
    """Return (section, field) of everything called ``name``: all, a section, a field, or section.field.

    Raises:
        InputError: If nothing has that name.
    """
    every = [(section, field) for section, config in sections.items() for field in config.model_fields]
    if name is None:
        return every
    chosen = [pair for pair in every if name in (pair[0], pair[1], ".".join(pair))]
    if not chosen:
        known = {*sections, *(field for _, field in every), *map(".".join, every)}
        close = did_you_mean(name, known)
        hint = close if close.startswith(" Did") else " See multiace explain."
        raise InputError(f"there is no section or field {name!r}.{hint}")
    return chosen


def fields_help(sections: Mapping[str, type[Config]], chosen: Sequence[tuple[str, str]]) -> Group:
    """Name, default, type or choices, and below it the meaning of config fields."""
    from multiace.model.config import TABLES

    lines: list[Text | Padding] = []
    for section, field in chosen:
        info = sections[section].model_fields[field]
        default = "required" if info.is_required() else plain(info.get_default(call_default_factory=True))
        choices = TABLES.get(field) if section == "model" else None
        kind = "one of " + ", ".join(choices) if choices else type_name(info.annotation)
        head = Text.assemble(
            (f"{section}.", DIM), (field, "bold"), (f" = {default}", "cyan"), (f"  ({kind})", DIM)
        )
        lines += [head, Padding(Text(info.description or ""), (0, 0, 0, 4))]
    return Group(*lines)


def basis_table(basis: AceBasis) -> Table:
    """Numbers of functions by order and degrees: of how many multisets (n, element), and how many each one has."""
    n = basis.n_elements
    table = new_table(
        *("order", "l", "products", "functions"),
        right=("order", "products", "functions"),
        caption=f"{basis.n_functions:,} functions of each central element, for neighbours of {n} "
        f"element{'s' * (n > 1)}; a product is a multiset of (n, l, element), and may couple in several ways.",
    )
    products, functions = Counter[tuple[int, ...]](), Counter[tuple[int, ...]]()
    for multiset in basis.multisets:
        degrees = tuple(sorted(v.l for v in multiset.factors))
        products[degrees] += 1
        functions[degrees] += multiset.n_paths
    for degrees in sorted(products, key=lambda ls: (len(ls), ls)):
        row = (len(degrees), " ".join(map(str, degrees)), f"{products[degrees]:,}", f"{functions[degrees]:,}")
        table.add_row(*map(str, row))
    for order in range(1, basis.correlation + 1):
        total = sum(count for degrees, count in functions.items() if len(degrees) == order)
        table.add_row(str(order), "all", "", f"{total:,}", style=EMPHASIS)
    return table


def config_table(config: Config) -> Table:
    """Field and value of a config; values that are not the default stand out."""
    table = new_table(config.section(), "value", "default")
    for field, info in type(config).model_fields.items():
        value = plain(getattr(config, field))
        default = "" if info.is_required() else plain(info.get_default(call_default_factory=True))
        same = value == default
        table.add_row(
            Text(field, style=DIM if same else "bold"),
            Text(value, style=DIM if same else EMPHASIS),
            default if not same else "",
        )
    return table


def change_table(rows: Iterable[tuple[str, str, float, float]]) -> Table:
    """What a relaxation changed; rows are (quantity, unit, at the start, at the end)."""
    table = new_table("", "start", "end", "change", "unit", right=("start", "end", "change"))
    for quantity, unit, start, end in rows:
        table.add_row(quantity, f"{start:.4f}", f"{end:.4f}", f"{end - start:+.4f}", unit)
    return table


def error_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Errors of each set: in all, then by config type where there are several, then forces by element."""
    from multiace.train.metrics import UNITS  # torch, which help texts do without

    table = new_table(
        *("set", "of", "quantity", "MAE", "RMSE", "spread", "unit", "labels"),
        right=("MAE", "RMSE", "spread", "labels"),
        caption="spread: standard deviation of the labels, of energies less ΣE0",
    )
    for column in table.columns[2:]:
        column.no_wrap = True
    for name, result in results.items():
        first = name
        for group, quantity, figures in error_rows(result, UNITS):
            sizes = [size(figures[key]) if key in figures else "" for key in ("mae", "rmse", "spread")]
            table.add_row(
                Text(first, style="bold"),
                group,
                quantity_name(quantity),
                *sizes,
                UNITS[quantity],
                f"{figures['count']:,}",
                style="" if group == "all" else DIM,
            )
            first = ""
        table.add_section()
    return table


FEW = 4
"""Most structures that have a column each."""
SHOWN = (0.5, 0.9)
"""Probabilities of the calibration curve that tables show."""
CALIBRATION_HEAD = (
    *("set", "quantity", "1 σ", "2 σ", *(f"{100 * p:.0f} %" for p in SHOWN), "NLL", "area", "labels"),
)
"""Columns of :func:`calibration_rows`."""
CALIBRATION_CAPTION = (
    "fractions of errors within one and two predicted standard deviations (0.683 and 0.954 if they are right) and "
    "within central intervals of these probabilities; negative log-likelihood (eV, eV/Å), miscalibration area (0 at "
    "best)"
)


def calibration_rows(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[tuple[str, ...]]:
    """Error bars against errors, for each set and quantity."""
    rows = []
    for name, quantities in results.items():
        for quantity, found in quantities.items():
            curve = dict(zip(found["expected"], found["observed"], strict=True))
            figures = (found["within_1"], found["within_2"], *(curve[p] for p in SHOWN))
            figures = (*figures, found["nll"], found["miscalibration_area"])
            rows.append((name, quantity, *(f"{figure:.3f}" for figure in figures), f"{found['labels']:,}"))
    return rows


def calibration_table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """The same for the terminal."""
    table = new_table(*CALIBRATION_HEAD, right=CALIBRATION_HEAD[2:], caption=CALIBRATION_CAPTION)
    for row in calibration_rows(results):
        table.add_row(*row)
    return table


def split_table(
    names: Sequence[str],
    terms: np.ndarray,
    structures: Sequence[str],
    references: Sequence[float | None],
    caption: str,
) -> Table:
    """Terms of energies [eV]: of each structure where they are few, else their mean, lowest and highest.

    Args:
        names: Of the terms.
        terms: (n_structures, n_terms).
        structures: What they are called.
        references: Their energies, where they are known.
        caption: Below the table.
    """
    import numpy as np

    few = len(structures) <= FEW
    heads = structures if few else ("mean", "lowest", "highest")
    table = new_table("term", *heads, right=heads, caption=caption)

    def cells(of_structures: np.ndarray) -> list[str]:
        figures = (of_structures.mean(), of_structures.min(), of_structures.max())
        return [f"{round(energy, 4) + 0.0:,.4f}" for energy in (of_structures if few else figures)]

    for name, term in zip(names, terms.T, strict=True):
        table.add_row(name, *cells(term))
    table.add_row("energy", *cells(terms.sum(axis=1)), style=EMPHASIS)
    known = [energy for energy in references if energy is not None]
    if few and known:
        table.add_row(
            "reference", *("-" if energy is None else f"{energy:,.4f}" for energy in references), style=DIM
        )
    elif len(known) == len(structures):
        table.add_row("reference", *cells(np.array(known)), style=DIM)
    return table


def check_tables(check: DataCheck) -> Group:
    """What a check of data found: facts of each file, E0, and the findings, those of one kind in one line."""
    labels = ("energy", "forces", "stress")
    right = ("frames", "atoms", "RMS", "largest |F|", "net |F|", "closest pair")
    first = new_table("set", "file", "frames", "atoms", "elements", *labels, right=right)
    columns = ("(E - ΣE0)/N", "RMS", "largest |F|", "net |F|", "closest pair")
    second = new_table(
        "file",
        *columns,
        right=right,
        caption="energies per atom, lowest, median and highest, in eV; forces in eV/Å; distances in Å; @: the frame",
    )
    for facts in check.files:
        found: dict[str, list[str]] = {label: [] for label in labels}
        for entry in facts["labels"]:
            found[entry["label"]].append(f"{entry['frames']} {entry['key']}")
        name = Text(Path(facts["file"]).name, style="bold")
        counts = f"{facts['frames']:,}", f"{facts['atoms']:,}", " ".join(facts["elements"])
        first.add_row(facts["set"], name, *counts, *("\n".join(found[label]) or "-" for label in labels))
        energies = " ".join(f"{energy:.3f}" for energy in facts["energy_per_atom"] or ()) or "-"
        rms = "-" if facts["force_rms"] is None else f"{facts['force_rms']:.3f}"
        extremes = (at_frame(facts, key) for key in ("largest_force", "largest_net_force", "closest_pair"))
        second.add_row(name, energies, rms, *extremes)
    E0 = ", ".join(f"{symbol} {energy:.4f}" for symbol, energy in check.isolated_energies.items())
    lines = [Text(f"E0 [eV], {check.reference.replace('_', ' ')}: {E0}")] if E0 else []
    return Group(first, second, *lines, *finding_lines(check))


def at_frame(facts: Mapping[str, Any], key: str) -> str:
    """Return a figure with the frame it is from."""
    value = facts[key]
    return "-" if value is None else f"{value:.3g} @{facts[f'{key}_frame']}"


def finding_lines(check: DataCheck) -> Iterator[Text]:
    """Yield findings as lines, one for each kind: the first, and how many more there are."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for found in check.findings:
        kinds.setdefault((found.severity, found.code), []).append(found)
    for (severity, code), several in kinds.items():
        more = f" (And {len(several) - 1} more of this kind.)" if len(several) > 1 else ""
        style = {"error": "bold red", "warning": "yellow", "note": "cyan"}[severity]
        yield Text.assemble((severity, style), (f" {code}: ", DIM), several[0].sentence, (more, DIM))
    counts = Counter(found.severity for found in check.findings)
    yield Text(f"errors: {counts['error']}, warnings: {counts['warning']}, notes: {counts['note']}", "bold")


def size(error: float) -> str:
    """Return an error or a spread with two decimals, from 1,000 on with none."""
    return f"{error:.2f}" if error < 1000 else f"{error:,.0f}"


def quantity_name(quantity: str) -> str:
    """Return the short name that tables give a quantity of the metrics: ``energy/atom``."""
    return quantity.replace("_per_", "/").replace("_", " ")


def error_rows(
    result: Mapping[str, Any], quantities: Iterable[str]
) -> list[tuple[str, str, Mapping[str, float]]]:
    """Flatten the errors of a set into rows (group, quantity, figures)."""
    groups = {"all": result, **result.get("config_types", {})}
    rows = [(group, q, table[q]) for group, table in groups.items() for q in quantities if q in table]
    return rows + [(element, "forces", figures) for element, figures in result.get("elements", {}).items()]


def verification_table(report: Mapping[str, Any]) -> Table:
    """What ``multiace verify`` found, from the plain values of its report."""
    table = new_table(
        *("check", "figure", "bound", "unit", "", "where"),
        right=("figure", "bound"),
        caption=verified_on(report),
    )
    for name, *numbers, unit, status, where in verification_rows(report):
        style = {"fail": "bold red", "not applicable": DIM}.get(status, "")
        table.add_row(Text(name, style=style or "bold"), *numbers, unit, Text(status, style=style), where)
    return table


def verified_on(report: Mapping[str, Any]) -> str:
    """Say on which structures the checks ran."""
    formulas = ", ".join(report["structures"])
    return f"on {formulas} ({report['source']}){'; without trajectories' if report['quick'] else ''}"


def verification_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Yield check, figure, bound, unit, status and where the figure is largest."""
    for name, check in report["checks"].items():
        figure, bound = ("" if check[key] is None else f"{check[key]:.2g}" for key in ("figure", "bound"))
        status = {"figure": ""}.get(check["status"], check["status"])
        yield name, figure, bound, check["unit"] or "", status, check["note"]


def facts_table(potential: Potential) -> Table:
    """What a model is made of, beside its config: parameters, energies, errors, provenance."""
    table = new_table("model", "")
    for name, value in model_facts(potential):
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def model_facts(potential: Potential) -> list[tuple[str, str]]:
    """Return (name, value) lines about a model."""
    E0 = zip(potential.elements, potential.isolated_energies.tolist(), strict=True)
    facts = [
        ("parameters", f"{sum(p.numel() for p in potential.parameters()):,}"),
        ("precision", potential.config.dtype),
        ("cutoff", f"{potential.cutoff:g} Å"),
        ("E0", ", ".join(f"{element} {energy:.6f}" for element, energy in E0) + " eV"),
        ("scale", f"{float(potential.scale):.6g} eV"),
        ("shift", f"{float(potential.shift):.6g} eV/atom"),
        ("error bars", "yes (--uncertainty)" if potential.committee is not None else "none"),
    ]
    rest = flat(potential.metadata)
    return facts + [(spoken(name), value) for name, value in rest if not name.startswith(ELSEWHERE)]


ELSEWHERE = (
    "metrics.",
    "provenance.run.",
    "provenance.epoch",
    "verification.",
    "structures",
)  # metadata that are shown elsewhere
SPOKEN = {"epoch": "best epoch", "valid_loss": "validation loss", "seconds": "training time [s]"}


def spoken(name: str) -> str:
    """Return the words for a dotted name of the metadata."""
    name = name.removeprefix("provenance.")
    name = name.replace("versions.", "version of ").replace("data_sha256.", "SHA-256 of ")
    return SPOKEN.get(name, name)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested values as (dotted name, text)."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", f"{value:.6g}" if isinstance(value, float) else plain(value)
