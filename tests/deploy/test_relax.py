import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from multiace.deploy.ase import Calculator
from multiace.deploy.relax import OPTIMIZERS, RelaxConfig, relax
from multiace.errors import InputError
from tests.deploy.harmonic import Harmonic
from tests.potentials import methanol, small_potential


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_ends_with_small_forces(optimizer):
    atoms = methanol()
    atoms.calc = Harmonic(atoms.positions)
    atoms.rattle(0.1, seed=1)
    steps = list(relax(atoms, RelaxConfig(optimizer=optimizer, fmax=0.001)))
    assert steps[-1].converged
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() <= 0.001
    assert steps[-1].energy < steps[0].energy


def test_relaxing_a_model_lowers_its_energy():
    atoms = methanol()
    atoms.calc = Calculator(small_potential())
    steps = list(relax(atoms, RelaxConfig(max_steps=10)))
    assert steps[-1].energy < steps[0].energy - 0.01
    assert steps[-1].step <= 10


def test_the_cell_relaxes_to_zero_stress():
    atoms = bulk("Cu", a=3.75)
    atoms.calc = EMT()
    steps = list(relax(atoms, RelaxConfig(cell=True, fmax=0.001)))
    assert steps[-1].converged
    assert np.abs(atoms.get_stress()).max() < 1e-4
    assert atoms.cell.lengths()[0] * np.sqrt(2) == pytest.approx(3.59, abs=0.01)


def test_a_molecule_has_no_cell_to_relax():
    with pytest.raises(InputError, match="periodic in three directions"):
        list(relax(methanol(), RelaxConfig(cell=True)))


def test_a_relaxation_that_leaves_the_model_stops():
    atoms = methanol()
    atoms.calc = Harmonic(atoms.positions, breaks_at=2)
    atoms.rattle(0.1, seed=1)
    with pytest.raises(InputError, match="left the region"):
        list(relax(atoms, RelaxConfig()))
