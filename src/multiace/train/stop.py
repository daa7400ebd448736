"""Ctrl-C and SIGTERM: the first is obeyed between two batches, a second Ctrl-C at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric

from multiace.errors import Interrupted
from multiace.train.processes import add_over_processes

__all__ = ["Stop"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTE = b"\nmultiace: stopping; Ctrl-C again stops at once, without saving\n"


class Stop:
    """Whether somebody has asked for the end of the run.

    Args:
        fabric: The processes, which stop after the same batch.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.signal: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive signals inside the ``with`` block, but for those that somebody else handles or ignores.

        Python lets only the main thread receive them.
        """
        self.signal = None
        taken: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            free = (signal.SIG_DFL, signal.default_int_handler)
            taken = {number: signal.getsignal(number) for number in SIGNALS}
            taken = {number: handler for number, handler in taken.items() if handler in free}
        for number in taken:
            signal.signal(number, self.receive)
        try:
            yield
        finally:
            for number, handler in taken.items():
                signal.signal(number, handler)

    def receive(self, number: int, _: Any) -> None:
        """Take note of a signal.

        Raises:
            KeyboardInterrupt: At the second Ctrl-C. A second SIGTERM is none: batch systems and launchers send
                it twice, and have SIGKILL for what must end at once.
        """
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt("; stopped at once: the same command goes on from what was saved last")
        if self.signal is None and self.fabric.is_global_zero:
            os.write(2, NOTE)  # print may be what was interrupted
        self.signal = self.signal or number

    def obey(self) -> None:
        """Stop here, if any process was asked to. All of them must come by.

        Raises:
            Interrupted: If so.
        """
        asked = float(self.signal is not None)
        if self.fabric.world_size > 1:
            asked = float(add_over_processes(self.fabric, torch.tensor(asked, device=self.fabric.device)))
        if asked:
            raise Interrupted(self.signal or signal.SIGTERM)
