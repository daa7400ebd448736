"""Results as Markdown."""

from __future__ import annotations

from typing import Any

__all__ = ["table"]

Record = dict[str, Any]
TARGETS = (100.0, 50.0, 30.0, 20.0)  # force RMSE [meV/Å] whose times are reported


def table(result: Record) -> str:
    """Return what was measured, on what, and one line for each code and point."""
    records = result["records"]
    rows = [cells(record, reference(record, records)) for record in records]
    columns = [
        column for column in dict.fromkeys(c for row in rows for c in row) if any(r.get(column) for r in rows)
    ]
    lines = [
        [*columns],
        ["---"] * len(columns),
        *([row.get(column, "") for column in columns] for row in rows),
    ]
    against = f" --against {','.join(result['against'])}" if result["against"] else ""
    about = (
        f"{result['about'][0].upper()}{result['about'][1:]}. `python benchmarks/run.py {result['row']}{against}`, "
        f"{result['date']}, {result['minutes']:.0f} min: {result['processor']}, {result['threads']} threads, load "
        f"{result['load_before']:.1f} before and {result['load_after']:.1f} after."
    )
    versions = {r["code"]: r["versions"] for r in records if "versions" in r}
    differences = {r["code"]: r["differences"] for r in records if r.get("differences")}
    notes = [
        f"- {code}: {', '.join(f'{name} {number}' for name, number in found.items())}"
        + (f"; {differences[code]}." if code in differences else ".")
        for code, found in versions.items()
    ]
    return "\n".join([about, "", *(f"| {' | '.join(line)} |" for line in lines), "", *notes, ""])


def reference(record: Record, records: list[Record]) -> Record | None:
    """Return multiace's record of the same point and family, unless this is it."""
    keys = ("point", "like")
    for other in records:
        if other["code"] == "multiace" and all(other.get(key) == record.get(key) for key in keys):
            return None if record["code"] == "multiace" else other
    return None


def cells(record: Record, ours: Record | None) -> dict[str, str]:
    """Return the cells of a line by column; figures of other codes also as multiples of multiace's."""

    def figure(*path: str, factor: float = 1.0, form: str = ".1f") -> str:
        value, other = find(record, path), find(ours, path)
        if value is None:
            return ""
        times = f" ({value / other:.1f}x)" if other else ""
        return f"{factor * value:{form}}{times}"

    line = {
        "": record["point"],
        "code": f"{record['code']}, as {record['like']}",
        "training step [ms]": figure("train", "median", factor=1e3),
        "energy + forces [ms]": figure("inference", "median", factor=1e3),
        "at most": record.get("bound", "") if ours is None else "",
        "memory of training [MiB]": figure("train", "memory", form=",.0f"),
        "memory [MiB]": "" if "train" in record else figure("inference", "memory", form=",.0f"),
        "float32 forces, relative error": plain(record, "precision", ".0e"),
        "operations, training step": figure("operations_train", "total", form=",.0f"),
        "operations, energy + forces": figure("operations_inference", "total", form=",.0f"),
        "built after [s]": figure("build_seconds"),
        "first step after [s]": figure("first_step_seconds"),
        "steps": figure("steps", form=",.0f"),
        "force RMSE [meV/Å]": figure("forces_rmse"),
        "energy RMSE [meV]": figure("energy_rmse"),
        "atoms": plain(record, "atoms", ",") if ours is None else "",
        "edges": plain(record, "edges", ",") if ours is None else "",
        "parameters": plain(record, "parameters", ",") or record.get("skipped", ""),
    }
    if "curve" in record:
        line |= {f"to {target:.0f} meV/Å [s]": time_to(target, record["curve"]) for target in TARGETS}
    if "train" not in record and "inference" in record:
        line["per atom [µs]"] = f"{1e6 * record['inference']['median'] / record['atoms']:.1f}"
        line["per atom [KiB]"] = f"{1024 * record['inference']['memory'] / record['atoms']:.1f}"
    return attained(record) if "operation" in record else line


def attained(record: Record) -> dict[str, str]:
    """Return the cells of one operation of a roofline."""
    seconds, flop, moved = (record.get(key, 0.0) for key in ("seconds", "flop", "bytes"))
    line = {
        "model": record["like"],
        "operation": record["operation"],
        "calls": f"{record['calls']:.0f}" if "calls" in record else "",
        "ms": f"{1e3 * seconds:.2f}",
        "share": f"{seconds / record['step_seconds']:.0%}",
    }
    if record["floor_seconds"]:
        line["floor [ms]"] = f"{1e3 * record['floor_seconds']:.2f}"
        line["time / floor"] = f"{seconds / record['floor_seconds']:.1f}"
    if flop:
        line["GFLOP"] = f"{1e-9 * flop:.3f}"
        line["GFLOP/s"] = f"{1e-9 * flop / seconds:.1f}"
        line["of the peak"] = f"{flop / seconds / record['peak']:.0%}"
        line["FLOP/byte"] = f"{flop / moved:.1f}"
    return line


def time_to(target: float, curve: list[dict[str, float]]) -> str:
    """Return the training time after which the error on held-out frames is first below a target."""
    return next((f"{place['spent']:.0f}" for place in curve if place["forces_rmse"] <= target), "")


def plain(record: Record, key: str, form: str) -> str:
    """Return a figure that has no multiple."""
    return f"{record[key]:{form}}" if key in record else ""


def find(record: Record | None, path: tuple[str, ...]) -> Any:
    """Return a value of nested dictionaries, or None."""
    value: Any = record
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
