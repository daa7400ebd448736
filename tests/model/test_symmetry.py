"""Energies, forces and stresses turn, move and swap with the atoms, at every point of the design space."""

from functools import cache

import ase
import numpy as np
import pytest
import torch

from multiace.model import Potential, Prediction
from tests.model.design_space import (
    POINTS,
    STATISTICS,
    assert_close,
    batch_of,
    crystal,
    displaced,
    molecule,
    potential,
)
from tests.rotations import orthogonal

every_point = pytest.mark.parametrize("name", POINTS)
turned_structures = pytest.mark.parametrize("kind", ["rotated", "reflected"])

TURNS = {"rotated": orthogonal(1, 1), "reflected": orthogonal(2, -1)}
ORDER = [4, 2, 0, 5, 1, 3]


def turned(atoms: ase.Atoms, Q: torch.Tensor) -> ase.Atoms:
    result = atoms.copy()
    result.positions = atoms.positions @ Q.numpy().T
    result.cell = atoms.cell.array @ Q.numpy().T
    return result


def in_another_cell(atoms: ase.Atoms) -> ase.Atoms:
    result = atoms.copy()
    result.set_cell(np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ atoms.cell.array)
    return result


STRUCTURES = {
    "molecule": molecule(),
    "crystal": crystal(),
    **{f"{kind} molecule": turned(molecule(), Q) for kind, Q in TURNS.items()},
    **{f"{kind} crystal": turned(crystal(), Q) for kind, Q in TURNS.items()},
    "moved crystal": displaced(crystal(), [1.3, -20.7, 0.4]),
    "crystal, atoms in other cells": displaced(crystal(), [[5], [-3], [1]] * crystal().cell[:1]),
    "crystal, other lattice vectors": in_another_cell(crystal()),
    "permuted molecule": molecule()[ORDER],
}


def predict(at: Potential, structures: list[ase.Atoms]) -> list[Prediction]:
    """Energy, forces and stress of each structure, evaluated as one batch."""
    result = at(batch_of(structures, at), stress=True)
    sizes = [len(atoms) for atoms in structures]
    sites, forces = result.site_energies.split(sizes), result.forces.split(sizes)
    return [Prediction(*part) for part in zip(result.energy, sites, forces, result.stress, strict=True)]


@cache
def predictions(name: str, dtype: str = "float64") -> dict[str, Prediction]:
    at = potential(name)
    if dtype == "float32":
        at = Potential(POINTS[name].replace(dtype="float32"), STATISTICS)
        at.load_state_dict(potential(name).state_dict())
    return dict(zip(STRUCTURES, predict(at, list(STRUCTURES.values())), strict=True))


def assert_same(actual: Prediction, expected: Prediction, tolerance: float = 1e-10):
    assert_close(actual.energy, expected.energy, tolerance)
    assert_close(actual.site_energies, expected.site_energies, tolerance)
    assert_close(actual.forces, expected.forces, tolerance)
    assert_close(actual.stress, expected.stress, tolerance)


def turned_prediction(before: Prediction, Q: torch.Tensor) -> Prediction:
    return Prediction(before.energy, before.site_energies, before.forces @ Q.T, Q @ before.stress @ Q.T)


@every_point
@turned_structures
def test_forces_and_stress_turn_with_the_structure(name, kind):
    after = predictions(name)
    for structure in ("molecule", "crystal"):
        assert_same(after[f"{kind} {structure}"], turned_prediction(after[structure], TURNS[kind]))


@every_point
@pytest.mark.parametrize(
    "same", ["moved crystal", "crystal, atoms in other cells", "crystal, other lattice vectors"]
)
def test_what_is_the_same_crystal_has_the_same_energy(name, same):
    assert_same(predictions(name)[same], predictions(name)["crystal"])


@every_point
def test_the_order_of_atoms_does_not_matter(name):
    before, after = predictions(name)["molecule"], predictions(name)["permuted molecule"]
    assert_close(after.site_energies, before.site_energies[ORDER], 1e-10)
    assert_close(after.forces, before.forces[ORDER], 1e-10)


@every_point
def test_structures_of_a_batch_do_not_see_each_other(name):
    for structure in ("molecule", "crystal"):
        (alone,) = predict(potential(name), [STRUCTURES[structure]])
        assert_same(predictions(name)[structure], alone)


def test_structures_without_a_cell_have_no_stress():
    assert predictions("base")["molecule"].stress.isnan().all()


@every_point
def test_float32_agrees_with_float64(name):
    for structure in ("molecule", "crystal"):
        actual, expected = (predictions(name, dtype)[structure] for dtype in ("float32", "float64"))
        assert actual.energy.dtype == actual.forces.dtype == actual.stress.dtype == torch.float64
        assert_same(actual, expected, 1e-4)


@every_point
@turned_structures
def test_float32_is_symmetric(name, kind):
    after = predictions(name, "float32")
    for structure in ("molecule", "crystal"):
        assert_same(after[f"{kind} {structure}"], turned_prediction(after[structure], TURNS[kind]), 1e-4)
