"""Training steps that are replayed are those that are not."""

from functools import partial

import pytest
import torch

from multiace.data.dataset import Dataset
from multiace.data.read import read_frames
from multiace.model.potential import Potential
from multiace.model.replay import Predictor, captured
from multiace.train import loop
from multiace.train.ema import MovingAverage
from multiace.train.optimizer import OPTIMIZERS, FlatParameters
from multiace.train.prepare import prepare
from multiace.train.processes import launch
from multiace.train.step import Step
from tests.capture import recorded


def trained(config, capture, steps=6):
    """Totals of each step, and the weights and their average at the end."""
    torch.manual_seed(0)
    data = prepare(config)
    potential = Potential(data.model, data.statistics)
    flat = FlatParameters(potential)
    optimizer = OPTIMIZERS[config.train.optimizer](flat.groups(config.train.weight_decay))
    average = MovingAverage(flat.vector, 0.9)
    if capture is not captured:  # as on a GPU
        average.share = flat.vector.new_zeros(())
        for group in optimizer.param_groups:
            group["lr"] = torch.zeros((), dtype=torch.float64)
    step = Step(
        launch(config.train.replace(device="cpu")), config.train, potential, flat, optimizer, average, capture
    )
    totals = []
    for number in range(steps):
        batch = data.train.collate([number % 3, 4, 5])  # one, then another, number of atoms
        totals.append(step(batch, 0.01 / (1 + number), number).clone())
    return torch.stack(totals), flat.vector, average.average


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_replayed_steps_learn_what_others_learn(run, optimizer, plain_operations):
    config = run(
        ("clusters.xyz", "crystals.xyz"),
        model={"dtype": "float64", "correlation": 2},
        optimizer=optimizer,
        stress_weight=10.0,
        weight_decay=0.01,
        clip_norm=0.5,
        forces_loss="huber",
    )
    ours, theirs = trained(config, recorded, steps=12), trained(config, captured, steps=12)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_padding_of_a_batch_has_no_labels(data):
    frames = read_frames(data / "crystals.xyz")
    batch = Dataset(frames, ("Al", "Cu"), 4.0).collate([0, 2])
    whole = batch.padded(4.0)
    assert whole.energy[-1].isnan()
    assert whole.forces[batch.graph.n_nodes :].isnan().all()
    assert whole.stress[-1].isnan().all()
    assert int(whole.num_atoms.sum()) == whole.graph.n_nodes
    again = type(whole).from_tensors(whole.tensors())
    assert again.tensors().keys() == whole.tensors().keys()


def test_a_run_of_padded_steps_is_that_of_plain_ones(run, tmp_path, monkeypatch):
    """Through the loop, validation and a second stage included; all but the capture itself."""
    weights = []
    config = run(
        max_epochs=4, model={"dtype": "float64"}, second_stage_start=0.5, second_stage_energy_weight=9.0
    )
    for number, step in enumerate((Step, partial(Step, capture=lambda run: run))):
        monkeypatch.setattr(loop, "Step", step)
        if number == 1:
            monkeypatch.setattr(loop, "captures", lambda *_: True)
            monkeypatch.setattr(loop, "Predictor", partial(Predictor, capture=lambda run: run))
        weights.append(list(loop.fit(config, tmp_path / str(number)).parameters()))
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
