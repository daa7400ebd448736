"""A structure is known again where it is turned or moved, and no other is taken for it."""

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from multiace.data.shape import kind, same, shape

SLAB = fcc111("Cu", (2, 2, 3), vacuum=5.0)
STRUCTURES = {
    "dimer": molecule("CO"),
    "molecule": molecule("CH3CH2OH"),
    "crystal": bulk("NaCl", "rocksalt", a=5.6).repeat(2),
    "primitive": bulk("Cu"),
    "slab": SLAB,
    "boxed": Atoms("H2O", [[0, 0, 0.1], [0, 0.76, -0.5], [0, -0.76, -0.5]], cell=[9, 9, 9]),
}


def numbers(structures):
    kinds = np.array([kind(atoms) for atoms in structures], dtype=np.uint64)
    return same(kinds, np.array([shape(atoms) for atoms in structures])).tolist()


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_is_the_same_turned_moved_and_wrapped(name):
    atoms = STRUCTURES[name].copy()
    atoms.rattle(0.05, seed=0)
    moved = atoms.copy()
    moved.rotate(40, (1, 0.3, 2), rotate_cell=True)
    moved.positions += moved.cell.array.sum(axis=0) * 0.3 + (0.1 if not moved.pbc.any() else 0)
    if moved.pbc.any():
        moved.wrap()
    moved.positions = moved.positions.round(8)
    assert numbers([atoms, moved]) == [0, 0]


@pytest.mark.parametrize("name", ["molecule", "crystal", "primitive", "slab"])
def test_small_displacements_and_strains_are_other_structures(name):
    structures = [STRUCTURES[name]]
    for step in (-0.002, 0.002):
        for place, axis in product(range(1, len(structures[0])), range(3)):
            moved = structures[0].copy()
            moved.positions[place, axis] += step
            structures.append(moved)
        if structures[0].pbc.any():
            strained = structures[0].copy()
            strained.set_cell(strained.cell * (1 + step), scale_atoms=True)
            structures.append(strained)
    assert len(set(numbers(structures))) > 0.9 * len(structures)  # some are symmetric to each other


@pytest.mark.parametrize("name", ["molecule", "crystal", "primitive", "slab"])
def test_a_mirror_image_is_another_structure(name):
    atoms = STRUCTURES[name].copy()
    atoms.rattle(0.1, seed=3)
    mirrored = atoms.copy()
    mirrored.set_cell(mirrored.cell * [-1, 1, 1])
    mirrored.positions[:, 0] *= -1
    assert numbers([atoms, mirrored]) == [0, 1]


def test_other_elements_and_other_directions_of_periodicity_are_other_structures():
    water = molecule("H2O", cell=[9, 9, 9])
    sulfide = water.copy()
    sulfide.symbols[0] = "S"
    periodic = water.copy()
    periodic.pbc = True
    assert len(set(numbers([water, sulfide, periodic]))) == 3


def test_a_thousand_frames_of_a_trajectory_are_all_different():
    rng = np.random.default_rng(0)
    start, frames = molecule("CH3CH2OH"), []
    for _ in range(1000):
        start.positions += rng.normal(scale=0.003, size=start.positions.shape)
        frames.append(start.copy())
    assert len(set(numbers(frames))) == 1000
    assert len(set(numbers([*frames, *frames[::-1]]))) == 1000
