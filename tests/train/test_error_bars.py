"""Error bars of linear ACE: the committee, in the calculator, in evaluation and in files."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from multiace.cli import main
from multiace.deploy.ase import Calculator
from multiace.errors import InputError
from multiace.evaluation import evaluate
from multiace.model.committee import Committee
from multiace.model.potential import Potential
from multiace.train.config import RunConfig
from multiace.train.linear_fit import MEMBERS
from multiace.train.loop import fit
from multiace.train.prepare import prepare
from tests.potentials import LINEAR_ACE, graph_of, methanol, small_potential


def coefficients(at: Potential) -> np.ndarray:
    return at.network.get_parameter("layers.0.product.weight").detach().numpy()


@pytest.fixture
def fitted(linear, tmp_path):
    """A model with a committee, as it comes out of its file."""
    fit(linear(("clusters.xyz", "crystals.xyz")), tmp_path / "run")
    return Potential.load(tmp_path / "run")


def test_the_committee_lies_around_the_model(fitted):
    committee = fitted.committee
    assert committee is not None
    assert committee.members.shape == (MEMBERS, coefficients(fitted).size)
    mean, deviation = committee.members.mean(dim=0), committee.members.std(dim=0)
    off = (mean - torch.from_numpy(coefficients(fitted).ravel())).abs() / deviation.clamp(min=1e-300)
    assert off.mean() < 2.0 / MEMBERS**0.5  # 0.8 of a standard error each, if they are what they should be


def test_calculator_and_evaluation_have_error_bars(fitted, data, tmp_path, capsys):
    atoms = ase.io.read(data / "test.xyz")
    labels = atoms.get_forces()
    atoms.calc = Calculator(fitted, uncertainty=True)
    forces = atoms.get_forces()
    std = atoms.calc.results["forces_std"]
    assert std.shape == forces.shape
    assert (std >= fitted.committee.forces_noise).all()
    assert atoms.calc.results["energy_std"] > fitted.committee.energy_noise
    assert 0.05 < (np.abs(forces - labels) < 2 * std).mean() <= 1
    far = atoms.copy()
    far.positions[0] += 0.9
    far.calc = atoms.calc
    far.get_forces()
    near, far_std = std, far.calc.results["forces_std"]
    assert far_std.mean() > near.mean()

    arguments = [str(tmp_path / "run"), str(data / "test.xyz"), "--uncertainty"]
    outputs = ["--out", str(tmp_path / "out.xyz"), "--json", str(tmp_path / "out.json")]
    assert main(["evaluate", *arguments, *outputs]) == 0
    assert "miscalibration area" in " ".join(capsys.readouterr().out.split())
    found = json.loads((tmp_path / "out.json").read_text())["sets"]["test"]["calibration"]
    written = ase.io.read(tmp_path / "out.xyz", ":")
    z = np.concatenate(
        [(a.arrays["multiace_forces"] - a.get_forces()) / a.arrays["multiace_forces_std"] for a in written]
    )
    assert found["forces"]["within_1"] == pytest.approx((np.abs(z) < 1).mean())
    assert found["forces"]["labels"] == z.size


def test_what_the_data_do_not_tell_has_wide_error_bars(tmp_path):
    rng, frames = np.random.default_rng(1), []
    for number in range(30):
        r = 2.0 + rng.random()
        atoms = Atoms(("Cu2", "Al2")[number % 2], [[0, 0, 0], [r, 0, 0]])
        atoms.calc = SinglePointCalculator(
            atoms, energy=np.exp(-r), forces=np.exp(-r) * np.array([[-1, 0, 0], [1, 0, 0]])
        )
        frames.append(atoms)
    ase.io.write(tmp_path / "dimers.xyz", frames)
    run = RunConfig.from_dict(
        {
            "model": LINEAR_ACE,
            "data": {"train": [str(tmp_path / "dimers.xyz")], "valid": 4},
            "train": {"verify": False},
        }
    )
    calculator = Calculator(fit(run, tmp_path / "run"), uncertainty=True)
    std = {}
    for symbols in ("Cu2", "CuAl"):
        atoms = Atoms(symbols, [[0, 0, 0], [2.5, 0, 0]], calculator=calculator)
        atoms.get_potential_energy()
        std[symbols] = calculator.results["energy_std"]
    assert std["CuAl"] > 10 * std["Cu2"]


def test_models_without_a_committee_have_no_error_bars(data):
    at = small_potential()
    with pytest.raises(InputError, match="the model has no error bars"):
        Calculator(at, uncertainty=True)
    with pytest.raises(InputError, match="the model has no error bars"):
        evaluate(at, [methanol()], uncertainty=True)


def test_info_tells_of_error_bars(fitted, tmp_path, capsys):
    small_potential().save(tmp_path / "without.safetensors")
    for path, told in ((tmp_path / "run", "yes (--uncertainty)"), (tmp_path / "without.safetensors", "none")):
        assert main(["info", str(path)]) == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if "error bars" in line)
        assert told in line


def test_no_training_atom_has_a_grade_above_1(fitted, data, tmp_path, capsys):
    """And those of a compressed crystal have, also where symmetry keeps its forces zero; dynamics stop there."""
    result = evaluate(fitted, data / "test.xyz", uncertainty=True)
    assert result.grades is not None
    assert result.metrics["extrapolation"]["largest"] == max(grades.max() for grades in result.grades)
    every = [evaluate(fitted, data / name, uncertainty=True) for name in ("clusters.xyz", "crystals.xyz")]
    train = fit_data(tmp_path / "run")
    largest = {"Al": 0.0, "Cu": 0.0}
    for frame, grades in zip(
        [frame for e in every for frame in e.frames], [g for e in every for g in e.grades], strict=True
    ):
        if frame.source in train:
            for symbol, grade in zip(frame.atoms.symbols, grades, strict=True):
                largest[symbol] = max(largest[symbol], grade)
    assert largest == pytest.approx({"Al": 1.0, "Cu": 1.0}, rel=1e-9)

    atoms = ase.io.read(data / "crystals.xyz")
    atoms.calc = Calculator(fitted, extrapolation=True)
    atoms.get_forces()
    near = atoms.calc.results["extrapolation_grade"]
    atoms.set_cell(0.75 * atoms.cell, scale_atoms=True)
    atoms.get_forces()
    far = atoms.calc.results["extrapolation_grade"]
    assert far.max() > 1 >= near.max()
    perfect = bulk("Cu", a=2.9, cubic=True)
    perfect.calc = atoms.calc
    assert np.abs(perfect.get_forces()).max() < 1e-8
    assert perfect.calc.results["extrapolation_grade"].min() > 1
    both = Calculator(fitted, uncertainty=True)
    both.calculate(atoms)
    np.testing.assert_allclose(both.results["extrapolation_grade"], far, rtol=1e-9)
    ase.io.write(tmp_path / "far.xyz", atoms)
    arguments = ["md", str(tmp_path / "run"), str(tmp_path / "far.xyz"), "--steps", "3", "--max-grade", "1"]
    assert main([*arguments, "--trajectory", str(tmp_path / "md.xyz")]) == 2
    assert "above md.max_grade = 1" in capsys.readouterr().err
    assert main([*arguments[:-1], "1e6", "--trajectory", str(tmp_path / "md.xyz")]) == 0


def fit_data(folder) -> set[str]:
    """Sources of the frames that a run was fitted to."""
    run = RunConfig.from_dict(yaml.safe_load((folder / "config.yaml").read_text()))
    return {frame.source for frame in prepare(run).train.frames}


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors: {name: value[..., :-1, :] for name, value in tensors.items() if value.ndim > 2},
        lambda tensors: tensors | {"committee.largest_deviations": torch.zeros(7)},
        lambda tensors: tensors | {"committee.noise": torch.zeros(3)},
        lambda tensors: tensors | {"committee.readouts.0.mlp.weight": torch.zeros(32, 1, 1)},
        lambda tensors: {name: value[:1] if value.ndim > 2 else value for name, value in tensors.items()},
    ],
)
def test_a_committee_that_does_not_fit_is_refused(damage, fitted, tmp_path, monkeypatch):
    tensors = damage(fitted.committee.tensors(fitted))
    monkeypatch.setattr(Committee, "tensors", lambda self, potential: tensors)
    fitted.save(tmp_path / "damaged.safetensors")
    with pytest.raises(InputError, match=r"the committee \(.*\) does not fit the model"):
        Potential.load(tmp_path / "damaged.safetensors")


def test_a_committee_of_an_earlier_version_has_error_bars_and_no_grades(fitted, tmp_path, monkeypatch):
    tensors = fitted.committee.tensors(fitted)
    del tensors["committee.largest_deviations"]
    assert set(tensors) == {"committee.layers.0.product.weight", "committee.noise"}
    monkeypatch.setattr(Committee, "tensors", lambda self, potential: tensors)
    fitted.save(tmp_path / "old.safetensors")
    old = Potential.load(tmp_path / "old.safetensors")
    atoms = Atoms("Cu2", [[0, 0, 0], [2.5, 0, 0]])
    spread, now = (at.committee.spread(at, graph_of(atoms, at)) for at in (old, fitted))
    torch.testing.assert_close(spread.energy, now.energy)
    torch.testing.assert_close(spread.forces, now.forces)
    assert spread.grades is None
    with pytest.raises(InputError, match="no extrapolation grades"):
        old.committee.grades(old, graph_of(atoms, old))
