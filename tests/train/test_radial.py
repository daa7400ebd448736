"""Training steps that read radial weights from tables."""

import pytest
import torch

from multiace import fit
from multiace.data.dataset import Dataset
from multiace.data.read import read_frames
from multiace.errors import InputError
from multiace.layers import table
from multiace.model.potential import Potential, Statistics
from multiace.train import radial
from multiace.train.config import TrainConfig
from multiace.train.console import Console
from multiace.train.loss import Loss
from multiace.train.radial import present_intervals, tables_for, tabulates
from multiace.train.state import State
from tests.potentials import CONFIG


@pytest.fixture
def potential():
    torch.manual_seed(0)
    config = CONFIG.replace(elements=("Al", "Cu"), element_embedding="continuous", embedding_dim=2)
    return Potential(config, Statistics([0.0, 0.0], 1.0, 0.0, 12.0))


@pytest.fixture
def batch(data):
    return Dataset(read_frames(data / "crystals.xyz"), ("Al", "Cu"), 3.5).collate([0, 1, 2])


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(radial, "PAYS", 0)


class Heard(Console):
    def __init__(self):
        self.lines = []

    def print(self, line):
        self.lines.append(line)


@pytest.mark.parametrize(
    ("species", "norm"), [("none", "none"), ("sender", "none"), ("pair", "none"), ("sender", "layer")]
)
def test_the_gradient_of_a_step_with_tables_is_that_of_the_networks(potential, batch, always, species, norm):
    config = potential.config.replace(radial_species=species, trainable_radial=True, radial_norm=norm)
    potential, loss = (
        Potential(config, Statistics([0.0, 0.0], 1.0, 0.0, 12.0)),
        Loss(TrainConfig(stress_weight=1.0)),
    )
    results = []
    for intervals in (0, 1024):
        tables = tables_for(potential.network, batch.graph, intervals)
        assert (tables is None) == (intervals == 0)
        prediction = potential(batch.graph, stress=True, create_graph=True, tables=tables)
        total = loss.combine(*loss.sums(prediction, batch))
        gradients = torch.autograd.grad(total, list(potential.parameters()), materialize_grads=True)
        results.append([value.detach() for value in (prediction.energy, prediction.forces, *gradients)])
    assert potential.network.recorder.succeeds
    for exact, read in zip(*results, strict=True):
        torch.testing.assert_close(read, exact, rtol=1e-5, atol=1e-5 * float(exact.abs().max()))
        assert not torch.equal(read, exact)


def test_tables_are_for_steps_of_many_pairs_and_end_at_the_nearest(potential, batch):
    pairs, nearest = batch.graph.n_edges // 2, float(batch.graph.edge_lengths().min())
    assert tables_for(potential.network, batch.graph, 256) is None
    tables = tables_for(potential.network, batch.graph, 16)
    for of_layer in tables.layers:
        read = of_layer.values[0].flatten(1).any(dim=1)
        assert torch.equal(read[:-1], torch.arange(16) >= int(nearest / 3.5 * 16) - 1)  # R is 0 at the last
        assert pairs >= radial.PAYS * int(read.sum())


def test_knots_follow_the_weights(potential, monkeypatch):
    state, heard = State(), Heard()
    monkeypatch.setattr(table, "INTERVALS", (64, 128, 256))
    monkeypatch.setattr(radial, "TOLERANCE", 1e-4)
    first = present_intervals(potential.network, state, heard)
    assert 0 < state.radial_error <= 1e-4
    with torch.no_grad():
        for network in potential.network.radial_networks:
            network.mlp.weight.mul_(6.0)  # a network that turns faster
    state.step = 99
    assert present_intervals(potential.network, state, heard) == first
    state.step = 100
    more = present_intervals(potential.network, state, heard)
    assert first < more
    monkeypatch.setattr(radial, "TOLERANCE", 1e-12)
    state.step = 200
    assert present_intervals(potential.network, state, heard) == 0
    assert [line.partition(":")[0] for line in heard.lines] == [
        f"radial weights from step {step} on" for step in (1, 101, 201)
    ]
    assert f"tables of {more} intervals" in heard.lines[1]
    assert heard.lines[2].endswith("of the networks, as no table is within 1e-12 of them")


def test_a_run_with_tables_learns_what_one_without_learns_and_goes_on_bit_for_bit(run, tmp_path, always):
    model, options = {"dtype": "float64"}, {"schedule": "constant", "max_epochs": 3}
    files = ("crystals.xyz", "clusters.xyz")
    exact = fit(run(files, model=model, **options), tmp_path / "exact")
    tabulated = run(files, model=model, radial="auto", **options)
    read = fit(tabulated, tmp_path / "read")
    fit(run(files, model=model, radial="auto", schedule="constant", max_epochs=1), tmp_path / "again")
    again = fit(tabulated, tmp_path / "again")
    assert "tables of 256 intervals, within" in (tmp_path / "read/train.log").read_text()
    for one, other, same in zip(exact.parameters(), read.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
        assert torch.equal(other, same)
    assert not all(map(torch.equal, exact.parameters(), read.parameters()))


def test_tables_are_for_networks_with_hidden_layers(potential):
    linear = Potential(
        potential.config.replace(radial_network="linear"), Statistics([0.0, 0.0], 1.0, 0.0, 12.0)
    )
    assert tabulates("auto", potential.network)
    assert not tabulates("network", potential.network)
    assert not tabulates("auto", linear.network)


def test_tables_on_a_gpu_are_refused():
    with pytest.raises(InputError, match=r"train\.radial has no effect with device = cuda"):
        TrainConfig.from_dict({"radial": "auto", "device": "cuda"})
