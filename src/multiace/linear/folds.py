"""Rows in parts, for cross-validation without a second pass over the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from multiace.errors import InputError
from multiace.linear.system import Origin, System, checked_rows, merged

__all__ = ["Data", "Folds"]


class Folds:
    """A :class:`System` for each of k parts of the rows; what is fitted to k - 1 of them is tested on the last.

    Rows of one group (a frame; or a trajectory, whose frames are alike) stay together: group g goes to part
    g modulo k. Memory is k p², and two more while solving.

    Args:
        n_columns: Coefficients, p.
        k: Number of parts.
        form: Of the systems.
    """

    def __init__(self, n_columns: int, k: int = 5, form: str = "qr") -> None:
        if k < 2:
            raise InputError(f"cross-validation with {k} parts was asked for; it needs at least 2.")
        self.systems: Sequence[System] = [System(n_columns, form) for _ in range(k)]

    def add(
        self, X: ArrayLike, y: ArrayLike, groups: ArrayLike, weights: ArrayLike = 1.0, origin: Origin = ""
    ) -> None:
        """Take a block of rows: as :meth:`System.add`, with the group (an integer) of each row, or of all."""
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
        parts = np.broadcast_to(np.asarray(groups) % len(self.systems), y.shape)
        weights = np.broadcast_to(np.asarray(weights, dtype=np.float64), y.shape)
        checked_rows(X, y, weights, self.systems[0].n_columns, origin)  # before any part takes any
        for k in np.unique(parts):
            rows = np.flatnonzero(parts == k)
            self.systems[k].add(X[rows], y[rows], weights[rows])

    def total(self) -> System:
        """Return the system of all rows."""
        return merged(self.systems).total()

    def splits(self) -> Iterator[tuple[System, System]]:
        """Yield the system of all parts but one, and that one.

        Raises:
            InputError: If there are fewer groups than parts.
        """
        if not all(system.n_rows for system in self.systems):
            filled = sum(system.n_rows > 0 for system in self.systems)
            raise InputError(
                f"cross-validation in {len(self.systems)} parts found rows in {filled} of them; "
                "add structures or ask for fewer parts."
            )
        for k, held_out in enumerate(self.systems):
            yield merged([system for j, system in enumerate(self.systems) if j != k]), held_out


Data = System | Folds
"""What solvers take."""
