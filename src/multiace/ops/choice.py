"""Which implementation of the operations runs: what the environment says, or a block of code for itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from multiace.errors import InputError

__all__ = ["choice", "definitions"]

_OF_BLOCK: ContextVar[str | None] = ContextVar("operations of this block", default=None)


def choice() -> str:
    """Return ``reference``, ``triton``, or nothing: what the device runs best.

    Raises:
        InputError: If ``MULTIACE_OPS`` is not one of the choices.
    """
    of_block = None if torch.compiler.is_compiling() else _OF_BLOCK.get()  # which compilers cannot read
    found = of_block or os.environ.get("MULTIACE_OPS", "")
    if found not in ("", "reference", "triton"):
        raise InputError(f"MULTIACE_OPS = {found!r} in the environment is not one of reference, triton.")
    return found


@contextmanager
def definitions() -> Iterator[None]:
    """Run the plain definitions of the operations within this block, whatever other threads run.

    What ``torch.compile`` makes within the block is as the environment says.
    """
    token = _OF_BLOCK.set("reference")
    try:
        yield
    finally:
        _OF_BLOCK.reset(token)
