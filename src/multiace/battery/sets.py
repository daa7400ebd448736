"""Errors on labelled sets, inside and outside of the training domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from multiace.battery.config import SetConfig
from multiace.battery.job import Job
from multiace.data.read import found_keys
from multiace.errors import InputError
from multiace.train.metrics import UNITS

__all__ = ["sets"]


def sets(job: Job) -> dict[str, Any]:
    """MAE and RMSE of energies, forces and stresses of each set, in all and by config type and element."""

    def measure(name: str, config: SetConfig, path: str) -> dict[str, Any]:
        frames = job.frames(path)
        _, errors = job.subject.measure(frames)
        if not any(quantity in errors for quantity in UNITS):
            keys = ", ".join(found_keys(frame.atoms for frame in frames)) or "none"
            raise InputError(
                f"none of the {len(frames)} structures of {path} has a label of what is predicted (keys "
                f"found: {keys})."
            )
        return {
            name: {
                "domain": config.domain,
                "file": Path(path).name,
                "frames": len(frames),
                "errors": errors,
            }
        }

    return job.each("sets", measure)
