"""Dimers whose energies are known, with and without holes."""

import numpy as np
import pytest

from multiace.battery import Battery, run
from multiace.battery.dimers import distances
from multiace.errors import InputError
from tests.battery.calculators import BOND, DEPTH, NotFinite, Pairs, morse, well


def dimers(energy, elements=("C", "O"), **options):
    battery = Battery(dimers={"elements": elements, "furthest": 6.0, **options}, cost=None)
    return run(Pairs(energy), battery)["dimers"]


def test_every_pair_of_elements_is_measured():
    assert list(dimers(morse, ("H", "C"))) == ["C-C", "C-H", "H-H"]


def test_a_morse_potential_has_one_minimum_of_its_depth_and_no_hole():
    found = dimers(morse)["C-O"]
    assert found["scores"]["lowest"] == pytest.approx(-DEPTH, abs=0.01)
    assert found["scores"] | {"lowest": 0} == {"repulsive": True, "lowest": 0, "extrema": 1, "hole": 0.0}
    assert found["distance"][0] == 0.5
    assert found["distance"][-1] == 6.0
    assert found["energy"][-1] == 0.0
    assert found["distance"][int(np.argmin(found["energy"]))] == pytest.approx(BOND, abs=0.011)


def test_a_hole_is_measured_by_how_much_the_energy_falls():
    """Of a wall of 1/r with a well at 0.7 Å."""
    r = np.linspace(0.5, 1.1, 100_000)
    E = 3 / r + well(r, 0.7, 4.0)
    top, bottom = E[r > 0.75].max(), E[(r > 0.6) & (r < 0.8)].min()
    found = dimers(lambda r: 3 / r + well(r, 0.7, 4.0), ("C",))["C-C"]["scores"]
    assert found["hole"] == pytest.approx(top - bottom, abs=0.05)
    assert found["extrema"] == 2
    assert found["repulsive"]


def test_atoms_that_fall_into_each_other_are_not_repelled():
    found = dimers(lambda r: -1 / r, ("C",))["C-C"]["scores"]
    assert not found["repulsive"]
    assert found["hole"] > 0.5
    assert found["lowest"] == pytest.approx(-2 + 1 / 6)


def test_hydrogen_is_followed_to_half_of_its_radii():
    assert distances(("H", "H"), 4.0)[0] == pytest.approx(0.31)
    assert np.diff(distances(("H", "H"), 4.0)).max() < 0.031


def test_a_largest_distance_within_a_bond_is_refused():
    with pytest.raises(InputError, match=r"dimers.furthest = 1.1 Å is within a bond of C-C"):
        distances(("C", "C"), 1.1)


def test_a_pair_without_finite_energies_is_skipped_with_the_reason():
    battery = Battery(dimers={"elements": ("C", "O")}, cost=None)
    found = run(NotFinite(), battery)
    assert found["dimers"] == {}
    assert found["skipped"]["C-O"] == "the energy predicted for C-O at 1.30 Å is not finite."


def test_a_calculator_of_unknown_elements_needs_them():
    found = run(Pairs(), Battery(cost=None))
    assert "set dimers.elements" in found["skipped"]["dimers"]
