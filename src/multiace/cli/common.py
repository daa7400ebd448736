"""What several commands do."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, TaskID

from multiace.errors import InputError

if TYPE_CHECKING:
    from multiace.model.potential import Potential

__all__ = ["advance", "check_outputs", "console", "load"]

WIDE = 140  # columns


def advance(bar: Progress, description: str) -> Callable[[int, int], None]:
    """Return the function that says how many of how many are done; the first time it adds a task to the bar."""
    tasks: list[TaskID] = []

    def update(done: int, total: int) -> None:
        if not tasks:
            tasks.append(bar.add_task(description, total=total, state=""))
        bar.update(tasks[0], completed=done, total=total)

    return update


def console() -> Console:
    """Return the console that tables and bars go to; files and pipes, which have no width, get WIDE."""
    found = Console(highlight=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = WIDE
    return found


def load(arguments: argparse.Namespace) -> Potential:
    """Load the model of the command line."""
    from multiace.model.potential import Potential

    potential = Potential.load(arguments.model, dtype=arguments.dtype, outside_code=arguments.outside_code)
    try:
        return potential.to(arguments.device or "cpu")
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {arguments.device!r} cannot be used: {str(error).splitlines()[0]}."
        ) from None


def check_outputs(*paths: str | None) -> None:
    """Refuse, before anything is computed, files that cannot be written for where they are."""
    for path in filter(None, paths):
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder; give the name of a file in it.")
        above = next(folder for folder in Path(path).absolute().parents if folder.exists())
        if not (above.is_dir() and os.access(above, os.W_OK)):
            raise InputError(
                f"{path} cannot be written: {above} is no folder to write to; choose another place."
            )
