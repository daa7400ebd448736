"""Run a study on this machine: several processes at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multiace.errors import Interrupted
from multiace.files import writing
from multiace.machine import cores
from multiace.study.progress import Progress, progress
from multiace.study.store import Store

__all__ = ["THREADS", "drive", "threads_of_each", "work_command"]

SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_POLLS = 1.0, 0.05
NOTE = b"\nstopping: the runs save their state\n"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def drive(
    folder: str | Path,
    names: list[str],
    jobs: int,
    threads: int | None = None,
    gpus: list[str] | None = None,
    show: Callable[[list[Progress]], None] = lambda found: None,
) -> None:
    """Do runs of a study, each in a process of its own; return when all are done or failed.

    Runs that other processes work on, of this machine or others, are left to them, and waited for. On Ctrl-C, SIGTERM
    or SIGHUP all runs save their state.

    Args:
        folder: Of the study.
        names: Of the runs.
        jobs: How many at a time.
        threads: Of each; None for :func:`threads_of_each`.
        gpus: One run at a time on each of these devices, in the place of ``jobs``.
        show: Called about once a second with the state of these runs.
    """
    store, slots = Store(folder), len(gpus) if gpus else jobs
    threads = threads or threads_of_each(slots)
    workers: dict[int, Worker] = {}
    with obeying_signals():
        try:
            while True:
                for slot in range(slots):
                    if slot in workers and workers[slot].has_ended(store):
                        del workers[slot]
                    if slot not in workers and (name := next_run(store, names, workers)):
                        workers[slot] = Worker.start(
                            store.folder, name, threads, gpus[slot] if gpus else None
                        )
                found = progress(store, names)
                show(found)
                if not workers and all(p.state in ("done", "failed") for p in found):
                    return
                rest(workers)
        finally:
            if workers:
                os.write(2, NOTE)
            for worker in workers.values():
                worker.process.send_signal(signal.SIGTERM)
            for worker in workers.values():
                worker.process.wait()


def threads_of_each(slots: int) -> int:
    """Return how many threads each of so many runs has: the cores, divided; fewer where OMP_NUM_THREADS says so."""
    given, share = os.environ.get(THREADS[0], ""), max(cores() // slots, 1)
    return min(int(given), share) if given.isdecimal() and int(given) else share


@contextmanager
def obeying_signals() -> Iterator[None]:
    """Take SIGTERM and SIGHUP as Ctrl-C inside the ``with`` block, unless they are handled, or this is no main thread.

    SIGHUP comes when a terminal is closed; where it is ignored, as under ``nohup``, it stays so.
    """
    main = threading.current_thread() is threading.main_thread()
    taken = [n for n in (signal.SIGTERM, signal.SIGHUP) if main and signal.getsignal(n) is signal.SIG_DFL]

    def stop(number: int, _: Any) -> None:
        for n in taken:
            signal.signal(n, signal.SIG_IGN)  # batch systems send it twice
        raise Interrupted(number, "; the runs save their state, and the same command goes on")

    for n in taken:
        signal.signal(n, stop)
    try:
        yield
    finally:
        for n in taken:
            signal.signal(n, signal.SIG_DFL)


def rest(workers: dict[int, Worker]) -> None:
    """Wait for the next look, or until a process has ended: its slot is free."""
    end = time.monotonic() + SECONDS_BETWEEN_LOOKS
    while time.monotonic() < end and all(worker.process.poll() is None for worker in workers.values()):
        time.sleep(SECONDS_BETWEEN_POLLS)


def next_run(store: Store, names: list[str], workers: dict[int, Worker]) -> str | None:
    """The first run that nobody works on, or is about to."""
    ours = {worker.name for worker in workers.values()}
    for row in store.rows(names, results=False):
        if row.state in ("waiting", "running") and row.name not in ours and not store.is_worked_on(row):
            return row.name
    return None


def work_command(folder: Path, name: str) -> list[str]:
    """The command of a process that does a run."""
    return [sys.executable, "-m", "multiace", "study", "work", str(folder), name]


@dataclass(frozen=True)
class Worker:
    """A process that does a run."""

    name: str
    process: subprocess.Popen

    @classmethod
    def start(cls, folder: Path, name: str, threads: int, gpu: str | None) -> Worker:
        """Start it; what it prints goes to ``worker.log`` of the run."""
        environment = os.environ | dict.fromkeys(THREADS, str(threads))
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        place = folder / name
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
            log = (place / "worker.log").open("a")
        with log:
            process = subprocess.Popen(
                work_command(folder, name),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        return cls(name, process)

    def has_ended(self, store: Store) -> bool:
        """Whether it has; a run whose process died, and wrote nothing, has failed. One that was stopped goes on."""
        status = self.process.poll()
        if status is None:
            return False
        (row,) = store.rows([self.name], results=False)
        stopped = status == -signal.SIGTERM or (
            row.state == "waiting" and status in (128 + signal.SIGINT, 128 + signal.SIGTERM)
        )
        unwritten = row.state in ("waiting", "running") and not store.is_worked_on(row)
        if status and unwritten and not stopped:
            how = f"signal {-status}" if status < 0 else f"status {status}"
            memory = ", as out of memory" if status == -signal.SIGKILL else ""
            store.failed(self.name, f"its process ended with {how}{memory}; see worker.log in its folder")
        return True
