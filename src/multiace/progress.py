"""The progress bar of every long command: what is done, how much, and how long it will still take."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["progress_bar"]


def progress_bar(console: Console | None = None, count: bool = True) -> Progress:
    """Return a bar with the time left; each task ends with the text of its field ``state``."""
    columns = [TextColumn("{task.description}"), BarColumn(bar_width=28)]
    if count:
        columns.append(MofNCompleteColumn())
    return Progress(
        *columns,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
        console=console,
    )
