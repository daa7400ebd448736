import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from multiace.deploy.ase import Calculator
from multiace.errors import InputError
from multiace.layers import table
from multiace.model.replay import Predictor
from multiace.train.optimizer import FlatParameters
from tests.potentials import crystal, methanol, small_potential


def attach(atoms, **options):
    atoms.calc = Calculator(small_potential(), **options)
    return atoms


@pytest.mark.parametrize("structure", [methanol, crystal])
def test_forces_are_minus_the_gradient_of_the_energy(structure):
    atoms = attach(structure())
    forces = atoms.get_forces()
    step = 1e-4
    for atom, axis in [(0, 0), (2, 1), (5, 2)]:
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(attach(moved).get_potential_energy())
        assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-6)
    assert np.abs(forces).max() > 0.01


@pytest.mark.parametrize("structure", [methanol, crystal])
def test_site_energies_sum_to_the_energy(structure):
    atoms = attach(structure())
    site_energies = atoms.get_potential_energies()
    assert site_energies.shape == (len(atoms),)
    assert site_energies.sum() == pytest.approx(atoms.get_potential_energy(), rel=1e-14)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


def test_stress_is_the_strain_derivative_in_voigt_order():
    atoms = attach(crystal())
    stress = atoms.get_stress(voigt=True)
    step = 1e-5
    for component, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(attach(strained).get_potential_energy())
        derivative = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert stress[component] == pytest.approx(derivative, abs=1e-7)
    assert np.abs(stress).max() > 1e-4


@pytest.mark.parametrize("pbc", [False, (True, True, False)])
def test_stress_needs_three_periodic_directions(pbc):
    atoms = attach(crystal())
    atoms.pbc = pbc
    atoms.get_forces()
    with pytest.raises(PropertyNotImplementedError, match="three directions"):
        atoms.get_stress()


@pytest.mark.parametrize("structure", [methanol, crystal])
@pytest.mark.parametrize("skin", [0.3, 2.0])
def test_results_do_not_depend_on_the_skin(structure, skin):
    rng = np.random.default_rng(0)
    fresh, reused = attach(structure(), skin=0.0), attach(structure(), skin=skin)
    for _ in range(15):
        move = 0.03 * rng.standard_normal(fresh.positions.shape)
        for atoms in (fresh, reused):
            atoms.positions += move
        assert reused.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(reused.get_forces(), fresh.get_forces(), rtol=0, atol=1e-12)
    assert fresh.calc.neighbors.searches == 15
    assert 1 <= reused.calc.neighbors.searches < 10


def move_far(atoms):
    atoms.positions[1] += [0.0, 1.3, 0.0]


def stretch_cell(atoms):
    atoms.set_cell(1.05 * atoms.cell.array, scale_atoms=False)


def change_element(atoms):
    atoms.numbers[1] = 8


def open_cell(atoms):
    atoms.pbc = (True, False, True)


def remove_atom(atoms):
    del atoms[3]


@pytest.mark.parametrize("change", [move_far, stretch_cell, change_element, open_cell, remove_atom])
def test_neighbours_are_searched_again_when_the_list_no_longer_holds(change):
    calculator = Calculator(small_potential(), skin=1.0)
    atoms = crystal()
    atoms.calc = calculator
    before = atoms.get_potential_energy()
    change(atoms)
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    assert calculator.neighbors.searches == 2
    assert energy == pytest.approx(attach(atoms.copy(), skin=0.0).get_potential_energy(), abs=1e-12)
    assert abs(energy - before) > 1e-6


def test_a_structure_is_predicted_once_and_after_each_change_anew(monkeypatch):
    calculated = []
    atoms = attach(crystal())
    original = atoms.calc.calculate
    monkeypatch.setattr(atoms.calc, "calculate", lambda *args: calculated.append(original(*args)))
    atoms.get_forces()
    first = atoms.get_potential_energy()
    atoms.get_stress()
    atoms.set_initial_magnetic_moments([1.0] * len(atoms))  # no potential sees them
    atoms.get_potential_energies()
    assert len(calculated) == 1
    atoms.positions[0, 0] += 1e-12
    assert atoms.get_potential_energy() == pytest.approx(first)
    for number, change in enumerate((stretch_cell, change_element, open_cell, remove_atom)):
        change(atoms)
        atoms.get_forces()
        assert len(calculated) == 3 + number


def test_atoms_that_come_within_the_cutoff_inside_the_skin_are_seen():
    calculator = Calculator(small_potential(), skin=1.0)
    atoms = Atoms("HO", [[0, 0, 0], [0, 0, 3.8]], calculator=calculator)
    assert np.abs(atoms.get_forces()).max() == 0
    atoms.positions[1, 2] = 3.4
    assert np.abs(atoms.get_forces()).max() > 0
    assert calculator.neighbors.searches == 1


def test_an_isolated_atom_has_no_force():
    atoms = attach(Atoms("C"))
    assert atoms.get_potential_energies() == pytest.approx([atoms.get_potential_energy()])
    assert np.array_equal(atoms.get_forces(), np.zeros((1, 3)))


def test_an_unknown_element_is_refused_by_name():
    with pytest.raises(InputError, match=r"Fe.*H, C, O"):
        attach(Atoms("Fe")).get_potential_energy()


def test_positions_that_are_not_finite_are_refused_even_with_a_list_at_hand():
    atoms = attach(methanol())
    atoms.get_potential_energy()
    atoms.positions[0, 0] = np.nan
    with pytest.raises(InputError, match="finite"):
        atoms.get_potential_energy()


