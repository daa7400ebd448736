r"""Do forces and stresses belong to the energies? The work between two frames, compared with their energies.

Between frames a and b of one composition that are near each other, to second order in the displacement,

.. math:: E_b - E_a = -\tfrac12 \sum_i (\mathbf F_i^a + \mathbf F_i^b) \cdot \Delta\mathbf r_i
   + \tfrac12 (V_a \sigma_a + V_b \sigma_b) : \varepsilon,

exactly so where the energy is harmonic. A fit ΔE = a W_F + b W_σ over many pairs gives a = b = 1 where units and signs
agree, -1 for a wrong sign, and the ratio of two units for a wrong unit.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from multiace.data.read import Frame, has_volume

__all__ = ["Slopes", "WorkPairs"]

MOST_COMPOSITIONS = 256  # of which the last frame is kept
FEWEST_PAIRS = 6
ROUNDS, OUTLYING = 4, 4.0  # of the fit: residuals above this many medians are left out of the next round
EXPLAINED = 0.7  # share of the variance of ΔE that a fit must explain to say anything
CERTAIN = 0.15  # largest standard error of a slope, relative


@dataclass(frozen=True)
class Slopes:
    """Slopes of ΔE against the work of forces and of stresses; None where pairs do not tell."""

    forces: float | None = None
    stress: float | None = None


class WorkPairs:
    """Work and energy difference between each frame and the one before of its composition: three numbers a pair."""

    def __init__(self) -> None:
        self.last: dict[bytes, Frame] = {}
        self.rows = array("d")

    def add(self, frame: Frame) -> None:
        """Take the next frame of a file."""
        if frame.energy is None or frame.forces is None or len(frame.atoms) < 2:
            return
        if np.isnan(frame.forces).any():
            return
        key = frame.atoms.numbers.tobytes() + frame.atoms.pbc.tobytes()
        before = self.last.pop(key, None)
        if before is not None:
            self.rows.extend((*work(before, frame), frame.energy - before.energy))  # type: ignore[operator]
        elif len(self.last) >= MOST_COMPOSITIONS:
            del self.last[next(iter(self.last))]
        self.last[key] = frame

    def slopes(self) -> Slopes:
        """Fit ΔE = a W_F + b W_σ, leaving out pairs that are far from it."""
        rows = np.array(self.rows).reshape(-1, 3)
        return fit(rows[:, :2], rows[:, 2])


def work(a: Frame, b: Frame) -> tuple[float, float]:
    """W_F and W_σ [eV] from frame a to frame b."""
    r_a, r_b = a.atoms.positions, b.atoms.positions
    if not has_volume(a.atoms):
        return pull(a, b, r_b - r_a), 0.0
    cell_a, cell_b = a.atoms.cell.array, b.atoms.cell.array
    inverse_a, inverse_b = np.linalg.inv(cell_a), np.linalg.inv(cell_b)
    shift = r_b @ inverse_b - r_a @ inverse_a  # in fractions of the cell
    shift -= np.rint(shift) * a.atoms.pbc
    W_F = pull(a, b, shift @ (cell_a + cell_b) / 2)
    if a.stress is None or b.stress is None:
        return W_F, 0.0
    strain = (inverse_a @ cell_b - inverse_b @ cell_a) / 2  # antisymmetric in a and b: second order
    V_a, V_b = abs(np.linalg.det(cell_a)), abs(np.linalg.det(cell_b))
    return W_F, float(np.sum((V_a * a.stress + V_b * b.stress) / 2 * strain))


def pull(a: Frame, b: Frame, displacement: np.ndarray) -> float:
    """Return -½ Σ (F_a + F_b)·Δr [eV]."""
    return -0.5 * float(np.sum((a.forces + b.forces) * displacement))  # type: ignore[operator]


def fit(W: np.ndarray, dE: np.ndarray) -> Slopes:
    """Least squares in rounds, each without the pairs that were far off in the round before."""
    kept = np.isfinite(W).all(axis=1) & np.isfinite(dE)
    size = np.abs(np.column_stack([W, dE]))
    kept &= (size <= 50 * np.median(size[kept], axis=0) + 1e-12).all(axis=1) if kept.any() else kept
    acting = [k for k in (0, 1) if np.any(np.abs(W[kept, k]) > 1e-12)]
    for _ in range(ROUNDS):
        if not acting or kept.sum() < FEWEST_PAIRS:
            return Slopes()
        slopes = np.linalg.lstsq(W[kept][:, acting], dE[kept], rcond=None)[0]
        residual = np.abs(W[:, acting] @ slopes - dE)
        kept &= residual <= OUTLYING * np.median(residual[kept]) + 1e-12
    return certain(W[kept][:, acting], dE[kept], slopes, acting)


def certain(W: np.ndarray, dE: np.ndarray, slopes: np.ndarray, acting: list[int]) -> Slopes:
    """Keep the slopes that the pairs determine."""
    if len(dE) < FEWEST_PAIRS:
        return Slopes()
    residual = dE - W @ slopes
    variance = np.sum(residual**2) / max(len(dE) - len(acting), 1)
    if not variance < (1 - EXPLAINED) * np.mean(dE**2):
        return Slopes()
    errors = np.sqrt(np.abs(np.diag(np.linalg.pinv(W.T @ W))) * variance)
    found: Mapping[int, float] = {
        k: float(slope)
        for k, slope, error in zip(acting, slopes, errors, strict=True)
        if error < CERTAIN * abs(slope)
    }
    return Slopes(found.get(0), found.get(1))
