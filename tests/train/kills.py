"""A program that trains, is killed, starts again, until it has been killed often enough and every run is complete.

``python -m tests.train.kills RUN.YAML FOLDER KILLS SEED PLACES``: the run that is left alone is in FOLDER/whole, the
others are in FOLDER/0, 1, ... PLACES is ``times``, for kills at random times, or ``files``, for kills before a random
operation on a file of the run folder or in the middle of writing one. Each life is a fork of this process, which has
imported everything and computed nothing. Prints how often each run was killed.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

# Imported by a run when it needs them; here once for all lives.
import ase.io.extxyz  # noqa: F401
import tensorboardX  # noqa: F401

from multiace.train.loop import fit

OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "half"}


def live(config, folder, operations=0):
    """Start a process that trains; it kills itself at this operation, or writes how many there were at the end."""
    child = os.fork()
    if child:
        return child
    log = os.open(f"{folder}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    seen = 0

    def count(event, arguments):
        nonlocal seen
        if event in OPERATIONS and any(str(folder) in str(argument) for argument in arguments):
            seen += 1
            if seen == operations:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    Path.write_bytes = write_in_halves
    status = 1
    try:
        fit(config, folder)
        Path(f"{folder}.operations").write_text(str(seen))
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)


def write_in_halves(path, content):
    with open(path, "wb", buffering=0) as file:
        file.write(content[: len(content) // 2])
        sys.audit("half", path)
        file.write(content[len(content) // 2 :])


def wait(child):
    """Return the signal that ended a process, 0 if it came to its end."""
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0, "see the .out file"
    return 0


def main(config, base, kills, seed, places):
    base, chance = Path(base), random.Random(seed)
    started = time.perf_counter()
    wait(live(config, base / "warm"))  # kernels are compiled
    started = time.perf_counter()
    wait(live(config, base / "whole"))
    seconds = time.perf_counter() - started
    operations = int((base / "whole.operations").read_text())
    counts = [0]
    while sum(counts) < kills or not (base / str(len(counts) - 1) / "summary.json").exists():
        folder = base / str(len(counts) - 1)
        if sum(counts) == kills:
            wait(live(config, folder))
            continue
        if places == "files":
            child = live(config, folder, chance.randint(1, operations))
        else:
            child = live(config, folder)
            time.sleep(chance.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
        if wait(child):
            counts[-1] += 1
        else:
            counts.append(0)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
