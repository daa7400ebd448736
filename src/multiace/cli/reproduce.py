"""The command that has published tables again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from multiace.cli.common import check_outputs, console
from multiace.cli.parser import Commands, add_command
from multiace.cli.studies import cores
from multiace.errors import InputError
from multiace.study.published.table import SIZES, PublishedTable, names, read
from multiace.tables import new_table

if TYPE_CHECKING:
    from rich.table import Table

    from multiace.study.plan import Plan
    from multiace.study.published.pages import Page
    from multiace.study.store import Store

__all__ = ["add_commands"]

IDLE = {
    "show": ("size", "plan", "folder", "jobs", "threads", "gpus"),
    "plan": ("folder", "jobs", "threads", "gpus", "out"),
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
        help="full: as published, hours to days of a GPU for each run; reduced: small models",
    )
    sub.add_argument(
        "--data", default="data", help="folder that data sets are in, as data get --folder (default: data)"
    )
    sub.add_argument("--models", help="only these of the table, such as botnet,nequip")
    sub.add_argument("--molecules", help="only these of rmd17, such as aspirin,ethanol")
    sub.add_argument(
        "--show", action="store_true", help="published numbers, settings and differences; nothing is run"
    )
    sub.add_argument(
        "--plan", action="store_true", help="show the models and their training, and start nothing"
    )
    sub.add_argument("--folder", help="folder of the runs (default: runs/reproduce/TABLE-SIZE)")
    sub.add_argument("--jobs", type=int, help="runs at a time (default: one for each core)")
    sub.add_argument("--threads", type=int, help="CPU threads of each run (default: the cores, divided)")
    sub.add_argument("--gpus", help="one run at a time on each of these devices, such as 0,1,2")
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
    if arguments.plan:
        console().print(points(planned))
        return 0
    store = run(arguments, planned)
    rows = store.rows([planned_run.name for planned_run in planned.runs])
    write(result_page(table, arguments.size, planned, rows, absent), arguments.out)
    failed = [row for row in rows if row.state == "failed"]
    for row in failed:
        print(f"failed: {row.name}: {row.error}")
    if failed:
        print(f"once mended: multiace study retry {store.folder}, and the same command again")
    return 1 if failed else 0


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
    for name in ("jobs", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: one or more.")
    if arguments.gpus and arguments.jobs:
        raise InputError("--jobs has no effect with --gpus, which are one run each: remove one of them.")


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


def points(planned: Plan) -> Table:
    """What would be trained, and for how long."""
    found = new_table(
        *("set", "model", "epochs", "minutes"),
        right=("epochs", "minutes"),
        caption=f"{len(planned.points)} models, {len(planned.seeds)} seeds: {len(planned.runs)} runs",
    )
    for point in planned.points:
        train, solved = point.run.train, point.run.model.is_linear
        epochs = "solved" if solved else f"{train.max_epochs:,}"
        minutes = "" if train.max_minutes is None else f"{train.max_minutes:g}"
        found.add_row(point.labels["set"], point.labels["model"], epochs, minutes)
    return found


def run(arguments: argparse.Namespace, planned: Plan) -> Store:
    """Do what is not done yet of a plan; a study with the same folder."""
    from rich.live import Live

    from multiace.study.drive import drive
    from multiace.study.store import Store
    from multiace.study.tables import progress_table

    store = Store(arguments.folder or Path("runs/reproduce") / f"{arguments.table}-{arguments.size}")
    store.add(planned.runs)
    with Live(console=console(), refresh_per_second=1) as live:
        drive(
            store.folder,
            [planned_run.name for planned_run in planned.runs],
            arguments.jobs or cores(),
            arguments.threads,
            words(arguments.gpus),
            lambda found: live.update(progress_table(found)),
        )
    return store


def write(page: Page, path: str | None) -> None:
    """Print a page, and write it as Markdown where that is asked for."""
    from multiace.files import atomic
    from multiace.study.published.writing import markdown, terminal

    console().print(terminal(page))
    if path is not None:
        with atomic(Path(path)) as temporary:
            temporary.write_text(markdown(page), encoding="utf-8")
        print(f"written: {path}")
