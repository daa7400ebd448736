"""Commands of studies: plan, run, look, and try again what failed."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from multiace.cli.common import advance, check_outputs, console
from multiace.cli.parser import Commands, add_command
from multiace.cli.runs import add_options, check_options, do_runs, tell_failures
from multiace.errors import InputError, did_you_mean
from multiace.progress import progress_bar

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
    add_options(run)

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
    from multiace.study.config import StudyConfig
    from multiace.study.plan import plan

    check_options(arguments)
    study = StudyConfig.read(arguments.study, arguments.size)
    planned = plan(study)
    for name, why in planned.left_out.items():
        console().print(f"left out: {name}: {why}", highlight=False, markup=False)
    name = "-".join(filter(None, (Path(arguments.study).stem, arguments.size)))
    folder = Path(arguments.folder or Path("runs") / name)
    tell_others(folder, {run.name for run in planned.runs})
    store = do_runs(arguments, planned, folder, study.battery)
    if store is None:
        return 0
    status = tell(store, [run.name for run in planned.runs])
    print(f"report: multiace study report {folder}")
    return status


def tell_others(folder: Path, names: set[str]) -> None:
    """Print how many finished runs a folder has that are not of the study file."""
    from multiace.study.store import NAME, Store

    rows = Store(folder).rows(results=False) if (folder / NAME).is_file() else []
    if others := [row.name for row in rows if row.state == "done" and row.name not in names]:
        print(
            f"note: {len(others)} finished runs in {folder} are not of this study file, which has other fields, paths, "
            f"labels, or another order of axes; they are not used: {others[0]}, ..."
        )


def tell(store: Store, names: list[str]) -> int:
    """Print what came out of runs, and which have none; return the exit status: 1 if any failed or was stopped."""
    from multiace.study.analysis import Analysis
    from multiace.study.tables import result_table

    rows = store.rows(names)
    if any(row.state == "done" for row in rows):
        console().print(result_table(Analysis.of(rows, store.folder)))
    return tell_failures(rows, store.folder)


def show_status(arguments: argparse.Namespace) -> None:
    """Print where the runs stand, and what came out so far."""
    from multiace.study.progress import progress
    from multiace.study.slurm import QueueError, job_states, live
    from multiace.study.tables import progress_table

    store, jobs = existing(arguments.folder), dict[str, str]()
    names = store.planned()
    if store.jobs():
        with suppress(QueueError):
            jobs = live(job_states(store))
    console().print(progress_table(progress(store, names, jobs)))
    tell(store, names)


def retry_runs(arguments: argparse.Namespace) -> None:
    """Put runs that failed back."""
    store = existing(arguments.folder)
    failed = [row.name for row in store.rows(store.planned(), results=False) if row.state == "failed"]
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

    if Path(folder).is_file():
        raise InputError(
            f"{folder} is a file: say the folder of its study, such as runs/{Path(folder).stem}."
        )
    if not (Path(folder) / NAME).is_file():
        raise InputError(
            f"{folder} is no folder of a study, as it has no {NAME}: multiace study run makes one."
        )
    return Store(folder)
