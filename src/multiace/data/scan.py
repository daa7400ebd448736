"""One pass over the frames of a file: a few numbers a frame are kept, and what is wrong with single frames."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
import vesin
from ase.data import covalent_radii

from multiace.data import frame_rules
from multiace.data.config import LabelKeys
from multiace.data.finding import Finding, finding
from multiace.data.frame_rules import Note
from multiace.data.pairfit import Sample
from multiace.data.read import Frame, found_keys, has_volume, label_key, read_frame
from multiace.data.shape import kind, shape
from multiace.data.work import WorkPairs
from multiace.errors import InputError
from multiace.graph.neighbors import COINCIDENT

__all__ = ["FORCE_EDGES", "Scan"]

FORCE_BINS, FORCE_RANGE = 60, (-4.0, 2.0)  # log10 of |F| in eV/Å
FORCE_EDGES = np.logspace(*FORCE_RANGE, FORCE_BINS + 1)
DISTANCE_BINS = 100


@dataclass
class Trouble:
    """Frames with one kind of trouble: the worst, and how many."""

    frame: int
    value: float
    text: str
    count: int = 0


class Scan:
    """What is remembered of one file of a set, or of the part of it that is in the set.

    Args:
        file: Its name.
        group: ``train``, ``valid`` or ``test``.
        keys: Names, units and signs of labels.
        cutoff: r_c [Å].
    """

    def __init__(self, file: str, group: str, keys: LabelKeys, cutoff: float) -> None:
        self.file, self.group, self.keys, self.cutoff = file, group, keys, cutoff
        self.frames = self.atoms = self.neighbours = self.periodic = 0
        self.labels: Counter[tuple[str, str]] = Counter()
        self.found: set[str] = set()  # keys of all structures, and of those that are no isolated atoms:
        self.found_in_structures: set[str] = set()
        self.isolated: list[tuple[int, str, float | None]] = []  # frame, element, E [eV]
        self.elements: set[int] = set()  # of frames that are not isolated atoms
        self.compositions: dict[tuple[tuple[int, int], ...], int] = {}
        # One entry for each frame that is no isolated atom:
        self.numbers, self.composition_of, self.sizes = array("q"), array("q"), array("q")
        self.kinds, self.shapes = array("Q"), array("d")  # of the latter four each
        self.energies, self.largest_forces, self.closest = array("d"), array("d"), array("d")
        self.largest_stress = array("d")  # only of frames that have one
        self.force_squares, self.force_components = 0.0, 0
        self.force_counts = np.zeros(FORCE_BINS, dtype=np.int64)
        self.distance_counts = np.zeros(DISTANCE_BINS, dtype=np.int64)
        self.largest_net = (0.0, -1)  # [eV/Å], frame
        self.shortest = (np.inf, -1)  # [Å], frame
        self.troubles: dict[str, Trouble] = {}
        self.pairs, self.sample = WorkPairs(), Sample()

    def add(self, number: int, structure: ase.Atoms | Frame) -> None:
        """Take a frame, read or to be read."""
        atoms = structure.atoms if isinstance(structure, Frame) else structure
        where = f"{self.file} frame {number}"
        self.frames += 1
        self.atoms += len(atoms)
        found = found_keys([atoms])
        self.found.update(found)
        if broken := frame_rules.broken(atoms, where, self.cutoff):
            self.note(number, broken)
            return
        try:
            frame = structure if isinstance(structure, Frame) else read_frame(atoms, self.keys, where)
        except InputError as error:
            self.note(number, ("label-unusable", np.nan, str(error)))
            return
        self.note(number, *frame_rules.labels(frame, self.keys, where))
        self.count_labels(frame)
        d = self.look_at_distances(number, frame)
        if frame.is_isolated:
            self.isolated.append((number, str(atoms.symbols[0]), frame.energy))
            if len(d):
                text = (
                    f"{where}: the isolated {atoms.symbols[0]} has images of itself at {d.min():.3g} Å, within the "
                    "cutoff: is its energy that of an atom alone? Take a larger box."
                )
                self.note(number, ("isolated-atom-not-alone", np.nan, text))
            return
        self.found_in_structures.update(found)
        self.remember(number, frame)
        self.note(number, *frame_rules.box(atoms, where))
        self.look_at_forces(number, frame)
        if not len(d) or d.min() >= COINCIDENT:
            self.pairs.add(frame)
            self.sample.add(frame)

    def note(self, number: int, *notes: Note) -> None:
        """Count a frame with these troubles; of each the largest value is told, or the first frame."""
        for code, value, text in notes:
            trouble = self.troubles.setdefault(code, Trouble(number, value, text))
            trouble.count += 1
            if value > trouble.value:
                trouble.frame, trouble.value, trouble.text = number, value, text

    def findings(self) -> list[Finding]:
        """Return the troubles of single frames."""
        return [
            finding(code, self.file, told(trouble), trouble.frame, trouble.value, trouble.count)
            for code, trouble in self.troubles.items()
        ]

    def count_labels(self, frame: Frame) -> None:
        """Count labels by the key they are under; a virial counts as the stress that it becomes."""
        keys, atoms = self.keys, frame.atoms
        if frame.energy is not None:
            self.labels["energy", str(label_key(atoms, "energy", keys.energy_key))] += 1
        if frame.forces is not None:
            self.labels["forces", str(label_key(atoms, "forces", keys.forces_key))] += 1
        if frame.stress is not None:
            key = label_key(atoms, "stress", keys.stress_key) or label_key(atoms, "virial", keys.virial_key)
            self.labels["stress", str(key)] += 1

    def remember(self, number: int, frame: Frame) -> None:
        """Keep the few numbers that are compared with those of other frames."""
        counts = np.bincount(frame.atoms.numbers)
        composition = tuple((z, int(counts[z])) for z in np.flatnonzero(counts).tolist())
        self.elements.update(z for z, _ in composition)
        self.composition_of.append(self.compositions.setdefault(composition, len(self.compositions)))
        self.numbers.append(number)
        self.sizes.append(len(frame.atoms))
        self.periodic += has_volume(frame.atoms)
        self.energies.append(np.nan if frame.energy is None else frame.energy)
        self.kinds.append(kind(frame.atoms))
        self.shapes.extend(shape(frame.atoms))
        if frame.stress is not None:
            self.largest_stress.append(float(np.abs(frame.stress).max()))

    def look_at_distances(self, number: int, frame: Frame) -> np.ndarray:
        """Count neighbours, fill the histogram, find the nearest pair and atoms alone; return distances [Å]."""
        atoms, where = frame.atoms, f"{self.file} frame {number}"
        z, cell = atoms.numbers, np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
        search = vesin.NeighborList(cutoff=self.cutoff, full_list=False)
        i, j, d = search.compute(atoms.positions, cell, atoms.pbc, "ijd")
        if frame.is_isolated:
            return np.asarray(d)
        pairs = np.concatenate([i, j]).astype(np.int64)
        alone = len(z) - np.count_nonzero(np.bincount(pairs, minlength=len(z)))
        self.neighbours += len(pairs)
        if alone:
            text = (
                f"{where}: {alone} of {len(z)} atoms have no neighbour within the cutoff of {self.cutoff:g} Å; "
                "raise model.cutoff unless this is meant."
            )
            self.note(number, ("atoms-alone", alone / len(z), text))
        if len(d) == 0:
            self.closest.append(np.nan)
            return np.asarray(d)
        bins = (d * (DISTANCE_BINS / self.cutoff)).astype(np.int64)
        self.distance_counts += np.bincount(bins, minlength=DISTANCE_BINS)[:DISTANCE_BINS]
        ratio = d / covalent_radii[z[pairs]].reshape(2, -1).sum(axis=0)
        nearest = int(np.argmin(ratio))
        self.closest.append(ratio[nearest])
        self.shortest = min(self.shortest, (float(d.min()), number))
        self.note(
            number, *frame_rules.near_pair(atoms, int(i[nearest]), int(j[nearest]), float(d[nearest]), where)
        )
        return np.asarray(d)

    def look_at_forces(self, number: int, frame: Frame) -> None:
        """Sum squares, fill the histogram, find the largest force, and what is left over in the sum."""
        F = frame.forces
        if F is None:
            self.largest_forces.append(np.nan)
            return
        whole = bool(np.isfinite(F).all())
        known = F if whole else F[~np.isnan(F).any(axis=1)]
        squares = np.einsum("ij,ij->i", known, known)
        sizes = np.sqrt(squares)
        self.largest_forces.append(sizes.max() if len(sizes) else np.nan)
        self.force_squares += float(squares.sum())
        self.force_components += known.size
        low, high = FORCE_RANGE
        bins = ((np.log10(np.maximum(sizes, 1e-12)) - low) * (FORCE_BINS / (high - low))).astype(np.int64)
        self.force_counts += np.bincount(bins.clip(0, FORCE_BINS - 1), minlength=FORCE_BINS)
        if whole and len(F) > 1:
            net = float(np.linalg.norm(F.sum(axis=0)))
            self.largest_net = max(self.largest_net, (net, number))
            self.note(number, *frame_rules.no_forces(frame.atoms, F, f"{self.file} frame {number}"))
            self.note(number, *frame_rules.net_forces(frame.atoms, F, net, f"{self.file} frame {number}"))

    def extend(self, later: Scan) -> None:
        """Take over what another scan remembers of later frames of the same file."""
        number = [self.compositions.setdefault(c, len(self.compositions)) for c in later.compositions]
        self.composition_of.extend(number[k] for k in later.composition_of)
        for name in ADDED:
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.found |= later.found
        self.found_in_structures |= later.found_in_structures
        self.elements |= later.elements
        self.largest_net = max(self.largest_net, later.largest_net)
        self.shortest = min(self.shortest, later.shortest)
        self.pairs.rows.extend(later.pairs.rows)
        self.sample.extend(later.sample)
        self.take_troubles(later)

    def take_troubles(self, other: Scan) -> None:
        """Count the troubles of another part of the same file here."""
        for code, trouble in other.troubles.items():
            self.note(trouble.frame, (code, trouble.value, trouble.text))
            self.troubles[code].count += trouble.count - 1


ADDED: Any = (
    *("frames", "atoms", "neighbours", "periodic", "labels", "isolated", "numbers", "sizes", "kinds"),
    *(
        "shapes",
        "energies",
        "largest_forces",
        "closest",
        "largest_stress",
        "force_squares",
        "force_components",
    ),
    *("force_counts", "distance_counts"),
)
"""What of two parts of a file is added, or put end to end."""


def told(trouble: Trouble) -> str:
    """Return the text of the worst frame, and how many there are."""
    more = f" {trouble.count} frames are like this." if trouble.count > 1 else ""
    return trouble.text + more
