"""Commands of studies: plan, run, look, and try again what failed."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multiace.cli.common import advance, check_outputs, console
from multiace.cli.parser import Commands, add_command
from multiace.errors import InputError, did_you_mean
from multiace.progress import progress_bar

if TYPE_CHECKING:
    from multiace.study.plan import Plan
    from multiace.study.progress import Progress
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
    run.add_argument(
        "--plan", action="store_true", help="show the runs, with their time and memory, and start none"
    )
    run.add_argument(
        "--quick", action="store_true", help="with --plan: what the study file says, nothing timed"
    )
    run.add_argument("--jobs", type=int, help="runs at a time (default: one for each core)")
    run.add_argument("--threads", type=int, help="CPU threads of each run (default: the cores, divided)")
    run.add_argument("--gpus", help="one run at a time on each of these devices, such as 0,1,2")
    run.add_argument(
        "--on", choices=("machine", "slurm"), default="machine", help="this machine, or a cluster"
    )
    run.add_argument(
        "--slurm",
        nargs="+",
        metavar="OPTION=VALUE",
        default=[],
        help="of the job of a run: time=MINUTES, partition=, mem=4GB, cpus_per_task=, gpus_per_node=, account=, ... "
        "(submitit's names)",
    )

    status = add_command(actions, "status", show_status, "where the runs of a study stand")
    status.add_argument("folder", help="folder of the study")

    retry = add_command(actions, "retry", retry_runs, "put runs that failed back, for the next study run")
    retry.add_argument("folder", help="folder of the study")

    report = add_command(actions, "report", report_study, "one HTML file about a study, and its tables")
    report.add_argument("folder", help="folder of the study")
    report.add_argument("--out", help="report file (default: report.html in the folder of the study)")
    report.add_argument("--tables", metavar="DIR", help="write its tables here: Markdown, LaTeX and CSV")

    work = add_command(actions, "work", do_work, "do one run of a study, as study run does in its processes")
    work.add_argument("folder", help="folder of the study")
    work.add_argument("run", nargs="*", metavar="RUN", help="only one of these (default: the next)")


def run_study(arguments: argparse.Namespace) -> int:
    """Plan, and do all runs."""
    from rich.live import Live

    from multiace.study import slurm
    from multiace.study.config import StudyConfig
    from multiace.study.drive import drive
    from multiace.study.plan import plan
    from multiace.study.store import Store
    from multiace.study.tables import progress_table
    from multiace.study.work import untested

    for name in ("jobs", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: one or more.")
    gpus = arguments.gpus.split(",") if arguments.gpus else None
    if gpus and arguments.jobs:
        raise InputError("--jobs has no effect with --gpus, which are one run each: remove one of them.")
    options = job_options(arguments)
    if arguments.quick and not arguments.plan:
        raise InputError("--quick says what --plan shows: add it, or remove --quick.")
    study = StudyConfig.read(arguments.study, arguments.size)
    planned = plan(study)
    for name, why in planned.left_out.items():
        console().print(f"left out: {name}: {why}", highlight=False)
    name = "-".join(filter(None, (Path(arguments.study).stem, arguments.size)))
    folder = Path(arguments.folder or Path("runs") / name)
    slots = len(gpus) if gpus else arguments.jobs or cores()
    if arguments.plan:
        show_plan(planned, folder, slots, arguments.threads, arguments.quick)
        return 0
    store = Store(folder)
    names = [run.name for run in planned.runs]
    again = untested(store.rows(names), study.battery)
    store.add(planned.runs, study.battery)
    for name in again:
        store.wait(name)
    with Live(console=console(), refresh_per_second=1) as live:

        def show(found: list[Progress]) -> None:
            live.update(progress_table(found))

        if arguments.on == "slurm":
            slurm.drive(folder, names, options, arguments.jobs, show)
        else:
            drive(folder, names, slots, arguments.threads, gpus, show)
    return tell(store, names)


def job_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read the options of jobs.

    Raises:
        InputError: If they have no effect, or options of this machine have none.
    """
    if arguments.on != "slurm":
        if arguments.slurm:
            raise InputError("--slurm is of jobs on a cluster: add --on slurm.")
        return {}
    for name, instead in (("gpus", "gpus_per_node=1"), ("threads", "cpus_per_task=N")):
        if getattr(arguments, name):
            raise InputError(f"--{name} is of this machine; with --on slurm, say --slurm {instead}.")
    options = {}
    for item in arguments.slurm:
        name, equals, text = item.partition("=")
        if not (name and equals and text):
            raise InputError(f"--slurm {item}: write OPTION=VALUE, such as time=60.")
        options[name] = int(text) if text.isdecimal() else text
    return options


def show_plan(planned: Plan, folder: Path, slots: int, threads: int | None, quick: bool) -> None:
    """Print the points of a study, and what their runs cost; ``quick``: what is known without running."""
    from multiace.study.plan_table import plan_table

    found = None
    if not quick:
        from multiace.study.estimate import estimates

        place = next(above for above in folder.absolute().parents if above.is_dir())
        threads = threads or max(cores() // slots, 1)
        with progress_bar(console()) as bar:
            show = advance(bar, "timing a few steps of each point")
            found = []
            for estimate in estimates(planned.points, threads, place):
                found.append(estimate)
                show(len(found), len(planned.points))
    console().print(plan_table(planned, found, slots))


def tell(store: Store, names: list[str] | None = None) -> int:
    """Print what came out of runs, and which have none; return the exit status: 1 if any failed or was stopped."""
    from multiace.study.analysis import Analysis
    from multiace.study.tables import result_table

    rows = store.rows(names)
    if any(row.state == "done" for row in rows):
        console().print(result_table(Analysis.of(rows, store.folder)))
    failed = [row for row in rows if row.state == "failed"]
    stopped = [row for row in rows if row.state == "waiting" and row.error]
    for row in failed:
        print(f"failed: {row.name}: {row.error}")
    for row in stopped:
        print(f"stopped: {row.name}: {row.error}")
    if failed:
        print(f"once mended: multiace study retry {store.folder}, and the same command again")
    if stopped:
        print("multiace study run goes on with those that were stopped")
    return 1 if failed or stopped else 0


def show_status(arguments: argparse.Namespace) -> None:
    """Print where the runs stand, and what came out so far."""
    from multiace.study.progress import progress
    from multiace.study.slurm import QueueError, job_states, live
    from multiace.study.tables import progress_table

    store, jobs = existing(arguments.folder), dict[str, str]()
    if store.jobs():
        with suppress(QueueError):
            jobs = live(job_states(store))
    console().print(progress_table(progress(store, jobs=jobs)))
    tell(store)


def retry_runs(arguments: argparse.Namespace) -> None:
    """Put runs that failed back."""
    store = existing(arguments.folder)
    failed = [row.name for row in store.rows() if row.state == "failed"]
    for name in failed:
        store.wait(name)
    print(f"{len(failed)} runs wait for multiace study run")


def report_study(arguments: argparse.Namespace) -> None:
    """Write the report of a study."""
    from multiace.study.report.build import write_study_report

    check_outputs(arguments.out)
    store = existing(arguments.folder)
    with progress_bar(console()) as bar:
        path = write_study_report(
            store.folder, arguments.out, arguments.tables, advance(bar, "errors of structures")
        )
    print(f"report: {path}")
    if arguments.tables:
        print(f"tables: {arguments.tables}")


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
