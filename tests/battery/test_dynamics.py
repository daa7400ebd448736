"""When a trajectory has failed, and how its atoms are distributed."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.constraints import FixAtoms

from multiace.battery.config import DynamicsConfig
from multiace.battery.distributions import bond_error
from multiace.battery.dynamics import Bonds, Replica, distribution_errors, replica
from multiace.errors import InputError
from tests.battery.calculators import BOND, EnergyAlone, Fragile, NotFinite, Pairs, dimer

HARMONIC = 5.0  # [eV/Å²]


def harmonic(r):
    return 0.5 * HARMONIC * (r - BOND) ** 2


def run(calculator, start=None, number=0, **options):
    options = {"temperature": 300.0, "time": 0.2, "timestep": 1.0, **options}
    config = DynamicsConfig(file="start.xyz", **options)
    return replica(calculator, start or dimer(BOND), config, number, lambda steps: None)


def test_a_stable_bond_survives_to_the_end():
    steps = []
    config = DynamicsConfig(file="x.xyz", temperature=300.0, time=0.2, interval=20.0)
    found = replica(Pairs(), dimer(BOND), config, 2, steps.append)
    assert (found.failed, found.steps) == (None, 400)
    assert found.survived == 0.2
    assert steps == list(range(800, 1201, 40))


def test_the_start_structure_is_left_as_it_is():
    start = dimer(BOND)
    run(Pairs(), start)
    assert start.positions.tolist() == dimer(BOND).positions.tolist()
    assert start.calc is None


def test_a_calculator_sees_the_whole_structure_and_its_constraints():
    class Charged(Pairs):
        def calculate(self, atoms=None, *arguments, **options):
            assert atoms.info["charge"] == 1
            super().calculate(atoms, *arguments, **options)

    start = dimer(BOND, charge=1)
    start.set_constraint(FixAtoms([0]))
    found = run(Charged(), start, reference="x.xyz", equilibration=0, interval=20.0)
    assert found.failed is None
    assert all(frame.positions[0].tolist() == start.positions[0].tolist() for frame in found.frames)
    assert any(frame.positions[1].tolist() != start.positions[1].tolist() for frame in found.frames)


def test_replicas_are_repeatable_and_differ_by_their_seeds():
    first, again, other = (run(Pairs(), number=n, reference="x", equilibration=0).frames for n in (0, 0, 1))
    assert np.array_equal(first[-1].positions, again[-1].positions)
    assert not np.allclose(first[-1].positions, other[-1].positions)


def test_a_bond_that_is_pushed_apart_breaks():
    found = run(Pairs(lambda r: -0.5 * r), time=1.0, interval=1.0)
    assert found.failed.startswith("the bond C0-O1 is 1.5")
    assert 0 < found.survived < 0.2


def test_atoms_that_attract_each_other_collapse():
    found = run(Pairs(lambda r: 0.5 * r), time=1.0, interval=1.0)
    assert found.failed == "atoms have collapsed"


def test_a_trajectory_ten_times_as_hot_as_its_bath_has_exploded():
    found = run(Pairs(lambda r: 200 * (r - BOND) ** 2 - 200 * r), interval=50.0)
    assert "is above md.max_temperature = 3000 K" in found.failed
    assert found.survived < 0.05


def test_numbers_that_are_not_finite_end_a_trajectory():
    found = run(NotFinite(), temperature=20_000.0, time=1.0, timestep=0.5, interval=5.0, stretch=9.0)
    assert "not finite" in found.failed
    assert 0 < found.survived < 1.0


def test_an_error_of_a_calculator_ends_a_trajectory():
    found = run(Fragile(25), interval=5.0)
    assert found.failed == "RuntimeError: no convergence"
    assert found.survived == pytest.approx(0.02, abs=0.006)


@pytest.mark.parametrize("calculator", [EnergyAlone(), Fragile(0)])
def test_a_calculator_that_cannot_take_the_start_is_told(calculator):
    with pytest.raises(InputError, match="dynamics cannot start"):
        run(calculator)


def hydrogen(x, y):
    """H beside the first of two oxygen atoms that are 2.6 Å apart."""
    return Atoms("OHO", [[0, 0, 0], [x, y, 0], [2.6, 0, 0]])


@pytest.mark.parametrize("place", [(1.0, 0.0), (1.3, 0.0), (1.6, 0.0), (1.6, 0.9), (3.7, 0.5)])
def test_a_proton_that_moves_to_another_atom_has_broken_no_bond(place):
    assert Bonds(hydrogen(1.0, 0.0), 1.5).failure(hydrogen(*place)) is None


def test_a_proton_that_is_at_no_atom_is_lost():
    lost = Bonds(hydrogen(1.0, 0.0), 1.5).failure(hydrogen(1.0, 1.6))
    assert lost == "the bond O0-H1 is 1.89 times as long as at the start"


def test_hydrogens_that_leave_as_a_molecule_are_lost():
    start = Atoms("CHH", [[0, 0, 0], [1.0, 0, 0], [-0.5, 0.9, 0]])
    left = Atoms("CHH", [[0, 0, 0], [6.0, 0, 0], [6.0, 0.75, 0]])
    assert Bonds(start, 1.5).failure(left).startswith("the bond C0-H1 is 6.00")


def test_the_old_partner_of_a_hydrogen_is_no_other_atom():
    assert Bonds(Atoms("CH", [[0, 0, 0], [1.0, 0, 0]]), 1.5).failure(
        Atoms("CH", [[0, 0, 0], [1.58, 0, 0]])
    ) == ("the bond C0-H1 is 1.58 times as long as at the start")


def test_a_broken_bond_between_heavy_atoms_is_told_whatever_they_meet():
    start = Atoms("CCO", [[0, 0, 0], [1.5, 0, 0], [5.0, 0, 0]])
    moved = start.copy()
    moved.positions[1, 0] = 3.7
    assert Bonds(start, 1.5).failure(moved).startswith("the bond C0-C1 is 2.47")


def test_bonds_are_followed_through_a_cell():
    start = Atoms("CO", [[0.2, 0, 0], [4.1, 0, 0]], cell=[5, 5, 5], pbc=True)
    moved = start.copy()
    moved.positions[1, 0] = 3.9
    assert Bonds(start, 1.5).failure(moved) is None
    moved.positions[1, 0] = 3.0
    assert Bonds(start, 1.5).failure(moved).startswith("the bond C0-O1 is 2.00")


def test_a_harmonic_bond_is_distributed_as_statistical_mechanics_says():
    """p(r) ∝ r² exp(-k (r - r₀)² / 2 k_B T)."""
    found = run(
        Pairs(harmonic),
        temperature=300.0,
        time=3.0,
        timestep=2.0,
        friction=0.1,
        reference="x",
        equilibration=0.2,
    )
    lengths = np.array([atoms.get_distance(0, 1) for atoms in found.frames])
    assert lengths.var() == pytest.approx(units.kB * 300 / HARMONIC, rel=0.3)
    r = np.linspace(0.7, 1.6, 2000)
    p = r**2 * np.exp(-harmonic(r) / (units.kB * 300))
    places = np.linspace(0, 1, 300)
    exact, hot = ([dimer(x) for x in np.interp(places, np.cumsum(q) / q.sum(), r)] for q in (p, p**0.3))
    assert bond_error(found.frames, exact) < 0.3
    assert bond_error(found.frames, hot) > 0.4


def test_replicas_that_failed_at_once_have_no_distributions():
    failed = Replica(0.0, "at once", [], 0)
    assert distribution_errors([failed], [dimer(BOND)]) == {}
    lasted = Replica(1.0, None, [dimer(BOND)], 10)
    assert distribution_errors([failed, lasted], [dimer(BOND)]) == {"bond_error": 0.0, "pair_error": 0.0}
