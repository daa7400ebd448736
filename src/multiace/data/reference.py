"""E0 for a check: isolated atoms in the files, energies that are given, or least squares, and how they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from multiace.data.scan import Scan

__all__ = ["Reference", "compositions", "find_reference"]

WELL_CONDITIONED = 100.0  # compositions whose condition number is above determine E0 badly


@dataclass(frozen=True)
class Reference:
    """E0 [eV] by atomic number, where they are from, and what else is known of them.

    Attributes:
        energies: E0 of every element; the best there is.
        source: ``isolated``, ``given`` or ``least_squares``.
        isolated: E0 of the isolated atoms in the training and validation files.
        rank: Of the compositions of the training frames.
        fitted: E0 by least squares; None where compositions do not determine them well.
        trained: Elements of the training frames.
    """

    energies: Mapping[int, float]
    source: str
    isolated: Mapping[int, float]
    rank: int
    fitted: Mapping[int, float] | None
    trained: tuple[int, ...]

    def named(self) -> dict[str, float]:
        """E0 by chemical symbol."""
        return {chemical_symbols[z]: float(E0) for z, E0 in sorted(self.energies.items())}

    def interaction(self, scan: Scan) -> np.ndarray:
        """(E - ΣE0)/N [eV] of each frame of a file that is no isolated atom; NaN without energy."""
        sums = np.array(
            [sum(n * self.energies.get(z, 0.0) for z, n in composition) for composition in scan.compositions]
        )
        if not len(sums):
            return np.zeros(0)
        return (np.array(scan.energies) - sums[np.array(scan.composition_of)]) / np.array(scan.sizes)


def find_reference(scans: Sequence[Scan], given: Mapping[str, float]) -> Reference:
    """Find E0: what is given, or else isolated atoms, where they are complete, or else least squares."""
    isolated: dict[int, float] = {}
    for scan in scans:
        for _, symbol, energy in scan.isolated:
            if energy is not None and scan.group != "test":
                isolated.setdefault(atomic_numbers[symbol], energy)
    train = [scan for scan in scans if scan.group == "train"]
    trained = tuple(sorted(set().union(*(scan.elements for scan in train))))
    every = set().union(*(scan.elements for scan in scans))
    counts, energies, rank = compositions(train, trained)
    fitted = dict(zip(trained, fit(counts, energies), strict=True))
    known = {atomic_numbers[symbol]: E0 for symbol, E0 in given.items()}
    choices = {"given": known, "isolated": isolated}
    source = next((name for name, E0 in choices.items() if E0 and every <= set(E0)), "least_squares")
    E0 = choices.get(source, fitted)
    determined = bool(trained) and rank == len(trained) and np.linalg.cond(counts) < WELL_CONDITIONED
    return Reference(E0, source, isolated, rank, fitted if determined else None, trained)


def compositions(scans: Sequence[Scan], elements: Sequence[int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return each composition and the mean energy of its frames, both times √frames, and the rank.

    Least squares over these is least squares over all frames.
    """
    sums: dict[tuple[tuple[int, int], ...], tuple[float, int]] = {}
    for scan in scans:
        energy, number = np.array(scan.energies), np.array(scan.composition_of, dtype=np.int64)
        known = ~np.isnan(energy)
        totals = np.bincount(number[known], energy[known], minlength=len(scan.compositions))
        frames = np.bincount(number[known], minlength=len(scan.compositions))
        for composition, k in scan.compositions.items():
            total, n = sums.get(composition, (0.0, 0))
            sums[composition] = total + float(totals[k]), n + int(frames[k])
    rows = np.array([[dict(c).get(z, 0) for z in elements] for c, (_, n) in sums.items() if n], dtype=float)
    rows = rows.reshape(len(rows), len(elements))
    totals, numbers = np.array([pair for pair in sums.values() if pair[1]], dtype=float).reshape(-1, 2).T
    rank = int(np.linalg.matrix_rank(rows)) if rows.size else 0
    return rows * np.sqrt(numbers)[:, None], totals / np.sqrt(numbers), rank


def fit(counts: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """E0 by least squares; zero without energies."""
    if not counts.size:
        return np.zeros(counts.shape[1])
    return np.asarray(np.linalg.lstsq(counts, energies, rcond=None)[0])
