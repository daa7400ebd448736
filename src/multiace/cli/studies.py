"""Commands of studies: plan, run, look, and try again what failed."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from multiace.cli.common import console
from multiace.cli.parser import Commands, add_command
from multiace.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from multiace.study.store import Store

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add ``study``."""
    sub = commands.add_parser("study", help="an ablation study", description="An ablation study.")
    actions = sub.add_subparsers(metavar="ACTION", required=True)

    run = add_command(actions, "run", run_study, "do all runs of a study file; the same command goes on")
    run.add_argument(
        "study", metavar="STUDY", help="study file (YAML) with base, axes, design, seeds, budget"
    )
    run.add_argument("--size", help="which of the sizes of the study file, if it has some, such as minutes")
    run.add_argument(
        "--folder", help="folder of the study (default: runs/NAME of the study file, with the size)"
    )
    run.add_argument("--plan", action="store_true", help="show the runs, and start nothing")
    run.add_argument("--jobs", type=int, help="runs at a time (default: one for each core)")
    run.add_argument("--threads", type=int, help="CPU threads of each run (default: the cores, divided)")
    run.add_argument("--gpus", help="one run at a time on each of these devices, such as 0,1,2")

    status = add_command(actions, "status", show_status, "where the runs of a study stand")
    status.add_argument("folder", help="folder of the study")

    retry = add_command(actions, "retry", retry_runs, "put runs that failed back, for the next study run")
    retry.add_argument("folder", help="folder of the study")

    work = add_command(actions, "work", do_work, "do one run of a study, as study run does in its processes")
    work.add_argument("folder", help="folder of the study")
    work.add_argument("run", nargs="*", metavar="RUN", help="only one of these (default: the next)")


def run_study(arguments: argparse.Namespace) -> int:
    """Plan, and do all runs."""
    from rich.live import Live

    from multiace.study.config import StudyConfig
    from multiace.study.drive import drive
    from multiace.study.plan import plan
    from multiace.study.store import Store
    from multiace.study.tables import plan_table, progress_table

    for name in ("jobs", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: one or more.")
    gpus = arguments.gpus.split(",") if arguments.gpus else None
    if gpus and arguments.jobs:
        raise InputError("--jobs has no effect with --gpus, which are one run each: remove one of them.")
    planned = plan(StudyConfig.read(arguments.study, arguments.size))
    for name, why in planned.left_out.items():
        console().print(f"left out: {name}: {why}", highlight=False)
    if arguments.plan:
        console().print(plan_table(planned))
        return 0
    name = "-".join(filter(None, (Path(arguments.study).stem, arguments.size)))
    store = Store(arguments.folder or Path("runs") / name)
    store.add(planned.runs)
    names = [run.name for run in planned.runs]
    with Live(console=console(), refresh_per_second=1) as live:
        drive(
            store.folder,
            names,
            arguments.jobs or cores(),
            arguments.threads,
            gpus,
            show=lambda found: live.update(progress_table(found)),
        )
    return tell(store, names)


def tell(store: Store, names: list[str] | None = None) -> int:
    """Print what came out of runs, and which failed; return the exit status: 1 if any did."""
    from multiace.study.tables import result_table

    rows = store.rows(names)
    if any(row.state == "done" for row in rows):
        console().print(result_table(rows))
    failed = [row for row in rows if row.state == "failed"]
    for row in failed:
        print(f"failed: {row.name}: {row.error}")
    if failed:
        print(f"once mended: multiace study retry {store.folder}, and the same command again")
    return 1 if failed else 0


def show_status(arguments: argparse.Namespace) -> None:
    """Print where the runs stand, and what came out so far."""
    from multiace.study.progress import progress
    from multiace.study.tables import progress_table

    store = existing(arguments.folder)
    console().print(progress_table(progress(store)))
    tell(store)


def retry_runs(arguments: argparse.Namespace) -> None:
    """Put runs that failed back."""
    store = existing(arguments.folder)
    failed = [row.name for row in store.rows() if row.state == "failed"]
    for name in failed:
        store.wait(name)
    print(f"{len(failed)} runs wait for multiace study run")


def do_work(arguments: argparse.Namespace) -> int:
    """Do a run."""
    from multiace.study.work import work

    store = existing(arguments.folder)
    names = [row.name for row in store.rows()]
    for name in arguments.run:
        if name not in names:
            raise InputError(f"{arguments.folder} has no run {name!r}.{did_you_mean(name, names)}")
    done = work(arguments.folder, arguments.run or None)
    if done is None:
        print("nothing to do: all runs are finished, or other processes work on them")
    return 1 if done is False else 0


def existing(folder: str) -> Store:
    """Open the file of a study that was begun.

    Raises:
        InputError: If there is none.
    """
    from multiace.study.store import NAME, Store

    if not (Path(folder) / NAME).is_file():
        raise InputError(
            f"{folder} is no folder of a study, as it has no {NAME}: multiace study run makes one."
        )
    return Store(folder)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
