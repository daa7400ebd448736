import csv
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from multiace.errors import InputError
from multiace.model.potential import Potential, Statistics
from multiace.train import loop
from multiace.train.checkpoint import newest_first
from multiace.train.loop import Training, fit


def weights(potential):
    return torch.cat([p.detach().reshape(-1) for p in potential.parameters()])


def same(one, other):
    return torch.equal(weights(one), weights(other))


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def curve(folder):
    return [(row["epoch"], row["train_loss"], row["valid_loss"]) for row in rows(folder)]


def stop_in_epoch(monkeypatch, number):
    """Interrupt training in the middle of an epoch (counted from 0), once."""
    step, left = Training.step, [True]

    def interrupted(self, *arguments):
        if self.state.epoch == number and self.state.step % 3 == 1 and left:
            left.clear()
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Training, "step", interrupted)


@pytest.mark.parametrize(
    "model",
    [
        {"radial_norm": "layer"},
        {"feature_norm": "layer"},
        {"first_layer": {"radial_norm": "layer"}, "feature_norm": "layer", "nonlinearity": "gate"},
    ],
    ids=str,
)
def test_an_epoch_moves_every_parameter_of_a_normalised_model(run, tmp_path, model):
    potential = fit(run(max_epochs=1, model=model), tmp_path)
    torch.manual_seed(0)
    before = dict(Potential(potential.config, Statistics(np.zeros(2))).named_parameters())
    assert all(p.isfinite().all() for p in potential.parameters())
    norms = {name: p for name, p in potential.named_parameters() if ".norms." in name}
    assert bool(norms) == ("radial_norm" in str(model))
    assert not any(torch.equal(p, before[name]) for name, p in norms.items())
    assert float(rows(tmp_path)[0]["valid_loss"]) > 0
    again = Potential.load(tmp_path / "model.safetensors")
    assert again.config == potential.config
    assert same(again, potential)


def test_training_lowers_the_errors_and_fills_the_run_folder(run, tmp_path):
    potential = fit(run(max_epochs=30, learning_rate=0.02, loggers=["csv", "tensorboard"]), tmp_path / "run")
    folder = tmp_path / "run"
    first, last = rows(folder)[0], rows(folder)[-1]
    assert float(last["train_loss"]) < 0.5 * float(first["train_loss"])
    assert [int(row["epoch"]) for row in rows(folder)] == list(range(1, 31))
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "config.yaml",
        "split.json",
        "summary.json",
        "model.safetensors",
        "train.log",
        "tensorboard",
    }
    assert len(newest_first(folder / "checkpoints")) == 2
    assert same(potential, Potential.load(folder / "model.safetensors"))
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["errors"]) == {"train", "valid", "test.xyz"}
    assert summary["errors"]["test.xyz"]["forces"]["count"] > 0
    provenance = potential.metadata["provenance"]
    assert len(provenance["data_sha256"]["clusters.xyz"]) == 64
    assert provenance["run"]["train"]["seed"] == 0
    assert potential.metadata["metrics"]["valid"]["energy_per_atom"]["rmse"] > 0


def test_same_run_twice_gives_the_same_bits_and_another_seed_does_not(run, tmp_path):
    one, two = (fit(run(), tmp_path / name) for name in "ab")
    assert same(one, two)
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    assert not same(one, fit(run(seed=1), tmp_path / "c"))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam", "schedule": "cosine"},
        {"optimizer": "amsgrad", "schedule": "plateau", "plateau_patience": 1, "weight_decay": 1e-3},
        {
            "optimizer": "adamw",
            "schedule": "one_cycle",
            "second_stage_start": 0.5,
            "second_stage_energy_weight": 50.0,
            "ema_decay": 0.0,
        },
    ],
)
def test_interrupted_run_ends_with_the_bits_of_the_whole_run(run, tmp_path, monkeypatch, options):
    config = run(max_epochs=5, **options)
    whole = fit(config, tmp_path / "whole")
    stop_in_epoch(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "cut")
    assert same(whole, fit(config, tmp_path / "cut"))
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")


def test_row_written_after_the_last_checkpoint_is_not_doubled(run, tmp_path, monkeypatch):
    config = run(max_epochs=3)
    monkeypatch.setattr(Training, "checkpoint", lambda self: None)
    stop_in_epoch(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "cut")
    assert len(rows(tmp_path / "cut")) == 2
    fit(config, tmp_path / "cut")
    assert [row["epoch"] for row in rows(tmp_path / "cut")] == ["1", "2", "3"]


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(run, tmp_path, monkeypatch):
    config, folder = run(max_epochs=4), tmp_path / "cut"
    whole = fit(config, tmp_path / "whole")
    stop_in_epoch(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        fit(config, folder)
    newest = newest_first(folder / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:-50])
    assert same(whole, fit(config, folder))
    assert "taking the one before" in (folder / "train.log").read_text()
    assert "continuing after epoch 2" in (folder / "train.log").read_text()
    assert newest.with_suffix(".damaged").exists()


