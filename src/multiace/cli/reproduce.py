"""The command that has published tables again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from multiace.cli.common import check_outputs, console
from multiace.cli.parser import Commands, add_command
from multiace.cli.runs import add_options, check_options, do_runs, tell_failures
from multiace.errors import InputError
from multiace.study.published.table import SIZES, PublishedTable, names, read
from multiace.tables import new_table

if TYPE_CHECKING:
    from rich.table import Table

    from multiace.study.published.pages import Page

__all__ = ["add_commands"]

IDLE = {
    "show": ("size", "plan", "quick", "folder", "jobs", "threads", "gpus", "slurm"),
    "plan": ("out",),
}
"""Options that have no effect beside another."""


def add_commands(commands: Commands) -> None:
    """Add ``reproduce``."""
    sub = add_command(commands, "reproduce", reproduce, "train the models of a published table, and compare")
    sub.epilog = "Without TABLE: the tables there are."
    sub.add_argument("table", nargs="?", metavar="TABLE", help=f"one of {', '.join(names())}")
    sub.add_argument(
        "--size",
        choices=SIZES,
        help="full: as published where that is stated, hours to days of a GPU for each run; reduced: small models",
    )
    sub.add_argument(
        "--data", default="data", help="folder that data sets are in, as data get --folder (default: data)"
    )
    sub.add_argument("--models", help="only these of the table, such as botnet,nequip")
    sub.add_argument("--molecules", help="only these of rmd17, such as aspirin,ethanol")
    sub.add_argument(
        "--show", action="store_true", help="published numbers, settings and differences; nothing is run"
    )
    sub.add_argument("--folder", help="folder of the runs (default: runs/reproduce/TABLE-SIZE)")
    add_options(sub)
    sub.add_argument("--out", help="write what is printed here, as Markdown")


def reproduce(arguments: argparse.Namespace) -> int:
    """List the tables, show one, or run it and compare."""
    if arguments.table is None:
        console().print(list_tables())
        return 0
    table = read(arguments.table).only(words(arguments.models), words(arguments.molecules))
    check(arguments)
    if arguments.show:
        show(arguments, table)
        return 0
    return compare(arguments, table)


def compare(arguments: argparse.Namespace, table: PublishedTable) -> int:
    """Do the runs of a table, and put what comes out beside what is published."""
    from multiace.study.published.pages import result_page
    from multiace.study.published.runs import find_files, plan_table

    absent = find_files(table, arguments.data)
    planned = plan_table(table, arguments.size, arguments.data, absent)
    for title, name in absent.items():
        file = Path(arguments.data) / table.data / name
        print(f"{file} is not there: {title} is not tested; once it is there, models are trained anew")
    store = do_runs(arguments, planned, folder_of(arguments))
    if store is None:
        return 0
    rows = store.rows([run.name for run in planned.runs])
    write(result_page(table, arguments.size, planned, rows, absent), arguments.out)
    return tell_failures(rows, store.folder)


def folder_of(arguments: argparse.Namespace) -> Path:
    """Where the runs of a table are: sizes are never mixed."""
    return Path(arguments.folder or Path("runs/reproduce") / f"{arguments.table}-{arguments.size}")


def check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        InputError: If they do not.
    """
    check_outputs(arguments.out)
    for mode, others in IDLE.items():
        for name in others if getattr(arguments, mode) else ():
            if getattr(arguments, name):
                raise InputError(
                    f"--{name} has no effect with --{mode}, which runs nothing: remove one of them."
                )
    if arguments.size is None and not arguments.show:
        raise InputError(
            f"say --size reduced (small models), --size full (as published), or --show: multiace reproduce "
            f"{arguments.table} --show."
        )
    check_options(arguments)


def words(text: str | None) -> list[str] | None:
    """Split an option with commas."""
    return None if text is None else [word.strip() for word in text.split(",")]


def list_tables() -> Table:
    """What there is."""
    found = new_table("table", "what", "errors", "models", "source")
    for name in names():
        table = read(name)
        sources = "; ".join(source.cite for source in table.sources.values())
        found.add_row(name, table.title, table.statistic.upper(), ", ".join(table.models), sources)
    return found


def show(arguments: argparse.Namespace, table: PublishedTable) -> None:
    """Print what is published, and how."""
    from multiace.study.published.pages import published_page
    from multiace.study.published.runs import plan_table

    planned = {size: plan_table(table, size, arguments.data) for size in SIZES}
    write(published_page(table, planned), arguments.out)


def write(page: Page, path: str | None) -> None:
    """Print a page, and write it as Markdown where that is asked for."""
    from multiace.files import atomic
    from multiace.study.published.writing import markdown, terminal

    console().print(terminal(page))
    if path is not None:
        with atomic(Path(path)) as temporary:
            temporary.write_text(markdown(page), encoding="utf-8")
        print(f"written: {path}")
