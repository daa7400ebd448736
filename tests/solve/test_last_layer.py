"""Rows of last layers are the derivatives of what the potential predicts, by sums and by differences."""

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
from multiace.solve.design import design_matrix
from multiace.solve.last_layer import LastLayerRows
from tests.potentials import crystal, methanol

SMALL = {"hidden_irreps": "5x0e + 5x1o", "l_max": 1, "cutoff": 3.5, "readout_width": 4}
MODELS = {
    "botnet-small": {**SMALL},
    "nequip-small": {**SMALL},
    "mace-small": {**SMALL},
    "schnet-small": {**SMALL, "hidden_irreps": "5x0e", "l_max": 0},
    "nequip-small, every": {**SMALL, "readout": "every"},
    "mace-small, linear readouts": {**SMALL, "readout_width": 0},
}


def potential(name: str, dtype: str) -> Potential:
    torch.manual_seed(3)
    fields = {"preset": name.partition(",")[0], **MODELS[name], "elements": ["H", "C", "O"], "dtype": dtype}
    return Potential(ModelConfig.from_dict(fields), Statistics(np.array([-1.0, -2.0, -3.0]), 1.7, 0.1, 8.0))


@pytest.mark.parametrize("structure", [methanol, crystal])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_rows_times_weights_are_energy_forces_and_stress(
    name: str, dtype: str, structure: Callable[[], Atoms]
) -> None:
    at = potential(name, dtype)
    graph = build_graph(structure(), at.elements, at.cutoff)
    matrix = design_matrix(at)
    assert isinstance(matrix, LastLayerRows)
    rows, c = matrix(graph), matrix.present
    prediction, base = at(graph, stress=True), at.without_network(graph)
    tolerance = {"rtol": 0, "atol": 1e-11 if dtype == "float64" else 2e-4}
    np.testing.assert_allclose(rows.energy[0] @ c, float(prediction.energy - base.energy), **tolerance)
    forces = (prediction.forces - base.forces).numpy()
    np.testing.assert_allclose((rows.forces @ c).reshape(-1, 3), forces, **tolerance)
    if graph.volumes > 0:
        stress = (prediction.stress - base.stress)[0].numpy()[tuple(zip(*VOIGT, strict=True))]
        np.testing.assert_allclose(rows.virial[0] @ c / float(graph.volumes), stress, **tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_differences(name: str) -> None:
    """Of the energy by each weight; and of the row of the energy by a position."""
    at, atoms = potential(name, "float64"), methanol()
    matrix = design_matrix(at)
    rows, c = matrix(build_graph(atoms, at.elements, at.cutoff)), matrix.present

    def energy(weights: np.ndarray) -> float:
        matrix.put(at, weights)
        return float(at(build_graph(atoms, at.elements, at.cutoff)).energy)

    steps = 0.5 * np.eye(len(c))  # energies are linear in them
    differences = [energy(c + step) - energy(c - step) for step in steps]
    np.testing.assert_allclose(rows.energy[0], differences, rtol=0, atol=1e-9)
    h, moved = 1e-4, []
    for sign in (1, -1):
        there = atoms.copy()
        there.positions[1, 2] += sign * h
        moved.append(matrix(build_graph(there, at.elements, at.cutoff)).energy[0])
    np.testing.assert_allclose(rows.forces[3 * 1 + 2], (moved[1] - moved[0]) / (2 * h), rtol=0, atol=1e-6)


def test_chosen_columns_are_columns_of_all() -> None:
    at = potential("botnet-small", "float64")
    graph = build_graph(crystal(), at.elements, at.cutoff)
    matrix = design_matrix(at)
    whole = matrix(graph)
    columns = np.arange(1, matrix.n_columns, 3)
    matrix.choose(columns)
    part = matrix(graph)
    for name in ("energy", "forces", "virial"):
        np.testing.assert_allclose(
            getattr(part, name), getattr(whole, name)[..., columns], rtol=0, atol=1e-12
        )


def test_rows_of_a_batch_are_those_of_each() -> None:
    at = potential("mace-small", "float64")
    matrix, graphs = (
        design_matrix(at),
        [build_graph(atoms, at.elements, at.cutoff) for atoms in (methanol(), crystal(), methanol()[:3])],
    )
    together, apart = matrix(Graph.batch(graphs)), [matrix(graph) for graph in graphs]
    for name in ("energy", "forces", "virial"):
        each = np.concatenate([getattr(rows, name) for rows in apart])
        np.testing.assert_allclose(getattr(together, name), each, rtol=0, atol=1e-11)
