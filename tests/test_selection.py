"""Structures to label next: what has been seen tells little, what has not tells much; bad pools are refused."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from multiace import selection
from multiace.cli import main
from multiace.errors import InputError
from multiace.selection import select
from multiace.train.config import RunConfig
from multiace.train.loop import fit

ACE = {"preset": "ace-small", "cutoff": 4.0, "l_max": 1, "num_radial": 4, "total_degree": [4.0, 4.0, 4.0]}
BOTNET = {
    "preset": "botnet-small",
    "hidden_irreps": "4x0e + 4x1o",
    "l_max": 1,
    "num_layers": 2,
    "radial_widths": [8],
}
CORNERS = np.array([[0, 0, 0], [2.5, 0, 0], [1.2, 2.2, 0], [1.2, 0.8, 2.1]])


def cluster(seed: int, symbols: str = "Cu4", scale: float = 1.0) -> Atoms:
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(4, 3))
    return Atoms(symbols, positions=scale * (CORNERS + noise))


def labelled(atoms: Atoms) -> Atoms:
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A linear ACE of Cu4 and Al4, which have never met."""
    folder = tmp_path_factory.mktemp("select")
    frames = [labelled(cluster(seed, "Cu4" if seed % 2 else "Al4")) for seed in range(24)]
    ase.io.write(folder / "train.xyz", frames)
    ase.io.write(folder / "valid.xyz", [labelled(cluster(seed)) for seed in range(100, 103)])
    data = {"train": [str(folder / "train.xyz")], "valid": [str(folder / "valid.xyz")]}
    model = {**ACE, "energy_reference": "mean"}
    fit(RunConfig.from_dict({"model": model, "data": data, "train": {"verify": False}}), folder / "ace")
    few = RunConfig.from_dict({"model": model, "data": data, "train": {"verify": False, "max_columns": 20}})
    fit(few, folder / "reduced")
    gradient = {"max_epochs": 2, "loggers": ["csv"], "verify": False}
    fit(
        RunConfig.from_dict(
            {"model": {**BOTNET, "energy_reference": "mean"}, "data": data, "train": gradient}
        ),
        folder / "botnet",
    )
    last = {"start_from": str(folder / "botnet"), "solver": "bayesian_ridge", "verify": False}
    fit(RunConfig.from_dict({"data": data, "train": last}), folder / "refit")
    return folder


@pytest.mark.parametrize("name", ["ace", "reduced", "refit"])
def test_the_unknown_is_chosen_before_the_known(name, run):
    """Nine structures as in training, one of elements that have never met, one that is compressed."""
    pool = [*(cluster(200 + k) for k in range(9)), cluster(300, "Cu2Al2"), cluster(301, scale=0.8)]
    found = select(run / name, pool, 4)
    indices = [atoms.info["pool_index"] for atoms in found.structures]
    assert {9, 10} <= set(indices[:3] if name == "refit" else indices[:2])
    assert (np.diff(found.gains) <= 1e-9).all()
    np.testing.assert_allclose([atoms.info["information_gain"] for atoms in found.structures], found.gains)


def test_labels_that_are_weighted_tell(run, tmp_path):
    """What is chosen does not depend on labels that the pool may have, nor on how much memory there is."""
    pool = [cluster(seed, ("Cu4", "Cu3Al")[seed % 2], 1 - 0.02 * (seed % 7)) for seed in range(400, 420)]
    found = select(run / "ace", pool, 6)
    ase.io.write(tmp_path / "pool.xyz", [labelled(atoms.copy()) for atoms in pool])
    again = select(run / "ace", tmp_path / "pool.xyz", 6)
    np.testing.assert_allclose(again.gains, found.gains, rtol=1e-6)


def test_rows_of_the_fit_and_choices_are_shown(run):
    shown = {"rows": [], "choices": []}
    select(
        *(run / "reduced", [cluster(700 + k) for k in range(4)], 2),
        show=lambda *progress: shown["choices"].append(progress),
        reading=lambda *progress: shown["rows"].append(progress),
    )
    for progress in shown.values():
        assert progress == sorted(progress)
        assert progress[-1][0] == progress[-1][1]


def test_rows_without_room_are_made_again(run, monkeypatch):
    pool = [cluster(seed, ("Cu4", "Cu3Al")[seed % 2]) for seed in range(500, 510)]
    found = select(run / "ace", pool, 5)
    monkeypatch.setattr(selection, "MEMORY", 10_000)
    again = select(run / "ace", pool, 5)
    assert [a.info["pool_index"] for a in again.structures] == [
        a.info["pool_index"] for a in found.structures
    ]


def test_what_occurs_twice_is_left_out(run, tmp_path, capsys):
    turned = cluster(600)
    turned.rotate(40, "x")
    turned.translate([1, 2, 3])
    pool = [cluster(600), turned, cluster(601), ase.io.read(run / "train.xyz", 0)]
    ase.io.write(tmp_path / "pool.xyz", pool)
    command = ["select", str(run / "ace"), str(tmp_path / "pool.xyz"), "--output", str(tmp_path / "next.xyz")]
    assert main([*command, "--number", "2"]) == 0
    out = capsys.readouterr().out
    assert "1 structures of the pool occur twice" in out
    assert "1 structures of the pool are in the training data" in out
    assert {a.info["pool_index"] for a in ase.io.read(tmp_path / "next.xyz", ":")} == {0, 2}
    assert main([*command, "--number", "3"]) == 2
    assert "3 structures were asked for, but" in capsys.readouterr().err
    command[-1] = str(tmp_path / "pool.xyz")
    assert main([*command, "--number", "1"]) == 2
    assert "is the pool itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "pool", "number", "sentence"),
    [
        ("ace", [cluster(1, "Cu3Au")], 1, "structures with Au, but the model of .* knows only Al, Cu"),
        ("ace", [cluster(1, scale=np.nan)], 1, "the pool frame 0: atom 0 has position"),
        ("ace", [cluster(1000)], 0, "0 structures were asked for; ask for 1 or more"),
        ("botnet", [cluster(1000)], 1, "was not solved for with a prior of one strength"),
        ("nothing", [cluster(1000)], 1, "there is no such file"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(name, pool, number, sentence, run):
    with pytest.raises(InputError, match=sentence):
        select(run / name, pool, number)


def test_data_that_have_changed_are_refused(run, tmp_path):
    import shutil

    for name in ("train.xyz", "valid.xyz"):
        shutil.copy(run / name, tmp_path / name)
    data = {"train": [str(tmp_path / "train.xyz")], "valid": [str(tmp_path / "valid.xyz")]}
    model = {**ACE, "energy_reference": "mean"}
    fit(RunConfig.from_dict({"model": model, "data": data, "train": {"verify": False}}), tmp_path / "run")
    ase.io.write(tmp_path / "train.xyz", ase.io.read(run / "train.xyz", ":20"))
    with pytest.raises(InputError, match="not of the data as they are now; fit again"):
        select(tmp_path / "run", [cluster(1000)], 1)
