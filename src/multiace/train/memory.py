"""Out of memory: which batch it was, and what to lower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from multiace.data.dataset import Dataset
from multiace.errors import InputError

__all__ = ["batch_in_memory"]

WORDS = ("out of memory", "can't allocate memory", "not enough memory")  # of CUDA's and the CPU's allocator


@contextmanager
def batch_in_memory(dataset: Dataset, indices: Sequence[int], where: str) -> Iterator[None]:
    """Say of a batch inside the ``with`` block that it does not fit into the memory.

    Args:
        dataset: Where the batch is from.
        indices: Its frames.
        where: What is done with it, such as ``epoch 3, batch 2 of 40``.

    Raises:
        InputError: In place of the allocator's error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        frames = [dataset.frames[index] for index in indices]
        largest = max(frames, key=lambda frame: len(frame.atoms))
        edges = int(dataset.num_edges[list(indices)].sum())
        several = f"lower train.batch_size, or set train.max_edges below {edges} in its place; or "
        raise InputError(
            f"out of memory in {where}: {len(frames)} structures with {sum(len(f.atoms) for f in frames)} atoms "
            f"and {edges} edges, the largest {largest.source} with {len(largest.atoms)} atoms; "
            f"{several if len(frames) > 1 else ''}lower model.cutoff or the size of the model. "
            "A run that has begun goes on with other fields of the train section by --fork."
        ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator has failed."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in WORDS
    )
