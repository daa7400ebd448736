"""Compiled operations and their definitions give the same model."""

import pytest
import torch

from multiace.graph import Graph
from multiace.model import Potential
from tests.model.design_space import (
    POINTS,
    STATISTICS,
    assert_close,
    crystal,
    differentiable,
    graph_of,
    molecule,
    potential,
)


def derivatives(at: Potential) -> dict[str, torch.Tensor]:
    """Energies, forces, stresses, and the gradient of a loss on forces by positions and by all parameters."""
    graph = differentiable(Graph.batch([graph_of(crystal(), at), graph_of(molecule()[:1], at)]))
    prediction = at(graph, stress=True, create_graph=True)
    loss = prediction.forces.square().sum()
    wanted = [graph.positions, *at.parameters()]
    by_positions, *by_parameters = torch.autograd.grad(loss, wanted)
    return {
        "energy": prediction.energy,
        "forces": prediction.forces,
        "stress": prediction.stress[0],
        "second derivatives": by_positions,
        "gradient": torch.cat([gradient.flatten() for gradient in by_parameters]),
    }


@pytest.mark.parametrize("name", ["base", "base/both parities, correlation=2", "base/channel_coupling=full"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 1e-3)])
def test_compiled_operations_are_their_definitions(name, dtype, tolerance, monkeypatch):
    at = Potential(POINTS[name].replace(dtype=dtype), STATISTICS)
    at.load_state_dict(potential(name).state_dict())
    defined = derivatives(at)
    monkeypatch.delenv("MULTIACE_OPS")
    compiled = derivatives(at)
    for quantity, expected in defined.items():
        assert_close(compiled[quantity], expected, tolerance)
    assert any(not torch.equal(compiled[quantity], expected) for quantity, expected in defined.items())
