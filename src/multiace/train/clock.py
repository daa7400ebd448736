"""Time that training takes: by the clock, and of processor cores."""

from __future__ import annotations

import time
from typing import NamedTuple

__all__ = ["Clock", "Spent"]


class Spent(NamedTuple):
    """Time that something has taken.

    Attributes:
        seconds: By the clock [s].
        core_seconds: Of processor cores, all threads of this process together [s].
    """

    seconds: float = 0.0
    core_seconds: float = 0.0


class Clock:
    """Tells the time since it was made.

    Args:
        before: What was spent before, which is added.
    """

    def __init__(self, before: Spent) -> None:
        self.start = Spent(time.perf_counter() - before.seconds, time.process_time() - before.core_seconds)

    def read(self) -> Spent:
        """Return it."""
        return Spent(time.perf_counter() - self.start.seconds, time.process_time() - self.start.core_seconds)
