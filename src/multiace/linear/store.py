"""Compressed rows on the disk, so that a stopped assembly goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from multiace.errors import InputError, brief
from multiace.files import atomic, digest
from multiace.linear.folds import Folds
from multiace.linear.system import System

__all__ = ["load", "save"]

SCHEMA = 1
KEY = "multiace_rows"


def save(path: Path, data: System | Folds, state: dict[str, Any]) -> None:
    """Write rows to ``path``, which afterwards holds either all of them or what it held before.

    Args:
        path: A safetensors file.
        data: The rows, those that wait to be compressed included: what follows gives the same bits as
            without a stop.
        state: Plain JSON values of the caller: which structure comes next, and what the rows were made from.

    Raises:
        InputError: If it cannot be written.
    """
    systems = parts(data)
    arrays = {}
    for k, system in enumerate(systems):
        arrays[f"{k}.matrix"] = np.ascontiguousarray(system.matrix.T)  # as it lies in memory
        arrays[f"{k}.buffer"] = np.ascontiguousarray(system.buffer[: system.waiting])
    header = {
        "schema": SCHEMA,
        "in_parts": isinstance(data, Folds),
        "form": systems[0].form,
        "columns": systems[0].n_columns,
        "counts": [[system.n_rows, system.log_weights] for system in systems],
        "state": state,
    }
    text = json.dumps(header)
    with atomic(path) as temporary:
        safetensors.numpy.save_file(arrays, temporary, {KEY: text, "sha256": digest(arrays, text)})


def load(path: Path) -> tuple[System | Folds, dict[str, Any]]:
    """Read rows and the state of the caller.

    Raises:
        InputError: If the file is not there, damaged, of another version, or another program's.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        header = json.loads(metadata[KEY])
        damage = "" if metadata["sha256"] == digest(arrays, metadata[KEY]) else "the checksum does not fit"
    except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
        damage = brief(error)
    if damage:
        raise InputError(
            f"{path} has no compressed rows that can be read ({damage}); delete it, and they are made again."
        )
    if header["schema"] != SCHEMA:
        raise InputError(
            f"{path} was written by another version (schema of rows {header['schema']}, here {SCHEMA}); "
            "delete it, and they are made again."
        )
    p, form, counts = header["columns"], header["form"], header["counts"]
    data = Folds(p, len(counts), form) if header["in_parts"] else System(p, form)
    for k, system in enumerate(parts(data)):
        system.n_rows, system.log_weights = counts[k]
        system.matrix = arrays[f"{k}.matrix"].T
        system.waiting = len(arrays[f"{k}.buffer"])
        system.buffer[: system.waiting] = arrays[f"{k}.buffer"]
    return data, header["state"]


def parts(data: System | Folds) -> Sequence[System]:
    """Return the systems that hold the rows."""
    return data.systems if isinstance(data, Folds) else [data]
