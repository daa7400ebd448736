"""Two atoms of every pair of elements, from the core to the cutoff: nothing to compare with, but much to see."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from multiace.battery.curves import extrema
from multiace.battery.job import Job
from multiace.data.read import Frame
from multiace.errors import InputError
from multiace.verify.smoothness import CLOSEST, GRID, NEAR, NEAREST, dimer, hole, radius

__all__ = ["dimers"]

FURTHEST = 6.0
"""Largest distance [Å] where the cutoff is not known."""


def dimers(job: Job) -> dict[str, Any]:
    """Energy of each pair of elements against its distance, above that at the largest one, and its scores."""
    config = job.battery.dimers
    assert config is not None
    elements = config.elements or job.subject.elements
    if not elements:
        with job.skipping("dimers"):
            elements = elements_of(job)
    furthest = config.furthest or job.subject.cutoff or FURTHEST
    found = list(combinations_with_replacement(sorted(elements), 2))
    results = {}
    for number, pair in enumerate(found):
        job.show("dimers", number, len(found))
        with job.skipping("-".join(pair)):
            results["-".join(pair)] = measure(job, pair, furthest, config.tolerance / 1e3)
    job.show("dimers", len(found), len(found))
    return results


def elements_of(job: Job) -> tuple[str, ...]:
    """Return the elements of the battery's files.

    Raises:
        InputError: If there are none, or a file cannot be read.
    """
    symbols = {symbol for atoms in job.structures() for symbol in atoms.get_chemical_symbols()}
    if not symbols:
        raise InputError("which elements the calculator knows is not known: set dimers.elements.")
    return tuple(symbols)


def measure(job: Job, pair: tuple[str, str], furthest: float, tolerance: float) -> dict[str, Any]:
    """Measure one pair.

    Scores: ``repulsive``, whether the energy falls outwards at the closest distance; ``lowest`` energy [eV]; number of
    ``extrema``; ``hole``, by how much the energy falls again at short distances [eV], see
    :func:`multiace.verify.smoothness.hole`.
    """
    r = distances(pair, furthest)
    frames = [Frame(dimer(pair, d), source=f"{'-'.join(pair)} at {d:.2f} Å") for d in r]
    E, _ = job.subject.measure(frames)
    E = E - E[-1]
    near = r <= NEAR * radius(*pair)
    depth, _, _ = hole(pair, r[near][::-1], E[near][::-1])
    return {
        "distance": r.tolist(),
        "energy": E.tolist(),
        "scores": {
            "repulsive": bool(E[0] > E[1]),
            "lowest": float(E.min()),
            "extrema": sum(map(len, extrema(E, tolerance))),
            "hole": depth,
        },
    }


def distances(pair: tuple[str, str], furthest: float) -> np.ndarray:
    """Return distances [Å]: 0.02 Å apart, from 0.5 Å or half of the sum of covalent radii, which is less for H-H.

    Raises:
        InputError: If the largest is within a bond.
    """
    if furthest <= NEAR * radius(*pair):
        raise InputError(
            f"dimers.furthest = {furthest:g} Å is within a bond of {'-'.join(pair)}; set it to the reach of the model."
        )
    return np.append(np.arange(min(CLOSEST, NEAREST * radius(*pair)), furthest - GRID / 2, GRID), furthest)
