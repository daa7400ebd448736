"""A whole battery: on calculators that are exactly wrong, and on a model."""

import json

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from multiace.battery import Battery, run
from multiace.data.config import LabelKeys
from multiace.errors import InputError
from multiace.evaluation import evaluate
from tests.battery.calculators import DEPTH, EnergyAlone, Fragile, Pairs, dimer, labelled, morse, well
from tests.potentials import methanol, small_potential

R = np.arange(0.8, 6.01, 0.05)
SETS = {"near": {"file": "near.xyz", "domain": "in"}}
CURVES = {"stretch": {"file": "stretch.xyz", "coordinate": "distance 0 1", "scores": ("dissociation",)}}


@pytest.fixture
def folder(tmp_path):
    """Labels of a Morse potential: dimers near the minimum, a curve in disorder, structures of a model's elements."""
    rng = np.random.default_rng(0)
    near = [labelled(dimer(r)) for r in rng.uniform(1.0, 1.3, 10)]
    curve = [labelled(dimer(r), forces=False) for r in rng.permutation(R)]
    ase.io.write(tmp_path / "near.xyz", near)
    ase.io.write(tmp_path / "stretch.xyz", curve)
    molecules = []
    for k in range(4):
        atoms = methanol()
        atoms.rattle(0.05, seed=k)
        atoms.calc = SinglePointCalculator(atoms, energy=-6400.0 - k, forces=0.1 * atoms.positions)
        molecules.append(atoms)
    ase.io.write(tmp_path / "methanol.xyz", molecules)
    ase.io.write(tmp_path / "argon.xyz", labelled(dimer(3.0, "Ar2")))
    ase.io.write(tmp_path / "bare.xyz", dimer(1.2))
    return tmp_path


def battery(**parts):
    return Battery(name="mine", **{"dimers": None, "cost": None, **parts})


def test_the_reference_itself_makes_no_error(folder):
    found = run(Pairs(), battery(sets=SETS, curves=CURVES), folder)
    assert found["sets"]["near"]["errors"]["energy"]["rmse"] == pytest.approx(0, abs=1e-4)
    assert found["sets"]["near"]["errors"]["forces"]["mae"] == pytest.approx(0, abs=1e-4)
    assert (found["sets"]["near"]["frames"], found["sets"]["near"]["domain"]) == (10, "in")
    curve = found["curves"]["stretch"]
    assert curve["coordinate"] == pytest.approx(R.tolist())
    assert curve["coordinate_name"] == "distance 0 1"
    assert curve["reference"] == pytest.approx(curve["predicted"], abs=1e-6)
    assert min(curve["reference"]) == 0.0
    assert curve["scores"]["spurious_extrema"] == 0
    assert curve["scores"]["dissociation_error"] == pytest.approx(0, abs=1e-4)
    assert "forces_rmse" not in curve["scores"]
    assert found["absent"] == []
    assert found["skipped"] == {}


def test_a_shift_is_an_error_of_a_set_but_not_of_a_curve(folder):
    found = run(Pairs(lambda r: morse(r) + 0.1), battery(sets=SETS, curves=CURVES), folder)
    assert found["sets"]["near"]["errors"]["energy"]["mae"] == pytest.approx(100)
    assert found["sets"]["near"]["errors"]["energy_per_atom"]["mae"] == pytest.approx(50)
    assert found["curves"]["stretch"]["scores"]["rmse"] == pytest.approx(0, abs=1e-3)


def test_absolute_curves_keep_their_shift(folder):
    curves = {"stretch": CURVES["stretch"] | {"zero": "absolute"}}
    found = run(Pairs(lambda r: morse(r) + 0.1), battery(curves=curves), folder)["curves"]["stretch"]
    assert found["scores"]["rmse"] == pytest.approx(100)
    assert min(found["reference"]) == pytest.approx(-DEPTH, abs=0.01)


def test_planted_errors_are_found(folder):
    def wrong(r):
        return morse(r, DEPTH + 0.3) + well(r, 4.0, 0.5)

    scores = run(Pairs(wrong), battery(curves=CURVES), folder)["curves"]["stretch"]["scores"]
    assert scores["spurious_extrema"] == 2
    assert scores["dissociation_error"] == pytest.approx(300, abs=1)


def test_forces_along_a_curve_count_where_they_are_labelled(folder):
    ase.io.write(folder / "stretch.xyz", [labelled(dimer(r)) for r in R])
    scores = run(Pairs(lambda r: morse(r) + 0.05 * r), battery(curves=CURVES), folder)["curves"]["stretch"][
        "scores"
    ]
    assert scores["forces_rmse"] == pytest.approx(50 * (2 / 6) ** 0.5)


