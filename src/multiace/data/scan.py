"""One pass over the frames of a file: a few numbers a frame are kept, and what is wrong with single frames."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b

import ase
import numpy as np
import vesin
from ase.data import covalent_radii

from multiace.data.config import LabelKeys
from multiace.data.finding import Finding, finding
from multiace.data.pairfit import Sample
from multiace.data.read import (
    AUTOMATIC,
    Frame,
    find_label,
    found_keys,
    has_volume,
    is_called_isolated,
    label_key,
    read_frame,
)
from multiace.data.work import WorkPairs
from multiace.errors import InputError
from multiace.graph.neighbors import COINCIDENT, check_lattice

__all__ = ["FORCE_EDGES", "Scan"]

CLOSE = 0.5  # of the sum of covalent radii: closer is no bond
FORCE_BINS, FORCE_RANGE = 60, (-4.0, 2.0)  # log10 of |F| in eV/Å
FORCE_EDGES = np.logspace(*FORCE_RANGE, FORCE_BINS + 1)
DISTANCE_BINS = 100
NET_FORCE, NET_TORQUE = 0.1, 0.1  # share of the root of the sum of squares
LEAST_NET = 0.05  # [eV/Å, eV]
FILLED = 0.04  # share of a box that is inside of covalent radii; liquids and crystals are above
SAME_PLACE = 1e4  # [1/Å] positions that agree to 1e-4 Å are the same
ROUNDING = 1e-6  # relative: two values of one label that agree to this are the same


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
        self.search = vesin.NeighborList(cutoff=cutoff, full_list=False)
        self.frames = self.atoms = self.neighbours = self.periodic = 0
        self.labels: Counter[tuple[str, str]] = Counter()
        self.found: set[str] = set()
        self.isolated: list[tuple[int, str, float | None]] = []  # frame, element, E [eV]
        self.elements: set[int] = set()  # of frames that are not isolated atoms
        self.compositions: dict[tuple[tuple[int, int], ...], int] = {}
        # One entry for each frame that is no isolated atom:
        self.numbers, self.fingerprints = array("q"), array("Q")
        self.energies, self.largest_forces, self.closest = array("d"), array("d"), array("d")
        self.composition_of, self.sizes = array("q"), array("q")
        self.force_squares, self.force_components = 0.0, 0
        self.force_counts = np.zeros(FORCE_BINS, dtype=np.int64)
        self.distance_counts = np.zeros(DISTANCE_BINS, dtype=np.int64)
        self.largest_net = (0.0, -1)
        self.shortest = (np.inf, -1)  # d [Å], frame
        self.largest_stress = array("d")
        self.troubles: dict[str, Trouble] = {}
        self.pairs, self.sample = WorkPairs(), Sample()

    # ------------------------------------------------------------------ one frame

    def add(self, number: int, structure: ase.Atoms | Frame) -> None:
        """Take a frame, read or to be read."""
        atoms = structure.atoms if isinstance(structure, Frame) else structure
        self.frames += 1
        self.atoms += len(atoms)
        self.found.update(found_keys([atoms]))
        if self.is_broken(number, atoms):
            return
        if not isinstance(structure, Frame):
            try:
                structure = read_frame(atoms, self.keys, f"{self.file} frame {number}")
            except InputError as error:
                self.note("label-unusable", number, np.nan, str(error))
                return
        self.look_at_labels(number, structure)
        if structure.is_isolated:
            self.isolated.append((number, str(atoms.symbols[0]), structure.energy))
            self.look_at_images(number, atoms)
            return
        self.remember(number, structure)
        self.look_at_cell(number, atoms)
        self.look_at_distances(number, structure)
        self.look_at_forces(number, structure)
        self.pairs.add(structure)
        self.sample.add(structure)

    def note(self, code: str, frame: int, value: float, text: str) -> None:
        """Count a frame with this trouble; the largest value is told, or the first frame."""
        trouble = self.troubles.setdefault(code, Trouble(frame, value, text))
        trouble.count += 1
        if value > trouble.value:
            trouble.frame, trouble.value, trouble.text = frame, value, text

    def findings(self) -> list[Finding]:
        """Return the troubles of single frames."""
        return [
            finding(code, self.file, told(trouble), trouble.frame, trouble.value, trouble.count)
            for code, trouble in self.troubles.items()
        ]

    def is_broken(self, number: int, atoms: ase.Atoms) -> bool:
        """Whether no graph can be made of a structure."""
        where = f"{self.file} frame {number}"
        if len(atoms) == 0:
            self.note("no-atoms", number, np.nan, f"{where} has no atoms; remove it.")
        elif not np.isfinite(atoms.positions).all():
            atom = int(np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[0])
            text = f"{where}: atom {atom} has position {atoms.positions[atom].tolist()}; it must be finite."
            self.note("position-not-finite", number, np.nan, text)
        elif not atoms.numbers.all():
            text = f"{where}: atom {int(np.argmin(atoms.numbers))} has no chemical element; name one."
            self.note("element-unknown", number, np.nan, text)
        else:
            try:
                check_lattice(atoms.cell.array[atoms.pbc])
            except InputError as error:
                self.note("cell-without-volume", number, np.nan, f"{where}: {error}")
                return True
            return False
        return True

    def remember(self, number: int, frame: Frame) -> None:
        """Keep the few numbers that are compared with those of other frames."""
        z, counts = np.unique(frame.atoms.numbers, return_counts=True)
        self.elements.update(z.tolist())
        composition = tuple(zip(z.tolist(), counts.tolist(), strict=True))
        self.composition_of.append(self.compositions.setdefault(composition, len(self.compositions)))
        self.numbers.append(number)
        self.sizes.append(len(frame.atoms))
        self.periodic += has_volume(frame.atoms)
        self.energies.append(np.nan if frame.energy is None else frame.energy)
        self.fingerprints.append(fingerprint(frame.atoms))
        if frame.weight == 0:
            text = f"{self.file} frame {number} has weight 0: it is not trained on."
            self.note("weight-zero", number, np.nan, text)
        if frame.stress is not None:
            self.largest_stress.append(float(np.abs(frame.stress).max()))

    def look_at_labels(self, number: int, frame: Frame) -> None:
        """Count labels by the key they are under, and compare those that are there twice."""
        atoms, where = frame.atoms, f"{self.file} frame {number}"
        there = {"energy": frame.energy, "forces": frame.forces, "stress": frame.stress}
        for label, keys in AUTOMATIC.items():
            key = label_key(atoms, label, getattr(self.keys, f"{label}_key"))
            if key is None:
                continue
            if label == "virial":
                if label_key(atoms, "stress", self.keys.stress_key) is None and frame.stress is not None:
                    self.labels["stress", key] += 1
            elif there[label] is not None:
                self.labels[label, key] += 1
            for other in keys[keys.index(key) + 1 :] if key in keys else ():
                self.compare(number, atoms, key, other)
        stress = find_label(atoms, "stress", self.keys.stress_key)
        stress = find_label(atoms, "virial", self.keys.virial_key) if stress is None else stress
        if stress is not None and not has_volume(atoms) and np.any(stress):
            text = (
                f"{where} has a stress label but is not periodic: the label is not used. Set pbc in the file."
            )
            self.note("stress-unused", number, np.nan, text)
        if frame.forces is not None and (bare := int(np.isnan(frame.forces).any(axis=1).sum())):
            text = (
                f"{where} has no forces on {bare} of {len(atoms)} atoms (NaN): they are left out of the loss."
            )
            self.note("forces-partial", number, bare, text)

    def compare(self, number: int, atoms: ase.Atoms, key: str, other: str) -> None:
        """Note a label that is there under another name with another value."""
        mine, others = (find_label(atoms, "", name) for name in (key, other))
        if others is None:
            return
        try:
            same = np.allclose(mine, others, rtol=ROUNDING, atol=ROUNDING, equal_nan=True)
        except (TypeError, ValueError):
            same = False
        if not same:
            text = (
                f"{self.file} frame {number} has {key!r} and {other!r}, which differ; {key!r} is used. Set the "
                f"label's key in the data section (data.energy_key, ...) if {other!r} is meant."
            )
            self.note("two-labels", number, np.nan, text)

    def look_at_images(self, number: int, atoms: ase.Atoms) -> None:
        """Note an isolated atom that sees its own images."""
        cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
        (d,) = self.search.compute(atoms.positions, cell, atoms.pbc, "d")
        if len(d):
            text = (
                f"{self.file} frame {number}: the isolated {atoms.symbols[0]} has images of itself at {d.min():.3g} Å, "
                "within the cutoff: is its energy that of an atom alone? Take a larger box."
            )
            self.note("isolated-atom-not-alone", number, np.nan, text)

    def look_at_cell(self, number: int, atoms: ase.Atoms) -> None:
        """Note a box that is not periodic, and one that looks as if it should be."""
        if atoms.pbc.any() or atoms.cell.rank < 3:
            return
        filled = float(np.sum(4 / 3 * np.pi * covalent_radii[atoms.numbers] ** 3)) / atoms.cell.volume
        where = f"{self.file} frame {number}"
        if filled > FILLED:
            text = (
                f"{where}: atoms fill {100 * filled:.0f} % of the box, as in a crystal or liquid, but no direction "
                'is periodic (pbc="F F F"): they are taken as a cluster in vacuum. Set pbc="T T T" if not meant.'
            )
            self.note("box-filled", number, filled, text)
        else:
            size = " x ".join(f"{length:g}" for length in atoms.cell.lengths())
            text = f'{where} has a box of {size} Å but pbc="F F F": it is a molecule in vacuum; the box is not used.'
            self.note("box-not-periodic", number, np.nan, text)

    def look_at_distances(self, number: int, frame: Frame) -> None:
        """Count neighbours, take the histogram of distances, find close pairs and atoms alone."""
        atoms, where = frame.atoms, f"{self.file} frame {number}"
        cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
        i, j, d = self.search.compute(atoms.positions, cell, atoms.pbc, "ijd")
        i, j = i.astype(np.int64), j.astype(np.int64)
        z = atoms.numbers
        neighbours = np.bincount(i, minlength=len(z)) + np.bincount(j, minlength=len(z))
        self.neighbours += 2 * len(d)
        alone = int(np.sum(neighbours == 0))
        if alone:
            text = (
                f"{where}: {alone} of {len(z)} atoms have no neighbour within the cutoff of {self.cutoff:g} Å; "
                "raise model.cutoff unless this is meant."
            )
            self.note("atoms-alone", number, alone / len(z), text)
        if is_called_isolated(frame.config_type):
            text = f"{where} is called {frame.config_type}, but has {len(z)} atoms: it is trained on like any other."
            self.note("isolated-atom-not-alone", number, len(z), text)
        if len(d) == 0:
            self.closest.append(np.nan)
            return
        bins = (d * (DISTANCE_BINS / self.cutoff)).astype(np.int64)
        self.distance_counts += np.bincount(bins, minlength=DISTANCE_BINS)[:DISTANCE_BINS]
        ratio = d / (covalent_radii[z[i]] + covalent_radii[z[j]])
        nearest = int(np.argmin(ratio))
        self.closest.append(ratio[nearest])
        self.shortest = min(self.shortest, (float(d.min()), number))
        pair = f"{atoms.symbols[i[nearest]]} {i[nearest]} and {atoms.symbols[j[nearest]]} {j[nearest]}"
        if d[nearest] < COINCIDENT:
            self.note(
                "atoms-coincide", number, np.nan, f"{where}: atoms {pair} are at one place; remove one."
            )
        elif ratio[nearest] < CLOSE:
            text = f"{where}: {pair} are {d[nearest]:.3f} Å apart; {bond(z[i[nearest]], z[j[nearest]])}"
            self.note("close-pair", number, 1 - ratio[nearest], text)

    def look_at_forces(self, number: int, frame: Frame) -> None:
        """Sum of squares, histogram, largest force; net force and torque where every atom has a label."""
        F = frame.forces
        if F is None:
            self.largest_forces.append(np.nan)
            return
        known = F[~np.isnan(F).any(axis=1)]
        sizes = np.sqrt(np.sum(known**2, axis=1))
        self.largest_forces.append(sizes.max() if len(sizes) else np.nan)
        self.force_squares += float(np.sum(sizes**2))
        self.force_components += known.size
        low, high = FORCE_RANGE
        bins = ((np.log10(np.maximum(sizes, 1e-12)) - low) * (FORCE_BINS / (high - low))).astype(np.int64)
        self.force_counts += np.bincount(bins.clip(0, FORCE_BINS - 1), minlength=FORCE_BINS)
        if len(known) < len(F) or len(F) < 2:
            return
        where = f"{self.file} frame {number}"
        net = float(np.linalg.norm(F.sum(axis=0)))
        self.largest_net = max(self.largest_net, (net, number))
        if net > max(NET_FORCE * np.linalg.norm(F), LEAST_NET):
            text = (
                f"{where}: forces sum to {net:.3g} eV/Å, but a model's sum to zero. Was a field, a fixed atom or a "
                "constraint involved, or a column lost?"
            )
            self.note("net-force", number, net, text)
            return
        if frame.atoms.pbc.any():
            return
        r = frame.atoms.positions - frame.atoms.positions.mean(axis=0)
        torque = float(np.linalg.norm(np.sum(np.cross(r, F), axis=0)))
        if torque > max(NET_TORQUE * np.sqrt(np.sum(np.sum(r**2, 1) * np.sum(F**2, 1))), LEAST_NET):
            text = (
                f"{where}: forces turn the whole structure with a torque of {torque:.3g} eV, but a model's do not. "
                "Are atoms and forces in the same order and axes?"
            )
            self.note("net-torque", number, torque, text)


def told(trouble: Trouble) -> str:
    """Return the text of the worst frame, and how many there are."""
    more = f" {trouble.count} frames are like this." if trouble.count > 1 else ""
    return trouble.text + more


def bond(a: int, b: int) -> str:
    """Say how long a bond of two elements is."""
    return f"a bond is about {covalent_radii[a] + covalent_radii[b]:.2f} Å. Unless this is meant, remove the frame."


def fingerprint(atoms: ase.Atoms) -> int:
    """64 bits of elements, relative positions (to 1e-4 Å), periodic directions and their cell."""
    relative = np.rint((atoms.positions - atoms.positions[0]) * SAME_PLACE).astype(np.int64)
    cell = np.rint(atoms.cell.array[atoms.pbc] * SAME_PLACE).astype(np.int64)
    parts = (atoms.numbers.astype(np.int64), relative, atoms.pbc, cell)
    digest = blake2b(b"".join(part.tobytes() for part in parts), digest_size=8).digest()
    return int.from_bytes(digest, "little")
