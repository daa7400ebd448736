"""Compiled operations and their definitions give the same model."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from multiace.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.model import Potential
from multiace.model.multi_ace import MultiACE
from tests import potentials
from tests.model.design_space import (
    POINTS,
    STATISTICS,
    assert_close,
    batch_of,
    crystal,
    differentiable,
    molecule,
    potential,
)


def derivatives(at: Potential) -> dict[str, torch.Tensor]:
    """Energies, forces, stresses, and the gradient of a loss on forces by positions and by all parameters."""
    graph = differentiable(batch_of([crystal(), molecule()[:1]], at))
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


@pytest.mark.parametrize(
    "name",
    ["base", "base/both parities, correlation=2", "base/channel_coupling=full", "base/feature_norm=layer"],
)
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


class OfTensors(nn.Module):
    """A network whose graph comes as tensors by name, as an exported program takes it."""

    def __init__(self, network: MultiACE):
        super().__init__()
        self.network = network

    def forward(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return self.network(Graph.from_tensors(tensors))


@pytest.mark.filterwarnings("ignore:.*functools.lru_cache.*:UserWarning")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nonlinearity": "gate", "correlation": 2},
        {"radial_norm": "layer", "feature_norm": "layer"},
        {"radial_species": "pair"},
    ],
    ids=str,
)
def test_a_network_is_one_graph_for_compilers(changes, compiled):
    """``torch.compile`` without a break, for more than one size, and ``torch.export``."""
    at = potentials.small_potential(**changes)
    structures = potentials.methanol(), potentials.crystal()
    small, large = (build_graph(atoms, at.elements, at.cutoff) for atoms in structures)
    whole = torch.compile(at.network, fullgraph=True, backend="aot_eager")
    exported = torch.export.export(OfTensors(at.network), (small.tensors(),)).module()
    for graph in (small, large):
        assert len(graph.pairs) == 2  # how many there are must be known before
        torch.testing.assert_close(whole(graph), at.network(graph), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(exported(small.tensors()), at.network(small), rtol=1e-12, atol=1e-12)