def test_finished_run_is_not_trained_again(run, tmp_path, monkeypatch):
    config = run(max_epochs=1)
    potential = fit(config, tmp_path)
    monkeypatch.setattr(loop, "Training", None)
    assert same(potential, fit(config, tmp_path))


def test_changed_config_is_refused_and_named(run, tmp_path):
    fit(run(max_epochs=1), tmp_path)
    with pytest.raises(InputError, match=r"train\.learning_rate = 0\.01, now it is 0\.02"):
        fit(run(max_epochs=1, learning_rate=0.02), tmp_path)


def test_all_changed_fields_are_named(run, tmp_path):
    fit(run(max_epochs=1), tmp_path)
    with pytest.raises(
        InputError, match=r"model\.cutoff = 4\.0, now it is 4\.5; train\.seed = 0, .* set them"
    ):
        fit(run(max_epochs=1, seed=1, model={"cutoff": 4.5}), tmp_path)


def test_config_may_change_until_the_first_checkpoint(run, tmp_path, monkeypatch):
    stop_in_epoch(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        fit(run(max_epochs=1), tmp_path)
    fit(run(max_epochs=1, learning_rate=0.02), tmp_path)
    assert "learning_rate: 0.02" in (tmp_path / "config.yaml").read_text()


def test_changed_data_file_is_refused_on_resume(run, data, tmp_path, monkeypatch):
    copy = data / "copy.xyz"
    copy.write_bytes((data / "clusters.xyz").read_bytes())
    config = run(files=["copy.xyz"], max_epochs=2)
    stop_in_epoch(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path)
    copy.write_text(copy.read_text().replace("atoms4", "atoms5"))
    with pytest.raises(InputError, match=r"copy\.xyz has changed"):
        fit(config, tmp_path)


def test_two_runs_in_one_folder_are_refused(run, tmp_path, monkeypatch):
    config = run(max_epochs=1)

    def again(self, *_):
        fit(config, tmp_path)

    monkeypatch.setattr(Training, "step", again)
    with pytest.raises(InputError, match="another process"):
        fit(config, tmp_path)


def test_loss_that_is_not_a_number_stops_and_writes_no_model(run, tmp_path):
    config = run(max_epochs=3, learning_rate=1e30, schedule="constant", clip_norm=None)
    with pytest.raises(InputError, match="not a number in epoch"):
        fit(config, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    for path in (tmp_path / "checkpoints").glob("*.safetensors"):
        with safe_open(path, "np") as file:
            tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
        assert all(np.isfinite(tensor).all() for tensor in tensors)


def test_weighted_target_without_labels_is_refused(run, tmp_path):
    with pytest.raises(
        InputError, match=r"none of the 12 training frames has a stress label .*data\.stress_key"
    ):
        fit(run(stress_weight=1.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_stress_is_learned_on_crystals_mixed_with_molecules(run, tmp_path):
    files = ("clusters.xyz", "crystals.xyz")
    fit(run(files=files, stress_weight=100.0, max_epochs=15, learning_rate=0.02), tmp_path)
    first, last = rows(tmp_path)[0], rows(tmp_path)[-1]
    assert float(last["valid_stress_rmse"]) < 0.7 * float(first["valid_stress_rmse"])


def test_energies_alone_can_be_learned(run, tmp_path):
    fit(run(forces_weight=0.0, max_epochs=2), tmp_path)
    assert len(rows(tmp_path)) == 2


def test_batches_can_be_bounded_by_edges(run, tmp_path):
    fit(run(batch_size=None, max_edges=40, max_epochs=1), tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["step"] > 12 / 4


def test_early_stopping_and_second_stage_count_from_their_own_start(run, tmp_path):
    config = run(
        max_epochs=40,
        learning_rate=1e-9,  # nothing improves after the moving average has settled
        min_learning_rate=0.0,
        ema_decay=0.0,
        early_stopping=3,
        second_stage_start=0.05,
        second_stage_energy_weight=100.0,
    )
    fit(config, tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["stage"] == 1
    assert summary["best_epoch"] >= 3
    assert summary["epoch"] == summary["best_epoch"] + 3 < 40


@pytest.mark.parametrize(
    ("bound", "spent"), [("max_minutes", "seconds"), ("max_core_minutes", "core_seconds")]
)
def test_time_budget_ends_the_run_with_the_schedule(run, tmp_path, bound, spent):
    fit(run(max_epochs=100_000, **{bound: 2 / 60}), tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert 0.5 < summary[spent] < 2.5
    assert float(rows(tmp_path)[-1]["learning_rate"]) < 0.1 * 0.01


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_said_in_a_sentence(run, tmp_path):
    with pytest.raises(InputError, match="0 GPUs are visible"):
        fit(run(device="cuda"), tmp_path)


def test_user_random_state_and_threads_are_left_alone(run, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    before = torch.manual_seed(5).get_state()
    fit(run(max_epochs=1, threads=1), tmp_path)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_num_threads(threads)
