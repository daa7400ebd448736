"""Read structures and their labels: any file of ASE -> frames in eV, eV/Å and eV/Å³."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import ase.db
import ase.io
import numpy as np
from ase.io.formats import UnknownFileTypeError, filetype, string2index
from ase.stress import voigt_6_to_full_3x3_stress

from multiace.data.compressed import refuse_bombs
from multiace.data.config import ENERGY_UNITS, FORCE_UNITS, STRESS_UNITS, LabelKeys
from multiace.data.extxyz import is_extxyz, read_extxyz
from multiace.errors import InputError, brief
from multiace.graph.neighbors import FARTHEST

__all__ = [
    "Frame",
    "LabelCounts",
    "count_labels",
    "find_elements",
    "found_keys",
    "read_frame",
    "read_frames",
    "unused_stresses",
]

AUTOMATIC = {
    "energy": ("energy", "REF_energy"),
    "forces": ("forces", "REF_forces"),
    "stress": ("stress", "REF_stress"),
    "virial": ("virial", "virials", "REF_virial"),
}
ASYMMETRY = 0.1  # largest difference across the diagonal, relative; noise of stresses near zero is below it
ISOLATED = ("isolatedatom", "isolated")  # config_type, in small letters, without _ and -


@dataclass(frozen=True, eq=False)
class Frame:
    """One labelled structure; None where the file has no such label.

    Attributes:
        atoms: Positions and cell [Å], as read.
        energy: E [eV].
        forces: F [eV/Å], shape (n_atoms, 3); NaN for single atoms without a label.
        stress: σ [eV/Å³], shape (3, 3), symmetric, positive in tension.
        weight: Weight in the loss: ``weight`` x ``config_weight`` of the file, x that of the config type.
        config_type: The file's ``config_type``, or ``default``.
        source: For messages: ``water.xyz frame 17``, counted from 0 as ASE does.
    """

    atoms: ase.Atoms
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    weight: float = 1.0
    config_type: str = "default"
    source: str = "structure"

    @property
    def is_isolated(self) -> bool:
        """Whether this is an isolated atom: one atom that says so, or without periodic images."""
        return len(self.atoms) == 1 and (is_called_isolated(self.config_type) or not self.atoms.pbc.any())


def is_called_isolated(config_type: str) -> bool:
    """Whether a config type says that this is an isolated atom."""
    return config_type.lower().replace("_", "").replace("-", "") in ISOLATED


@dataclass(frozen=True)
class LabelCounts:
    """How many of ``frames`` carry each label, and which keys their files have."""

    frames: int
    energy: int
    forces: int
    stress: int
    keys: tuple[str, ...]


def count_labels(frames: Iterable[Frame]) -> LabelCounts:
    """Count the labels, for the report at the start of training."""
    frames = list(frames)
    return LabelCounts(
        frames=len(frames),
        energy=sum(frame.energy is not None for frame in frames),
        forces=sum(frame.forces is not None for frame in frames),
        stress=sum(frame.stress is not None for frame in frames),
        keys=found_keys(frame.atoms for frame in frames),
    )


def find_elements(frames: Iterable[Frame]) -> tuple[str, ...]:
    """Chemical symbols that occur in the frames, sorted by atomic number."""
    numbers = sorted({int(z) for frame in frames for z in frame.atoms.numbers})
    return tuple(ase.data.chemical_symbols[z] for z in numbers)


def read_frames(
    paths: str | Path | Sequence[str | Path], keys: LabelKeys | None = None, strict: bool = True
) -> list[Frame]:
    """Read all structures of one or several files.

    Args:
        paths: Extended XYZ, ASE database, or any other format of ASE; ``name.xyz@:100`` takes a part.
        keys: Names, units and signs of the labels; automatic names, eV and Å by default.
        strict: Refuse a label that ``keys`` names and no structure has.

    Raises:
        InputError: If a file is missing, cannot be read or has no structures; if a label has a wrong shape,
            is infinite, or is a named stress of a structure without volume; if a named label occurs nowhere.
    """
    keys = keys or LabelKeys()
    paths = [paths] if isinstance(paths, str | Path) else paths
    frames = []
    for path in paths:
        structures = read_structures(path)
        frames += [read_frame(atoms, keys, f"{path} frame {n}") for n, atoms in enumerate(structures)]
    if strict:
        check_named_keys(frames, keys, ", ".join(map(str, paths)))
    return frames


def unused_stresses(frames: Iterable[Frame], keys: LabelKeys) -> int:
    """Count the structures whose stress label is left out, as they are not periodic."""
    return sum(
        not has_volume(frame.atoms) and bool(np.any(find_stress(frame.atoms, keys)[0])) for frame in frames
    )


def read_structures(path: str | Path) -> list[ase.Atoms]:
    """Read the structures of one file; database rows get their key-value pairs and data in ``info``."""
    structures = list(stream_structures(path))
    if not structures:
        raise InputError(f"{path} has no structures; give a file, or a part of one, that has some.")
    for number, atoms in enumerate(structures):
        check_structure(atoms, f"{path} frame {number}")
    return structures


def stream_structures(path: str | Path) -> Iterator[ase.Atoms]:
    """Yield the structures of one file, one at a time in memory; see :func:`read_structures`."""
    text, _, part = str(path).partition("@") if not Path(path).exists() else (str(path), "", "")
    if not Path(text).exists():
        raise InputError(
            f"file {text} does not exist; check the path (the working directory is {Path.cwd()})."
        )
    chosen = _slice(part, str(path))
    try:
        if Path(text).is_file():
            refuse_bombs(text)
        if is_extxyz(text) and Path(text).is_file():
            yield from read_extxyz(text, chosen)
        elif filetype(text) in ("db", "json"):
            yield from list(read_database(text))[chosen] if part else read_database(text)
        else:
            yield from ase.io.iread(text, index=chosen, do_not_split_by_at_sign=True)
    except InputError:
        raise
    except UnknownFileTypeError:
        raise InputError(
            f"{text} is empty, or of no format that ASE reads; convert it to extended XYZ."
        ) from None
    except Exception as error:  # ASE's readers raise whatever goes wrong in them
        if Path(text).is_dir():
            raise InputError(f"{text} is a folder; give the file in it that has the structures.") from None
        cause = brief(f"{type(error).__name__}: {error}")
        raise InputError(
            f"{path} cannot be read: {cause}; mend it, or convert it to extended XYZ."
        ) from error


def _slice(part: str, path: str) -> slice:
    """ASE's index notation as a slice: all for "", one structure for "3"."""
    if not part:
        return slice(None)
    try:
        index = string2index(part)
    except ValueError:
        index = part
    if isinstance(index, int):
        return slice(index, index + 1 or None)
    if isinstance(index, str) or index.step == 0:
        raise InputError(f"{path}: {part!r} selects no structures; write @5, @:100 or @::10.")
    return index


