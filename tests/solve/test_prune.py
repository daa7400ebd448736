"""Functions that matter little are left out, and cost nothing then."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from multiace.cli import main
from multiace.errors import InputError
from multiace.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.model.committee import Committee
from multiace.model.config import ModelConfig
from multiace.model.linear_part import linear_part
from multiace.model.potential import Potential, Statistics
from multiace.solve.ace import AceRows
from multiace.solve.prune import prune
from tests.potentials import crystal, methanol, small_potential

CONFIG = ModelConfig.from_dict(
    {
        "preset": "ace-small",
        "elements": ["H", "C", "O"],
        "cutoff": 3.5,
        "l_max": 2,
        "num_radial": 4,
        "total_degree": [6, 6, 5],
    }
)


def potential(**changes: object) -> Potential:
    """Functions of all sizes, from 1 down to 1e-6, the same for each central element."""
    torch.manual_seed(2)
    at = Potential(CONFIG.replace(**changes), Statistics(np.array([-1.0, -2.0, -3.0])))
    weight = at.network.get_parameter(AceRows.parameter)
    with torch.no_grad():
        weight *= 10.0 ** (-6 * torch.rand_like(weight[:1]))
    return at


def structures(at: Potential) -> list[Graph]:
    found = []
    for seed in range(4):
        atoms = methanol()
        atoms.rattle(0.05, seed=seed)
        found.append(build_graph(atoms, at.elements, at.cutoff))
    return [Graph.batch(found[:2]), Graph.batch(found[2:]), build_graph(crystal(), at.elements, at.cutoff)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_predictions_change_by_no_more_than_the_tolerance(dtype: str) -> None:
    at = potential(dtype=dtype)
    graphs = structures(at)
    left = {}
    for tolerance in (1e-3, 1e-2):
        pruned = prune(at, graphs, tolerance)
        before = torch.cat([at(graph).forces.ravel() for graph in graphs])
        after = torch.cat([pruned.potential(graph).forces.ravel() for graph in graphs])
        change = float((before - after).square().mean().sqrt())
        assert 0.1 * tolerance < change <= tolerance
        assert pruned.forces == pytest.approx(change, rel=1e-3)
        assert max(pruned.energy, pruned.forces) <= tolerance
        weight = pruned.potential.network.get_parameter(AceRows.parameter)
        assert pruned.functions[1] == (weight != 0).sum() < pruned.functions[0]
        left[tolerance] = pruned.functions[1]
    assert left[1e-2] < left[1e-3]


def test_contributions_drop_more_than_coefficients(monkeypatch: pytest.MonkeyPatch) -> None:
    at = potential()
    by_contribution = prune(at, structures(at), 1e-3).functions[1]
    monkeypatch.setattr(ModelConfig, "is_linear", False)
    assert by_contribution < prune(at, structures(at), 1e-3).functions[1]


def test_functions_that_no_structure_sees_stay() -> None:
    at = potential()
    water = build_graph(methanol()[[1, 4, 5]], at.elements, at.cutoff)
    unseen = ~AceRows(at).seen(water)
    pruned = prune(at, [water], 1e-2).potential
    before, after = (p.network.get_parameter(AceRows.parameter).detach().ravel() for p in (at, pruned))
    assert 0 < unseen.sum() < len(unseen)
    assert torch.equal(after[unseen], before[unseen])
    assert (after == 0).any()


DENSITIES = {"hidden_irreps": "2x0e", "readout_function": "finnis_sinclair"}


@pytest.mark.parametrize("changes", [{}, {"product_elements": False}, DENSITIES])
def test_what_is_dropped_is_not_computed(changes: dict) -> None:
    at = potential(**changes)
    graph = structures(at)[0]
    pruned = prune(at, [graph], 1e-2).potential
    tables = pruned.network.fixed()
    found, expected = pruned(graph, tables=tables), pruned(graph)
    torch.testing.assert_close(found.energy, expected.energy, rtol=0, atol=1e-11)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-10)
    whole = at.network.fixed()
    at(graph, tables=whole)
    ((_, (W, *_)),), ((_, (W_whole, *_)),) = tables.elements.made.values(), whole.elements.made.values()
    assert (W != 0).any(dim=2).all()
    assert W.shape[1] < 0.7 * W_whole[..., 0].numel()


def test_without_any_function_nothing_is_left_but_isolated_atoms() -> None:
    at = potential()
    with torch.no_grad():
        at.network.get_parameter(AceRows.parameter).zero_()
    graph = structures(at)[0]
    prediction = at(graph, tables=at.network.fixed())
    assert not prediction.forces.any()
    torch.testing.assert_close(prediction.energy, at(graph).energy)


def test_a_pruned_model_is_saved_loaded_and_trained_on(tmp_path) -> None:
    at = potential()
    graphs = structures(at)
    pruned = prune(at, graphs, 1e-2).potential
    pruned.save(tmp_path / "pruned.safetensors")
    loaded = Potential.load(tmp_path / "pruned.safetensors")
    torch.testing.assert_close(loaded(graphs[0]).forces, pruned(graphs[0]).forces, rtol=0, atol=0)
    weight = loaded.network.get_parameter(AceRows.parameter)
    assert (weight == 0).sum() == (pruned.network.get_parameter(AceRows.parameter) == 0).sum()
    (gradient,) = torch.autograd.grad(loaded(graphs[0], create_graph=True).forces.square().sum(), weight)
    assert gradient[weight == 0].any()


def test_error_bars_stay_those_of_the_fit() -> None:
    at = potential()
    c = linear_part(at.network).present
    at.committee = Committee(torch.stack([c + 0.01 * torch.randn_like(c) for _ in range(4)]), 0.0, 0.0)
    graph = structures(at)[0]
    pruned = prune(at, [graph], 1e-2).potential
    assert pruned.committee is not None
    expected = at.committee.spread(at, graph)
    torch.testing.assert_close(pruned.committee.spread(pruned, graph).forces, expected.forces)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan"), float("inf")])
def test_tolerances_that_are_none_are_refused(tolerance: float) -> None:
    at = potential()
    with pytest.raises(InputError, match="it must be a number above 0"):
        prune(at, structures(at), tolerance)


def test_other_models_are_refused() -> None:
    with pytest.raises(InputError, match="channel_coupling = channelwise"):
        prune(small_potential(), [], 1.0)


def test_the_command_writes_what_it_may(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    potential().save("ace.safetensors")
    methanol().write("one.xyz")
    assert main(["prune", "ace.safetensors", "one.xyz", "--tolerance", "5", "-o", "small.safetensors"]) == 0
    out = capsys.readouterr().out
    assert "functions are left" in out
    metadata = Potential.load("small.safetensors").metadata["pruned"]
    assert metadata["functions"][1] < metadata["functions"][0]
    assert 0 < metadata["forces"] <= 5e-3
    assert main(["prune", "ace.safetensors", "one.xyz", "--tolerance", "1e-9", "-o", "none.safetensors"]) == 2
    assert "no function can be left out" in capsys.readouterr().err
    assert not (tmp_path / "none.safetensors").exists()
