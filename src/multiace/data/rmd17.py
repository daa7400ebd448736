"""The archive of the revised MD17 set -> extended XYZ in eV and Å.

Christensen, von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020): 10 molecules, 100,000 structures each
(PBE/def2-SVP), and five splits into 1,000 for training and 1,000 for testing, of which the first is written.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

__all__ = ["ARCHIVE", "FILES", "MOLECULES", "convert"]

ARCHIVE = "rmd17.tar.bz2"
MOLECULES = (
    "aspirin",
    "azobenzene",
    "benzene",
    "ethanol",
    "malonaldehyde",
    "naphthalene",
    "paracetamol",
    "salicylic",
    "toluene",
    "uracil",
)
PARTS = ("train", "test")
FILES = tuple(f"{molecule}_{part}_01.xyz" for molecule in MOLECULES for part in PARTS)
KCAL_MOL = units.kcal / units.mol  # [eV]


def convert(archive: Path, target: Path, progress: Callable[[int], object]) -> None:
    """Write the first split of each molecule of the archive into ``target``.

    Args:
        archive: rmd17.tar.bz2.
        target: Folder for :data:`FILES`.
        progress: Called with the number of bytes of the archive that are done.
    """
    wanted = {f"rmd17_{molecule}.npz" for molecule in MOLECULES} | {f"index_{part}_01.csv" for part in PARTS}
    with TemporaryDirectory(dir=target) as folder:
        with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r|bz2") as members:
            for member in members:
                name = Path(member.name).name  # nothing is written outside of the temporary folder
                content = members.extractfile(member) if name in wanted else None
                if content is not None:
                    copy(content, Path(folder, name), lambda: progress(file.tell()))
                progress(file.tell())
        for molecule in MOLECULES:
            for part in PARTS:
                structures = read_split(Path(folder), molecule, part)
                written = Path(folder, f"{molecule}_{part}_01.xyz")
                ase.io.write(written, structures, format="extxyz")
                written.replace(target / written.name)


def copy(content: IO[bytes], path: Path, report: Callable[[], object]) -> None:
    """Copy a member of the archive in pieces."""
    with path.open("wb") as file:
        while chunk := content.read(1 << 20):
            file.write(chunk)
            report()


def read_split(folder: Path, molecule: str, part: str) -> list[Atoms]:
    """Return the structures of one split, with energies in eV and forces in eV/Å."""
    indices = np.loadtxt(folder / f"index_{part}_01.csv", dtype=np.int64, ndmin=1)
    with np.load(folder / f"rmd17_{molecule}.npz", allow_pickle=False) as arrays:
        numbers, energies = arrays["nuclear_charges"], arrays["energies"] * KCAL_MOL
        positions, forces = arrays["coords"], arrays["forces"] * KCAL_MOL
    structures = []
    for index in indices[indices < len(energies)]:  # azobenzene has 99,988 structures, the others 100,000
        atoms = Atoms(numbers, positions[index], info={"config_type": molecule})
        atoms.calc = SinglePointCalculator(atoms, energy=float(energies[index]), forces=forces[index])
        structures.append(atoms)
    return structures
