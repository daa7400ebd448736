"""Rows of linear ACE are the derivatives of what the potential predicts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms

from multiace.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.model.config import ModelConfig
from multiace.model.potential import Potential, Statistics
from multiace.ops import VOIGT
from multiace.ops.choice import definitions
from multiace.solve.ace import AceRows
from multiace.solve.rows import Rows
from tests.potentials import crystal, methanol

CONFIG = ModelConfig.from_dict(
    {
        "preset": "ace-small",
        "elements": ["H", "C", "O"],
        "cutoff": 3.5,
        "l_max": 2,
        "num_radial": 4,
        "correlation": 4,
        "total_degree": [6, 6, 5, 4],
        "scale": "rms_force",
        "neighbor_norm": "mean",
    }
)
CHANGES = {
    "preset": {},
    "five factors": {"correlation": 5, "total_degree": (5.0, 5.0, 5.0, 4.0, 5.0)},
    "one set of weights": {"product_elements": False},
    "continuous elements": {"element_embedding": "continuous", "embedding_dim": 2},
    "float32": {"dtype": "float32"},
    "own two-body term": {"pair_num_radial": 6, "pair_envelope": "inverse", "envelope": "two_sided"},
    "own two-body term, one set": {
        "pair_num_radial": 2,
        "product_elements": False,
        "element_embedding": "continuous",
        "embedding_dim": 2,
        "radial_basis": "jacobi",
    },
    "R of pairs": {"radial_network": "linear", "radial_species": "pair", "n_max": 3},
    "R of pairs, own two-body term": {
        "radial_network": "linear",
        "radial_species": "pair",
        "n_max": 5,
        "pair_num_radial": 4,
        "pair_envelope": "cosine",
    },
    "R of senders": {"radial_network": "linear", "radial_species": "sender"},
    "R of no elements": {"radial_network": "linear", "n_max": 2, "pair_num_radial": 3},
    "deep R": {
        "radial_network": "mlp",
        "radial_widths": (5,),
        "radial_species": "pair",
        "pair_num_radial": 3,
    },
    "biased R": {"radial_network": "mlp", "radial_widths": (5,), "radial_bias": True},
}


def potential(**changes: object) -> Potential:
    torch.manual_seed(2)
    at = Potential(CONFIG.replace(**changes), Statistics(np.array([-1.0, -2.0, -3.0]), 1.7, 0.1, 8.0))
    with torch.no_grad():
        for parameter in at.network.layers[0].density.parameters():
            parameter.normal_()
    return at


def of_two(first: Atoms, second: Atoms, at: Potential) -> Graph:
    return Graph.batch([build_graph(atoms, at.elements, at.cutoff) for atoms in (first, second)])


def coefficients(at: Potential) -> np.ndarray:
    return at.network.get_parameter("layers.0.product.weight").detach().double().numpy().ravel()


@pytest.mark.parametrize("structure", [methanol, crystal])
@pytest.mark.parametrize("name", CHANGES)
def test_rows_times_coefficients_are_energy_forces_and_stress(
    name: str, structure: Callable[[], Atoms]
) -> None:
    at = potential(**CHANGES[name])
    graph = build_graph(structure(), at.elements, at.cutoff)
    rows, c = AceRows(at)(graph), coefficients(at)
    prediction, base = at(graph, stress=True), at.without_network(graph)
    assert base.forces is not None
    assert base.stress is not None
    tolerance = {"rtol": 0, "atol": 1e-4 if name == "float32" else 1e-11}
    energy = float(prediction.energy - base.energy)
    np.testing.assert_allclose(rows.energy @ c, energy, **tolerance)
    forces = (prediction.forces - base.forces).numpy()
    np.testing.assert_allclose((rows.forces @ c).reshape(-1, 3), forces, **tolerance)
    if graph.volumes > 0:
        stress = (prediction.stress - base.stress)[0].numpy()[tuple(zip(*VOIGT, strict=True))]
        np.testing.assert_allclose(rows.virial[0] @ c / float(graph.volumes), stress, **tolerance)


@pytest.mark.parametrize("name", sorted({*CHANGES} - {"float32"}))
def test_the_kernel_gives_the_rows_of_the_definition(name: str) -> None:
    at = potential(**CHANGES[name])
    rows, graph = AceRows(at), of_two(crystal(), methanol(), at)
    rows.choose(np.arange(1, rows.n_columns, 3))
    found = rows(graph)
    with definitions():
        expected = rows(graph)
    for value, defined in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, defined, rtol=0, atol=1e-13 * np.abs(defined).max())


def test_rows_of_a_batch_are_those_of_its_structures() -> None:
    at, structures = potential(), [crystal(), methanol(), methanol()[[1, 4, 5]]]
    rows, graphs = AceRows(at), [build_graph(atoms, at.elements, at.cutoff) for atoms in structures]
    together, each = rows(Graph.batch(graphs)), [rows(graph) for graph in graphs]
    for name in Rows._fields:
        expected = np.concatenate([getattr(of_one, name) for of_one in each])
        np.testing.assert_allclose(getattr(together, name), expected, rtol=0, atol=1e-13)


def test_bits_of_rows_do_not_depend_on_the_number_of_threads() -> None:
    at, before, found = potential(), torch.get_num_threads(), []
    rows, graph = AceRows(at), of_two(crystal(), methanol(), at)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(rows(graph))
    finally:
        torch.set_num_threads(before)
    for values in zip(*found, strict=True):
        assert all(np.array_equal(value, values[0]) for value in values)


def test_an_atom_alone_has_rows_of_zeros() -> None:
    at = potential()
    rows = AceRows(at)(build_graph(Atoms("O"), at.elements, at.cutoff))
    assert rows.energy.shape == (1, AceRows(at).n_columns)
    assert not any(values.any() for values in rows)


@pytest.mark.parametrize("name", ["preset", "one set of weights", "continuous elements"])
def test_columns_that_see_data_are_those_that_are_not_zero(name: str) -> None:
    """Water and methane: nowhere are carbon and oxygen together, and two atoms of oxygen."""
    at, structures = potential(**CHANGES[name]), [methanol()[[1, 4, 5]], methanol()[[0, 2, 3]]]
    rows = AceRows(at)
    seen = rows.seen(of_two(structures[0], structures[1], at))
    found = np.zeros(rows.n_columns)
    for atoms in structures:
        found += np.abs(rows(build_graph(atoms, at.elements, at.cutoff)).forces).max(axis=0)
    assert not found[~seen].any()
    if name != "continuous elements":
        assert 0 < seen.sum() < 0.8 * rows.n_columns
        assert (found[seen] > 0).mean() > 0.95  # the others vanish by symmetry: of two neighbours, in a plane


def test_chosen_columns_are_columns_of_all() -> None:
    at = potential()
    graph = build_graph(methanol(), at.elements, at.cutoff)
    rows = AceRows(at)
    whole = rows(graph)
    columns = np.arange(3, rows.n_columns, 7)
    rows.choose(columns)
    part = rows(graph)
    for name in ("energy", "forces", "virial"):
        np.testing.assert_allclose(
            getattr(part, name), getattr(whole, name)[..., columns], rtol=0, atol=1e-12
        )


def test_coefficients_that_are_put_are_those_of_the_rows() -> None:
    at = potential()
    rows, c = AceRows(at), np.random.default_rng(0).normal(size=AceRows(at).n_columns)
    rows.put(at, c)
    graph = build_graph(methanol(), at.elements, at.cutoff)
    energy = float(at(graph).energy - at.without_network(graph).energy)
    assert rows(graph).energy @ c == pytest.approx(energy, rel=1e-11)


def test_rough_functions_are_expensive() -> None:
    rows = AceRows(potential())
    roughness = rows.roughness().reshape(3, -1)
    assert (roughness == roughness[0]).all()
    for multiset in rows.basis.multisets:
        expected = 1.0 + sum((v.n - 1 + rows.basis.truncation.weight * v.l) ** 2 for v in multiset.factors)
        assert (roughness[0, multiset.first : multiset.first + multiset.n_paths] == expected).all()
