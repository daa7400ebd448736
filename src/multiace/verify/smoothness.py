"""Smooth curves: at the cutoff, where a pair leaves, and at short distances, where nuclei repel."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from multiace.verify.subject import NotApplicableError, Outcome, Subject

__all__ = [
    "CLOSEST",
    "GRID",
    "NEAR",
    "NEAREST",
    "curvature_at_cutoff",
    "dimer",
    "dimers",
    "energy_at_cutoff",
    "force_at_cutoff",
    "hole",
    "radius",
    "wall",
]

STEP = 1e-3  # [Å] between the points on either side of the cutoff
CLOSEST, FURTHEST, GRID = 0.5, 12.0, 0.02  # [Å] of a pair
NEAR, NEAREST = (
    0.75,
    0.5,
)  # sums of covalent radii between which the shortest bonds are, such as of N₂ and Cr₂
MOST_PAIRS = 21  # of elements: 6 elements
JUMPS = (("eV", 1e-6), ("eV/Å", 1e-4), ("eV/Å²", 1e-2))
"""Unit and largest jump, beyond rounding noise, of the energy and its first two derivatives."""


def energy_at_cutoff(subject: Subject) -> Outcome:
    """C0: the energy has no step where a pair crosses the cutoff."""
    return largest_jump(subject, 0)


def force_at_cutoff(subject: Subject) -> Outcome:
    """C1: nor has the force."""
    return largest_jump(subject, 1)


def curvature_at_cutoff(subject: Subject) -> Outcome:
    """C2: nor has the derivative of the force, which vibrations and the order of an integrator depend on."""
    return largest_jump(subject, 2)


def dimers(subject: Subject) -> Outcome:
    """Two atoms of every pair of elements, down to 0.5 Å: the energy may only rise as they approach (no holes)."""
    holes: list[tuple[float, str]] = []
    for pair in pairs(subject):
        r = np.arange(NEAR * radius(*pair), CLOSEST - 1e-9, -GRID)
        if len(r) < 2:
            r = np.arange(CLOSEST + 0.1, CLOSEST - 1e-9, -GRID)
        E = subject.energies([dimer(pair, distance) for distance in r])
        if not np.isfinite(E).all():
            return Outcome(np.inf, 0.0, "eV", f"{'-'.join(pair)}: the energy is not finite")
        depth, top, bottom = hole(pair, r, E)
        if depth > 1e-6 * max(1.0, np.ptp(E)) + 10 * subject.noise[0]:
            holes.append((depth, f"{'-'.join(pair)}: lower at {bottom:.2f} Å than at {top:.2f} Å"))
    if not holes:
        return Outcome(0.0, 0.0, "eV")
    depth, where = max(holes)
    bare = subject.potential is not None and subject.potential.zbl is None
    remedy = "; model.zbl: true keeps atoms apart" if bare else ""
    return Outcome(depth, 0.0, "eV", f"{where}; {len(holes)} of {len(pairs(subject))} pairs{remedy}")


def hole(pair: tuple[str, str], r: np.ndarray, E: np.ndarray) -> tuple[float, float, float]:
    """Return by how much the energy falls again as two atoms approach [eV], from which distance and to which [Å].

    Args:
        pair: Chemical symbols.
        r: Decreasing distances [Å] from ``NEAR`` sums of covalent radii on.
        E: Energies [eV].
    """
    start = wall(r / radius(*pair), E)
    depth = np.maximum.accumulate(E[start:]) - E[start:]
    k = start + int(depth.argmax())
    top = start + int(E[start : k + 1].argmax())
    return float(depth.max()), float(r[top]), float(r[k])


def wall(r: np.ndarray, E: np.ndarray) -> int:
    """Return the first point of the repulsive wall: of the shortest bonds there may be a minimum before.

    Args:
        r: Decreasing distances from ``NEAR`` on, in sums of covalent radii.
        E: Energies.
    """
    rising = np.diff(E) > 0
    shortest = min(int((r > NEAREST).sum()), len(r) // 2)
    return min(int(rising.argmax()) if rising.any() else shortest, shortest)


def radius(one: str, other: str) -> float:
    """Return the sum of covalent radii [Å]."""
    return float(covalent_radii[atomic_numbers[one]] + covalent_radii[atomic_numbers[other]])


def pairs(subject: Subject) -> list[tuple[str, str]]:
    """Return every pair of elements, the first ones if there are many."""
    return list(combinations_with_replacement(subject.elements, 2))[:MOST_PAIRS]


def dimer(pair: tuple[str, str], distance: float) -> Atoms:
    """Return two atoms at a distance."""
    return Atoms(pair, positions=[[0, 0, 0], [distance, 0, 0]])


def trimer(pair: tuple[str, str], distance: float) -> Atoms:
    """Return a pair at a distance, with a bonded neighbour of the first atom that is further from the other."""
    bonded = 1.1 * radius(pair[0], pair[0])
    spectator = [-0.8 * bonded, 0.6 * bonded, 0.0]
    return Atoms([*pair, pair[0]], positions=[[0, 0, 0], [distance, 0, 0], spectator])


def largest_jump(subject: Subject, order: int) -> Outcome:
    """Compare one-sided limits of a derivative at the cutoff, of every pair of elements."""
    unit, bound = JUMPS[order]
    found = list(jumps(subject, order))
    if not found:
        raise NotApplicableError(f"no pair interacts within {FURTHEST:g} Å, or every one does beyond it")
    figure, pair, cutoff = max(found)
    E, F = subject.noise
    rounding = (10 * E, 10 * F, 20 * F / STEP)[order]
    return Outcome(figure, bound + rounding, unit, f"{'-'.join(pair)} at {cutoff:.4g} Å")


def jumps(subject: Subject, order: int) -> Iterator[tuple[float, tuple[str, str], float]]:
    """Yield the jump, the pair and its cutoff."""
    for pair in pairs(subject):
        if pair not in subject.cutoffs:
            subject.cutoffs[pair] = subject.cutoff or find_cutoff(subject, pair)
        cutoff = subject.cutoffs[pair]
        if cutoff is None:
            continue
        distances = cutoff + STEP * np.array([-3, -2, -1, 1, 2, 3])
        curve = subject.predict([trimer(pair, distance) for distance in distances])
        if order == 0:
            values = np.array([predicted.energy for predicted in curve])
        elif curve[0].forces is None:
            raise NotApplicableError("the calculator has no forces")
        else:
            values = np.array([p.forces[1, 0] for p in curve if p.forces is not None])
        inside, outside = (limit(side, derivative=order == 2) for side in (values[2::-1], values[3:]))
        yield abs(outside + inside if order == 2 else outside - inside), pair, cutoff


def limit(values: np.ndarray, derivative: bool) -> float:
    """Extrapolate a parabola through values one, two and three steps away, or its slope outwards, to no steps."""
    if derivative:
        return float(np.dot([-2.5, 4, -1.5], values)) / STEP
    return float(np.dot([3, -3, 1], values))


def find_cutoff(subject: Subject, pair: tuple[str, str]) -> float | None:
    """Return the distance [Å] beyond which the energy no longer changes, bit for bit; None if there is none."""

    def energy(r: float) -> float:
        return float(subject.energies([trimer(pair, r)])[0])

    far = energy(FURTHEST)
    grid = np.arange(FURTHEST - 0.1, CLOSEST, -0.1)
    changed = np.flatnonzero(subject.energies([trimer(pair, r) for r in grid]) != far)
    if not len(changed) or changed[0] == 0:
        return None
    low, high = float(grid[changed[0]]), float(grid[changed[0]]) + 0.1
    while high - low > 1e-9:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if energy(middle) == far else (middle, high)
    return high
