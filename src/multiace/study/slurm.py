"""Run a study on a SLURM cluster: a job for each run, submitted through submitit.

A job does ``multiace study work FOLDER RUN``; submitit writes its script, and pickles that command, into
``FOLDER/slurm``. Whose a run is, and what came out, the files of the study say, as everywhere; the queue says which
jobs there are.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from multiace.errors import InputError, brief
from multiace.study.drive import THREADS, work_command
from multiace.study.progress import Progress, progress
from multiace.study.store import Row, Store

__all__ = ["QueueError", "drive", "job_states", "live"]

SECONDS_BETWEEN_LOOKS = 10.0
ENDED = frozenset(
    {
        *("COMPLETED", "FAILED", "OUT_OF_MEMORY", "CANCELLED", "TIMEOUT", "DEADLINE"),
        *("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED"),
    }
)
"""States of jobs that do not come back; one that is preempted and queued again is PENDING."""
OWN_FAULT = ("FAILED", "OUT_OF_MEMORY")
"""States after which a run would end in the same way again."""


def drive(
    folder: str | Path,
    names: list[str],
    options: Mapping[str, Any],
    jobs: int | None = None,
    show: Callable[[list[Progress]], None] = lambda found: None,
) -> None:
    """Submit runs of a study, and return when none of them is at work or in the queue any more.

    A run whose job is in the queue already is left to it. One whose job ends before the run does is put back, with the
    reason, and not submitted again before the next call; where the fault is its own, it has failed.

    Args:
        folder: Of the study; on a disk that all machines of the cluster share.
        names: Of the runs.
        options: Of the jobs, with submitit's names: ``time`` [min], ``partition``, ``mem``, ``cpus_per_task``, ...
        jobs: How many may be in the queue at a time; None for all.
        show: Called with the state of these runs when it has been looked at.

    Raises:
        InputError: If submitit or SLURM is missing, or a job is refused.
        KeyboardInterrupt: At Ctrl-C; the jobs go on.
    """
    store = Store(folder)
    cluster, waiting = Cluster(store, options), live(job_states(store))
    try:
        while True:
            with store.exclusive(), suppress(QueueError):  # of several drivers, one submits
                waiting = cluster.look(names, jobs)
            found = progress(store, names, waiting)
            show(found)
            ended = [p for p in found if p.state in ("done", "failed") or cluster.has_left(p)]
            if len(ended) == len(found):
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("; the jobs go on, and the same command looks at them again") from None


class QueueError(InputError):
    """The queue does not answer."""


class Cluster:
    """The jobs of a study.

    Args:
        store: The study.
        options: Of the jobs.

    Attributes:
        given: Runs that have had a job while this process looked.

    Raises:
        InputError: If submitit or SLURM is missing, or there is no such option.
    """

    def __init__(self, store: Store, options: Mapping[str, Any]) -> None:
        try:
            from submitit import SlurmExecutor
        except ImportError:
            raise InputError("--on slurm needs submitit: pip install 'multiace[slurm]'.") from None
        if "time" not in options:
            raise InputError("--slurm time=MINUTES is missing: how long a run may take on the cluster.")
        self.store, self.threads, self.given = store, options.get("cpus_per_task", 1), set[str]()
        at_the_end = {"signal_delay_s": 0}  # SIGTERM alone, at which a run saves its state
        step = {"srun_args": ["--cpus-per-task", str(self.threads)]}  # srun does not take it over from sbatch
        try:
            self.executor = SlurmExecutor(store.folder / "slurm")
            self.executor.update_parameters(**at_the_end, **step, **options)
        except RuntimeError:
            raise InputError(
                "--on slurm: there is no srun here; give the command where SLURM jobs are submitted."
            ) from None
        except (TypeError, ValueError) as error:
            raise InputError(f"--slurm: {error}") from None

    def look(self, names: list[str], most: int | None) -> dict[str, str]:
        """Submit what waits, and put back what jobs have left.

        Args:
            names: Of the runs.
            most: How many jobs there may be at a time.

        Returns:
            What :func:`live` does.

        Raises:
            QueueError: If the queue does not answer.
            InputError: If SLURM refuses a job.
        """
        states, jobs = job_states(self.store), self.store.jobs()
        rows = [row for row in self.store.rows(names, results=False) if row.state in ("waiting", "running")]
        left = {row.name for row in rows}
        found = {name: state for name, state in live(states).items() if name in left}
        self.given |= found.keys()
        for row in rows:
            if row.name in found or self.store.is_worked_on(row):
                continue
            ended = states.get(row.name)
            if row.name in self.given or (ended in OWN_FAULT and row.state == "running"):
                self.put_back(row, jobs[row.name], ended or "it is no longer in the queue")
            elif most is None or len(found) < most:
                self.submit(row.name)
                found[row.name] = "queued"
        return found

    def has_left(self, p: Progress) -> bool:
        """Whether a run has had its job, which has ended before the run did."""
        return p.row.name in self.given and p.state in ("waiting", "interrupted")

    def submit(self, run: str) -> None:
        """Submit a run.

        Raises:
            InputError: If SLURM refuses the job.
        """
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.helpers import CommandFunction

        folder = self.store.folder.absolute()
        (folder / run).mkdir(parents=True, exist_ok=True)
        threads = [f"{name}={self.threads}" for name in THREADS]
        command = shlex.join(["env", *threads, *work_command(folder, run)])
        log = shlex.quote(str(folder / run / "worker.log"))
        self.store.wait(run)
        self.executor.update_parameters(job_name=job_name(self.store, run))
        try:
            job = self.executor.submit(CommandFunction(["/bin/sh", "-c", f"exec {command} >> {log} 2>&1"]))
        except (FailedJobError, FailedSubmissionError) as error:
            raise InputError(f"--on slurm: sbatch says: {brief(error, 300)}") from None
        self.store.submitted(run, job.job_id)
        self.given.add(run)

    def put_back(self, row: Row, job: str, state: str) -> None:
        """Write that the job of a run has ended before the run did, if that is not known."""
        if state in OWN_FAULT and row.state == "running":
            self.store.failed(row.name, f"its job {job} ended: {state}; see worker.log in its folder")
        elif row.error is None:
            self.store.wait(row.name, f"job {job} ended: {state}")


def job_name(store: Store, run: str) -> str:
    """Name of the job of a run."""
    return f"{store.folder.resolve().name}/{run}"


def job_states(store: Store) -> dict[str, str]:
    """State of the last job of each run, where the queue still knows it: jobs that have ended stay for some minutes.

    Raises:
        QueueError: If the queue does not answer.
    """
    command = ["squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%j"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except OSError as error:
        raise QueueError(f"--on slurm: squeue cannot be started: {error.strerror}.") from None
    except subprocess.CalledProcessError as error:
        raise QueueError(f"--on slurm: squeue says: {brief(error.stderr, 300)}") from None
    parts = (line.split("|", 2) for line in lines)
    queue = {(job, name): state for job, state, name in parts}
    found = {run: queue.get((job, job_name(store, run))) for run, job in store.jobs().items()}
    return {run: state for run, state in found.items() if state is not None}


def live(states: Mapping[str, str]) -> dict[str, str]:
    """Return ``queued`` or ``starting`` of the runs whose jobs wait, or have begun."""
    return {
        run: "queued" if state == "PENDING" else "starting"
        for run, state in states.items()
        if state not in ENDED
    }
