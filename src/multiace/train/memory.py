"""Out of memory: which batch it was, and what to lower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from multiace.data.dataset import Dataset
from multiace.errors import InputError

__all__ = ["batch_in_memory"]

TRAINING = "lower train.batch_size, or set train.max_edges in its place, with --fork to go on with a run that has begun"
WORDS = ("out of memory", "can't allocate memory", "not enough memory")  # of CUDA's and the CPU's allocator


@contextmanager
def batch_in_memory(
    dataset: Dataset, indices: Sequence[int], where: str, remedy: str = TRAINING
) -> Iterator[None]:
    """Say of a batch inside the ``with`` block that it does not fit into the memory.

    Args:
        dataset: Where the batch is from.
        indices: Its frames.
        where: What is done with it, such as ``epoch 3, batch 2 of 40``.
        remedy: What makes batches of several structures smaller.

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
        smaller = f"{remedy}, or " if len(frames) > 1 else ""
        raise InputError(
            f"out of memory in {where}: {len(frames)} structures with {sum(len(f.atoms) for f in frames)} atoms "
            f"and {edges} edges, the largest {largest.source} with {len(largest.atoms)} atoms; {smaller}take a smaller "
            "model or model.cutoff."
        ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator has failed."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in WORDS
    )
