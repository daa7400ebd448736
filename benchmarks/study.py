"""A study's plan against its runs, and what its driver costs: ``python benchmarks/study.py STUDY --folder FOLDER``.

Estimates all points, runs all seeds with ``--jobs`` at a time, and prints for each run the estimate over the truth,
then the driver's CPU time and the time in which slots were empty. Times of estimates and runs are CPU times of a
thread each, which other programs on the machine change least; so set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from rich.console import Console

from multiace.study import drive as driver
from multiace.study import estimate
from multiace.study.config import StudyConfig
from multiace.study.plan import plan
from multiace.study.plan_table import plan_table
from multiace.study.progress import progress
from multiace.study.store import Store
from multiace.study.tables import progress_table


class Noted(subprocess.Popen):
    """A process of which times and memory are kept when it has ended."""

    ended: ClassVar[dict[str, Noted]] = {}

    def __init__(self, command: list[str], **options: Any) -> None:
        self.run, self.began = command[-1], time.perf_counter()
        super().__init__(command, **options)

    def poll(self) -> int | None:
        """Return the exit status of a process that has ended; ask the system for it once."""
        if self.returncode is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                self.wall = time.perf_counter() - self.began
                self.cpu, self.memory = usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss
                self.ended[self.run] = self
        return self.returncode


def cpu_time() -> float:
    """CPU time of this process and of those that it has waited for [s]."""
    return sum(os.times()[:4])


def main() -> None:
    """Plan, run, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="of the study; a new one")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    planned, store = plan(StudyConfig.read(arguments.study)), Store(arguments.folder)

    estimate.time = SimpleNamespace(perf_counter=cpu_time)  # type: ignore[attr-defined]
    found = list(estimate.estimates(planned.points, threads=1, place=arguments.folder))
    Console().print(plan_table(planned, found, arguments.jobs))

    store.add(planned.runs)
    driver.subprocess.Popen = Noted  # type: ignore[misc]
    began, cpu = time.perf_counter(), time.process_time()
    names = [run.name for run in planned.runs]
    driver.drive(store.folder, names, arguments.jobs, threads=1, show=progress_table)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu

    by_point = dict(zip((point.folder for point in planned.points), found, strict=True))
    for p in progress(store, names):
        expected, true = by_point[p.row.folder], Noted.ended[p.row.name]
        line = f"{p.row.name}: {p.state}, {true.wall:.0f} s, of which {true.cpu:.1f} s on the CPU"
        if expected.seconds is not None and expected.memory is not None:
            line += (
                f"; estimated over true: time {expected.seconds / true.cpu:.2f}, memory "
                f"{expected.memory / true.memory:.2f} of {true.memory / 1e9:.2f} GB"
            )
        print(line)
    busy = sum(process.wall for process in Noted.ended.values())
    print(
        f"driver: {wall:.0f} s in all; slots empty {100 * (1 - busy / (arguments.jobs * wall)):.2f} % of it; "
        f"{100 * cpu / wall:.2f} % of a core"
    )


if __name__ == "__main__":
    main()
