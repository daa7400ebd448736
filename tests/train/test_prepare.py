"""What a run finds in its data, and what it says about it."""

import json

import ase.io
import numpy as np
import pytest
from ase import Atoms

from multiace.errors import InputError
from multiace.train.console import Console
from multiace.train.loop import fit
from multiace.train.prepare import prepare


@pytest.fixture
def gold(data):
    """An isolated gold atom, which no other structure has."""
    ase.io.write(data / "gold.xyz", Atoms("Au", info={"energy": 3.8, "config_type": "isolated_atom"}))
    return "gold.xyz"


def warnings_of(prepared):
    return [f"{found.code}: {found.sentence}" for found in prepared.check.of("warning")]


def test_element_of_an_isolated_atom_alone_is_left_out_and_named(run, gold, tmp_path):
    potential = fit(run(files=["clusters.xyz", gold], max_epochs=1), tmp_path)
    assert potential.elements == ("Al", "Cu")
    assert "not trained: Au (isolated atom only)" in (tmp_path / "train.log").read_text()


def test_given_element_without_training_frames_is_warned_about(run, gold):
    config = run(files=["clusters.xyz", gold], model={"elements": ["Al", "Cu", "Au"]})
    with pytest.warns(UserWarning, match=r"model\.elements has Au, which no training frame has"):
        prepared = prepare(config)
    assert prepared.model.elements == ("Al", "Cu", "Au")
    assert prepared.untrained == ()


def test_test_frames_with_an_element_that_is_not_trained_are_refused(run):
    with pytest.raises(InputError, match=r"test\.xyz has structures with Al, but the model learns only Cu"):
        prepare(run(files=["crystals.xyz"]))


def test_validation_frames_with_an_element_that_is_not_trained_are_refused(run, data):
    config = run(files=["crystals.xyz"])
    files = config.data.replace(valid=(str(data / "clusters.xyz"),), test=())
    with pytest.raises(InputError, match=r"data\.valid has structures with Al"):
        prepare(config.replace(data=files))


def test_cutoff_without_bonds_is_warned_about(run):
    found = warnings_of(prepare(run(model={"cutoff": 0.5})))
    assert found[0].startswith("atoms-alone")
    assert "within the cutoff of 0.5 Å" in found[0]
    assert "16 frames are like this" in found[0]


def test_few_frames_without_neighbours_are_counted(run, data):
    far = Atoms("Cu2", [[0, 0, 0], [30, 0, 0]], info={"energy": 7.0})
    far.arrays["forces"] = far.positions * 0
    ase.io.write(data / "far.xyz", [far] * 5)
    found = warnings_of(prepare(run(files=["clusters.xyz", "far.xyz"])))
    assert any("2 of 2 atoms have no neighbour" in sentence for sentence in found)
    assert any(sentence.startswith(("duplicates", "sets-overlap")) for sentence in found)


def test_an_error_in_the_data_stops_the_run(run, data, tmp_path):
    same = Atoms("Cu2", [[0, 0, 0], [0, 0, 0]], info={"energy": 7.0})
    same.arrays["forces"] = same.positions * 0
    ase.io.write(data / "same.xyz", [same] * 5)
    with pytest.raises(InputError, match=r"same\.xyz frame \d: atoms Cu 0 and Cu 1 are at one place"):
        fit(run(files=["clusters.xyz", "same.xyz"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_warnings_of_the_data_are_told_before_and_after_training(run, tmp_path):
    fit(run(files=["clusters.xyz", "clusters.xyz"], max_epochs=1), tmp_path)
    log = (tmp_path / "train.log").read_text()
    found = json.loads((tmp_path / "data_check.json").read_text())["findings"]
    repeated = json.loads((tmp_path / "summary.json").read_text())["warnings"]
    assert repeated == [each["sentence"] for each in found if each["severity"] == "warning"]
    assert any("it counts twice" in sentence for sentence in repeated)
    assert log.count("warning: ") == 2 * len(repeated)


@pytest.mark.filterwarnings("error")
def test_stress_labels_without_a_cell_are_told_once(run, data):
    frames = ase.io.read(data / "clusters.xyz", ":")
    for frame in frames:
        frame.info["REF_stress"] = np.eye(3)
    ase.io.write(data / "stressed.xyz", frames)
    (found,) = warnings_of(prepare(run(files=["stressed.xyz"])))
    assert "has a stress label but is not periodic" in found
    assert found.endswith("16 frames are like this.")


@pytest.mark.parametrize("options", [{"stress_weight": 1.0}, {"second_stage_stress_weight": 1.0}, {}])
def test_stress_labels_without_a_weight_are_named(run, options):
    if "second_stage_stress_weight" in options:
        options = {**options, "second_stage_start": 0.5}
    prepared = prepare(run(files=["clusters.xyz", "crystals.xyz"], **options))
    line = "stress labels are not trained: train.stress_weight = 0"
    assert prepared.untrained == (() if options else (line,))


def test_epochs_that_come_again_are_dropped_from_the_log_and_nothing_else(tmp_path):
    console = Console(tmp_path / "log")
    console.print("warning: 5 structures")
    for epoch in (9, 10, 12_345):
        console.epoch({"epoch": epoch, "valid_loss": 1.5e-7, "seconds": float("nan")})
    console.print("1 error")
    console.table("data", ("set", "frames"), [("12", "13")])
    before = (tmp_path / "log").read_text().splitlines()
    console.forget(10)
    kept = (tmp_path / "log").read_text().splitlines()
    assert [line.split() for line in before if line not in kept] == [
        ["10", "1.5e-07", "nan"],
        ["12345", "1.5e-07", "nan"],
    ]
    assert len(kept) == len(before) - 2


def test_learning_curve_has_units(tmp_path):
    row = {"epoch": 1, "valid_energy_per_atom_mae": 2.5, "valid_forces_rmse": 30.0, "seconds": 4.0}
    Console(tmp_path / "log").epoch(row)
    heading, units, values = (line.split() for line in (tmp_path / "log").read_text().splitlines())
    assert heading == ["epoch", "E", "MAE", "F", "RMSE", "seconds"]
    assert units == ["meV/atom", "meV/Å"]
    assert values == ["1", "2.5", "30", "4"]
