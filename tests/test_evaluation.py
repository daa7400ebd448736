import argparse
import json

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from multiace.cli.evaluation import label_keys
from multiace.data.config import LabelKeys
from multiace.data.read import Frame
from multiace.deploy.ase import Calculator
from multiace.errors import InputError
from multiace.evaluation import evaluate, write_metrics, write_predictions
from tests.potentials import crystal, methanol, small_potential


def labelled(energy_error=0.0, force_error=0.0, count=5, structure=methanol):
    """Frames whose labels are the model's own values, less these errors."""
    frames = []
    for k in range(count):
        atoms = structure()
        atoms.rattle(0.05, seed=k)
        atoms.calc = Calculator(small_potential())
        stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
        frames.append(
            Frame(
                atoms,
                atoms.get_potential_energy() - energy_error,
                atoms.get_forces() - force_error,
                stress,
                config_type="odd" if k % 2 else "even",
                source=f"frame {k}",
            )
        )
    return frames


def test_errors_of_known_size_are_measured():
    metrics = evaluate(small_potential(), labelled(energy_error=0.012, force_error=-0.005)).metrics
    assert metrics["energy"]["mae"] == pytest.approx(12)
    assert metrics["energy_per_atom"]["rmse"] == pytest.approx(2)
    assert metrics["forces"]["mae"] == pytest.approx(5)
    assert metrics["forces"]["count"] == 5 * 6 * 3
    assert metrics["config_types"]["odd"]["energy"]["count"] == 2
    assert set(metrics["elements"]) == {"H", "C", "O"}


@pytest.mark.parametrize(
    "limits", [{"batch_size": 1}, {"batch_size": 2, "max_edges": None}, {"max_edges": 1}]
)
def test_predictions_do_not_depend_on_the_batches_and_keep_the_order(limits):
    frames = labelled()
    together, apart = evaluate(small_potential(), frames), evaluate(small_potential(), frames, **limits)
    np.testing.assert_allclose(apart.energies, [frame.energy for frame in frames], rtol=1e-13)
    np.testing.assert_allclose(apart.energies, together.energies, rtol=1e-13)
    for a, b in zip(apart.forces, together.forces, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_progress_ends_at_the_number_of_structures():
    calls = []
    evaluate(small_potential(), labelled(), batch_size=2, advance=lambda *call: calls.append(call))
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_missing_labels_are_left_out():
    frames = labelled(energy_error=1.0)
    frames[0] = Frame(frames[0].atoms)
    metrics = evaluate(small_potential(), frames).metrics
    assert metrics["energy"]["count"] == 4
    assert metrics["forces"]["count"] == 4 * 18
    assert metrics["energy"]["mae"] == pytest.approx(1000)


def test_stress_is_predicted_where_there_is_a_cell():
    mixed = evaluate(small_potential(), [*labelled(count=2, structure=crystal), *labelled(count=1)])
    assert [stress is not None for stress in mixed.stresses] == [True, True, False]
    assert mixed.metrics["stress"]["mae"] == pytest.approx(0, abs=1e-9)
    assert mixed.metrics["stress"]["count"] == 18


def test_ase_structures_are_read_like_files(tmp_path):
    atoms = methanol()
    atoms.info["E"] = -1.0
    evaluation = evaluate(small_potential(), [atoms], keys=LabelKeys(energy_key="E"))
    assert evaluation.metrics["energy"]["count"] == 1
    ase.io.write(tmp_path / "a.xyz", atoms)
    from_file = evaluate(small_potential(), tmp_path / "a.xyz", keys=LabelKeys(energy_key="E"))
    assert from_file.name == "a"
    assert from_file.metrics["energy"]["mae"] == pytest.approx(evaluation.metrics["energy"]["mae"], abs=1e-3)


def test_stress_labels_without_a_cell_are_warned_about(tmp_path):
    atoms = methanol()
    atoms.info["REF_stress"] = np.eye(3)
    ase.io.write(tmp_path / "a.xyz", atoms)
    with pytest.warns(UserWarning, match="stress labels of 1 structures that are not periodic are not used"):
        evaluate(small_potential(), tmp_path / "a.xyz")


def test_labels_are_read_as_in_training():
    potential = small_potential()
    potential.metadata["provenance"] = {"run": {"data": {"energy_key": "E", "train": ["a.xyz"]}}}
    atoms = methanol()
    atoms.info["E"] = -1.0
    atoms.calc = SinglePointCalculator(atoms, energy=5.0)
    assert evaluate(potential, [atoms]).frames[0].energy == -1.0
    assert evaluate(potential, [atoms], keys=LabelKeys()).frames[0].energy == 5.0


def test_written_predictions_hold_reference_and_predicted_values(tmp_path):
    evaluations = [
        evaluate(small_potential(), labelled(0.1, 0.2, count=2), name="molecules"),
        evaluate(small_potential(), labelled(0.1, count=1, structure=crystal), name="crystals"),
    ]
    write_predictions(evaluations, tmp_path / "new" / "predictions.xyz")
    structures = ase.io.read(tmp_path / "new" / "predictions.xyz", ":")
    assert len(structures) == 3
    for atoms in structures:
        assert atoms.info["multiace_energy"] - atoms.get_potential_energy() == pytest.approx(0.1, abs=1e-6)
        assert atoms.arrays["multiace_forces"].shape == (len(atoms), 3)
    difference = structures[0].arrays["multiace_forces"] - structures[0].get_forces()
    np.testing.assert_allclose(difference, 0.2, atol=1e-6)
    np.testing.assert_allclose(structures[2].info["multiace_stress"], structures[2].get_stress(voigt=False))


def test_written_metrics_name_their_units(tmp_path):
    write_metrics([evaluate(small_potential(), labelled(0.006), name="mine")], tmp_path / "metrics.json")
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["units"]["energy_per_atom"] == "meV/atom"
    assert content["sets"]["mine"]["energy_per_atom"]["mae"] == pytest.approx(1)


def test_an_unknown_element_is_refused_with_its_frame():
    atoms = methanol()
    atoms.numbers[0] = 14
    with pytest.raises(InputError, match=r"structure 0: element Si"):
        evaluate(small_potential(), [atoms])


def test_written_predictions_keep_the_info_of_the_frames(tmp_path):
    atoms = methanol()
    atoms.info.update(distance=1.25, config_type="scan", E=-1.0)
    ase.io.write(tmp_path / "scan.xyz", atoms)
    evaluation = evaluate(small_potential(), tmp_path / "scan.xyz", keys=LabelKeys(energy_key="E"))
    write_predictions([evaluation], tmp_path / "p.xyz")
    written = ase.io.read(tmp_path / "p.xyz")
    assert (written.info["distance"], written.info["config_type"]) == (1.25, "scan")
    assert written.get_potential_energy() == -1.0


def test_keys_of_a_command_leave_the_others_as_they_were():
    base = LabelKeys(energy_unit="kcal/mol", forces_unit="kcal/mol/A", energy_key="E", stress_key="S")
    given = argparse.Namespace(**dict.fromkeys(LabelKeys.model_fields))
    assert label_keys(given, base) is None
    given.energy_key = "energy"
    assert label_keys(given, base) == base.replace(energy_key="energy")
