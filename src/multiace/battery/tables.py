"""What a battery found, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from multiace.tables import error_table, new_table

__all__ = ["battery_tables"]


def battery_tables(results: Mapping[str, Any]) -> Group:
    """Show the results of :func:`multiace.battery.run`: a table for each part, then what was left out."""
    return Group(*parts(results))


def parts(results: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield what there is to show."""
    if results.get("sets"):
        yield error_table({f"{name} ({of['domain']})": of["errors"] for name, of in results["sets"].items()})
    for part, table in (("curves", curve_table), ("dimers", dimer_table), ("dynamics", dynamics_table)):
        if results.get(part):
            yield table(results[part])
    if results.get("cost"):
        yield Text(cost_line(results["cost"]))
    if results["absent"]:
        yield Text(f"absent: {', '.join(results['absent'])}")
    for name, reason in results["skipped"].items():
        yield Text.assemble((f"skipped: {name}: ", "yellow"), reason)


def curve_table(curves: Mapping[str, Any]) -> Table:
    """Scores of each curve."""
    columns = {
        "RMSE": ("rmse", ".1f"),
        "barrier": ("barrier", ".1f"),
        "its error": ("barrier_error", "+.1f"),
        "dissociation": ("dissociation_error", "+.1f"),
        "spurious extrema": ("spurious_extrema", "d"),
        "roughness": ("roughness", ".3g"),
        "forces": ("forces_rmse", ".1f"),
    }
    columns = {head: c for head, c in columns.items() if any(c[0] in of["scores"] for of in curves.values())}
    table = new_table(
        *("curve", "coordinate", "points", *columns),
        right=("points", *columns),
        caption="barrier of the reference and errors of energies in meV, of forces (RMSE) in meV/Å; roughness: RMS "
        "second difference of the error, in meV per coordinate squared",
    )
    for name, of in curves.items():
        cells = (number(of["scores"], *column) for column in columns.values())
        table.add_row(
            Text(name, style="bold"),
            of["coordinate_name"].replace("_", " "),
            str(len(of["coordinate"])),
            *cells,
        )
    return table


def dimer_table(dimers: Mapping[str, Any]) -> Table:
    """Scores of each pair of elements."""
    table = new_table(
        *("dimer", "from", "lowest", "extrema", "repulsive", "hole"),
        right=("from", "lowest", "extrema", "hole"),
        caption="closest distance in Å; energies in eV, above that at the largest distance; a hole is how far the "
        "energy falls again at short distances",
    )
    for pair, of in dimers.items():
        scores = of["scores"]
        cells = (f"{of['distance'][0]:.2f}", f"{scores['lowest']:.2f}", str(scores["extrema"]))
        hole = f"{scores['hole']:.3g}"
        table.add_row(Text(pair, style="bold"), *cells, "yes" if scores["repulsive"] else "no", hole)
    return table


def dynamics_table(dynamics: Mapping[str, Any]) -> Table:
    """How long the replicas of each entry lasted, and the errors of their distributions."""
    columns = ("T", "planned", "survived", "failed", "bonds", "pairs", "steps/s")
    table = new_table(
        *("dynamics", *columns, "first failure"),
        right=columns,
        caption="K, ps; bonds, pairs: integrals of differences of distributions, 0 at best, 2 at most (g(r): in Å)",
    )
    for name, of in dynamics.items():
        failures = [replica["failed"] for replica in of["replicas"] if replica["failed"] is not None]
        table.add_row(
            Text(name, style="bold"),
            f"{of['temperature']:g}",
            f"{of['time']:g}",
            f"{of['survived']:.3g}",
            f"{len(failures)} of {len(of['replicas'])}",
            number(of, "bond_error", ".3f"),
            number(of, "pair_error", ".3f"),
            f"{of['steps_per_second']:,.0f}",
            next(iter(failures), ""),
        )
    return table


def cost_line(cost: Mapping[str, Any]) -> str:
    """Parameters, time and memory."""
    told = []
    if "parameters" in cost:
        told.append(f"{cost['parameters']:,} parameters")
    if "microseconds_per_atom" in cost:
        threads = f"{cost['threads']} thread{'s' * (cost['threads'] > 1)}"
        told.append(f"{cost['microseconds_per_atom']:.1f} µs per atom and step ({threads})")
    if "memory" in cost:
        told.append(f"{cost['memory']:.0f} MB per 1,000 atoms")
    return f"cost: {', '.join(told)}"


def number(values: Mapping[str, Any], key: str, form: str) -> str:
    """Write a score; nothing where it does not apply."""
    return format(values[key], form) if key in values else ""
