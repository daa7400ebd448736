"""A run that is killed and started again, however often, is the run that was left alone."""

import csv
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboardX.proto.event_pb2 import Event

from multiace.train.checkpoint import Checkpoint, newest_first

ROOT = Path(__file__).parents[2]
TIMES = {f"{part}{of}seconds" for part in ("", "epoch_", "batch_") for of in ("", "core_")}


def curve(folder):
    with (folder / "metrics.csv").open() as file:
        return [
            {name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)
        ]


def logged_epochs(folder):
    """Epochs of which ``train.log`` has a line of figures."""
    lines = (folder / "train.log").read_text().splitlines()
    return [int(line.split()[0]) for line in lines if re.fullmatch(r" {1,9}\d+(  +[-+.\de]+)+", line)]


def tensorboard(folder):
    """Steps and values that TensorBoard shows: what a start of a later session repeats is hidden."""
    shown = []
    for path in sorted((folder / "tensorboard").iterdir(), key=lambda path: path.name):
        for event in read_events(path):
            if event.session_log.status == event.session_log.START and event.HasField("session_log"):
                shown = [row for row in shown if row[0] < event.step]
            shown += [
                (event.step, value.simple_value) for value in event.summary.value if value.tag == "valid_loss"
            ]
    return shown


def read_events(path):
    """Read whole records: length (8 bytes), its checksum (4), an event, its checksum (4)."""
    content, place = path.read_bytes(), 0
    while place + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        if place + length + 16 <= len(content):
            yield Event.FromString(content[place + 12 : place + 12 + length])
        place += length + 16


def state(folder):
    """All that the last checkpoint holds, but for times."""
    checkpoint = Checkpoint.load(newest_first(folder / "checkpoints")[0])
    vectors = {name: vector.numpy().tobytes() for name, vector in checkpoint.vectors.items()}
    return vectors, {name: value for name, value in checkpoint.state.items() if name not in TIMES}


@pytest.mark.parametrize(
    ("places", "kills", "options"),
    [
        ("times", 20, {"early_stopping": 5, "second_stage_start": 0.6, "second_stage_energy_weight": 20.0}),
        (
            "files",
            10,
            {"optimizer": "amsgrad", "schedule": "plateau", "plateau_patience": 1, "checkpoint_every": 2},
        ),
    ],
)
def test_a_run_killed_at_random_moments_ends_with_the_bits_of_the_whole_run(
    run, tmp_path, places, kills, options
):
    (tmp_path / "run.yaml").write_text(run(max_epochs=6, loggers=["csv", "tensorboard"], **options).to_yaml())
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.kills", tmp_path / "run.yaml", tmp_path, str(kills), "1", places],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert sum(counts) == kills
    whole = tmp_path / "whole"
    weights = load_file(whole / "model.safetensors")
    for number in range(len(counts)):
        killed = tmp_path / str(number)
        for name, tensor in load_file(killed / "model.safetensors").items():
            assert torch.equal(tensor, weights[name])
        assert curve(killed) == curve(whole)
        assert logged_epochs(killed) == logged_epochs(whole) == [int(row["epoch"]) for row in curve(whole)]
        assert tensorboard(killed) == tensorboard(whole)
        assert state(killed) == state(whole)
        assert not list(killed.rglob(".*.tmp"))
