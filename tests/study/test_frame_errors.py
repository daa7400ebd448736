"""Errors of structures: they are those of the results, and are kept beside the run."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
import yaml

from multiace.errors import InputError
from multiace.evaluation import evaluate
from multiace.study.frame_errors import FILE, FrameErrors, SetFile, complete, files_of_sets, keep, kept
from multiace.study.store import Row
from multiace.train.metrics import UNITS
from tests.potentials import crystal, methanol, small_potential


@pytest.fixture
def file(tmp_path):
    """Two molecules, one without energy, one with a force that is not labelled, and a crystal."""
    rng = np.random.default_rng(0)
    frames = [methanol(), methanol(), crystal()]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=k)
        atoms.arrays["REF_forces"] = rng.normal(size=(len(atoms), 3))
        if k != 1:
            atoms.info["REF_energy"] = float(rng.normal())
    frames[0].arrays["REF_forces"][2] = np.nan
    frames[2].info["REF_stress"] = rng.normal(size=6)
    ase.io.write(tmp_path / "test.xyz", frames)
    return str(tmp_path / "test.xyz")


def row(place, results, test):
    config = {"data": {"test": test}}
    return Row(place.name, "base", {}, 1, config, "done", 1, None, None, None, results)


def test_errors_of_structures_add_up_to_those_of_the_set(file, tmp_path):
    potential = small_potential()
    keep(potential, {"test.xyz": SetFile(file)}, tmp_path)
    metrics = evaluate(potential, file).metrics
    found = kept(tmp_path)
    assert set(found) == {("test.xyz", quantity) for quantity in metrics if quantity in UNITS}
    assert len(found) == 4
    for (_, quantity), errors in found.items():
        assert 1e3 * errors.rmse == pytest.approx(metrics[quantity]["rmse"])
        assert 1e3 * errors.absolute.sum() / errors.count.sum() == pytest.approx(metrics[quantity]["mae"])
        assert errors.count.sum() == metrics[quantity]["count"]
    assert found["test.xyz", "energy"].count.tolist() == [1, 0, 1]
    assert found["test.xyz", "forces"].count.tolist() == [15, 18, 24]
    assert found["test.xyz", "stress"].count.tolist() == [0, 0, 9]


def test_structures_without_labels_count_nothing():
    found = FrameErrors.of([np.full((2, 3), np.nan), np.zeros((0, 3)), np.array([[1.0, np.nan, -2.0]])])
    assert found.count.tolist() == [0, 0, 2]
    assert found.absolute.tolist() == [0, 0, 3]
    assert found.squared.tolist() == [0, 0, 5]


def test_sets_are_named_as_in_the_results():
    results = {"errors": {"train": {}, "a.xyz": {}, "/two/b.xyz": {}}}
    found = files_of_sets({"test": ["/one/a.xyz", "/two/b.xyz"]}, results)
    assert found == {"a.xyz": SetFile("/one/a.xyz"), "/two/b.xyz": SetFile("/two/b.xyz")}
    assert files_of_sets({}, results) == {}


def test_files_of_a_battery_are_found_beside_the_data(tmp_path):
    (tmp_path / "other.xyz").touch()
    sets = {name: {"file": f"{name}.xyz", "domain": "out"} for name in ("other", "gone", "skipped")}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"sets": sets, "labels": {"energy_key": "E"}}))
    results = {"errors": {"t.xyz": {}}, "battery": {"sets": {"other": {}, "gone": {}}}}
    found = files_of_sets({"test": [str(tmp_path / "t.xyz")]}, results, str(tmp_path / "own.yaml"))
    assert found.keys() == {"t.xyz", "other"}
    assert found["other"].path == str(tmp_path / "other.xyz")
    assert found["other"].keys.energy_key == "E"
    assert found["t.xyz"].keys is None
    with pytest.raises(InputError, match="absent"):
        files_of_sets({"test": []}, results, "absent")


def test_a_set_with_two_names_is_evaluated_once(file, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("multiace.study.frame_errors.evaluate", lambda *x: seen.append(x) or evaluate(*x))
    keep(small_potential(), {"test.xyz": SetFile(file), "hot": SetFile(file)}, tmp_path)
    assert len(seen) == 1
    found = kept(tmp_path)
    np.testing.assert_array_equal(found["hot", "forces"].squared, found["test.xyz", "forces"].squared)


def test_what_is_not_kept_is_measured_once(file, tmp_path):
    small_potential().save(tmp_path / "model.safetensors")
    done = []
    rows = [row(tmp_path, {"errors": {"test.xyz": {}}}, [file])]
    assert complete(tmp_path.parent, rows, None, lambda *x: done.append(x)) == []
    assert done == [(1, 1)]
    written = (tmp_path / FILE).stat().st_mtime_ns
    assert complete(tmp_path.parent, rows, None, lambda *x: done.append(x)) == []
    assert done == [(1, 1)]  # nothing is to be measured, and no progress is told
    assert (tmp_path / FILE).stat().st_mtime_ns == written


def test_runs_whose_model_or_data_are_gone_are_told(file, tmp_path):
    rows = [row(tmp_path, {"errors": {"test.xyz": {}}}, [file])]
    (note,) = complete(tmp_path.parent, rows, None, lambda *x: None)
    assert "errors of the structures of 1 runs are not kept" in note
    assert "model.safetensors" in note
    small_potential().save(tmp_path / "model.safetensors")
    rows = [row(tmp_path, {"errors": {"gone.xyz": {}}}, [str(tmp_path / "gone.xyz")])]
    (note,) = complete(tmp_path.parent, rows, None, lambda *x: None)
    assert "gone.xyz" in note
    assert kept(tmp_path) == {}


def test_a_run_without_test_sets_has_nothing_to_keep(tmp_path):
    assert (
        complete(tmp_path.parent, [row(tmp_path, {"errors": {"valid": {}}}, [])], None, lambda *x: None) == []
    )
    assert not (tmp_path / FILE).exists()


def test_a_folder_that_cannot_be_written_to_is_told(file, tmp_path):
    with pytest.raises(InputError, match="cannot write to"):
        keep(small_potential(), {"test.xyz": SetFile(file)}, tmp_path / "absent")
