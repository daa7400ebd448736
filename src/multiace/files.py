"""Files that are whole or not there, checksums, and errors of the disk in a sentence."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from multiace.errors import InputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["atomic", "digest", "synchronise", "writing"]

REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room in your quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of an error of the system inside the ``with`` block which file could not be written, and what to do.

    Raises:
        InputError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "choose a place that can be written to")
        raise InputError(
            f"cannot write to {path}: {error.strerror or error}; {remedy}, then give the command again."
        ) from None


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary file beside ``path`` to write, then put it in the place of ``path`` in one step.

    Whenever the process or the machine stops, ``path`` is the old file or the new one.

    Raises:
        InputError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        try:
            yield temporary
            synchronise(temporary)
            temporary.replace(path)
            synchronise(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def digest(arrays: Mapping[str, np.ndarray], header: str) -> str:
    """SHA-256 of a header and of arrays, with names, types and shapes, in the order of their names."""
    sha = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def synchronise(path: Path) -> None:
    """Wait until a file's content (or a folder's list of names) is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
