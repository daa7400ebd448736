"""The last layers of a trained model are solved for, or only get error bars."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pytest
import torch

from multiace.cli import main
from multiace.deploy.ase import Calculator
from multiace.errors import InputError
from multiace.graph.neighbors import build_graph
from multiace.model.linear_part import linear_part
from multiace.model.potential import Potential
from multiace.solve.design import design_matrix
from multiace.train.config import RunConfig
from multiace.train.linear_fit import MEMBERS
from multiace.train.loop import fit

TINY = {"hidden_irreps": "6x0e + 6x1o", "l_max": 1, "cutoff": 4.0, "energy_reference": "mean"}
MODELS = {
    "botnet-small": {**TINY, "num_layers": 2, "radial_widths": [8]},
    "nequip-small": {**TINY, "num_layers": 2, "radial_widths": [8], "readout": "every"},
    "mace-small": {**TINY, "radial_widths": [8]},
    "schnet-small": {**TINY, "hidden_irreps": "6x0e", "l_max": 0, "radial_widths": [8]},
}


@pytest.fixture
def start(data, tmp_path):
    """Train a model a little: ``start(preset)``; return its run folder and a function that makes runs from it."""

    def make(preset="botnet-small", **model):
        common = {
            "data": {"train": [str(data / "clusters.xyz"), str(data / "crystals.xyz")], "valid": 4},
            "model": {"preset": preset, **MODELS[preset], **model},
        }
        gradient = {"max_epochs": 3, "loggers": ["csv"], "verify": False}
        folder = tmp_path / "start"
        fit(RunConfig.from_dict({**common, "train": gradient}), folder)

        def again(**train):
            section = {"start_from": str(folder), "solver": "bayesian_ridge", "verify": False, **train}
            return RunConfig.from_dict({"data": common["data"], "train": section})

        return folder, again

    return make


def loss(folder, name="train") -> float:
    """The training loss of a run without stresses, weights as they are by default."""
    errors = json.loads((folder / "summary.json").read_text())["errors"][name]
    return 10 * errors["energy_per_atom"]["rmse"] ** 2 + errors["forces"]["rmse"] ** 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("preset", MODELS)
def test_a_refit_lowers_the_training_loss(preset, dtype, start, tmp_path):
    folder, again = start(preset, dtype=dtype)
    at = fit(again(), tmp_path / "refit")
    assert loss(tmp_path / "refit") < 0.97 * loss(folder)
    before = Potential.load(folder)
    changed = {
        name for name, value in at.state_dict().items() if not torch.equal(value, before.state_dict()[name])
    }
    assert changed == {f"network.{name}" for name in linear_part(at.network).names}
    assert at.metadata["linear_fit"]["solver"] == "bayesian_ridge"
    assert at.committee.members.shape == (MEMBERS, linear_part(at.network).n_columns)


@pytest.mark.parametrize("solver", ["ridge", "ard", "lsqr", "least_squares", "truncated_svd"])
def test_every_solver_refits(solver, start, tmp_path):
    folder, again = start()
    fit(again(solver=solver, stress_weight=1.0), tmp_path / "refit")
    assert loss(tmp_path / "refit") < loss(folder)


def test_kept_weights_get_error_bars(start, data, tmp_path, capsys):
    folder, again = start()
    at, before = fit(again(keep_weights=True), tmp_path / "laplace"), Potential.load(folder)
    assert all(torch.equal(value, at.state_dict()[name]) for name, value in before.state_dict().items())
    assert loss(tmp_path / "laplace") == pytest.approx(loss(folder), rel=1e-5)
    calculator = Calculator(tmp_path / "laplace", uncertainty=True)
    atoms = ase.io.read(data / "test.xyz")
    labels = atoms.get_forces()
    atoms.calc = calculator
    errors, std = atoms.get_forces() - labels, calculator.results["forces_std"]
    assert 0.3 < (np.abs(errors) < 2 * std).mean() <= 1
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "laplace"), str(data / "test.xyz"), "--uncertainty"]) == 0
    assert "miscalibration area" in " ".join(capsys.readouterr().out.split())


def test_a_committee_of_last_layers_is_its_members(start, data, tmp_path):
    """Error bars are those of 32 predictions, one by one."""
    _, again = start("nequip-small")
    at = fit(again(), tmp_path / "refit")
    committee, part = at.committee, linear_part(at.network)
    atoms = ase.io.read(data / "crystals.xyz")
    graph = build_graph(atoms, at.elements, at.cutoff)
    spread = committee.spread(at, graph)
    found = []
    for member in committee.members:
        part.put(member)
        prediction = at(graph)
        found.append((prediction.energy, prediction.forces))
    energies, forces = (torch.stack(values) for values in zip(*found, strict=True))
    energy = (energies.var(dim=0) + len(atoms) * committee.energy_noise**2).sqrt()
    torch.testing.assert_close(spread.energy, energy, rtol=1e-4, atol=1e-6)
    expected = (forces.var(dim=0) + committee.forces_noise**2).sqrt()
    torch.testing.assert_close(spread.forces, expected, rtol=1e-4, atol=1e-6)
    of_force = forces.var(dim=0).mean(dim=1).sqrt() / committee.largest[graph.species]
    of_energy = energies.std() / len(atoms) ** 0.5 / committee.largest[-1]
    grades = of_force.clamp(min=float(of_energy))
    torch.testing.assert_close(spread.grades, grades, rtol=1e-2, atol=1e-4)


def test_a_refit_of_what_is_fitted_changes_nothing_and_keeps_its_error_bars(start, tmp_path, capsys):
    """The residuals say that weights need not move; how well they are known is another matter."""
    _, again = start()
    once = fit(again(), tmp_path / "once")
    twice = fit(again(start_from=str(tmp_path / "once")), tmp_path / "twice")
    assert twice.metadata["linear_fit"]["moved"] < 0.02
    assert "the data ask for no change" in " ".join(capsys.readouterr().out.split())
    largest = twice.committee.largest / once.committee.largest
    assert ((largest > 0.8) & (largest < 1.25)).all()


def test_what_few_data_do_not_tell_stays_as_it_was(start, data, tmp_path):
    """With one structure, weights move in the directions of its rows alone."""
    folder, again = start()
    train = {name: again().to_dict()["train"][name] for name in ("start_from", "solver", "verify")}
    few = {"train": [str(data / "test.xyz@:1")], "valid": [str(data / "clusters.xyz")]}
    at = fit(RunConfig.from_dict({"data": few, "train": train}), tmp_path / "few")
    before = Potential.load(folder)
    c, c0 = (linear_part(potential.network).present.double().numpy() for potential in (at, before))
    rows = design_matrix(before)(build_graph(ase.io.read(data / "test.xyz", 0), at.elements, at.cutoff))
    *_, V = np.linalg.svd(np.vstack([rows.energy, rows.forces]))
    unseen = V[7:]  # one energy and, of four atoms, six forces that are not given by the others
    assert len(unseen) > 10
    assert np.linalg.norm(c - c0) > 0.1
    np.testing.assert_allclose(unseen @ c, unseen @ c0, rtol=0, atol=1e-4 * np.abs(c).max())
    assert np.linalg.norm(unseen @ c0) > 1  # and would be 0 without it


def test_linear_ace_starts_from_its_coefficients(data, tmp_path):
    """New data are fitted with a prior around the old coefficients; functions that see no data keep theirs."""
    small = {
        "preset": "ace-small",
        "cutoff": 4.0,
        "l_max": 1,
        "num_radial": 4,
        "total_degree": [4.0, 4.0, 4.0],
    }
    sets = {"train": [str(data / "clusters.xyz")], "valid": 4}
    first = RunConfig.from_dict(
        {"model": {**small, "energy_reference": "mean"}, "data": sets, "train": {"verify": False}}
    )
    old = fit(first, tmp_path / "first")
    only = {"train": [str(data / "crystals.xyz")], "valid": 2}
    train = {"start_from": str(tmp_path / "first"), "verify": False}
    new = fit(RunConfig.from_dict({"data": only, "train": train}), tmp_path / "second")
    columns = [linear_part(at.network).values(linear_part(at.network).present) for at in (old, new)]
    of_al, of_cu = ([value["layers.0.product.weight"][z] for value in columns] for z in (0, 1))
    assert torch.equal(*of_al)  # crystals are of Cu
    assert not torch.equal(*of_cu)
    forces = json.loads((tmp_path / "second" / "summary.json").read_text())["errors"]["valid"]["forces"]
    assert forces["rmse"] < 0.2 * forces["spread"]


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (
            {"start_from": None},
            "or a trained one, whose last layers it solves for: set train.start_from = MODEL",
        ),
        ({"smoothness": 1.0}, "train.smoothness has no effect on last layers"),
        ({"max_epochs": 3}, "train.max_epochs has no effect where the model is solved for"),
        (
            {"solver": "least_squares", "keep_weights": True},
            "leaves nothing to do for train.solver = least_squares",
        ),
        (
            {"solver": "lsqr", "keep_weights": True},
            "leaves nothing to do for train.solver = lsqr",
        ),
        (
            {"solver": "auto", "keep_weights": True},
            "train.keep_weights has no effect where weights are trained by",
        ),
        (
            {"start_from": None, "keep_weights": True},
            "train.keep_weights has no effect with start_from = null",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(train, sentence, start, tmp_path):
    _, again = start()
    with pytest.raises(InputError, match=sentence):
        fit(again(**train), tmp_path / "refit")


def test_fit_linear_refits_a_trained_model(start, tmp_path):
    folder, again = start()
    (tmp_path / "refit.yaml").write_text(again().to_yaml())
    assert main(["fit-linear", str(tmp_path / "refit.yaml"), "--folder", str(tmp_path / "refit")]) == 0
    assert loss(tmp_path / "refit") < loss(folder)
