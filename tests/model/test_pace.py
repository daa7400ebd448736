"""Potentials of pacemaker: read, written, and compared with the numbers of its own evaluator.

The numbers are in ``pace/reference.json``; ``pace/make_reference.py`` has made them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import ase
import numpy as np
import pytest
import torch

from multiace.cli import main
from multiace.errors import InputError
from multiace.graph.neighbors import build_graph
from multiace.model.config import ModelConfig
from multiace.model.export_pace import export_pace
from multiace.model.import_pace import import_pace
from multiace.model.pace_file import PaceFile
from multiace.model.potential import Potential, Statistics
from multiace.model.presets import PRESETS

HERE = Path(__file__).parent / "pace"
REFERENCE = json.loads((HERE / "reference.json").read_text())
FILES = ("AlCu-1", "AlCu-2", "AlCu-3")
COPPER = Path(os.environ.get("MULTIACE_DATA", "nowhere")) / "Cu-PBE-core-rep.ace"
"""Comes with the Python package of LAMMPS; ships with no test."""

SMALL = {
    "elements": ("Al", "Cu"),
    "l_max": 2,
    "num_radial": 4,
    "total_degree": (6.0, 5.0, 4.0),
    "cutoff": 4.5,
    "pair_num_radial": 0,
}
EXPORTED = {
    "linear": PRESETS["ace-small"].replace(**SMALL),
    "densities": PRESETS["ace-fs-small"].replace(**SMALL),
    "channels": PRESETS["ace-small"].replace(**SMALL, hidden_irreps="3x0e", product_elements=False),
    "pairs": PRESETS["ace-fs-small"].replace(
        **SMALL | {"pair_num_radial": 4, "pair_envelope": "polynomial"},
        readout_exponents=(0.5, 0.8),
        radial_network="linear",
        radial_species="pair",
        n_max=3,
        neighbor_norm="sqrt",
        distance_transform="none",
        envelope="two_sided",
        envelope_power=3,
    ),
}


def model(name: str) -> Potential:
    """A potential whose weights are the same on every machine, of the size that random ones have."""
    statistics = Statistics(np.array([-1.0, 2.0]), scale=1.3, shift=0.1, num_neighbors=5.0)
    at = Potential(EXPORTED[name], statistics)
    with torch.no_grad():
        for parameter in at.parameters():
            number = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_((1.3 * torch.cos(1.7 * number**1.1 + 0.4)).view_as(parameter))
    return at


def write_exports(folder: str) -> None:
    """Write what ``make_reference.py FOLDER`` evaluates."""
    for name in EXPORTED:
        export_pace(model(name), Path(folder) / f"{name}.yace")


def predictions(at: Potential, reference: list[dict]):
    for expected in reference:
        cell = expected["cell"]
        atoms = ase.Atoms(expected["symbols"], expected["positions"], cell=cell, pbc=cell is not None)
        yield expected, at(build_graph(atoms, at.elements, at.cutoff))


def assert_reference(at: Potential, reference: list[dict], tolerance: float = 1e-9) -> None:
    for expected, found in predictions(at, reference):
        assert abs(float(found.energy) - expected["energy"]) < tolerance
        assert np.abs(found.forces.numpy() - np.array(expected["forces"])).max() < tolerance
    assert max(np.abs(expected["forces"]).max() for expected in reference) > 0.1


# --- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_energies_and_forces_are_those_of_pacemaker(name):
    assert_reference(import_pace(HERE / f"{name}.yace"), REFERENCE[name])


def test_what_was_imported_is_saved_loaded_and_has_derivatives(tmp_path):
    import_pace(HERE / "AlCu-3.yace").save(tmp_path / "model.safetensors")
    at = Potential.load(tmp_path / "model.safetensors")
    assert_reference(at, REFERENCE["AlCu-3"])
    expected = REFERENCE["AlCu-3"][0]
    graph = build_graph(ase.Atoms(expected["symbols"], expected["positions"]), at.elements, at.cutoff)
    loss = at(graph, create_graph=True).forces.square().sum()
    gradients = torch.autograd.grad(loss, list(at.parameters()))
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


@pytest.mark.skipif(
    not COPPER.exists(), reason="needs Cu-PBE-core-rep.ace of the lammps package in MULTIACE_DATA"
)
def test_the_copper_potential_of_lammps():
    assert_reference(import_pace(COPPER), REFERENCE["Cu-PBE-core-rep"])


def test_an_older_file_says_the_same():
    """A file of one element in both forms."""
    old, new = (PaceFile.read(HERE / name) for name in ("Cu-older.ace", "Cu-older.yace"))
    assert (old.elements, old.isolated_energies, old.spacing) == (
        new.elements,
        new.isolated_energies,
        new.spacing,
    )
    assert old.embeddings == new.embeddings
    for name, value in vars(new.bonds[0, 0]).items():
        assert np.array_equal(getattr(old.bonds[0, 0], name), value)
    for one, other in zip(old.functions[0], new.functions[0], strict=True):
        assert one.factors == other.factors
        assert np.array_equal(one.ms, other.ms)
        np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-14)


CHANGES = {
    (
        "ChebPow",
        "ChebLinear",
    ): "the radial functions of Al-Al are ChebLinear; only ChebExpCos, ChebPow, SBessel",
    (
        "inner_cutoff_type: distance",
        "inner_cutoff_type: density",
    ): "an inner cutoff of 1.2 Å, width 0.4 Å and type",
    ("inner_cutoff_type: distance", "inner_cutoff_type: zbl"): "type zbl, which cannot be carried over",
    (
        "npoti: FinnisSinclairShiftedScaled",
        "npoti: FinnisSinclair",
    ): "the embedding of Al is FinnisSinclair; only",
    ("prehc: 20", "prehc: 2e7"): "switches the embedding off at distances above 0.3 Å",
    (
        r"\[1, 0\]: \{nradmax: 2, (.*?)lambdahc: 2",
        r"[1, 0]: {nradmax: 2, \1lambdahc: 3",
    ): "Al-Cu differs from its",
    (r"ms_combs: \[0, 0, 1, -1\], ctildes: \[", "ms_combs: [0, 0, 1, -1], ctildes: [9"): "is not invariant",
    ("rank: 2", "rank: 3"): "a function of rank 3 has 2 factors",
    (r"E0: \[.*?\]\n", ""): "has no 'E0' where a .yace file has one",
    ("E0: .*\n", "E0: [1]\n"): "there are 1 E0 for 2 elements",
    ("Al, Cu", "Al, Qq"): "'Qq' is not a chemical symbol",
    ("functions:", "functoins:"): "it has no 'functions'",
    ("bonds:", "bonds: ]"): "is no .yace file",
    (r"ctildes: \[.*?\]", "ctildes: [x, 1]"): "is no .yace file that can be read",
    (r"ctildes: \[.*?\]", "ctildes: [.nan, 1]"): "a coefficient is not a finite number",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change[1][:30])
def test_what_cannot_be_carried_over_is_refused(change, tmp_path):
    text = (HERE / "AlCu-3.yace").read_text()
    changed, n = re.subn(*change, text, count=0 if "hc" in change[0] or "npoti" in change[0] else 1)
    assert n
    (tmp_path / "changed.yace").write_text(changed)
    with pytest.raises(InputError) as error:
        import_pace(tmp_path / "changed.yace")
    assert CHANGES[change] in str(error.value)
    assert "changed.yace" in str(error.value)
    assert "\n" not in str(error.value)


# --- writing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPORTED)
def test_pacemaker_gives_the_same_numbers_with_what_was_written(name):
    """The reference is pacemaker's, of the file that this model was written to."""
    assert_reference(model(name), REFERENCE[name])


