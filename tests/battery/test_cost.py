"""Time, memory and parameters."""

import time

import pytest
from ase.build import bulk

from multiace.battery.cost import copies, growth, microseconds
from multiace.battery.subject import subject_of
from tests.battery.calculators import Pairs
from tests.potentials import methanol


class Slow(Pairs):
    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        time.sleep(0.005)


def test_time_is_per_atom_and_of_every_step():
    found = microseconds(subject_of(Slow(), None), methanol(), 3)
    assert 5000 / 6 < found < 3 * 5000 / 6


def test_memory_grows_with_what_a_calculator_takes():
    """All pairs of 1,002 atoms: some 500,000 vectors."""
    found = growth(subject_of(Pairs(), None), methanol())
    if found is None:
        pytest.skip("this system does not tell")
    assert 20 < found < 500


def test_copies_of_a_molecule_do_not_touch():
    crowd = copies(methanol(), 7)
    assert len(crowd) == 42
    assert crowd.get_all_distances()[:6, 6:].min() > 9.9


def test_copies_of_a_cell_are_a_larger_cell():
    crystal = bulk("Cu", cubic=True)
    assert len(copies(crystal, 20)) == 4 * 27
    crystal.pbc = (True, True, False)
    assert len(copies(crystal, 20)) == 4 * 20