def test_a_calculator_without_forces_has_errors_of_energies_alone(folder):
    errors = run(EnergyAlone(), battery(sets=SETS), folder)["sets"]["near"]["errors"]
    assert set(errors) == {"energy", "energy_per_atom"}


def test_stresses_of_a_set_are_compared_where_they_are_labelled(tmp_path, plain_operations):
    """Also of a slab, beside crystals or alone; from a calculator as from a model."""
    crystal = Atoms("CO", [[0, 0, 0], [1.5, 1.4, 1.6]], cell=[3, 3, 3], pbc=True)
    slab = Atoms("CO", crystal.positions, cell=[3, 3, 15], pbc=(True, True, False))
    unlabelled = crystal.copy()
    unlabelled.calc = SinglePointCalculator(unlabelled, energy=0.0)
    for atoms in (crystal, slab):
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, stress=0.01 * np.arange(6))
    ase.io.write(tmp_path / "near.xyz", [crystal, slab, unlabelled])
    ase.io.write(tmp_path / "slab.xyz", slab)
    sets = {**SETS, "slab": {"file": "slab.xyz", "domain": "out"}}
    for model in (EMT(), small_potential()):
        found = run(model, battery(sets=sets), tmp_path)
        assert found["skipped"] == {}
        assert [found["sets"][name]["errors"]["stress"]["count"] for name in ("near", "slab")] == [18, 9]


def test_what_cannot_be_measured_is_skipped_with_the_reason(folder):
    sets = {
        "argon": {"file": "argon.xyz", "domain": "out"},
        "bare": {"file": "bare.xyz", "domain": "out"},
        "methanol": {"file": "methanol.xyz", "domain": "in"},
    }
    curves = {
        "same": {"file": "near.xyz", "coordinate": "order"},
        "no key": {"file": "stretch.xyz"},
        "argon": {"file": "argon.xyz", "coordinate": "order"},  # as the set: both reasons are told
        "twice": {"file": "methanol.xyz", "coordinate": "transfer 0 0 0"},
    }
    found = run(small_potential(), battery(sets=sets, curves=curves), folder)
    assert list(found["sets"]) == ["methanol"]
    assert list(found["curves"]) == ["same"]
    assert "element Ar of Ar2 is not among the model's elements" in found["skipped"]["argon"]
    assert "none of the 1 structures" in found["skipped"]["bare"]
    assert "no number under reaction_coordinate" in found["skipped"]["no key"]
    assert "needs at least two structures" in found["skipped"]["argon"]
    assert "frame 0 and" in found["skipped"]["twice"]
    assert "are both at transfer 0 0 0 = 0" in found["skipped"]["twice"]


def test_an_error_of_a_calculator_is_told_with_its_structure(folder):
    found = run(Fragile(3), battery(sets=SETS), folder)
    assert found["skipped"]["near"].startswith("the calculator cannot predict")
    assert found["skipped"]["near"].endswith("near.xyz frame 3: RuntimeError: no convergence.")


def test_absent_files_are_listed_and_their_entries_left_out(folder):
    sets = SETS | {"far": {"file": "far.xyz", "domain": "out"}}
    dynamics = {"300 K": {"file": "no.xyz", "temperature": 300}}
    found = run(Pairs(), battery(sets=sets, dynamics=dynamics), folder)
    assert list(found["sets"]) == ["near"]
    assert found["dynamics"] == {}
    assert found["absent"] == ["far.xyz", "no.xyz"]


def test_files_are_found_in_several_folders_and_in_parts(folder):
    (folder / "other" / "mine").mkdir(parents=True)
    (folder / "near.xyz").rename(folder / "other" / "mine" / "near.xyz")
    sets = {"some": {"file": "near.xyz@:4", "domain": "in"}}
    found = run(Pairs(), battery(sets=sets, curves=CURVES), [folder, folder / "other"])
    assert found["absent"] == []
    assert found["sets"]["some"]["frames"] == 4


def test_a_model_is_tested_as_evaluate_does(folder, plain_operations):
    potential = small_potential()
    sets = {"methanol": {"file": "methanol.xyz", "domain": "in"}}
    found = run(potential, battery(sets=sets), folder)["sets"]["methanol"]
    assert found["errors"] == evaluate(potential, folder / "methanol.xyz").metrics
    assert found["file"] == "methanol.xyz"


