"""The files that a run is made from, and whether they are still what was read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from multiace.errors import InputError

__all__ = ["Sources", "checksum"]


class Sources:
    """Data files (and the model that training starts from) as they were when they were read.

    Args:
        names: As in the run file. Make this before the files are read, and call :meth:`seal` after.

    Attributes:
        checksums: SHA-256 by name.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.stamps = {name: stamp(name) for name in names}
        self.checksums: dict[str, str] = {}

    def seal(self) -> None:
        """Take the checksums of what has been read.

        Raises:
            InputError: If a file was written to meanwhile.
        """
        self.checksums = {name: checksum(name) for name in self.stamps}
        for name, before in self.stamps.items():
            if stamp(name) != before:
                raise InputError(
                    f"{name} has changed while it was read; start again when nothing writes to it any more."
                )

    def changed(self) -> list[str]:
        """Return the files that are no longer what was read, or gone; each one once."""
        news = []
        for name, before in self.stamps.items():
            now = stamp(name)
            if now != before:
                self.stamps[name] = now
                if now is None or checksum(name) != self.checksums[name]:
                    news.append(name)
        return news


def checksum(name: str) -> str:
    """Return the SHA-256 of a file (``name.xyz@:100``: of the whole file; a run folder: of its model)."""
    with path_of(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(name: str) -> tuple[int, int] | None:
    """Return size and time of the last change of a file; None if it is gone."""
    try:
        found = path_of(name).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def path_of(name: str) -> Path:
    """Return the file that a name in a run file means."""
    path = Path(name) if Path(name).exists() else Path(name.partition("@")[0])
    return path / "model.safetensors" if path.is_dir() else path
