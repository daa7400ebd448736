"""Where structures are along a curve."""

import numpy as np
import pytest
from ase import Atoms

from multiace.battery.coordinates import check_coordinate, places
from multiace.data.read import Frame
from multiace.errors import InputError
from tests.battery.calculators import dimer


def frames(*structures):
    return [Frame(atoms, source=f"scan.xyz frame {n}") for n, atoms in enumerate(structures)]


def butane(angle):
    """A chain of four carbon atoms with this dihedral angle."""
    turned = np.deg2rad(angle)
    return Atoms("C4", [[1, 0, 0], [0, 0, 0], [0, 0, 1.5], [np.cos(turned), np.sin(turned), 1.5]])


def test_an_info_key_is_read_and_so_is_one_place_of_a_list():
    scan = frames(dimer(1, x=0.5, angles=[1.0, 2.0]), dimer(1, x=1, angles=[3.0, 4.0]))
    name, x = places(scan, ["x"])
    assert (name, x.tolist()) == ("x", [0.5, 1.0])
    assert places(scan, ["angles[1]"])[1].tolist() == [2.0, 4.0]


def test_order_is_that_of_the_file():
    assert places(frames(dimer(3), dimer(1)), ["order"])[1].tolist() == [0.0, 1.0]


def test_the_first_coordinate_that_all_structures_have_is_taken():
    scan = frames(dimer(1.5, x=1.0), dimer(2.0))
    name, r = places(scan, ["x", "distance 0 1", "order"])
    assert (name, r.tolist()) == ("distance 0 1", [1.5, 2.0])


def test_distance_without_atoms_is_an_info_key():
    assert places(frames(dimer(1.5, distance=9.0)), ["distance"])[1].tolist() == [9.0]


def test_distances_in_a_cell_are_those_of_the_nearest_images():
    atoms = dimer(4.0)
    atoms.set_cell([5, 5, 5])
    atoms.pbc = True
    assert places(frames(atoms), ["distance 0 1"])[1] == pytest.approx([1.0])


def test_an_angle_is_in_degrees():
    atoms = Atoms("H3", [[1, 0, 0], [0, 0, 0], [0, 2, 0]])
    assert places(frames(atoms), ["angle 0 1 2"])[1] == pytest.approx([90.0])


def test_a_dihedral_scan_goes_on_through_360_degrees():
    angles = np.arange(300, 431, 10)
    _, found = places(frames(*map(butane, angles)), ["dihedral 0 1 2 3"])
    steps = np.diff(found)
    assert steps == pytest.approx(np.full(len(steps), steps[0]))
    assert abs(steps[0]) == pytest.approx(10.0)


@pytest.mark.parametrize(("first", "step", "n"), [(0, 30, 12), (-150, 20, 16), (200, 10, 25)])
def test_a_dihedral_scan_in_no_order_is_within_one_turn(first, step, n):
    scan, order = first + step * np.arange(n), np.random.default_rng(0).permutation(n)
    _, in_order = places(frames(*map(butane, scan)), ["dihedral 0 1 2 3"])
    _, found = places(frames(*map(butane, scan[order])), ["dihedral 0 1 2 3"])
    turns = (found - in_order[order]) / 360
    assert turns == pytest.approx(np.round(turns), abs=1e-6)
    assert np.diff(np.sort(found)) == pytest.approx(np.full(n - 1, step))


def test_a_proton_in_the_middle_is_at_0_and_moves_from_negative_to_positive():
    path = [Atoms("OHO", [[0, 0, 0], [x, 0, 0], [2.4, 0, 0]]) for x in (1.0, 1.2, 1.4)]
    assert places(frames(*path), ["transfer 0 1 2"])[1] == pytest.approx([-0.4, 0.0, 0.4])


def test_a_coordinate_that_is_not_there_is_told_with_the_keys_that_are():
    with pytest.raises(InputError, match=r"scan.xyz frame 0: no number under x or y.*keys found: angle, z\)"):
        places(frames(dimer(1, z="a", angle=2.0)), ["x", "y"])
    with pytest.raises(InputError, match="no number under z"):
        places(frames(dimer(1, z="a")), ["z"])


def test_atoms_that_are_not_there_are_told():
    with pytest.raises(InputError, match="frame 0 has 2 atoms, but the coordinate is 'distance 0 2'"):
        places(frames(dimer(1)), ["distance 0 2"])


def test_a_dihedral_of_atoms_on_a_line_is_told():
    line = Atoms("C4", [[x, 0, 0] for x in range(4)])
    with pytest.raises(InputError, match="'dihedral 0 1 2 3' is not defined in every structure"):
        places(frames(line), ["dihedral 0 1 2 3"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("distance 1 2 3", "names 3 atoms; distance is of 2, counted from 0"),
        ("order 1", "names 1 atoms; order is of 0"),
        (" ", "is empty"),
    ],
)
def test_a_coordinate_of_the_wrong_number_of_atoms_is_refused(text, sentence):
    with pytest.raises(InputError, match=sentence):
        check_coordinate(text)
