"""The machine that this process is on: its cores, and whether others need them."""

from __future__ import annotations

import os

__all__ = ["cores", "crowd"]


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # systems other than Linux


def crowd(threads: int) -> str:
    """Return what to do about threads that wait for other programs; empty if there are no such threads.

    Threads of a process wait for each other after every operation, and spin: one that gets no core holds up all.
    """
    load = os.getloadavg()[0]  # of the last minute
    if threads == 1 or load < cores() - 0.5:
        return ""
    return (
        f"the load of this machine is {load:.1f} on {cores()} cores, and {threads} threads that wait for each other "
        "may be many times slower than one"
    )
