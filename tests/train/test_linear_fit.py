"""Linear ACE is solved for: by every solver, resumable, and refused where it makes no sense."""

from __future__ import annotations

import json
import signal

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from multiace.cli import main
from multiace.deploy.ase import Calculator
from multiace.errors import InputError, Interrupted
from multiace.linear.solvers import SOLVERS
from multiace.linear.store import load, save
from multiace.model.config import ModelConfig
from multiace.model.potential import Potential, Statistics
from multiace.solve.ace import AceRows
from multiace.train import linear_fit, linear_rows
from multiace.train.config import RunConfig
from multiace.train.linear_rows import ROWS, LinearRows, rigid_motions
from multiace.train.loop import fit
from multiace.train.route import is_solved
from tests.potentials import LINEAR_ACE, graph_of

E0 = {"Al": -0.25, "Cu": 0.5}


@pytest.fixture
def exact(tmp_path):
    """Structures with the labels of a linear ACE of its own."""
    torch.manual_seed(4)
    config = ModelConfig.from_dict({**LINEAR_ACE, "elements": ["Al", "Cu"]})
    at = Potential(config, Statistics(np.array([E0["Al"], E0["Cu"]])))
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0, 0], [2.5, 0, 0], [1.2, 2.2, 0], [1.2, 0.8, 2.1], [3.6, 2.1, 0.3]])
    frames = []
    for number in range(60):
        symbols = ("Cu4", "Cu3Al", "Cu2Al3")[number % 3]
        n = len(Atoms(symbols))
        atoms = Atoms(symbols, positions=corners[:n] + rng.normal(scale=0.3, size=(n, 3)))
        if number % 2:
            atoms.set_cell(np.eye(3) * 5.5 + rng.normal(scale=0.1, size=(3, 3)))
            atoms.pbc = True
        prediction = at(graph_of(atoms, at), stress=bool(number % 2))
        results = {"energy": float(prediction.energy), "forces": prediction.forces.numpy()}
        if number % 2:
            results["stress"] = prediction.stress[0].numpy()
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    ase.io.write(tmp_path / "exact.xyz", frames[:50])
    ase.io.write(tmp_path / "rest.xyz", frames[50:])
    return tmp_path


def coefficients(at: Potential) -> np.ndarray:
    return at.network.get_parameter("layers.0.product.weight").detach().numpy()


def test_a_linear_ace_finds_another_one(exact):
    run = RunConfig.from_dict(
        {
            "model": {**LINEAR_ACE, "energy_reference": "given", "isolated_energies": E0},
            "data": {"train": [str(exact / "exact.xyz")], "valid": [str(exact / "rest.xyz")]},
            "train": {"stress_weight": 1.0, "verify": False},
        }
    )
    fit(run, exact / "run")
    summary = json.loads((exact / "run" / "summary.json").read_text())
    for quantity, bound in (("energy_per_atom", 0.05), ("forces", 0.5), ("stress", 0.05)):  # meV
        assert summary["errors"]["valid"][quantity]["rmse"] < bound
    assert summary["linear_fit"]["solver"] == "bayesian_ridge"


RADIAL = {
    "own two-body term": {"pair_num_radial": 6, "pair_envelope": "inverse"},
    "two-sided": {
        "radial_basis": "jacobi",
        "envelope": "two_sided",
        "envelope_power": 3,
        "pair_num_radial": 5,
    },
}


@pytest.mark.parametrize("name", RADIAL)
def test_forces_of_a_fit_are_those_of_its_calculator(name, linear, data, tmp_path):
    """With every coefficient from rows of its own, predictions of rows are those of the saved model."""
    fit(linear(("clusters.xyz",), model=RADIAL[name], solver="ridge"), tmp_path / "run")
    frames = ase.io.read(data / "clusters.xyz", ":5")
    calculator = Calculator(tmp_path / "run")
    at = calculator.potential
    rows = AceRows(at)
    assert rows.basis.truncation.pair_num_radial == RADIAL[name]["pair_num_radial"]
    for atoms in frames:
        graph = graph_of(atoms, at)
        made, base = rows(graph), at.without_network(graph)
        forces = (made.forces @ coefficients(at).ravel()).reshape(-1, 3) + base.forces.numpy()
        atoms.calc = calculator
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-9)
        (energy,) = made.energy @ coefficients(at).ravel() + base.energy.numpy()
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)