@pytest.mark.parametrize("name", EXPORTED)
def test_what_was_written_is_read_back(name, tmp_path):
    export_pace(model(name), tmp_path / "model.yace")
    assert_reference(import_pace(tmp_path / "model.yace"), REFERENCE[name])


@pytest.mark.parametrize("preset", ["ace-small", "ace"])
def test_a_repulsive_envelope_is_written_from_a_tenth_of_the_cutoff_on(preset, tmp_path):
    config = PRESETS[preset].replace(elements=("Al", "Cu"), total_degree=(5.0,))
    at = Potential(config, Statistics(np.zeros(2)))
    export_pace(at, tmp_path / "model.yace")
    again = import_pace(tmp_path / "model.yace")
    for r in np.linspace(0.1, 1.0, 40, endpoint=False):
        graph = build_graph(ase.Atoms("AlCu", [[0, 0, 0], [0, 0, r * at.cutoff]]), at.elements, at.cutoff)
        ours, theirs = at(graph), again(graph)
        tolerance = 1e-7 * (float(ours.forces.abs().max()) + 1.0)
        assert abs(float(ours.energy - theirs.energy)) < tolerance
        assert float((ours.forces - theirs.forces).abs().max()) < 20 * tolerance
    energies = [
        float(again(build_graph(ase.Atoms("Cu2", [[0, 0, 0], [0, 0, r]]), at.elements, at.cutoff)).energy)
        for r in (1e-3, 0.1, 0.2)
    ]
    assert np.isfinite(energies).all()


def test_the_command_line_does_both(tmp_path, capsys):
    model("linear").save(tmp_path / "model.safetensors")
    assert main(["export", str(tmp_path / "model.safetensors"), str(tmp_path / "model.yace")]) == 0
    again = tmp_path / "again.safetensors"
    assert main(["import", "pace", str(tmp_path / "model.yace"), "-o", str(again)]) == 0
    assert "model.yace" in capsys.readouterr().out
    assert_reference(Potential.load(again), REFERENCE["linear"])


REFUSED = {
    "channel_coupling = complete": PRESETS["mace-small"],
    "element_embedding = one_hot": EXPORTED["linear"].replace(
        element_embedding="continuous", embedding_dim=2
    ),
    "zbl = false": EXPORTED["linear"].replace(zbl=True),
    "readout_width = 0": EXPORTED["channels"].replace(readout_width=8),
}


@pytest.mark.parametrize("says", REFUSED)
def test_models_that_the_format_has_no_place_for_are_refused(says, tmp_path):
    config: ModelConfig = REFUSED[says].replace(elements=("Al", "Cu"))
    with pytest.raises(InputError, match=says):
        export_pace(Potential(config, Statistics(np.zeros(2))), tmp_path / "model.yace")
    assert not (tmp_path / "model.yace").exists()


def test_radial_functions_that_are_no_polynomials_are_not_written(tmp_path):
    """Those of an imported potential with its core repulsion: they are splines that end at several cutoffs."""
    with pytest.raises(InputError, match="256 polynomials leave an error of"):
        export_pace(import_pace(HERE / "AlCu-2.yace"), tmp_path / "model.yace")
