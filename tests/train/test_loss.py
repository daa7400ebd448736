import numpy as np
import pytest
import torch
from ase import Atoms

from multiace.data.dataset import Dataset
from multiace.data.read import Frame
from multiace.model.potential import Prediction
from multiace.train.config import TrainConfig
from multiace.train.loss import LOSSES, Loss


def frame(n_atoms, rng, **changes):
    atoms = Atoms(f"Cu{n_atoms}", positions=3 * np.arange(3 * n_atoms).reshape(n_atoms, 3))
    labels = {
        "energy": rng.normal(),
        "forces": rng.normal(size=(n_atoms, 3)),
        "stress": rng.normal(size=(3, 3)),
    }
    return Frame(atoms, **{**labels, **changes})


def predict(batch, rng):
    n_graphs, n_nodes = batch.graph.n_graphs, batch.graph.n_nodes
    return Prediction(
        energy=torch.tensor(rng.normal(size=n_graphs), requires_grad=True),
        site_energies=torch.zeros(n_nodes),
        forces=torch.tensor(rng.normal(size=(n_nodes, 3)), requires_grad=True),
        stress=torch.tensor(rng.normal(size=(n_graphs, 3, 3)), requires_grad=True),
    )


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def total(loss, prediction, batch):
    return loss.combine(*loss.sums(prediction, batch))


def test_loss_is_the_documented_formula(rng):
    frames = [frame(2, rng, weight=3.0), frame(3, rng)]
    batch = Dataset(frames, ("Cu",), 4.0).all
    p = predict(batch, rng)
    loss = Loss(TrainConfig(energy_weight=2.0, forces_weight=5.0, stress_weight=7.0, stress_loss="mae"))
    e = ((p.energy - batch.energy).detach().numpy() / [2, 3]) ** 2
    f = (p.forces - batch.forces).detach().numpy() ** 2
    s = np.abs((p.stress - batch.stress).detach().numpy()).reshape(2, 9).sum(1)
    g = np.array([3.0, 1.0])
    expected = 2.0 * (g @ e) / 2 + 5.0 * (3.0 * f[:2].sum() + f[2:].sum()) / 15 + 7.0 * (g @ s) / 18
    assert total(loss, p, batch).item() == pytest.approx(expected, rel=1e-12)


def test_missing_labels_contribute_neither_value_nor_gradient(rng):
    bare = frame(2, rng, energy=None, forces=None, stress=None)
    forces = rng.normal(size=(3, 3))
    forces[1] = np.nan
    partial = frame(3, rng, forces=forces)
    batch = Dataset([bare, partial], ("Cu",), 4.0).all
    p = predict(batch, rng)
    loss = total(Loss(TrainConfig(stress_weight=1.0)), p, batch)
    loss.backward()
    assert loss.isfinite()
    assert p.energy.grad[0] == 0
    assert p.energy.grad[1] != 0
    assert (p.forces.grad[[0, 1, 3]] == 0).all()
    assert (p.forces.grad[[2, 4]] != 0).all()
    assert (p.stress.grad[0] == 0).all()


def test_batches_add_up_to_the_whole(rng):
    frames = [frame(n, rng) for n in (2, 3, 4)]
    dataset, loss = Dataset(frames, ("Cu",), 4.0), Loss(TrainConfig())
    p = predict(dataset.all, rng)
    first = Prediction(p.energy[:1], p.site_energies, p.forces[:2], p.stress[:1])
    rest = Prediction(p.energy[1:], p.site_energies, p.forces[2:], p.stress[1:])
    parts = [loss.sums(first, dataset.collate([0])), loss.sums(rest, dataset.collate([1, 2]))]
    sums, counts = (torch.stack(column).sum(0) for column in zip(*parts, strict=True))
    assert loss.combine(sums, counts).item() == pytest.approx(total(loss, p, dataset.all).item(), rel=1e-12)


def test_prediction_that_is_not_a_number_is_not_taken_for_a_missing_label(rng):
    batch = Dataset([frame(2, rng)], ("Cu",), 4.0).all
    p = predict(batch, rng)
    with torch.no_grad():
        p.forces[0, 0] = torch.nan
    assert total(Loss(TrainConfig()), p, batch).isnan()


def test_huber_is_square_below_delta_and_its_tangent_above():
    delta = 0.3
    error = torch.tensor([-0.2, delta, 1.0], dtype=torch.float64, requires_grad=True)
    value = LOSSES["huber"](error, delta)
    value.sum().backward()
    assert torch.allclose(value[:2], error[:2] ** 2)
    assert value[2].item() == pytest.approx(2 * delta * 1.0 - delta**2)
    assert error.grad.tolist() == pytest.approx([-0.4, 0.6, 0.6])


def test_unweighted_target_is_left_out(rng):
    batch = Dataset([frame(2, rng)], ("Cu",), 4.0).all
    loss = Loss(TrainConfig(energy_weight=1.0, forces_weight=0.0))
    p = predict(batch, rng)
    assert not loss.needs("forces")
    assert total(loss, p, batch).item() == pytest.approx(((p.energy - batch.energy) / 2).square().item())
