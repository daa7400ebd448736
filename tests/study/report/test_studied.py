"""What was studied is said as the run files, the check of the data and the battery have it."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace

import pytest

from multiace.model.presets import PRESETS
from multiace.study.analysis import Analysis
from multiace.study.report.studied import model, studied_section, training, unfinished
from multiace.train.config import TrainConfig
from tests.study.synthetic import ALONE, write_study


def told(store):
    """Facts by their titles, and the whole section."""
    body = studied_section(Analysis.of(store.rows(), store.folder), store).body
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", body)
    return {title: html.unescape(text) for title, text in found}, body


def test_a_grid_is_told_by_what_all_points_share(store):
    found, body = told(store)
    assert found["training set"] == "train.xyz"
    assert found["validation set"] == "drawn from the training files (valid = 0.1)"
    assert found["test sets"] == "near.xyz, far.xyz"
    assert found["battery"] == (
        "own: near (near.xyz, 60 frames, in domain), far (far.xyz, 40 frames, out of domain); curves: dihedral; "
        "dimers: C-H; dynamics: 500 K (0 × 2 ps)"
    )
    assert re.fullmatch(
        r"num_layers = \d, hidden_irreps = .*, cutoff = 4.0; all else as in the preset botnet\S*",
        found["model"],
    )
    assert found["training"] == "as by default"
    assert found["changes"] == "model.nonlinearity: none · gate; reference: <b>E0</b> & 100% of_it $ · mean"
    assert found["budget of a run"] == "30 epochs"
    assert found["seeds"] == "1, 2, 3"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["last run ended"])
    assert re.match(r"\d+\.\d+", found["multiace"])
    assert "<details><summary>Run file of the first point, model.nonlinearity = none" in body
    assert "hidden_irreps: " in body


def test_what_changes_in_a_grid_is_not_told_as_that_of_all(tmp_path):
    axes = {"data.train": [["a.xyz"], ["b.xyz"]], "train.learning_rate": [0.01, 0.02]}
    store = write_study(tmp_path / "study", {"axes": axes}, seeds=(1,), battery=False, structures=False)
    found, _ = told(store)
    assert "training set" not in found
    assert found["test sets"] == "near.xyz, far.xyz"
    assert found["training"] == "as by default"
    assert "data.train: [a.xyz] · [b.xyz]" in found["changes"]


def test_changes_alone_are_told_with_all_of_their_base(tmp_path):
    store = write_study(tmp_path / "alone", ALONE, seeds=(1,), battery=False, structures=False)
    found, body = told(store)
    assert "correlation = 1" in found["model"]
    assert found["changes"] == "model.correlation: 2 · 3; model.nonlinearity: gate"
    assert "battery" not in found
    assert "Run file of the base" in body


def test_the_check_of_the_data_has_the_number_of_structures(tmp_path):
    store = write_study(tmp_path / "study", battery=False, structures=False)
    kinds = {"train": (135, 0), "valid": (15, 0), "test": (1000, 0)}
    files = [
        {"file": f"/data/{kind}.xyz", "set": kind, "frames": n, "isolated_atoms": isolated}
        for kind, (n, isolated) in kinds.items()
    ]
    files.append({"file": "/data/E0.xyz", "set": "train", "frames": 3, "isolated_atoms": 3})
    (store.folder / store.rows()[0].name / "data_check.json").write_text(json.dumps({"files": files}))
    found, _ = told(store)
    assert found["training set"] == "train.xyz (135 frames), E0.xyz (3 isolated atoms)"
    assert found["validation set"] == "valid.xyz (15 frames) drawn from the training files (valid = 0.1)"
    assert found["test sets"] == "test.xyz (1,000 frames)"


@pytest.mark.parametrize("name", ["nequip", "mace", "mace-small", "botnet-small", "schnet"])
def test_a_model_is_told_by_the_preset_that_it_is_nearest_to(name):
    fields = PRESETS[name].model_dump(mode="json")
    assert model(fields, set()).endswith(f"all else as in the preset {name}")
    other = model(fields | {"readout_width": 7, "num_layers": 9}, set())
    assert "num_layers = 9" in other
    assert other.endswith(f"all else as in the preset {name}, but readout_width = 7")
    assert "num_layers" not in model(fields, {"num_layers"})


def test_fields_of_training_are_told_that_are_not_as_by_default():
    fields = TrainConfig().model_dump(mode="json") | {"seed": 7, "max_epochs": 9, "max_minutes": 3.0}
    assert training(fields, set()) == "as by default"
    assert training(fields | {"learning_rate": 0.5}, {"learning_rate"}) == "as by default"
    assert training(fields | {"learning_rate": 0.5}, set()) == "learning_rate = 0.5, all else as by default"


@pytest.mark.parametrize(
    ("best", "schedule", "said"), [(96, "cosine", 1), (95, "cosine", 0), (100, "constant", 1)]
)
def test_runs_that_were_still_improving_are_told(store, best, schedule, said):
    config = {"train": {"schedule": schedule}}
    rows = [replace(row, config=config, results={"epoch": 100, "best_epoch": best}) for row in store.rows()]
    rows += [replace(rows[0], results=None), replace(rows[0], results={"epoch": 0, "best_epoch": None})]
    found = list(unfinished(rows))
    assert len(found) == said
    if found:
        assert found[0].startswith("In 12 of 12 runs the best epoch is among the last 5 %")
        assert ("as is usual" in found[0]) == (schedule == "cosine")
