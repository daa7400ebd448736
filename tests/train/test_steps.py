"""A run of so many steps: it ends with the last of them, in the middle of an epoch or not."""

import json

import pytest

from multiace.errors import InputError
from multiace.train.config import TrainConfig
from multiace.train.loop import Training, fit
from tests.train.test_loop import curve, rows, same, stop_in_epoch


@pytest.mark.parametrize(
    ("bounds", "epochs"),
    [
        ({}, 500),
        ({"max_steps": 10}, None),
        ({"max_minutes": 1.0}, None),
        ({"max_steps": 10, "max_epochs": 3}, 3),
        ({"max_epochs": None}, 500),
    ],
)
def test_other_bounds_leave_epochs_without_a_default(bounds, epochs):
    config = TrainConfig.from_dict(bounds)
    assert config.max_epochs == epochs
    assert TrainConfig.from_dict(config.model_dump()) == config


def test_threads_on_a_busy_machine_are_told(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 0.0, 0.0))
    fit(run(max_epochs=1, threads=1), tmp_path / "one")
    assert "may be many times slower" not in capsys.readouterr().out
    fit(run(max_epochs=1, threads=2), tmp_path / "two")
    assert "may be many times slower than one: train.threads = 1" in (tmp_path / "two/train.log").read_text()


def test_a_run_ends_with_its_last_step_and_validates_what_there_is_of_the_epoch(run, tmp_path):
    fit(run(max_epochs=None, max_steps=7), tmp_path)  # 12 frames, 4 a batch
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["step"], summary["epoch"], summary["batch"]) == (7, 3, 0)
    assert [row["steps"] for row in rows(tmp_path)] == ["3", "6", "7"]
    rates = [float(row["learning_rate"]) for row in rows(tmp_path)]
    assert rates[0] > rates[1] > rates[2] == 1e-6  # cosine knows the length
    assert "end after epoch 3: train.max_steps = 7" in (tmp_path / "train.log").read_text()


def test_steps_of_whole_epochs_are_epochs(run, tmp_path):
    options = {"schedule": "constant", "warmup_epochs": 0.5}
    epochs = fit(run(max_epochs=2, **options), tmp_path / "epochs")
    assert same(epochs, fit(run(max_epochs=None, max_steps=6, **options), tmp_path / "steps"))


def test_the_bound_that_is_reached_first_ends_a_run(run, tmp_path):
    for bounds, steps in (({"max_epochs": 1, "max_steps": 100}, 3), ({"max_epochs": 100, "max_steps": 2}, 2)):
        fit(run(**bounds), tmp_path / str(steps))
        assert json.loads((tmp_path / str(steps) / "summary.json").read_text())["step"] == steps
        assert float(rows(tmp_path / str(steps))[-1]["learning_rate"]) == pytest.approx(1e-6)


@pytest.mark.parametrize("options", [{}, {"second_stage_start": 0.5, "second_stage_energy_weight": 50.0}])
def test_a_run_stopped_in_its_last_epoch_ends_with_the_bits_of_the_whole_run(
    run, tmp_path, monkeypatch, options
):
    config = run(max_epochs=None, max_steps=8, **options)
    whole = fit(config, tmp_path / "whole")
    stop_in_epoch(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "cut")
    assert same(whole, fit(config, tmp_path / "cut"))
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")


def test_a_run_stopped_after_its_last_step_still_validates_it(run, tmp_path, monkeypatch):
    config = run(max_epochs=None, max_steps=7)
    whole = fit(config, tmp_path / "whole")
    between = Training.between_batches

    def stop(self):
        if self.state.step == 7 and not self.stop.signal:
            self.stop.signal = 2
        between(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "between_batches", stop)
        with pytest.raises(KeyboardInterrupt, match="1 batches of epoch 3 is saved"):
            fit(config, tmp_path / "cut")
    assert len(rows(tmp_path / "cut")) == 2
    assert same(whole, fit(config, tmp_path / "cut"))
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")


def test_more_steps_are_no_longer_run(run, tmp_path):
    """The epoch that was cut would go on in the middle, and has been validated there."""
    options = {"max_epochs": None, "schedule": "constant"}
    fit(run(max_steps=4, **options), tmp_path)
    with pytest.raises(InputError, match="max_steps = 4, now it is 9"):
        fit(run(max_steps=9, **options), tmp_path)
    fit(run(max_steps=9, **options), tmp_path, fork=True)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["step"], summary["epoch"]) == (9, 4)  # of 3, 1, 3 and 2 steps
