"""The rules of a check that look at one frame: each yields what is wrong with it, as code, size, and sentence."""

from __future__ import annotations

from collections.abc import Iterator

import ase
import numpy as np
from ase.data import covalent_radii

from multiace.data.config import LabelKeys
from multiace.data.read import AUTOMATIC, Frame, find_label, has_volume, is_called_isolated, label_key
from multiace.errors import InputError
from multiace.graph.neighbors import COINCIDENT, check_extent, check_lattice

__all__ = ["Note", "box", "broken", "labels", "near_pair", "net_forces", "no_forces"]

Note = tuple[str, float, str]
"""Code, how bad (the largest is told; NaN: the first), and sentence."""

CLOSE = 0.5  # of the sum of covalent radii: closer is no bond
NET = 0.1  # share of the root of the sum of squares, of forces and of torques
LEAST_NET = 0.05  # [eV/Å, eV]
FILLED = 0.04  # share of a box that is inside of covalent radii; liquids and crystals are above
ROUNDING = 1e-6  # two values of one label that agree to this, relative or in their unit, are the same


def broken(atoms: ase.Atoms, where: str, cutoff: float) -> Note | None:
    """Say why no graph can be made of a structure, with edges up to the cutoff [Å]."""
    if len(atoms) == 0:
        return "no-atoms", np.nan, f"{where} has no atoms; remove it."
    if not np.isfinite(atoms.positions).all():
        atom = int(np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[0])
        text = f"{where}: atom {atom} has position {atoms.positions[atom].tolist()}; it must be finite."
        return "position-not-finite", np.nan, text
    if not atoms.numbers.all():
        text = f"{where}: atom {int(np.argmin(atoms.numbers))} has no chemical element; name one."
        return "element-unknown", np.nan, text
    if atoms.pbc.any():
        try:
            check_lattice(atoms.cell.array[atoms.pbc])
        except InputError as error:
            return "cell-without-volume", np.nan, f"{where}: {error}"
    try:
        check_extent(atoms.positions, atoms.cell.array * atoms.pbc[:, None], atoms.pbc, cutoff)
    except InputError as error:
        return "extent-unsearchable", np.nan, f"{where}: {error}"
    return None


def labels(frame: Frame, keys: LabelKeys, where: str) -> Iterator[Note]:
    """Labels that are there twice, are not used, or are not whole."""
    atoms = frame.atoms
    for label, automatic in AUTOMATIC.items():
        key = label_key(atoms, label, getattr(keys, f"{label}_key"))
        for other in automatic[automatic.index(key) + 1 :] if key in automatic else ():
            if differ(find_label(atoms, label, key), find_label(atoms, label, other)):
                text = (
                    f"{where} has {key!r} and {other!r}, which differ; {key!r} is used. Set data.{label}_key if "
                    f"{other!r} is meant."
                )
                yield "two-labels", np.nan, text
    stress = find_label(atoms, "stress", keys.stress_key)
    stress = find_label(atoms, "virial", keys.virial_key) if stress is None else stress
    if stress is not None and not has_volume(atoms) and np.any(stress):
        text = f"{where} has a stress label but is not periodic: the label is not used. Set pbc in the file."
        yield "stress-unused", np.nan, text
    if frame.forces is not None and (bare := int(np.isnan(frame.forces).any(axis=1).sum())):
        text = f"{where} has no forces on {bare} of {len(atoms)} atoms (NaN): they are left out of the loss."
        yield "forces-partial", bare, text
    if frame.weight == 0:
        yield "weight-zero", np.nan, f"{where} has weight 0: it is not trained on."
    if is_called_isolated(frame.config_type) and len(atoms) > 1:
        text = f"{where} is called {frame.config_type}, but has {len(atoms)} atoms: it is trained on like any other."
        yield "isolated-atom-not-alone", len(atoms), text


def differ(mine: object, other: object) -> bool:
    """Whether two values of a label are there and are not the same."""
    if other is None:
        return False
    try:
        return not np.allclose(mine, other, rtol=ROUNDING, atol=ROUNDING, equal_nan=True)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return True


def box(atoms: ase.Atoms, where: str) -> Iterator[Note]:
    """A box that is not periodic, and one that looks as if it should be."""
    if atoms.pbc.any() or atoms.cell.rank < 3:
        return
    filled = float(np.sum(4 / 3 * np.pi * covalent_radii[atoms.numbers] ** 3)) / atoms.cell.volume
    if filled > FILLED:
        text = (
            f"{where}: atoms fill {100 * filled:.0f} % of the box, as in a crystal or liquid, but no direction is "
            'periodic (pbc="F F F"): they are taken as a cluster in vacuum. Set pbc="T T T" if that is not meant.'
        )
        yield "box-filled", filled, text
    else:
        size = " x ".join(f"{length:g}" for length in atoms.cell.lengths())
        text = (
            f'{where} has a box of {size} Å but pbc="F F F": it is a molecule in vacuum; the box is not used.'
        )
        yield "box-not-periodic", np.nan, text


def near_pair(atoms: ase.Atoms, i: int, j: int, d: float, where: str) -> Iterator[Note]:
    """The pair of a structure that is nearest for its elements: d [Å] is no bond."""
    bond = float(covalent_radii[atoms.numbers[[i, j]]].sum())
    if d >= CLOSE * bond:
        return
    pair = f"{atoms.symbols[i]} {i} and {atoms.symbols[j]} {j}"
    if d < COINCIDENT:
        yield "atoms-coincide", np.nan, f"{where}: atoms {pair} are at one place; remove one."
    else:
        text = f"{where}: {pair} are {d:.3f} Å apart, a bond is about {bond:.2f} Å. Remove the frame if not meant."
        yield "close-pair", 1 - d / bond, text


def no_forces(atoms: ase.Atoms, F: np.ndarray, where: str) -> Iterator[Note]:
    """Forces (n_atoms, 3) that are all exactly zero; in a crystal symmetry may be the reason."""
    if not atoms.pbc.any() and not F.any():
        text = (
            f"{where}: all forces are exactly zero. Are they placeholders? Set them to NaN, which means that "
            "there are none, or remove the frame."
        )
        yield "forces-zero", np.nan, text


def net_forces(atoms: ase.Atoms, F: np.ndarray, net: float, where: str) -> Iterator[Note]:
    """Forces (n_atoms, 3), all known, that move (net [eV/Å]) or turn the structure as a whole."""
    if net > max(NET * float(np.linalg.norm(F)), LEAST_NET):
        text = (
            f"{where}: forces sum to {net:.3g} eV/Å, but a model's sum to zero. Was a field, a fixed atom or a "
            "constraint involved, or a column lost?"
        )
        yield "net-force", net, text
    elif not atoms.pbc.any():
        r = atoms.positions - atoms.positions.mean(axis=0)
        M = r.T @ F  # Σ r×F is its antisymmetric part
        torque = float(np.linalg.norm([M[1, 2] - M[2, 1], M[2, 0] - M[0, 2], M[0, 1] - M[1, 0]]))
        if torque > LEAST_NET and torque > NET * np.sqrt(np.sum(np.sum(r**2, 1) * np.sum(F**2, 1))):
            text = (
                f"{where}: forces turn the whole structure with a torque of {torque:.3g} eV, but a model's do not. "
                "Are atoms and forces in the same order and axes?"
            )
            yield "net-torque", torque, text
