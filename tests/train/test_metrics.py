import numpy as np
import pytest
import torch
from ase import Atoms

from multiace.data.dataset import Dataset
from multiace.data.read import Frame
from multiace.model.potential import Prediction
from multiace.train.metrics import Metrics

E0 = torch.tensor([-2.0, -3.0], dtype=torch.float64)


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    frames = []
    for symbols, kind in (("CuAl", "a"), ("Cu3", "b"), ("Al2", "a")):
        n = len(Atoms(symbols))
        atoms = Atoms(symbols, positions=3 * np.arange(3 * n).reshape(n, 3))
        frames.append(Frame(atoms, rng.normal(), rng.normal(size=(n, 3)), config_type=kind))
    dataset = Dataset(frames, ("Al", "Cu"), 4.0)
    prediction = Prediction(
        energy=torch.tensor(rng.normal(size=3)),
        site_energies=torch.zeros(7),
        forces=torch.tensor(rng.normal(size=(7, 3))),
    )
    return dataset, prediction


def test_figures_are_those_of_numpy_in_milli_units(case):
    dataset, prediction = case
    metrics = Metrics(dataset, E0)
    metrics.add(prediction, dataset.all)
    result = metrics.result()
    e = (prediction.energy - dataset.all.energy).numpy()
    f = (prediction.forces - dataset.all.forces).numpy()
    n = np.array([2, 3, 2])
    assert result["energy"]["mae"] == pytest.approx(1e3 * np.abs(e).mean())
    assert result["energy_per_atom"]["rmse"] == pytest.approx(1e3 * np.sqrt(np.mean((e / n) ** 2)))
    assert result["forces"] == pytest.approx(
        {
            "count": 21,
            "mae": 1e3 * np.abs(f).mean(),
            "rmse": 1e3 * np.sqrt(np.mean(f**2)),
            "spread": 1e3 * dataset.all.forces.numpy().std(),
        }
    )
    assert "stress" not in result
    aluminium = f[[1, 5, 6]]
    assert result["elements"]["Al"]["rmse"] == pytest.approx(1e3 * np.sqrt(np.mean(aluminium**2)))
    assert result["config_types"]["a"]["energy"]["mae"] == pytest.approx(1e3 * np.abs(e[[0, 2]]).mean())
    assert result["config_types"]["b"]["forces"]["count"] == 9


def test_spreads_are_standard_deviations_of_the_labels_less_the_isolated_atoms(case):
    dataset, prediction = case
    metrics = Metrics(dataset, E0)
    metrics.add(prediction, dataset.all)
    result = metrics.result()
    interaction = dataset.all.energy.numpy() - [-5.0, -9.0, -4.0]
    assert result["energy"]["spread"] == pytest.approx(1e3 * interaction.std())
    assert result["energy_per_atom"]["spread"] == pytest.approx(1e3 * (interaction / [2, 3, 2]).std())
    assert result["config_types"]["a"]["energy"]["spread"] == pytest.approx(1e3 * interaction[[0, 2]].std())
    assert result["config_types"]["b"]["energy"]["spread"] == 0.0
    aluminium = dataset.all.forces.numpy()[[1, 5, 6]]
    assert result["elements"]["Al"]["spread"] == pytest.approx(1e3 * aluminium.std())


def test_equal_labels_have_no_spread():
    frames = [Frame(Atoms("Cu"), -1234.567) for _ in range(3)]
    metrics = Metrics(Dataset(frames, ("Cu",), 4.0), torch.tensor([-1201.3], dtype=torch.float64))
    zero = torch.zeros(3, dtype=torch.float64)
    metrics.add(Prediction(zero, zero), Dataset(frames, ("Cu",), 4.0).all)
    assert metrics.result()["energy"]["spread"] == 0.0


def test_batches_in_any_order_give_the_same_sums(case):
    dataset, p = case
    whole, parts = Metrics(dataset, E0), Metrics(dataset, E0)
    whole.add(p, dataset.all)
    nodes = [slice(0, 2), slice(2, 5), slice(5, 7)]
    for k in (2, 0, 1):
        one = Prediction(p.energy[[k]], p.site_energies[nodes[k]], p.forces[nodes[k]])
        parts.add(one, dataset.collate([k]))
    assert torch.allclose(whole.sums, parts.sums, rtol=1e-13)
    assert torch.allclose(whole.element_sums, parts.element_sums, rtol=1e-13)