def test_radial_weights_are_trained_by_gradients_alone(linear):
    trained = {"radial_network": "linear", "radial_species": "pair"}
    assert not is_solved(linear(model=trained))
    with pytest.raises(InputError, match="radial_network = none"):
        is_solved(linear(model=trained, solver="ridge"))


@pytest.mark.parametrize("solver", sorted({*SOLVERS} - {"least_squares"}))
def test_every_solver_fits(solver, linear, tmp_path):
    run = linear(("clusters.xyz", "crystals.xyz"), solver=solver, stress_weight=1.0)
    at = fit(run, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    forces = summary["errors"]["train"]["forces"]
    assert forces["rmse"] < 0.2 * forces["spread"]
    assert summary["linear_fit"]["solver"] == solver
    assert at.metadata["linear_fit"]["rows"] == summary["linear_fit"]["rows"] > 200


def test_least_squares_says_that_coefficients_are_not_determined(linear, tmp_path):
    with pytest.raises(InputError, match="least squares"):
        fit(linear(solver="least_squares"), tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / ROWS).exists()


def test_directions_of_all_rows_lose_nothing(linear, tmp_path):
    """53 atoms have fewer independent rows than there are functions."""
    fit(linear(), tmp_path / "whole")
    reduced = fit(linear(max_columns=135), tmp_path / "reduced")
    found = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "reduced")]
    forces = [summary["errors"]["test.xyz"]["forces"]["rmse"] for summary in found]
    assert forces[1] == pytest.approx(forces[0], rel=1e-3)
    assert reduced.committee is not None


def test_few_directions_are_less(linear, tmp_path, capsys):
    fit(linear(max_columns=30), tmp_path / "run")
    assert "reduced to 30 directions" in " ".join(capsys.readouterr().out.split())
    forces = json.loads((tmp_path / "run" / "summary.json").read_text())["errors"]["train"]["forces"]
    assert forces["rmse"] < 0.6 * forces["spread"]


