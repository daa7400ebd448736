"""Where a structure is along a curve: an info key, a geometric coordinate of some atoms, or just the order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from multiace.data.read import Frame, found_keys
from multiace.errors import InputError, brief

__all__ = ["COORDINATES", "check_coordinate", "info_value", "places"]


def order(structures: Sequence[Atoms]) -> np.ndarray:
    """0, 1, 2, ...: the order in the file."""
    return np.arange(len(structures), dtype=float)


def distance(structures: Sequence[Atoms], i: int, j: int) -> np.ndarray:
    """Distance of atoms i and j [Å]."""
    return np.array([atoms.get_distance(i, j, mic=bool(atoms.pbc.any())) for atoms in structures])


def angle(structures: Sequence[Atoms], i: int, j: int, k: int) -> np.ndarray:
    """Angle at atom j [°]."""
    return np.array([atoms.get_angle(i, j, k, mic=bool(atoms.pbc.any())) for atoms in structures])


def dihedral(structures: Sequence[Atoms], i: int, j: int, k: int, n: int) -> np.ndarray:
    """Dihedral angle about the bond j-k [°].

    It goes on beyond 360° where structures are in the order of a scan that does. In any other order it is within one
    turn, which begins behind the widest gap.
    """
    angles = np.array(
        [atoms.get_dihedral(i, j, k, n, mic=bool(atoms.pbc.any())) for atoms in structures], dtype=float
    )
    path = np.unwrap(angles, period=360.0)
    steps = np.diff(path)
    if (steps >= 0).all() or (steps <= 0).all():
        return path
    ascending = np.sort(angles % 360.0)
    widest = int(np.diff(ascending, prepend=ascending[-1] - 360.0).argmax())
    return ascending[widest] + (angles - ascending[widest]) % 360.0


def transfer(structures: Sequence[Atoms], donor: int, proton: int, acceptor: int) -> np.ndarray:
    """How far a proton has gone, r(donor, proton) - r(proton, acceptor) [Å]: negative, 0 in the middle, positive."""
    return distance(structures, donor, proton) - distance(structures, proton, acceptor)


class Coordinate(NamedTuple):
    """A geometric coordinate: of how many atoms, and the function of structures and atoms."""

    atoms: int
    of: Callable[..., np.ndarray]


COORDINATES = {
    "order": Coordinate(0, order),
    "distance": Coordinate(2, distance),
    "angle": Coordinate(3, angle),
    "dihedral": Coordinate(4, dihedral),
    "transfer": Coordinate(3, transfer),
}
"""Written with the numbers of their atoms, counted from 0: ``distance 2 8``. Anything else is an info key."""


def parse(text: str) -> tuple[Coordinate, list[int]] | None:
    """Return the geometric coordinate and its atoms; None for an info key, such as ``distance`` without atoms."""
    name, *numbers = text.split() or [""]
    if name not in COORDINATES or not all(number.isdecimal() for number in numbers):
        return None
    if name != "order" and not numbers:
        return None
    return COORDINATES[name], [int(number) for number in numbers]


def check_coordinate(text: str) -> None:
    """Refuse a geometric coordinate with too few or too many atoms, or no text.

    Raises:
        InputError: If it is one.
    """
    if not text.strip():
        raise InputError("coordinate is empty; give an info key, order, or atoms as in 'distance 2 8'.")
    found = parse(text)
    if found is not None and len(found[1]) != found[0].atoms:
        raise InputError(
            f"coordinate = {text!r} names {len(found[1])} atoms; {text.split()[0]} is of {found[0].atoms}, "
            "counted from 0."
        )


def places(frames: Sequence[Frame], choices: Sequence[str]) -> tuple[str, np.ndarray]:
    """Return the first coordinate that all structures have, and where each of them is on it.

    Args:
        frames: In the order of the file.
        choices: Info keys (``dihedrals[2]``: the third value of a list) or geometric coordinates.

    Raises:
        InputError: If they have none of these, or a coordinate is of other atoms than are named, or is not defined.
    """
    for text in choices:
        check_coordinate(text)
        found = parse(text)
        if found is not None:
            coordinate, atoms = found
            check_atoms(frames, text, atoms)
            try:
                return text, coordinate.of([frame.atoms for frame in frames], *atoms)
            except ZeroDivisionError:
                raise InputError(
                    f"{frames[0].source}: {text!r} is not defined in every structure: atoms are on a line, or at one "
                    "place."
                ) from None
        values = [info_value(frame, text) for frame in frames]
        if all(isinstance(value, int | float | np.number) for value in values):
            return text, np.array(values, dtype=float)
    keys = ", ".join(found_keys(frame.atoms for frame in frames)) or "none"
    raise InputError(
        f"{frames[0].source}: no number under {' or '.join(choices)} in every structure (keys found: {keys}). Set "
        "coordinate to one of them, to order, or to atoms as in 'distance 2 8'."
    )


def info_value(frame: Frame, key: str) -> Any:
    """Return what a structure has under an info key, or under one place of a list, ``key[2]``; None if nothing."""
    place = re.fullmatch(r"(.+)\[(\d+)\]", key)
    if place is None or key in frame.atoms.info:
        return frame.atoms.info.get(key)
    values = np.ravel(frame.atoms.info.get(place[1], ()))
    return values[int(place[2])] if int(place[2]) < len(values) else None


def check_atoms(frames: Sequence[Frame], text: str, atoms: Sequence[int]) -> None:
    """Refuse a coordinate of atoms that a structure does not have.

    Raises:
        InputError: If it is one.
    """
    for frame in frames:
        if max(atoms, default=-1) >= len(frame.atoms):
            raise InputError(
                f"{frame.source} has {len(frame.atoms)} atoms, but the coordinate is {brief(text)!r}, counted from 0; "
                "name atoms that are there."
            )
