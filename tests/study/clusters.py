"""Clusters of one machine: SLURM itself, where it is installed, and commands that look like it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
SBIN = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={other}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no SLURM here; empty if there can."""
    absent = [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=SBIN) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "SLURM's daemons are started by root here"


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        for s in (one, two):
            s.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


@contextmanager
def slurm(folder: Path) -> Iterator[Path]:
    """Start munged, slurmctld and slurmd, with all their files in a folder; give the path of ``slurm.conf``."""
    from tests.study.running import until  # this file is also run as a command, outside of the package

    port, other = free_ports()
    host = socket.gethostname().split(".")[0]
    cores = len(os.sched_getaffinity(0))
    config, key = folder / "slurm.conf", folder / "munge.key"
    config.write_text(CONFIG.format(folder=folder, host=host, port=port, other=other, cores=cores))
    key.write_bytes(os.urandom(1024))
    key.chmod(stat.S_IRUSR)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    environment = {**os.environ, "PATH": SBIN, "SLURM_CONF": str(config)}
    files = {
        name: f"{folder}/munge.{name.split('-')[0]}"
        for name in ("socket", "pid-file", "seed-file", "log-file")
    }
    commands = [
        ["munged", "--foreground", "--force", f"--key-file={key}", *(f"--{k}={v}" for k, v in files.items())],
        ["slurmctld", "-D", "-f", str(config)],
        ["slurmd", "-D", "-f", str(config)],
    ]
    started: list[subprocess.Popen] = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.out").open("w") as log:
                started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
            until(lambda: (folder / "munge.socket").exists(), "munged does not listen")
        idle = ["sinfo", "--noheader", "--format=%T"]
        until(
            lambda: (
                subprocess.run(idle, env=environment, capture_output=True, text=True).stdout.strip() == "idle"
            ),
            f"no idle machine; see the logs in {folder}",
        )
        yield config
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


class FakeSlurm:
    """``sbatch``, ``squeue`` and ``srun`` in a folder: jobs start at once, or when they are told to.

    A job is a folder of its own, with the files ``name``, ``script`` and ``state``.
    """

    def __init__(self, folder: Path) -> None:
        self.bin, self.jobs = folder / "bin", folder / "jobs"
        self.hold = folder / "hold"
        for path in (self.bin, self.jobs):
            path.mkdir(parents=True)
        for name in ("sbatch", "squeue", "srun"):
            command = self.bin / name
            command.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} {folder} "$@"\n')
            command.chmod(0o755)

    def states(self) -> dict[str, str]:
        return {job.name: (job / "state").read_text() for job in sorted(self.jobs.iterdir())}

    def set(self, job: str, state: str) -> None:
        (self.jobs / job / "state").write_text(state)

    def release(self) -> None:
        """Start the jobs that are held, and those that come."""
        self.hold.unlink()
        for job, state in self.states().items():
            if state == "PENDING":
                start(self.jobs / job)


def start(job: Path) -> None:
    """Do a job, in a process that outlives this one."""
    (job / "state").write_text("RUNNING")
    environment = {**os.environ, "SLURM_JOB_ID": job.name, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
    end = f'&& s=COMPLETED || s=FAILED; printf $s > "{job}/state"'
    command = f'(/bin/sh "{job}/script" {end}) < /dev/null > "{job}/out" 2>&1 &'
    subprocess.run(["/bin/sh", "-c", command], env=environment, start_new_session=True, check=True)


def sbatch(fake: Path, script: str) -> None:
    if (fake / "refuse").exists():
        sys.exit("sbatch: error: invalid partition specified: nowhere")
    job = fake / "jobs" / str(1 + len(list((fake / "jobs").iterdir())))
    job.mkdir()
    text = Path(script).read_text()
    (name,) = (line.partition("=")[2] for line in text.splitlines() if line.startswith("#SBATCH --job-name"))
    (job / "name").write_text(name)
    (job / "script").write_text(text)
    (job / "state").write_text("PENDING")
    if not (fake / "hold").exists():
        start(job)
    print(f"Submitted batch job {job.name}")


def squeue(fake: Path, *_: str) -> None:
    if (fake / "silent").exists():
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    for job in sorted((fake / "jobs").iterdir()):
        print("|".join([job.name, (job / "state").read_text(), (job / "name").read_text()]))


def srun(_: Path, *arguments: str) -> None:
    command = list(arguments)
    while command[0].startswith("-"):  # all but one of the options that submitit gives have a value
        del command[: 1 if command[0] == "--unbuffered" else 2]
    os.execvp(command[0], command)


if __name__ == "__main__":
    {"sbatch": sbatch, "squeue": squeue, "srun": srun}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