@pytest.mark.parametrize(("few", "told"), [(0.25, False), (1e3, True)])
def test_few_labels_for_many_functions_are_told(few, told, linear, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(linear_fit, "FEW", few)
    fit(linear(), tmp_path / "run")
    assert ("what they leave open comes from the prior" in " ".join(capsys.readouterr().out.split())) == told


def test_a_stopped_assembly_goes_on_with_the_same_bits(linear, tmp_path, monkeypatch):
    run, made, rows_of = linear(), [], LinearRows.of

    def recorded(self, block):
        made.append(block)
        if len(made) == 9:  # the third of the second run
            raise KeyboardInterrupt
        return rows_of(self, block)

    monkeypatch.setattr(linear_fit, "SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(linear_rows, "BLOCK", 30)  # some rows of two structures
    monkeypatch.setattr(linear_fit, "LEFT_OUT", 0)
    monkeypatch.setattr(LinearRows, "of", recorded)
    expected = coefficients(fit(run, tmp_path / "whole"))
    assert [len(block) for block in made] == [2] * 6
    with pytest.raises(KeyboardInterrupt):
        fit(run, tmp_path / "stopped")
    rows = tmp_path / "stopped" / "checkpoints" / ROWS
    data, state = load(rows)
    save(rows, data, state | {"spent": [1000.0, 2000.0]})
    found = coefficients(fit(run, tmp_path / "stopped"))
    summary = json.loads((tmp_path / "stopped" / "summary.json").read_text())
    assert 1000 < summary["seconds"] < 1100
    assert 2000 < summary["core_seconds"] < 2100
    assert made[6:] == [*made[:3], *made[2:6]]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("most", "what"), [(6000, "the rows of 1 of 12 structures are saved"), (20, "begins again")]
)
def test_ctrl_c_says_what_is_saved(most, what, linear, tmp_path, monkeypatch):
    rows_of, stops = LinearRows.of, []

    class Stop(linear_fit.Stop):
        def __init__(self, fabric):
            super().__init__(fabric)
            stops.append(self)

    monkeypatch.setattr(linear_fit, "Stop", Stop)

    def interrupted(self, block):
        stops[-1].signal = signal.SIGINT
        return rows_of(self, block)

    monkeypatch.setattr(linear_rows, "BLOCK", 1)
    monkeypatch.setattr(LinearRows, "of", interrupted)
    with pytest.raises(Interrupted, match=what):
        fit(linear(max_columns=most), tmp_path / "run")
    monkeypatch.setattr(LinearRows, "of", rows_of)
    fit(linear(max_columns=most), tmp_path / "run")


def test_rows_that_do_not_fit_are_made_again(linear, tmp_path, capsys):
    fit(linear(), tmp_path / "run")
    rows = tmp_path / "run" / "checkpoints" / ROWS
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    for content, sentence in ((rows.read_bytes(), "they are made again"), (b"damaged", "no compressed rows")):
        (tmp_path / "other" / "checkpoints" / ROWS).write_bytes(content)
        capsys.readouterr()
        fit(linear(energy_weight=3.0, solver="ridge"), tmp_path / "other")
        assert sentence in " ".join(capsys.readouterr().out.split())
        (tmp_path / "other" / "summary.json").unlink()


def test_elements_that_never_meet_have_no_columns(tmp_path, capsys):
    """Dimers of Cu and of Al: nothing is known of Cu-Al, and its coefficients are 0."""
    rng, frames = np.random.default_rng(1), []
    for number in range(12):
        atoms = Atoms(("Cu2", "Al2")[number % 2], [[0, 0, 0], [2.0 + rng.random(), 0, 0]])
        atoms.calc = SinglePointCalculator(atoms, energy=rng.random(), forces=rng.normal(size=(2, 3)))
        frames.append(atoms)
    ase.io.write(tmp_path / "dimers.xyz", frames)
    run = RunConfig.from_dict(
        {
            "model": LINEAR_ACE,
            "data": {"train": [str(tmp_path / "dimers.xyz")], "valid": 2},
            "train": {"verify": False},
        }
    )
    at = fit(run, tmp_path / "run")
    assert "nowhere together" in " ".join(capsys.readouterr().out.split())
    mixed = Atoms("CuAl", [[0, 0, 0], [2.5, 0, 0]])
    prediction = at(graph_of(mixed, at))
    assert not prediction.forces.any()


def test_the_gradient_route_stays(linear, tmp_path):
    fit(linear(solver="gradient", max_epochs=1), tmp_path / "run")
    assert (tmp_path / "run" / "metrics.csv").exists()


@pytest.mark.parametrize(
    ("model", "train", "sentence"),
    [
        (
            {"preset": "botnet-small"},
            {"solver": "ridge"},
            "train.solver = ridge needs a model whose energies are linear",
        ),
        ({"readout_width": 4}, {"solver": "ard"}, "train.solver = ard needs a model"),
        ({}, {"max_epochs": 7}, "train.max_epochs has no effect where the model is solved for"),
        ({}, {"max_steps": 7}, "train.max_steps has no effect where the model is solved for"),
        ({}, {"max_minutes": 7}, "train.max_minutes has no effect where the model is solved for"),
        ({}, {"solver": "ridge", "learning_rate": 0.1}, "train.learning_rate has no effect"),
        ({}, {"folds": 200}, "train.folds = 200 parts of .* training frames"),
        ({"preset": "botnet-small"}, {"folds": 5}, "train.folds = 5 needs a model that is solved for"),
    ],
)
def test_what_makes_no_sense_is_refused(model, train, sentence, data, tmp_path):
    given = model if "preset" in model else {**LINEAR_ACE, **model}
    run = RunConfig.from_dict(
        {
            "model": {"energy_reference": "mean", **given},
            "data": {"train": [str(data / "clusters.xyz")], "valid": 4},
            "train": train,
        }
    )
    with pytest.raises(InputError, match=sentence):
        fit(run, tmp_path / "run")


def test_unknown_solvers_are_refused():
    with pytest.raises(InputError, match=r"'riidge' is not a choice.*ridge"):
        RunConfig.from_dict({"data": {"train": ["a"], "valid": ["b"]}, "train": {"solver": "riidge"}})


def test_cross_validation_predicts_what_fits_of_the_others_predict(exact):
    def errors(name, train, valid, **fields):
        for file, frames in (("train", train), ("valid", valid)):
            ase.io.write(exact / f"{file}.xyz", frames)
        sections = {
            "model": {**LINEAR_ACE, "energy_reference": "given", "isolated_energies": E0},
            "data": {"train": [str(exact / "train.xyz")], "valid": [str(exact / "valid.xyz")]},
            "train": {"stress_weight": 1.0, "verify": False, **fields},
        }
        fit(RunConfig.from_dict(sections), exact / name)
        return json.loads((exact / name / "summary.json").read_text())["errors"]

    frames = ase.io.read(exact / "exact.xyz", ":20")
    found = errors("run", frames, frames[:1], folds=3)["cross-validation"]
    parts = [
        errors(f"part{k}", [a for n, a in enumerate(frames) if n % 3 != k], frames[k::3])["valid"]
        for k in range(3)
    ]
    for quantity in ("energy", "forces", "stress"):
        counts = [part[quantity]["count"] for part in parts]
        assert found[quantity]["count"] == sum(counts)
        mae = np.average([part[quantity]["mae"] for part in parts], weights=counts)
        assert found[quantity]["mae"] == pytest.approx(mae, rel=0.02)


def test_the_report_says_how_it_was_solved(linear, tmp_path):
    fit(linear(), tmp_path / "run")
    assert main(["report", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "effective coefficients" in page
    assert "Observed against expected share of errors" in page
    assert "largest grade" in page
    assert "Learning curves" not in page


@pytest.mark.parametrize(
    ("atoms", "motions"),
    [
        (Atoms("Cu"), 3),
        (Atoms("Cu2", [[0, 0, 0], [0, 0, 2.0]]), 5),
        (Atoms("Cu3", [[0, 0, 0], [0, 0, 2.0], [0, 2.0, 0]]), 6),
        (Atoms("Cu3", [[0, 0, 0], [0, 0, 2.0], [0, 2.0, 0]], cell=np.eye(3) * 5, pbc=True), 3),
    ],
)
def test_rigid_motions_make_rows_redundant(atoms, motions):
    """The forces of any coefficients have so many sums that are zero."""
    assert rigid_motions(atoms) == motions
    torch.manual_seed(0)
    at = Potential(ModelConfig.from_dict({**LINEAR_ACE, "elements": ["Cu"]}), Statistics(np.zeros(1)))
    forces = AceRows(at)(graph_of(atoms, at)).forces
    assert np.linalg.matrix_rank(forces, tol=1e-9) <= 3 * len(atoms) - motions


def test_fit_linear_solves_or_says_why_not(linear, run, tmp_path, capsys):
    """Of a linear model; gradients, and models that are not linear, are refused."""
    files = {"ace": linear(), "botnet": run(), "gradient": linear(solver="gradient")}
    for name, config in files.items():
        (tmp_path / f"{name}.yaml").write_text(config.to_yaml())
    assert main(["fit-linear", str(tmp_path / "ace.yaml"), "--folder", str(tmp_path / "run")]) == 0
    assert (
        json.loads((tmp_path / "run" / "summary.json").read_text())["linear_fit"]["solver"]
        == "bayesian_ridge"
    )
    for name, sentence in (
        ("botnet", "needs a model whose energies are linear"),
        ("gradient", "fit-linear solves"),
    ):
        assert main(["fit-linear", str(tmp_path / f"{name}.yaml"), "--folder", str(tmp_path / name)]) == 2
        assert sentence in capsys.readouterr().err