def test_all_parts_of_a_model_are_plain_values(folder, plain_operations):
    potential = small_potential(zbl=True)
    parts = {
        "sets": {"methanol": {"file": "methanol.xyz", "domain": "in"}},
        "curves": {"path": {"file": "methanol.xyz", "coordinate": "order"}},
        "dimers": {"elements": ("C", "H")},
        "dynamics": {
            "50 K": {
                "file": "methanol.xyz",
                "temperature": 50,
                "time": 0.01,
                "replicas": 2,
                "reference": "methanol.xyz",
                "equilibration": 0,
            }
        },
        "cost": {"repeats": 2},
    }
    calls = []
    show = lambda *call: calls.append(call)  # noqa: E731
    found = json.loads(json.dumps(run(potential, battery(**parts), folder, show=show), allow_nan=False))
    assert list(found) == ["battery", *parts, "absent", "skipped"]
    assert list(found["dimers"]) == ["C-C", "C-H", "H-H"]
    assert found["dimers"]["C-C"]["distance"][-1] == potential.cutoff
    dynamics = found["dynamics"]["50 K"]
    assert [set(replica) for replica in dynamics["replicas"]] == [{"survived", "failed"}] * 2
    assert {"temperature", "time", "survived", "bond_error", "pair_error", "steps_per_second"} < set(dynamics)
    assert found["cost"]["parameters"] == sum(p.numel() for p in potential.parameters())
    assert {"microseconds_per_atom", "threads"} < set(found["cost"])
    for part in parts:
        *_, (_, done, total) = (call for call in calls if call[0] == part)
        assert done == total > 0


def test_cost_of_a_calculator_has_no_parameters_and_needs_a_structure(folder):
    found = run(Pairs(), battery(sets=SETS, cost={"repeats": 1}), folder, only=["cost", "sets"])
    assert list(found) == ["battery", "sets", "cost", "absent", "skipped"]
    assert "parameters" not in found["cost"]
    nothing = run(Pairs(), battery(cost={}))
    assert nothing["skipped"] == {"cost": "there is no structure to predict; set cost.file."}


def test_labels_are_read_under_the_keys_that_are_given(folder):
    atoms = Atoms("CO", [[0, 0, 0], [1.2, 0, 0]], info={"TotEnergy": -1.0})
    ase.io.write(folder / "near.xyz", atoms)
    assert "near" in run(Pairs(), battery(sets=SETS), folder)["skipped"]
    for options, keys in (
        ({"labels": {"energy_key": "TotEnergy"}}, None),
        ({}, LabelKeys(energy_key="TotEnergy")),
    ):
        found = run(Pairs(), battery(sets=SETS, **options), folder, keys=keys)
        assert found["sets"]["near"]["errors"]["energy"]["mae"] == pytest.approx(1000 * abs(morse(1.2) + 1))


def test_no_file_at_all_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MULTIACE_DATA", raising=False)
    with pytest.raises(
        InputError,
        match=r"none of the files of battery mine is in .*, \., or in a folder mine there: near.xyz. Say which folder",
    ):
        run(Pairs(), battery(sets=SETS), tmp_path)
    with pytest.raises(InputError, match="or get them: multiace data get acac"):
        run(Pairs(), Battery.read("acac"), tmp_path)


def test_parts_that_are_not_there_are_refused(folder):
    with pytest.raises(InputError, match=r"there is no part 'curve' of a battery. Did you mean 'curves'"):
        run(Pairs(), battery(sets=SETS), folder, only=["curve"])
    with pytest.raises(InputError, match="battery mine has no curves"):
        run(Pairs(), battery(sets=SETS), folder, only=["curves"])


def test_dimers_of_a_calculator_are_of_all_elements_of_its_files(folder):
    ase.io.write(folder / "pairs.xyz", [labelled(dimer(1.2, "C2")), labelled(dimer(1.2))])
    parts = {"sets": {"pairs": {"file": "pairs.xyz", "domain": "in"}}, "dimers": {}}
    assert set(run(Pairs(), battery(**parts), folder)["dimers"]) == {"C-C", "C-O", "O-O"}


def test_a_file_that_cannot_be_read_costs_no_other_part(folder):
    (folder / "broken.xyz").write_text("3\nno structure\n")
    parts = {"sets": SETS | {"broken": {"file": "broken.xyz", "domain": "in"}}, "dimers": {}}
    found = run(Pairs(), battery(**parts), folder)
    assert set(found["sets"]) == {"near"}
    assert found["skipped"].keys() == {"broken", "dimers"}


@pytest.mark.parametrize(
    "other", [dimer(1.1, "N2"), Atoms("CO", [[0, 0, 0], [1.1, 0, 0]], cell=[9, 9, 9], pbc=True)]
)
def test_a_reference_of_other_atoms_is_told(folder, other):
    ase.io.write(folder / "other.xyz", other)
    hot = {
        "file": "near.xyz",
        "reference": "other.xyz",
        "temperature": 300.0,
        "time": 0.1,
        "equilibration": 0.0,
    }
    found = run(Pairs(), battery(sets=SETS, dynamics={"hot": hot}), folder)
    assert "must have the same elements in the same proportions" in found["skipped"]["hot"]
    assert found["dynamics"] == {}
    assert found["sets"].keys() == {"near"}