def test_a_negative_skin_is_refused():
    with pytest.raises(InputError, match="skin"):
        Calculator(small_potential(), skin=-0.1)


def test_precision_is_converted_in_a_copy():
    potential = small_potential(dtype="float32")
    atoms, exact = methanol(), methanol()
    atoms.calc, exact.calc = Calculator(potential), Calculator(potential, dtype="float64")
    assert exact.calc.potential.config.dtype == "float64"
    assert {p.dtype.itemsize for p in exact.calc.potential.parameters()} == {8}
    assert {p.dtype.itemsize for p in potential.parameters()} == {4}
    assert 0 < np.abs(atoms.get_forces() - exact.get_forces()).max() < 1e-5


def test_a_model_file_gives_what_the_potential_gives(tmp_path):
    potential = small_potential()
    potential.save(tmp_path / "model.safetensors")
    atoms = methanol()
    atoms.calc = Calculator(tmp_path / "model.safetensors")
    assert atoms.get_potential_energy() == attach(methanol()).get_potential_energy()


def test_results_survive_a_trajectory_file(tmp_path):
    atoms = attach(crystal())
    forces, stress = atoms.get_forces(), atoms.get_stress()
    ase.io.write(tmp_path / "a.traj", atoms)
    again = ase.io.read(tmp_path / "a.traj")
    np.testing.assert_allclose(again.get_forces(), forces)
    np.testing.assert_allclose(again.get_stress(), stress)


def test_a_run_folder_gives_its_final_model(tmp_path):
    small_potential().save(tmp_path / "model.safetensors")
    atoms = methanol()
    atoms.calc = Calculator(small_potential())
    energy = atoms.get_potential_energy()
    atoms.calc = Calculator(tmp_path)
    assert atoms.get_potential_energy() == energy


def test_a_run_that_is_not_complete_is_refused_with_its_best_model(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("model: {}")
    with pytest.raises(InputError, match="this run is not complete") as refused:
        Calculator(tmp_path)
    assert "best so far" not in str(refused.value)
    small_potential().save(tmp_path / "checkpoints" / "best.safetensors")
    with pytest.raises(InputError, match=r"best so far: .*best\.safetensors"):
        Calculator(tmp_path)


def test_a_folder_of_a_study_is_refused_with_its_runs(tmp_path):
    for seed in (1, 2):
        (tmp_path / f"base/seed-{seed}").mkdir(parents=True)
        small_potential().save(tmp_path / f"base/seed-{seed}/model.safetensors")
    with pytest.raises(InputError, match=r"choose a run in that folder: \S*base/seed-1, \S*base/seed-2\.$"):
        Calculator(tmp_path)


@pytest.mark.parametrize("structure", [methanol, crystal])
def test_tables_of_the_radial_networks_change_forces_by_rounding_only(structure):
    results = {}
    for radial in ("network", "table", "auto"):
        atoms = attach(structure(), dtype="float32", radial=radial)
        results[radial] = atoms.get_forces()
        assert (atoms.calc.tables is None) == (radial == "network")
    assert np.array_equal(results["table"], results["auto"])
    size = np.abs(results["network"]).max()
    assert 0 < np.abs(results["table"] - results["network"]).max() < 3e-5 * size
    assert attach(structure()).calc.tables is None  # float64


def test_tables_give_forces_that_are_the_gradient_of_their_energy():
    atoms = attach(methanol(), radial="table")
    force, step = atoms.get_forces()[1, 2], 1e-4
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 2] += sign * step
        energies.append(attach(moved, radial="table").get_potential_energy())
    assert force == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-6)


def test_tables_follow_the_weights():
    atoms = attach(methanol(), radial="table")
    before = atoms.get_potential_energy()
    with torch.no_grad():
        atoms.calc.potential.network.layers[0].density.radial_network.mlp.weight.mul_(1.1)
    atoms.calc.reset()
    assert abs(atoms.get_potential_energy() - before) > 1e-3
    after = atoms.get_potential_energy()
    FlatParameters(atoms.calc.potential).vector.mul_(1.1)  # as training does
    atoms.calc.reset()
    assert abs(atoms.get_potential_energy() - after) > 1e-3
    expected = Calculator(atoms.calc.potential, radial="network").get_potential_energy(atoms)
    assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-4)


def test_tables_too_large_are_refused_or_left_out(monkeypatch):
    monkeypatch.setattr(table, "LARGEST", 100)
    with pytest.raises(InputError, match="too large; choose radial = network"):
        attach(methanol(), radial="table")
    assert attach(methanol(), dtype="float32").calc.tables is None
    with pytest.raises(InputError, match="radial = 'spline' is not one of auto, network, table"):
        attach(methanol(), radial="spline")


def test_replayed_predictions_are_those_of_the_potential():
    """As on a GPU, but for the capture; edges come and go as atoms move."""
    plain, replayed = Calculator(small_potential(), skin=0.3), Calculator(small_potential(), skin=0.3)
    assert plain.predictor is None
    replayed.predictor = Predictor(replayed.potential, capture=lambda run: run)
    atoms = crystal()
    for step in range(4):
        atoms.rattle(0.05, seed=step)
        for name in ("energy", "energies", "forces", "stress"):
            expected, found = (calculator.get_property(name, atoms) for calculator in (plain, replayed))
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
