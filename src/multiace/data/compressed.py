"""Compressed files unpack to a bounded size: one of a few kB can hold more than any memory does."""

from __future__ import annotations

from pathlib import Path

from ase.io.formats import get_compression, open_with_compression

from multiace.errors import InputError

__all__ = ["refuse_bombs"]

MOST_RATIO = (
    100  # numbers as text shrink to a third, constant columns to a hundredth; zeros to a thousandth and less
)
ALWAYS_ALLOWED = 64_000_000  # bytes
CHUNK = 1_000_000


def refuse_bombs(path: str) -> None:
    """Unpack a file (.gz, .bz2, .xz) without keeping it, as long as its size is credible.

    Raises:
        InputError: If it unpacks to more than a hundred times its size.
    """
    if get_compression(path)[1] is None:
        return
    packed = Path(path).stat().st_size
    left = max(ALWAYS_ALLOWED, MOST_RATIO * packed)
    with open_with_compression(path, "rb") as file:
        while chunk := file.read(CHUNK):
            left -= len(chunk)
            if left < 0:
                raise InputError(
                    f"{path} has {packed} bytes and unpacks to more than {MOST_RATIO} times that, which no structures "
                    "do; if it is what you expect, unpack it and give the file itself."
                )
