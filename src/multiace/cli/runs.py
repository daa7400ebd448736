"""What commands that do the runs of a plan share: where they are done, how many at a time, and which failed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiace.cli.common import advance, console
from multiace.errors import InputError
from multiace.progress import progress_bar

if TYPE_CHECKING:
    from multiace.study.plan import Plan
    from multiace.study.progress import Progress
    from multiace.study.store import Row, Store

__all__ = ["add_options", "check_options", "do_runs", "tell_failures"]

RESTING = ("interrupted", "done", "failed")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where and how runs are done."""
    parser.add_argument(
        "--plan", action="store_true", help="show the runs, with their time and memory, and start none"
    )
    parser.add_argument(
        "--quick", action="store_true", help="with --plan: what is known without timing anything"
    )
    parser.add_argument("--jobs", type=int, help="runs at a time (default: one for each core)")
    parser.add_argument(
        "--threads",
        type=int,
        help="CPU threads of each run (default: cores / jobs, or OMP_NUM_THREADS if less)",
    )
    parser.add_argument("--gpus", help="one run at a time on each of these devices, such as 0,1,2")
    parser.add_argument(
        "--on", choices=("machine", "slurm"), default="machine", help="this machine, or a cluster"
    )
    parser.add_argument(
        "--slurm",
        nargs="+",
        metavar="OPTION=VALUE",
        default=[],
        help="of the job of a run: time=MINUTES, partition=, mem=4GB, cpus_per_task=, gpus_per_node=, account=, ... "
        "(submitit's names)",
    )


def check_options(arguments: argparse.Namespace) -> None:
    """Refuse options that are impossible, or have no effect beside others.

    Raises:
        InputError: If there are some.
    """
    for name in ("jobs", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: one or more.")
    if arguments.gpus is not None and not all(map(str.strip, arguments.gpus.split(","))):
        raise InputError(f"--gpus {arguments.gpus}: name each device, as in 0,1.")
    if arguments.gpus and arguments.jobs:
        raise InputError("--jobs has no effect with --gpus, which are one run each: remove one of them.")
    if arguments.quick and not arguments.plan:
        raise InputError("--quick says what --plan shows: add it, or remove --quick.")
    if arguments.on != "slurm":
        if arguments.slurm:
            raise InputError("--slurm is of jobs on a cluster: add --on slurm.")
        return
    for name, instead in (("gpus", "gpus_per_node=1"), ("threads", "cpus_per_task=N")):
        if getattr(arguments, name):
            raise InputError(f"--{name} is of this machine; with --on slurm, say --slurm {instead}.")
    job_options(arguments)


def job_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read the options of jobs.

    Raises:
        InputError: If one has another form.
    """
    options = {}
    for item in arguments.slurm:
        name, equals, text = item.partition("=")
        if not (name and equals and text):
            raise InputError(f"--slurm {item}: write OPTION=VALUE, such as time=60.")
        options[name] = int(text) if text.isdecimal() else text
    return options


def do_runs(
    arguments: argparse.Namespace, planned: Plan, folder: Path, battery: str | None = None
) -> Store | None:
    """Do what is not done yet of a plan; with ``--plan`` only show it, and return None.

    Args:
        arguments: With those of :func:`add_options`, checked.
        planned: Which runs there are.
        folder: Where they are kept.
        battery: What else models are tested on.

    Raises:
        InputError: If files are missing.
        KeyboardInterrupt: With what to do.
    """
    import torch

    from multiace.machine import cores, crowd
    from multiace.study import slurm
    from multiace.study.drive import drive, threads_of_each
    from multiace.study.files import absent_files, check_files, check_unchanged
    from multiace.study.store import Store
    from multiace.study.testing import untested

    gpus = arguments.gpus.split(",") if arguments.gpus else None
    slots, threads = len(gpus) if gpus else arguments.jobs or cores(), arguments.threads
    if arguments.on == "slurm":
        slots, threads = arguments.jobs or len(planned.runs), job_options(arguments).get("cpus_per_task", 1)
    elif torch.cuda.is_available() and gpus is None and slots > 1:
        print(
            f"note: up to {slots} runs share the first GPU; --gpus 0 does one at a time, --gpus 0,1 one on each of two"
        )
    threads = threads or threads_of_each(slots)
    if arguments.on == "machine" and gpus is None and (why := crowd(threads)):
        print(f"note: {why}: --threads 1")
    check_files(planned.points)
    if absent := absent_files(planned.points, battery) if battery else []:
        print(
            f"note: {', '.join(absent)} of the battery not found: what needs them is not measured; once they are "
            "there, the same command does so"
        )
    if arguments.plan:
        show_plan(planned, folder, battery, slots, threads, arguments.quick)
        return None
    store, names = Store(folder), [run.name for run in planned.runs]
    rows = store.rows(names)
    check_unchanged(rows)
    again = untested(rows, battery)
    store.add(planned.runs, battery)
    for name in again:
        store.test_again(name)
    with shown() as show:
        try:
            if arguments.on == "slurm":
                slurm.drive(folder, names, job_options(arguments), arguments.jobs, show)
            else:
                drive(folder, names, slots, threads, gpus, show)
        except KeyboardInterrupt as interrupt:
            if interrupt.args:
                raise
            raise KeyboardInterrupt(f"; {folder} has what is done, and the same command goes on") from None
    return store


@contextmanager
def shown() -> Iterator[Callable[[list[Progress]], None]]:
    """Show the state of runs: a table that changes on a terminal, elsewhere a line for each that begins or ends."""
    from rich.live import Live

    from multiace.study.tables import progress_table

    output = console()
    if output.is_terminal:
        with Live(console=output, auto_refresh=False) as live:
            yield lambda found: live.update(progress_table(found), refresh=True)
        return
    last: dict[str, Progress] = {}

    def tell(found: list[Progress]) -> None:
        for p in found:
            before = last[p.row.name].state if last else p.state if p.state in RESTING else "waiting"
            if p.state != before:
                print(f"{time.strftime('%H:%M:%S')} {p.row.name}: {p.state}", flush=True)
        last.update({p.row.name: p for p in found})

    try:
        yield tell
    finally:
        if last:
            output.print(progress_table(list(last.values())))


def show_plan(
    planned: Plan, folder: Path, battery: str | None, slots: int, threads: int, quick: bool
) -> None:
    """Print the points of a plan, and what their runs cost; ``quick``: what is known without running."""
    from multiace.study.plan_table import plan_table

    found = None
    if not quick:
        from multiace.study.estimate import estimates

        place = next(f for f in (folder.absolute(), *folder.absolute().parents) if f.is_dir())
        with progress_bar(console()) as bar:
            show = advance(bar, "timing a few steps of each point")
            found = []
            for estimate in estimates(planned.points, threads, place, battery):
                found.append(estimate)
                show(len(found), len(planned.points))
    console().print(plan_table(planned, found, slots, threads))


def tell_failures(rows: Sequence[Row], folder: Path) -> int:
    """Print which runs have failed or were stopped, and what to do; return the exit status: 1 if there are some."""
    failed = [row for row in rows if row.state == "failed"]
    stopped = [row for row in rows if row.state == "waiting" and row.error]
    for row in failed:
        print(f"failed: {row.name}: {row.error}")
    for row in stopped:
        print(f"stopped: {row.name}: {row.error}")
    if failed:
        print(f"once mended: multiace study retry {folder}, and the command that does the runs again")
    if stopped:
        print("the command that does the runs goes on with those that were stopped")
    return 1 if failed or stopped else 0