def check_structure(atoms: ase.Atoms, source: str) -> None:
    """Refuse a structure without atoms, with what is no element, or with numbers that are not finite."""
    if len(atoms) == 0:
        raise InputError(f"{source} has no atoms; it must have at least one.")
    unknown = np.flatnonzero((atoms.numbers < 1) | (atoms.numbers >= len(ase.data.chemical_symbols)))
    if len(unknown):
        first = unknown[0]
        raise InputError(
            f"{source}: atom {first} has atomic number {atoms.numbers[first]}, which is that of no element; "
            "remove it, or write its chemical symbol."
        )
    lost = np.flatnonzero(~(np.abs(atoms.positions) < FARTHEST).all(axis=1))
    if len(lost):
        position = atoms.positions[lost[0]].tolist()
        raise InputError(
            f"{source}: atom {lost[0]} has position {position}; it must be finite, and within {FARTHEST:g} Å."
        )
    if not (np.abs(atoms.cell.array) < FARTHEST).all():
        raise InputError(
            f"{source}: the cell {atoms.cell.array.tolist()} must be finite, and shorter than {FARTHEST:g} Å."
        )


def read_database(path: str) -> Iterator[ase.Atoms]:
    """Yield the rows of an ASE database, what users stored beside them in ``info``."""
    with ase.db.connect(path) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info = {**row.data, **row.key_value_pairs}
            yield atoms


def read_frame(atoms: ase.Atoms, keys: LabelKeys | None = None, source: str = "structure") -> Frame:
    """Read the labels of one structure; see :func:`read_frames`."""
    keys = keys or LabelKeys()
    return Frame(
        atoms=atoms,
        energy=read_energy(
            find_label(atoms, "energy", keys.energy_key), source, ENERGY_UNITS[keys.energy_unit]
        ),
        forces=read_forces(
            find_label(atoms, "forces", keys.forces_key), len(atoms), source, FORCE_UNITS[keys.forces_unit]
        ),
        stress=read_stress(atoms, keys, source),
        weight=read_weight(atoms, source),
        config_type=str(atoms.info.get("config_type", "default")),
        source=source,
    )


def has_volume(atoms: ase.Atoms) -> bool:
    """Whether a stress makes sense: a periodic structure with three lattice vectors."""
    return bool(atoms.pbc.any()) and atoms.cell.rank == 3


def find_label(atoms: ase.Atoms, label: str, named: str | None) -> Any:
    """Return the first value under the allowed names in calculator, ``info`` and ``arrays``, or None."""
    stores = [atoms.calc.results if atoms.calc is not None else {}, atoms.info, atoms.arrays]
    for key in (named,) if named else AUTOMATIC[label]:
        for store in stores:
            if store.get(key) is not None:
                return store[key]
    return None


