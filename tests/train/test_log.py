import sys

import pytest

from multiace.errors import InputError
from multiace.train.log import LOGGERS, CSVFile


def test_resume_drops_later_rows_and_a_half_written_one(tmp_path):
    log = CSVFile(tmp_path, 1)
    for epoch in (1, 2, 3):
        log.log_metrics({"epoch": epoch, "loss": 0.5}, epoch)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("4,4")
    CSVFile(tmp_path, 3).log_metrics({"epoch": 3, "loss": 0.25}, 3)
    assert (tmp_path / "metrics.csv").read_text() == "step,epoch,loss\n1,1,0.5\n2,2,0.5\n3,3,0.25\n"


def test_rows_of_a_run_without_checkpoint_are_dropped(tmp_path):
    CSVFile(tmp_path, 1).log_metrics({"epoch": 1, "loss": 0.5}, 1)
    CSVFile(tmp_path, 1).log_metrics({"epoch": 1, "energy": 0.1}, 1)
    assert (tmp_path / "metrics.csv").read_text() == "step,epoch,energy\n1,1,0.1\n"


def test_tensorboard_has_the_rows(tmp_path):
    log = LOGGERS["tensorboard"](tmp_path, 1)
    log.log_metrics({"valid_loss": 0.5}, 1)
    log.finalize("success")
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"valid_loss" in events.read_bytes()


def test_missing_wandb_is_said_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match="wandb, which is not installed"):
        LOGGERS["wandb"](tmp_path, 1)
