import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from multiace.deploy.ase import Calculator
from multiace.deploy.config import RelaxConfig
from multiace.deploy.relax import OPTIMIZERS, relax
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
    changes = {name: (unit, start, end) for name, unit, start, end in steps[-1].changes(steps[0])}
    assert list(changes) == ["energy", "largest force", "largest stress", *"abcαβγV"]
    assert changes["V"] == ("Å³", pytest.approx(3.75**3 / 4), pytest.approx(atoms.cell.volume))
    unit, start, end = changes["largest stress"]
    assert (unit, end) == ("GPa", pytest.approx(0, abs=0.02))
    assert start > 10  # stretched: in tension


def test_a_cell_that_is_kept_is_not_reported():
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.calc = EMT()
    first, *_, last = relax(atoms, RelaxConfig())
    assert [row[:2] for row in last.changes(first)] == [
        ("energy", "eV"),
        ("largest force", "eV/Å"),
        ("largest stress", "GPa"),
    ]
    assert last.changes(first)[1][3] == last.fmax <= 0.01


def test_a_molecule_has_no_cell_to_relax():
    with pytest.raises(InputError, match="periodic in three directions"):
        list(relax(methanol(), RelaxConfig(cell=True)))


def test_a_relaxation_that_leaves_the_model_stops():
    atoms = methanol()
    atoms.calc = Harmonic(atoms.positions, breaks_at=2)
    atoms.rattle(0.1, seed=1)
    with pytest.raises(InputError, match="left the region"):
        list(relax(atoms, RelaxConfig()))
