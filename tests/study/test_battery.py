"""Studies that test their models on a battery."""

import pytest
import yaml

from multiace.cli import main
from multiace.study.store import Store


@pytest.fixture
def study(sections, data, write, tmp_path, here):
    """Write a study of one seed with a battery of two sets, of which one is not there; run it."""
    battery = {
        "data": str(data),
        "sets": {"near": {"file": "test.xyz", "domain": "in"}, "far": {"file": "far.xyz", "domain": "out"}},
        "dimers": None,
        "cost": None,
    }
    (tmp_path / "own.yml").write_text(yaml.safe_dump(battery))
    path = write(sections | {"seeds": [1], "battery": "own.yml"})

    def run():
        return main(["study", "run", str(path), "--folder", str(tmp_path / "study"), "--jobs", "1"])

    assert run() == 0
    return tmp_path, run


def results(folder):
    return [row.results for row in Store(folder / "study").rows()]


def times(folder):
    return [path.stat().st_mtime_ns for path in sorted((folder / "study").glob("*/*/model.safetensors"))]


def test_models_are_tested_once_and_again_when_the_battery_or_its_files_change(study, data):
    folder, run = study
    for found in results(folder):
        assert found["battery"]["absent"] == ["far.xyz"]
        near = found["battery"]["sets"]["near"]["errors"]
        assert near["forces"]["rmse"] == pytest.approx(
            found["errors"]["test.xyz"]["forces"]["rmse"], rel=1e-6
        )
    trained, tested = times(folder), results(folder)
    assert run() == 0
    assert results(folder) == tested

    (data / "far.xyz").write_bytes((data / "test.xyz").read_bytes())
    assert run() == 0
    assert all(set(found["battery"]["sets"]) == {"near", "far"} for found in results(folder))

    battery = yaml.safe_load((folder / "own.yml").read_text())
    del battery["sets"]["near"]
    (folder / "own.yml").write_text(yaml.safe_dump(battery))
    assert run() == 0
    assert all(set(found["battery"]["sets"]) == {"far"} for found in results(folder))
    store = Store(folder / "study")
    store.test_again(store.rows()[0].name)
    assert "battery" not in results(folder)[0]  # scores of another battery do not count while it is tested
    assert store.rows()[0].state == "waiting"
    assert times(folder) == trained


def test_files_that_are_not_there_are_told_before_anything_runs(sections, data, write, tmp_path, capsys):
    battery = {"sets": {"far": {"file": "gone.xyz", "domain": "out"}}, "dimers": None, "cost": None}
    (tmp_path / "own.yml").write_text(yaml.safe_dump(battery))
    plan = ["study", "run", str(write(sections | {"battery": "own.yml"})), "--plan", "--quick"]
    assert main(plan) == 2
    assert "none of the files of battery own is in" in capsys.readouterr().err
    battery["sets"]["near"] = {"file": "test.xyz", "domain": "in"}
    (tmp_path / "own.yml").write_text(yaml.safe_dump(battery))
    assert main(plan) == 0
    assert "note: gone.xyz of the battery not found" in capsys.readouterr().out
    sections["base"]["data"]["train"] = ["acac/train.xyz@:5"]
    assert main(["study", "run", str(write(sections)), "--plan", "--quick"]) == 2
    told = capsys.readouterr().err
    assert f"data.train has {tmp_path / 'acac/train.xyz'}, and there is no such file" in told
    assert f"multiace data get acac --folder {tmp_path} gets it" in told


def test_a_battery_that_is_not_there_is_told_before_anything_runs(sections, write, tmp_path, capfd):
    path = write(sections | {"battery": "nowhere.yml"})
    assert main(["study", "run", str(path), "--folder", str(tmp_path / "study")]) == 2
    assert "nowhere.yml" in capfd.readouterr().err
    assert not list(tmp_path.glob("study/*/seed-1"))
