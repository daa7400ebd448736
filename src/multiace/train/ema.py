"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from multiace.train.optimizer import set_number

__all__ = ["MovingAverage"]


class MovingAverage:
    r"""Average of the weights over the last steps.

    .. math:: \bar w \leftarrow d_t \bar w + (1 - d_t) w, \quad d_t = \min\left(d, \frac{1 + t}{10 + t}\right)

    The smaller decay of the first steps forgets the initial weights.

    Args:
        vector: The weights, shape (n_parameters,); read at each update.
        decay: d.
    """

    def __init__(self, vector: Tensor, decay: float) -> None:
        self.weights = vector
        self.average = vector.clone()
        self.decay = decay
        self.share: float | Tensor = vector.new_zeros(()) if vector.is_cuda else 0.0  # 1 - d_t

    def set_step(self, step: int) -> None:
        """Say which optimiser step (0, 1, ...) the next update follows."""
        self.share = set_number(self.share, 1.0 - min(self.decay, (1 + step) / (10 + step)))

    def update(self) -> None:
        """Take in the weights."""
        self.average.lerp_(self.weights, self.share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averaged weights inside the ``with`` block."""
        raw = self.weights.clone()
        self.weights.copy_(self.average)
        try:
            yield
        finally:
            self.weights.copy_(raw)
