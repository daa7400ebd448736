"""What a person sees of a run: the report before it, one line an epoch, progress with the time left."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console as Terminal
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from multiace.files import atomic, synchronise, writing
from multiace.train.metrics import UNITS

__all__ = ["Console"]

COLUMNS = {
    "epoch": ("epoch", ""),
    "train_loss": ("train loss", ""),
    "valid_loss": ("valid loss", ""),
    "valid_energy_per_atom_mae": ("E MAE", UNITS["energy_per_atom"]),
    "valid_energy_per_atom_rmse": ("E RMSE", UNITS["energy_per_atom"]),
    "valid_forces_mae": ("F MAE", UNITS["forces"]),
    "valid_forces_rmse": ("F RMSE", UNITS["forces"]),
    "valid_stress_rmse": ("σ RMSE", UNITS["stress"]),
    "learning_rate": ("rate", ""),
    "seconds": ("seconds", ""),
}
"""Columns of the learning curve: heading and unit."""

ROW = re.compile(r" *(\d+)(?: +[-+.\w]*\d| +nan| +inf)+\s*")
"""A line of the learning curve in the log; its first number is the epoch."""


class Console:
    """Terminal and ``train.log``; silent where ``path`` is None (all processes but the first).

    Args:
        path: The log file, appended to.

    Raises:
        InputError: If the log cannot be written to.
    """

    def __init__(self, path: Path | None) -> None:
        self.terminal = Terminal(quiet=path is None)
        self.path = path
        self.columns: list[str] = []

    def print(self, content: Any) -> None:
        """Show text or a table, and write it to the log."""
        self.terminal.print(content, markup=False, highlight=False, soft_wrap=isinstance(content, str))
        self.note(content)

    def note(self, content: Any) -> None:
        """Write text or a table to the log alone."""
        if self.path is not None:
            with writing(self.path), self.path.open("a", encoding="utf-8") as file:
                log = Terminal(file=file, width=140)
                log.print(content, markup=False, highlight=False, soft_wrap=isinstance(content, str))

    def table(self, title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        """Show a small table."""
        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        self.print(table)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Show one line of the learning curve, the first under headings and units."""
        if not self.columns:
            self.columns = [name for name in COLUMNS if name in row]
            for line in zip(*(COLUMNS[name] for name in self.columns), strict=True):
                self.print(" ".join(f"{word:>10}" for word in line).rstrip())
        figures = (f"{row[name]:>10.4g}" for name in self.columns if name != "epoch")
        self.print(" ".join([f"{row['epoch']:>10.0f}", *figures]))
        if self.path is not None:
            synchronise(self.path)

    def forget(self, first_epoch: int) -> None:
        """Drop the lines of this and later epochs from the log: they come again."""
        if self.path is None or not self.path.is_file():
            return
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if not ((row := ROW.fullmatch(line)) and int(row[1]) >= first_epoch)]
        if kept != lines:
            with atomic(self.path) as temporary:
                temporary.write_text("".join(kept), encoding="utf-8")

    def errors(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Show the errors of the final model on several sets."""
        rows = []
        for name, result in results.items():
            for quantity, unit in UNITS.items():
                if quantity in result:
                    figures = result[quantity]
                    errors = [f"{figures[name]:.4g}" for name in ("mae", "rmse", "spread")]
                    what = quantity.replace("_per_", "/")
                    rows.append((Path(name).name, what, *errors, unit, str(figures["count"])))
        columns = ("set", "quantity", "MAE", "RMSE", "spread", "unit", "labels")
        self.table("errors of the final model; spread: standard deviation of the labels", columns, rows)

    @contextmanager
    def progress(self, description: str) -> Iterator[Any]:
        """Give a function that takes progress (0 to 1) and moves a bar with the time left."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.terminal, transient=True) as progress:
            task = progress.add_task(description, total=1.0)
            yield lambda fraction: progress.update(task, completed=fraction)
