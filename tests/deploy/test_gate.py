"""Whatever runs a potential gives the numbers of its definition, or says what it does instead."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms

from multiace.deploy.ase import Calculator
from multiace.deploy.gate import Predicted, definition, fragment
from multiace.errors import InputError
from multiace.model.multi_ace import MultiACE
from multiace.ops.choice import choice, definitions
from tests.potentials import crystal, methanol, small_potential

pytestmark = pytest.mark.usefixtures("plain_operations")


@pytest.fixture
def coarse_tables(monkeypatch):
    tabulate = MultiACE.tabulate
    monkeypatch.setattr("multiace.layers.table.INTERVALS", (4,))
    monkeypatch.setattr(MultiACE, "tabulate", lambda self: tabulate(self, tolerance=1.0))


def test_float32_and_its_tables_are_within_their_tolerance():
    atoms = methanol()
    atoms.calc = Calculator(small_potential(dtype="float32"))
    atoms.get_potential_energy()
    assert atoms.calc.tables is not None
    assert atoms.calc.passed


def test_tables_that_are_not_close_enough_are_given_up_with_a_sentence(coarse_tables):
    potential, atoms = small_potential(dtype="float32"), methanol()
    atoms.calc = Calculator(potential)
    with pytest.warns(UserWarning, match=r"differ by .* the networks are evaluated instead"):
        energy = atoms.get_potential_energy()
    assert atoms.calc.tables is None
    atoms.calc = Calculator(potential, radial="network")
    assert atoms.get_potential_energy() == energy


def test_tables_that_were_asked_for_are_refused_instead(coarse_tables):
    atoms = methanol()
    atoms.calc = Calculator(small_potential(), radial="table")
    with pytest.raises(InputError, match="choose radial = network"):
        atoms.get_potential_energy()


def test_a_backend_with_other_numbers_is_refused(monkeypatch):
    atoms, right = methanol(), MultiACE.with_gradient
    calculator = Calculator(small_potential())
    network = calculator.potential.network

    def wrong(self, graph, tables=None):
        energies, g = right(self, graph, tables)
        return energies * (1.0001 if self is network else 1), g

    monkeypatch.setattr(MultiACE, "with_gradient", wrong)
    atoms.calc = calculator
    with pytest.raises(InputError, match=r"in float64 on cpu .* differ by .*MULTIACE_OPS=reference"):
        atoms.get_potential_energy()


def test_definitions_hold_within_the_block_and_the_thread_only(monkeypatch):
    monkeypatch.setenv("MULTIACE_OPS", "triton")
    with ThreadPoolExecutor(1) as other, definitions():
        assert choice() == "reference"
        assert other.submit(choice).result() == "triton"
    assert choice() == "triton"
    with pytest.raises(KeyError), definitions():
        {}[choice()]
    assert choice() == "triton"


def test_large_structures_are_compared_on_the_atoms_around_the_first():
    large = crystal().repeat(3)
    part = fragment(large)
    assert len(part) == 64
    distances = np.linalg.norm(part.positions - part.positions[0], axis=1)
    assert np.allclose(np.sort(large.get_distances(0, range(len(large)), mic=True))[:64], np.sort(distances))
    assert fragment(crystal()).pbc.all()


def test_differences_are_relative_to_large_forces_and_keep_nan():
    one, two = (Predicted(1.0, np.array([[100.0, 0, 0]]) + shift) for shift in (0.0, 0.5))
    assert one.difference(two, 1) == pytest.approx(0.005)
    assert np.isnan(one.difference(Predicted(np.nan, one.forces), 1))


def test_the_definition_has_stress_where_there_is_a_cell():
    assert definition(small_potential(), crystal()).stress.shape == (3, 3)
    assert definition(small_potential(), Atoms("CO", positions=[[0, 0, 0], [1.2, 0, 0]])).stress is None
