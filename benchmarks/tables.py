"""Results as Markdown."""

from __future__ import annotations

from typing import Any

__all__ = ["table"]


def table(result: dict[str, Any]) -> str:
    """Return a page: what was measured, on what, and one line for each code and point."""
    machine = result["machine"]
    about = [
        f"# {result['row']}",
        "",
        f"{result['about']}.",
        "",
        f"`{result['command']}`, {result['date']}: {machine['processor']}, {result['threads']} threads, load "
        f"{machine['load_before']:.1f} before and {machine['load_after']:.1f} after.",
        "",
    ]
    records = result["records"]
    rows = [cells(record, reference(record, records)) for record in records]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    columns = [column for column in columns if any(row.get(column) for row in rows)]
    lines = [" | ".join(["", *columns, ""]).strip(), "|" + " --- |" * len(columns)]
    lines += [" | ".join(["", *(row.get(column, "") for column in columns), ""]).strip() for row in rows]
    differences = {r["code"]: r["differences"] for r in records if r.get("differences")}
    notes = [f"- {code}: {text}." for code, text in differences.items()]
    versions = {r["code"]: r["versions"] for r in records if "versions" in r}
    notes += [
        f"- {code}: {', '.join(f'{name} {number}' for name, number in found.items())}."
        for code, found in versions.items()
    ]
    return "\n".join([*about, *lines, "", *notes, ""])


def reference(record: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return multiace's record of the same point and family, unless this is it."""
    ours = next(
        (
            r
            for r in records
            if r["code"] == "multiace" and same(r, record, "point") and same(r, record, "like")
        ),
        None,
    )
    return None if ours is record else ours


def same(one: dict[str, Any], other: dict[str, Any], key: str) -> bool:
    """Whether two records agree."""
    return one.get(key) == other.get(key)


def cells(record: dict[str, Any], ours: dict[str, Any] | None) -> dict[str, str]:
    """Return the cells of a line; figures of other codes also as multiples of multiace's."""

    def figure(*path: str, factor: float = 1.0, form: str = ".1f") -> str:
        value, other = find(record, path), find(ours, path)
        if value is None:
            return ""
        times = f" ({value / other:.1f}x)" if other else ""
        return f"{factor * value:{form}}{times}"

    return {
        "": record["point"],
        "code": record["code"] + (f", as {record['like']}" if "like" in record else ""),
        "train step [ms]": figure("train", "median", factor=1e3),
        "best [ms]": figure("train", "best", factor=1e3),
        "memory of training [MiB]": figure("train", "memory", form=".0f"),
        "operations": figure("operations", form=",.0f"),
        "energy + forces [ms]": figure("inference", "median", factor=1e3),
        "best of these [ms]": figure("inference", "best", factor=1e3),
        "memory of prediction [MiB]": "" if "train" in record else figure("inference", "memory", form=".0f"),
        "first training step [s]": figure("train", "first"),
        "built after [s]": figure("build_seconds"),
        "first step after [s]": figure("first_step_seconds"),
        "trained for [s]": figure("spent", form=".0f"),
        "steps": figure("steps", form=",.0f"),
        "force RMSE [meV/Å]": figure("forces_rmse"),
        "energy RMSE [meV]": figure("energy_rmse"),
        "atoms": figure("atoms", form=",.0f") if ours is None else "",
        "edges": figure("edges", form=",.0f") if ours is None else "",
        "parameters": f"{record['parameters']:,}" if "parameters" in record else record.get("skipped", ""),
    }


def find(record: dict[str, Any] | None, path: tuple[str, ...]) -> Any:
    """Return a value of nested dictionaries, or None."""
    value: Any = record
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
