"""Reading structures and labels: keys, units, signs, what is missing, what is wrong."""

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from multiace.data.config import LabelKeys
from multiace.data.read import count_labels, find_elements, read_frame, read_frames, unused_stresses
from multiace.errors import InputError

FORCES = np.arange(9.0).reshape(3, 3)
STRESS = np.array([[1.0, 0.6, 0.5], [0.6, 2.0, 0.4], [0.5, 0.4, 3.0]]) * 1e-2
VOIGT = STRESS[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def water(**info):
    atoms = molecule("H2O")
    atoms.info.update(info)
    return atoms


def crystal(**info):
    atoms = bulk("Cu", cubic=True)
    atoms.info.update(info)
    return atoms


def write(path, *structures):
    ase.io.write(path, list(structures), format="extxyz")
    return path


@pytest.mark.parametrize(("energy_key", "forces_key"), [("energy", "forces"), ("REF_energy", "REF_forces")])
@pytest.mark.parametrize("store", ["info", "calculator", "file"])
def test_labels_are_found_by_default(tmp_path, energy_key, forces_key, store):
    atoms = water()
    if store == "calculator":
        atoms.calc = SinglePointCalculator(atoms)
        atoms.calc.results = {energy_key: -3.5, forces_key: FORCES}
    else:
        atoms.info[energy_key] = -3.5
        atoms.arrays[forces_key] = FORCES
    frame = read_frames(write(tmp_path / "a.xyz", atoms))[0] if store == "file" else read_frame(atoms)
    assert frame.energy == -3.5
    np.testing.assert_array_equal(frame.forces, FORCES)
    assert frame.stress is None


def test_ase_moves_the_labels_of_a_file_into_a_calculator(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(
        '1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-2.5 weight=3 pbc="F F F"\nH 0 0 0 1 2 3\n'
    )
    frame = read_frames(path)[0]
    assert "energy" not in frame.atoms.info
    assert (frame.energy, frame.forces.tolist(), frame.weight) == (-2.5, [[1.0, 2.0, 3.0]], 3.0)


def test_energy_comes_before_ref_energy():
    assert read_frame(water(energy=-1.0, REF_energy=-2.0)).energy == -1.0
    assert read_frame(water(energy=-1.0, REF_energy=-2.0), LabelKeys(energy_key="REF_energy")).energy == -2.0


def test_free_energy_is_not_taken_for_the_energy(tmp_path):
    frame = read_frames(write(tmp_path / "a.xyz", water(free_energy=-1.0)))[0]
    assert frame.energy is None


def test_constraints_do_not_change_the_forces(tmp_path):
    from ase.constraints import FixAtoms

    atoms = water()
    atoms.set_constraint(FixAtoms([0, 1, 2]))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=FORCES)
    atoms.write(tmp_path / "a.traj")
    np.testing.assert_array_equal(read_frames(tmp_path / "a.traj")[0].forces, FORCES)


def test_a_named_key_is_the_only_one():
    keys = LabelKeys(energy_key="dft", forces_key="gradient")
    frame = read_frame(water(energy=-1.0, dft=-2.0), keys)
    assert frame.energy == -2.0
    assert read_frame(water(energy=-1.0), keys).energy is None


def test_a_named_key_that_occurs_nowhere_is_refused(tmp_path):
    path = write(tmp_path / "a.xyz", water(TotEnergy=-1.0), water(TotEnergy=-1.0))
    with pytest.raises(
        InputError, match=r"no structure of .*a.xyz has 'E' \(keys found: TotEnergy\).*energy_key"
    ):
        read_frames(path, LabelKeys(energy_key="E"))
    assert len(read_frames(path, LabelKeys(energy_key="E"), strict=False)) == 2


def test_a_named_key_may_occur_in_another_of_the_files(tmp_path):
    files = [write(tmp_path / "a.xyz", water(E=-1.0)), write(tmp_path / "b.xyz", water())]
    assert [frame.energy for frame in read_frames(files, LabelKeys(energy_key="E"))] == [-1.0, None]


def test_frames_may_lack_any_label(tmp_path):
    bare, full = water(), water(energy=-1.0)
    full.arrays["forces"] = FORCES
    counts = count_labels(read_frames(write(tmp_path / "a.xyz", bare, full, water(energy=np.nan))))
    assert (counts.frames, counts.energy, counts.forces, counts.stress) == (3, 1, 1, 0)
    assert counts.keys == ("energy", "forces")


def test_single_atoms_may_lack_forces():
    atoms = water()
    atoms.arrays["forces"] = np.where([[True], [False], [True]], FORCES, np.nan)
    assert np.isnan(read_frame(atoms).forces).sum() == 3
    atoms.arrays["forces"] = np.full((3, 3), np.nan)
    assert read_frame(atoms).forces is None


@pytest.mark.parametrize(
    ("keys", "energy", "force"),
    [
        ({}, 1.0, 1.0),
        ({"energy_unit": "kcal/mol", "forces_unit": "kcal/mol/A"}, 0.0433641, 0.0433641),
        ({"energy_unit": "kJ/mol", "forces_unit": "kJ/mol/A"}, 0.01036427, 0.01036427),
        ({"energy_unit": "Hartree", "forces_unit": "Hartree/Bohr"}, 27.2113862, 51.4220675),
    ],
)
def test_units_are_converted(keys, energy, force):
    atoms = water(energy=1.0)
    atoms.arrays["forces"] = np.ones((3, 3))
    frame = read_frame(atoms, LabelKeys(**keys))
    assert frame.energy == pytest.approx(energy, rel=1e-6)
    np.testing.assert_allclose(frame.forces, force, rtol=1e-6)


@pytest.mark.parametrize("value", [STRESS, STRESS.reshape(9), VOIGT], ids=["3x3", "9", "voigt"])
@pytest.mark.parametrize("key", ["stress", "REF_stress"])
@pytest.mark.parametrize("written", [False, True])
def test_stress_has_any_of_three_shapes(tmp_path, value, key, written):
    atoms = crystal(**{key: value})
    if written and key == "stress":
        atoms.info["stress"] = STRESS if value.size == 9 else VOIGT
    frame = read_frames(write(tmp_path / "a.xyz", atoms))[0] if written else read_frame(atoms)
    np.testing.assert_allclose(frame.stress, STRESS, atol=1e-12)


def test_stress_comes_out_of_a_calculator():
    atoms = crystal()
    atoms.calc = SinglePointCalculator(atoms, stress=VOIGT)
    np.testing.assert_array_equal(read_frame(atoms).stress, STRESS)


@pytest.mark.parametrize(
    ("keys", "factor"),
    [
        ({}, 1.0),
        ({"stress_unit": "GPa"}, 1 / 160.21766208),
        ({"stress_unit": "kbar"}, 1 / 1602.1766208),
        ({"stress_sign": "compression"}, -1.0),
    ],
)
def test_stress_unit_and_sign(keys, factor):
    np.testing.assert_allclose(
        read_frame(crystal(stress=STRESS), LabelKeys(**keys)).stress, STRESS * factor, rtol=1e-6
    )


@pytest.mark.parametrize("key", ["virial", "virials", "REF_virial"])
def test_virial_is_minus_volume_times_stress(key):
    atoms = crystal()
    atoms.info[key] = -atoms.get_volume() * STRESS
    np.testing.assert_allclose(read_frame(atoms).stress, STRESS, rtol=1e-14)
    other = LabelKeys(virial_sign="tension", energy_unit="Hartree", forces_unit="Hartree/Bohr")
    np.testing.assert_allclose(read_frame(atoms, other).stress, -STRESS * units.Hartree, rtol=1e-14)


def test_stress_of_compressed_crystal_is_negative():
    """The convention of ASE's calculators is ours: dE/dstrain / volume."""
    from ase.calculators.emt import EMT

    atoms = crystal()
    atoms.set_cell(atoms.cell * 0.97, scale_atoms=True)
    atoms.calc = EMT()
    stress = atoms.get_stress()
    assert np.trace(read_frame(atoms).stress) == pytest.approx(stress[:3].sum())
    assert np.trace(read_frame(atoms).stress) < 0


@pytest.mark.parametrize("label", ["stress", "virial"])
def test_stress_of_a_structure_that_is_not_periodic(tmp_path, label):
    boxed = water(**{label: STRESS})
    boxed.set_cell([9, 9, 9])
    path = write(tmp_path / "a.xyz", boxed)
    with pytest.raises(InputError, match=f"a.xyz frame 0 has a {label} label, but it has no periodic cell"):
        read_frames(path, LabelKeys(**{f"{label}_key": label}))
    assert read_frames(path)[0].stress is None
    assert unused_stresses(read_frames(path), LabelKeys()) == 1
    boxed.info[label] = 0 * STRESS
    frames = read_frames(write(path, boxed))
    assert frames[0].stress is None
    assert unused_stresses(frames, LabelKeys()) == 0


@pytest.mark.parametrize("config_type", ["isolated_atom", "IsolatedAtom", "isolated-atom"])
def test_isolated_atoms_are_recognised(config_type):
    assert read_frame(Atoms("H", cell=[20] * 3, pbc=True, info={"config_type": config_type})).is_isolated
    assert read_frame(Atoms("H")).is_isolated
    assert not read_frame(bulk("Cu")).is_isolated
    assert not read_frame(water(config_type=config_type)).is_isolated


def test_weights_and_config_types_of_frames():
    frame = read_frame(water(weight=0.5, config_weight=4.0, config_type="md_300K"))
    assert (frame.weight, frame.config_type) == (2.0, "md_300K")
    assert (read_frame(water()).weight, read_frame(water()).config_type) == (1.0, "default")


def test_elements_are_sorted_by_atomic_number():
    assert find_elements([read_frame(molecule("CH3SH")), read_frame(molecule("H2O"))]) == ("H", "C", "O", "S")


def test_ase_databases_are_read(tmp_path):
    atoms = water()
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=FORCES)
    path = tmp_path / "a.db"
    with ase.db.connect(path) as database:
        database.write(atoms, dft=-7.0, config_type="md", data={"gradient": -FORCES})
        database.write(water(), dft=-8.0)
    first, second = read_frames(path)
    assert (first.energy, first.config_type, second.energy) == (-1.0, "md", None)
    np.testing.assert_array_equal(first.forces, FORCES)
    keys = LabelKeys(energy_key="dft", forces_key="gradient")
    first, second = read_frames(path, keys)
    assert (first.energy, second.energy) == (-7.0, -8.0)
    np.testing.assert_array_equal(first.forces, -FORCES)


