"""How much memory work takes: of work that is done in this process, after other work."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch

__all__ = ["Growth", "resident"]

STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # see proc(5)


def resident(what: str = "VmRSS") -> float | None:
    """Memory of this process [bytes]: now, or the most there was (``VmHWM``); None where the system does not tell."""
    if not STATUS.exists():
        return None
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{what}:")), None)


class Growth:
    """How much the memory of this process has grown at most since this was made, or what PyTorch has reserved of a GPU.

    What earlier work has left is given back to the system first, as far as the C library can.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            self.before: float | None = torch.cuda.memory_reserved(device)
            return
        trim()
        self.before = resident()
        try:
            PEAK.write_text(RESET_PEAK)
        except OSError:
            self.before = None

    def most(self) -> float | None:
        """Return it [bytes]; None where the system does not tell."""
        cuda = self.device.type == "cuda"
        most = torch.cuda.max_memory_reserved(self.device) if cuda else resident("VmHWM")
        return None if most is None or self.before is None else most - self.before


def trim() -> None:
    """Give free memory back, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
