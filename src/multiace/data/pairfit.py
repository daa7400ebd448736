r"""Do forces belong to the energies, for frames that are not near each other? Ask a pair potential.

Fitted to the forces alone, :math:`E_p = \sum_{i<j} \phi_{z_i z_j}(r_{ij})` must follow the
energies, too: its correlation with them is positive, and its spread is theirs, up to what is not pairwise. A negative
correlation means gradients in place of forces; a spread that is off by the ratio of two units, a wrong unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import vesin

from multiace.data.read import Frame

__all__ = ["Sample", "pair_slope"]

MOST_FRAMES = 128
FEWEST_FRAMES = 24
RANGE, WIDTH = 5.0, 0.2  # [Å] of the pair potential, and of the Gaussians that it is a sum of
CENTRES = np.arange(0.6, RANGE - WIDTH, WIDTH)
RIDGE = 1e-4
CORRELATED = 0.65


class Sample:
    """At most 128 molecules with energy and forces, evenly from all of a file whose length is not known."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.stride, self.seen = 1, 0

    def add(self, frame: Frame) -> None:
        """Take every ``stride``-th; when there are too many, drop every second and double the stride."""
        if frame.energy is None or frame.forces is None or len(frame.atoms) < 2 or frame.atoms.pbc.any():
            return
        if self.seen % self.stride == 0 and np.isfinite(frame.forces).all():
            self.frames.append(frame)
            if len(self.frames) > MOST_FRAMES:
                self.frames, self.stride = self.frames[::2], 2 * self.stride
        self.seen += 1

    def extend(self, later: Sample) -> None:
        """Take over a sample of later frames, as evenly as that of this one."""
        one, other = self, later
        while len(one.frames) + len(other.frames) > MOST_FRAMES or one.stride != other.stride:
            coarser = one if one.stride < other.stride else other
            if one.stride == other.stride:
                one.frames, one.stride = one.frames[::2], 2 * one.stride
            coarser.frames, coarser.stride = coarser.frames[::2], 2 * coarser.stride
        self.frames += other.frames
        self.seen += later.seen


def pair_slope(frames: Sequence[Frame]) -> float | None:
    """Return σ(E) / σ(E_p), less what compositions explain, with the sign of their correlation.

    None where that is weak, frames are few, or elements too many for them. 1 means that units and sign agree.
    """
    types: dict[tuple[int, int], int] = {}
    pairs = [find_pairs(frame, types) for frame in frames]
    n = len(types) * len(CENTRES)
    if len(frames) < FEWEST_FRAMES or not 0 < 2 * n < 3 * sum(len(frame.atoms) for frame in frames):
        return None
    gram, right, energies = np.zeros((n, n)), np.zeros(n), np.zeros((len(frames), n))
    for k, frame in enumerate(frames):
        energies[k], A = features(len(frame.atoms), n, *pairs[k])
        gram += A.T @ A
        right += A.T @ np.ravel(frame.forces)  # type: ignore[arg-type]
    ridge = RIDGE * np.trace(gram) / n * np.eye(n)
    if not np.any(ridge):
        return None
    E_p = energies @ np.linalg.solve(gram + ridge, right)
    E = np.array([frame.energy for frame in frames])
    E, E_p = beside_composition(frames, E), beside_composition(frames, E_p)
    spread, spread_p = np.linalg.norm(E), np.linalg.norm(E_p)
    if not spread * spread_p > 0:
        return None
    r = float(E @ E_p / (spread * spread_p))
    return float(np.sign(r) * spread / spread_p) if abs(r) > CORRELATED else None


def find_pairs(frame: Frame, types: dict[tuple[int, int], int]) -> tuple[np.ndarray, ...]:
    """Return i, j, their distance (n), unit vector i -> j (n, 3), and first feature of their elements (n)."""
    search = vesin.NeighborList(cutoff=RANGE, full_list=False)
    i, j, d, D = search.compute(frame.atoms.positions, np.zeros((3, 3)), np.zeros(3, dtype=bool), "ijdD")
    z = np.sort(frame.atoms.numbers[np.column_stack([i, j]).astype(int)], axis=1)
    kind = [types.setdefault((a, b), len(types)) for a, b in z.tolist()]
    return i.astype(int), j.astype(int), d, D / d[:, None], np.array(kind, dtype=int) * len(CENTRES)


def features(
    n_atoms: int, n: int, i: np.ndarray, j: np.ndarray, d: np.ndarray, u: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """E_p (n,) and forces (3 n_atoms, n) for each coefficient: Gaussians x (1 - d²/R²)²."""
    x = (d[:, None] - CENTRES) / WIDTH
    smooth = 1 - (d[:, None] / RANGE) ** 2
    phi = np.exp(-x * x / 2) * smooth**2
    slope = -np.exp(-x * x / 2) * (x / WIDTH * smooth**2 + 4 * d[:, None] / RANGE**2 * smooth)
    columns = first[:, None] + np.arange(len(CENTRES))
    energy = np.bincount(columns.ravel(), phi.ravel(), minlength=n)
    forces = np.zeros((n_atoms, 3, n))
    for axis in range(3):  # F_i = φ' u, F_j = -φ' u
        pull = slope * u[:, axis, None]
        np.add.at(forces[:, axis], (i[:, None], columns), pull)
        np.subtract.at(forces[:, axis], (j[:, None], columns), pull)
    return energy, forces.reshape(-1, n)


def beside_composition(frames: Sequence[Frame], values: np.ndarray) -> np.ndarray:
    """Take out of the values what is linear in the composition."""
    elements = sorted({int(z) for frame in frames for z in frame.atoms.numbers})
    counts = np.array([[np.sum(frame.atoms.numbers == z) for z in elements] for frame in frames], dtype=float)
    return np.asarray(values - counts @ np.linalg.lstsq(counts, values, rcond=None)[0])