def label_key(atoms: ase.Atoms, label: str, named: str | None) -> str | None:
    """Return the name under which :func:`find_label` finds a label, or None."""
    keys = (named,) if named else AUTOMATIC[label]
    return next((key for key in keys if find_label(atoms, label, key) is not None), None)


def find_stress(atoms: ase.Atoms, keys: LabelKeys) -> tuple[Any, str]:
    """Return the value of the stress label, or else of the virial label (None: neither), and which it is."""
    stress = find_label(atoms, "stress", keys.stress_key)
    if stress is not None:
        return stress, "stress"
    return find_label(atoms, "virial", keys.virial_key), "virial"


def read_energy(value: Any, source: str, unit: float) -> float | None:
    """Energy [eV]; NaN in the file means that there is none."""
    if value is None:
        return None
    array = to_floats(value, f"{source}: energy")
    if array.size != 1:
        raise InputError(f"{source}: the energy has {array.size} values; it must be one number.")
    energy = float(array.reshape(()))
    return None if np.isnan(energy) else energy * unit


def read_forces(value: Any, n_atoms: int, source: str, unit: float) -> np.ndarray | None:
    """Forces [eV/Å], shape (n_atoms, 3); None where all are NaN."""
    if value is None:
        return None
    forces = to_floats(value, f"{source}: forces")
    if forces.shape != (n_atoms, 3):
        raise InputError(f"{source}: forces have shape {forces.shape}; {n_atoms} atoms need ({n_atoms}, 3).")
    return None if np.isnan(forces).all() else forces * unit


def read_stress(atoms: ase.Atoms, keys: LabelKeys, source: str) -> np.ndarray | None:
    """Stress [eV/Å³], shape (3, 3), positive in tension: as written, or minus virial / volume."""
    value, label = find_stress(atoms, keys)
    if value is None:
        return None
    if not has_volume(atoms):
        if getattr(keys, f"{label}_key") is None:
            return None
        raise InputError(
            f"{source} has a {label} label, but it has no periodic cell to refer it to. "
            f"Set pbc in the file, or remove the label, or leave data.{label}_key out."
        )
    array = to_floats(value, f"{source}: {label}")
    if array.size not in (6, 9):
        raise InputError(f"{source}: the {label} has shape {array.shape}; it must be (3, 3), (9,) or (6,).")
    tensor = voigt_6_to_full_3x3_stress(array.reshape(6)) if array.size == 6 else array.reshape(3, 3)
    if np.isnan(tensor).any():
        return None
    if np.abs(tensor - tensor.T).max() > ASYMMETRY * np.abs(tensor).max():
        raise InputError(
            f"{source}: the {label} {tensor.tolist()} is not symmetric; check the order of its values."
        )
    if label == "stress":
        unit, sign = STRESS_UNITS[keys.stress_unit], keys.stress_sign
    else:
        unit, sign = ENERGY_UNITS[keys.energy_unit] / atoms.get_volume(), keys.virial_sign
    return (tensor + tensor.T) / 2 * unit * (1 if sign == "tension" else -1)


def read_weight(atoms: ase.Atoms, source: str) -> float:
    """``weight`` x ``config_weight`` of the structure, each 1 by default."""
    weight = 1.0
    for key in ("weight", "config_weight"):
        value = to_floats(atoms.info.get(key, 1.0), f"{source}: {key}")
        if value.size != 1 or not value >= 0:
            raise InputError(
                f"{source}: {key} = {brief(atoms.info[key])} is not allowed; it must be a number from 0 up."
            )
        weight *= float(value.reshape(()))
    return weight


def to_floats(value: Any, what: str) -> np.ndarray:
    """Convert to float64; NaN may occur, other things that are not finite numbers may not."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"{what} = {brief(value)!r} is not numeric; write numbers, or remove the label."
        ) from None
    if np.isinf(array).any():
        raise InputError(f"{what} = {brief(value)} is infinite; remove this structure or label.")
    return array


def found_keys(structures: Iterable[ase.Atoms]) -> tuple[str, ...]:
    """All names under which structures carry something, sorted."""
    found: set[str] = set()
    for atoms in structures:
        found.update(atoms.calc.results if atoms.calc is not None else (), map(str, atoms.info), atoms.arrays)
    return tuple(sorted(found - {"numbers", "positions"}))


def check_named_keys(frames: Sequence[Frame], keys: LabelKeys, files: str) -> None:
    """Refuse a key that the user named and no structure has."""
    found = found_keys(frame.atoms for frame in frames)
    named: Mapping[str, str | None] = keys.model_dump(include={f"{label}_key" for label in AUTOMATIC})
    for field, key in named.items():
        if key is not None and key not in found:
            raise InputError(
                f"no structure of {files} has {key!r} (keys found: {', '.join(found) or 'none'}). "
                f"Set data.{field}."
            )
