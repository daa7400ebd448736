"""Studies that run: here, one run after another, or as the command in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from multiace.study.config import StudyConfig
from multiace.study.plan import plan
from multiace.study.store import Store
from multiace.study.work import work


def finish(folder, names=None, *_, **__):
    """Do all runs that are left here, in the place of :func:`multiace.study.drive.drive`."""
    while work(folder, names) is not None:
        pass


def undisturbed(sections, folder):
    """Do all runs of a study here."""
    store = Store(folder)
    store.add(plan(StudyConfig.from_dict(sections)).runs)
    finish(folder)
    return store


def hears_hangups():
    """What a process inherits from ``nohup`` does not count."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def begin(file, folder):
    """Start ``multiace study run``; what it complains of is in FOLDER.err."""
    command = [
        sys.executable,
        "-m",
        "multiace",
        "study",
        "run",
        str(file),
        "--folder",
        str(folder),
        "--jobs",
        "2",
    ]
    with folder.with_suffix(".err").open("w") as errors:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=hears_hangups)


def until(condition, otherwise="it does not happen", seconds=300):
    """Wait for something, and fail if it does not happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)