@pytest.mark.parametrize("suffix", ["traj", "json", "db", "xyz"])
@pytest.mark.parametrize(
    ("part", "energies"), [("", [0, 1, 2, 3]), ("@:2", [0, 1]), ("@1", [1]), ("@-1", [3])]
)
def test_a_part_of_a_file_is_read(tmp_path, suffix, part, energies):
    path = tmp_path / f"a.{suffix}"
    structures = [water() for _ in range(4)]
    for number, atoms in enumerate(structures):
        atoms.calc = SinglePointCalculator(atoms, energy=float(number))
    ase.io.write(path, structures)
    assert [frame.energy for frame in read_frames(f"{path}{part}")] == energies


def test_a_stress_of_five_values_is_refused():
    with pytest.raises(InputError, match=r"a.xyz frame 17: the stress has shape \(5,\)"):
        read_frame(crystal(stress=np.ones(5)), source="a.xyz frame 17")


def test_acac_has_energies_and_forces(reference_data):
    frames = read_frames([reference_data / "acac/train_300K.xyz", reference_data / "acac/isolated_atoms.xyz"])
    counts = count_labels(frames)
    assert (counts.frames, counts.energy, counts.forces, counts.stress) == (503, 503, 500, 0)
    assert [frame.is_isolated for frame in frames] == 500 * [False] + 3 * [True]
    assert frames[0].energy == -9391.45554428476
    assert find_elements(frames) == ("H", "C", "O")


def test_isolated_atoms_of_3bpa_say_nothing_and_are_recognised(reference_data):
    assert all(frame.is_isolated for frame in read_frames(reference_data / "3bpa/iso_atoms.xyz"))
