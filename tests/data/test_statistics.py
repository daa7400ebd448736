"""E0, scale, shift and neighbour number, against numbers worked out by hand."""

import numpy as np
import pytest
from ase import Atoms

from multiace.data.dataset import Dataset
from multiace.data.read import Frame, read_frames
from multiace.data.statistics import measure
from multiace.errors import InputError
from multiace.model.config import ModelConfig

ELEMENTS = ("H", "O")
E0 = {"H": -13.0, "O": -2000.0}
ISOLATED = [Frame(Atoms(symbol), energy=energy, source=f"{symbol}.xyz") for symbol, energy in E0.items()]


def chain(formula):
    symbols = Atoms(formula).get_chemical_symbols()
    return Atoms(symbols, [[i, 0, 0] for i in range(len(symbols))])


def frame(formula, bond=0.0, forces=None):
    """A chain with spacing 1 Å, whose energy is ΣE0 + bond per atom."""
    atoms = chain(formula)
    energy = sum(E0[symbol] + bond for symbol in atoms.get_chemical_symbols())
    return Frame(atoms, energy=energy, forces=None if forces is None else np.full((len(atoms), 3), forces))


FRAMES = [frame("H2", -1.0, 0.5), frame("HO", -2.0, -1.5), frame("H2O", -3.0), frame("O2", -6.0)]


def statistics(frames=FRAMES, isolated=ISOLATED, **fields):
    fields = {"energy_reference": "isolated", "scale": "none", "shift": "none", **fields}
    return measure(ModelConfig(**fields), Dataset(frames, ELEMENTS, 1.5), isolated)


def test_isolated_atoms_give_e0():
    np.testing.assert_array_equal(statistics().isolated_energies, [-13.0, -2000.0])
    reordered = measure(ModelConfig(scale="none"), Dataset(FRAMES, ("O", "H"), 1.5), ISOLATED)
    np.testing.assert_array_equal(reordered.isolated_energies, [-2000.0, -13.0])


def test_given_e0():
    given = {"H": -12.9995, "O": -2000.0, "C": -1.0}
    found = statistics(energy_reference="given", isolated_energies=given)
    np.testing.assert_array_equal(found.isolated_energies, [-12.9995, -2000.0])


def test_least_squares_e0_are_exact_where_energies_are_sums():
    found = statistics([frame("H2"), frame("HO"), frame("H2O")], [], energy_reference="least_squares")
    np.testing.assert_allclose(found.isolated_energies, [-13.0, -2000.0], rtol=1e-12)


def test_least_squares_e0_of_one_composition_have_least_norm():
    found = statistics([frame("H2O"), frame("H4O2")], [], energy_reference="least_squares")
    np.testing.assert_allclose(found.isolated_energies, np.array([2.0, 1.0]) * -2026 / 5, rtol=1e-12)


def test_mean_e0_is_the_same_for_every_element():
    found = statistics([frame("H2"), frame("O2")], [], energy_reference="mean")
    np.testing.assert_allclose(found.isolated_energies, [-1006.5, -1006.5])


def test_no_reference_is_zero():
    np.testing.assert_array_equal(statistics(energy_reference="none").isolated_energies, [0.0, 0.0])


def test_rms_force_leaves_missing_forces_out():
    assert statistics(scale="rms_force").scale == pytest.approx(np.sqrt((0.25 + 2.25) / 2), rel=1e-14)


def test_std_is_that_of_energies_per_atom_after_e0():
    assert statistics(scale="std").scale == pytest.approx(np.std([-1, -2, -3, -6]), rel=1e-10)


def test_shift_is_the_mean_energy_per_atom_after_e0():
    assert statistics(shift="mean").shift == pytest.approx(-3.0, rel=1e-12)
    unlabelled = [*FRAMES, Frame(chain("H3"))]
    assert statistics(unlabelled, shift="mean", scale="std").shift == pytest.approx(-3.0, rel=1e-12)


def test_none_leaves_the_site_energies_alone():
    found = statistics()
    assert (found.scale, found.shift) == (1.0, 0.0)


def test_number_of_neighbours_is_the_mean_over_atoms():
    assert statistics().num_neighbors == pytest.approx((2 + 2 + 4 + 2) / 9)
    far = Atoms("H2", [[0, 0, 0], [9, 0, 0]])
    assert statistics([Frame(far, energy=-26.0)]).num_neighbors == 1.0


def test_two_isolated_atoms_that_disagree_are_refused():
    other = Frame(Atoms("H"), energy=-13.12, source="b.xyz")
    with pytest.raises(InputError, match=r"isolated H has energy -13.0 eV in H.xyz, but -13.12 eV in b.xyz"):
        statistics(isolated=[*ISOLATED, other])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"isolated": ISOLATED[:1]}, "no isolated atom with an energy for O.*least_squares, mean or none"),
        ({"isolated": [*ISOLATED[:1], Frame(Atoms("O"))]}, "no isolated atom with an energy for O"),
        ({"energy_reference": "given", "isolated_energies": {"H": -13.0}}, "has nothing for O"),
        ({"frames": [Frame(chain("HO"))], "shift": "mean"}, "model.shift = mean needs energies"),
        ({"frames": [Frame(chain("HO"))], "scale": "std"}, "model.scale = std needs energies"),
        (
            {"frames": [Frame(chain("HO"))], "energy_reference": "mean"},
            "energy_reference = mean needs energies",
        ),
        (
            {"frames": [frame("HO")], "scale": "rms_force"},
            "model.scale = rms_force needs forces.*data.forces_key",
        ),
        ({"frames": [frame("HO", -1.0)], "scale": "std"}, "model.scale = std would be zero"),
        ({"frames": [frame("HO", -1.0, 0.0)], "scale": "rms_force"}, "model.scale = rms_force would be zero"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        statistics(**arguments)


def test_acac(reference_data):
    frames = read_frames(reference_data / "acac/train_300K.xyz@:100")
    isolated = read_frames(reference_data / "acac/isolated_atoms.xyz")
    dataset = Dataset(frames, ("H", "C", "O"), 4.0)
    found = measure(
        ModelConfig(energy_reference="isolated", scale="rms_force", shift="mean"), dataset, isolated
    )
    assert found.isolated_energies[0] == -13.568422178253735
    assert found.scale == pytest.approx(np.sqrt(np.mean([f.forces**2 for f in frames])))
    assert -6 < found.shift < -4
    assert 5 < found.num_neighbors < 14
