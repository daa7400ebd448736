"""Compare a model with the published ones of docs/ablations.md: ``python benchmarks/against_published.py FOLDER``.

FOLDER is a study of one point on AcAc, such as runs/recommended-final. Printed are its means less those of the
published models, which were trained for 200 epochs (published.yaml), with Welch's 95 % interval, wider by what is
rounded; a star where it excludes 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from multiace.study.measures import measures
from multiace.study.numbers import number
from multiace.study.published.printed import Printed, difference
from multiace.study.published.table import Source
from multiace.study.store import Store

SOURCE = Source(cite="docs/ablations.md", runs=3, deviation="sample")
LABELS = (
    *(
        f"{what} RMSE, {T} K {unit}"
        for T in (300, 600, 1200)
        for what, unit in (("energy", "[meV]"), ("forces", "[meV/Å]"))
    ),
    "energy RMSE, dihedral [meV]",
    "time lost, dynamics at 1200 K [%]",
)
PUBLISHED = {
    "mace": ("1.6 (0.1)", "9.6 (0.3)", "7.7 (0.3)", "32 (1)", "32 (9)", "115 (5)", "104 (36)", "20 (14)"),
    "nequip": ("1.8 (0.1)", "10.7 (0.3)", "9.5 (0.6)", "36 (3)", "41 (9)", "138 (13)", "151 (84)", "14 (7)"),
    "botnet": ("1.9 (0.1)", "12.9 (0.1)", "10.9 (0.6)", "45 (2)", "44 (8)", "185 (5)", "224 (57)", "82 (7)"),
}


def signed(value: float | None) -> str:
    """A difference."""
    return number(value, signed=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    store = Store(parser.parse_args().folder)
    rows = [row for row in store.rows(store.planned()) if row.results]
    values = {m.quantity.label: list(m.values[rows[0].folder].values()) for m in measures(rows, store.folder)}
    print("| | " + " | ".join(LABELS) + " |")
    print("| --- " * (len(LABELS) + 1) + "|")
    for name, numbers in PUBLISHED.items():
        found = [
            difference(values[label], Printed.parse(text), SOURCE)
            for label, text in zip(LABELS, numbers, strict=True)
        ]
        cells = (
            f"{signed(d.value)}{' *' * bool(d.statement)} ({signed(d.low)} to {signed(d.high)})"
            for d in found
        )
        print(f"| less {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
