"""Structures that occur twice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from multiace.data.finding import Finding, finding
from multiace.data.scan import Scan
from multiace.data.shape import SUMS, same

__all__ = ["duplicates", "structures_of"]

SAME_ENERGY = 1e-4  # [eV] two calculations of one structure that differ by more are different


def duplicates(scans: Sequence[Scan]) -> Iterator[Finding]:
    """Structures that occur twice in a set, in two sets, or with two energies."""
    structures = structures_of(scans)
    owner = np.repeat(np.arange(len(scans)), [len(scan.kinds) for scan in scans])
    frames = np.array([number for scan in scans for number in scan.numbers], dtype=np.int64)
    energies = np.array([energy for scan in scans for energy in scan.energies], dtype=float)
    order = np.lexsort((frames, owner, structures))
    groups = np.split(order, np.flatnonzero(np.diff(structures[order])) + 1) if len(order) else []
    met: dict[tuple[str, int, int], tuple[int, tuple[int, int]]] = {}
    for group in groups:
        for k, other in enumerate(group[1:], 1):
            for code, first in partners(group[:k], other, owner, scans, energies):
                key = (code, int(owner[first]), int(owner[other]))
                n, pair = met.get(key, (0, (int(first), int(other))))
                met[key] = n + 1, pair
    for (code, one, two), (n, pair) in sorted(met.items(), key=lambda item: item[0][1:]):
        a, b = pair
        yield told(code, scans[one], scans[two], frames[a], frames[b], n, energies[[a, b]])


def structures_of(scans: Sequence[Scan]) -> np.ndarray:
    """Number the structures of files, frame by frame: the same number where they are turned or moved only."""
    kinds = np.array([kind for scan in scans for kind in scan.kinds], dtype=np.uint64)
    shapes = np.array([number for scan in scans for number in scan.shapes], dtype=float)
    return same(kinds, shapes.reshape(-1, SUMS))


def partners(
    before: np.ndarray, other: np.intp, owner: np.ndarray, scans: Sequence[Scan], energies: np.ndarray
) -> Iterator[tuple[str, np.intp]]:
    """Yield what a structure that was met before is, with the first that it is the same as."""
    mine = scans[owner[other]]
    beside = [k for k in before if home(scans[owner[k]]) == home(mine)]
    elsewhere = [k for k in before if scans[owner[k]].group != mine.group]
    differing = [k for k in before if abs(energies[k] - energies[other]) > SAME_ENERGY]
    if differing:
        yield "duplicates-differ", differing[0]
    elif beside:
        yield "duplicates", beside[0]
    elif elsewhere:
        yield "sets-overlap", elsewhere[0]


def home(scan: Scan) -> str:
    """What a structure should be in once: the training set, the validation set, or one test file."""
    return scan.file if scan.group == "test" else scan.group


def told(code: str, one: Scan, two: Scan, first: int, other: int, n: int, energies: np.ndarray) -> Finding:
    """Say which structures are the same."""
    here, there = f"{two.file} frame {other}", f"{one.file} frame {first}, up to rotation and translation"
    more = f" {n} structures of {two.file} are like this." if n > 1 else ""
    if code == "duplicates-differ":
        text = f"{here} is the structure of {there}, but its energy is {energies[1]:.6f} eV, not {energies[0]:.6f} eV."
        value = energies[1] - energies[0]
    elif code == "duplicates":
        text, value = f"{here} is the structure of {there}: it counts twice.", math.nan
    else:
        text = f"{here} ({two.group}) is the structure of {there} ({one.group}): errors on it are no test."
        value = math.nan
    return finding(code, two.file, text + more, int(other), value, n)
