"""A padded graph is the graph and one more structure."""

import pytest
import torch

from multiace.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.graph.padding import isolated, padded, rounded
from multiace.model.config import ModelConfig
from multiace.model.potential import Potential, Statistics
from multiace.model.presets import PRESETS
from tests.potentials import crystal, methanol

ELEMENTS = ("H", "C", "O")


def batch(cutoff):
    return Graph.batch(
        [build_graph(atoms, ELEMENTS, cutoff) for atoms in (methanol(), crystal(), methanol()[:1])]
    )


@pytest.mark.parametrize(
    ("n", "expected"), [(0, 0), (1, 1), (15, 15), (17, 18), (914, 960), (960, 960), (1025, 1152)]
)
def test_numbers_are_rounded_up_by_an_eighth_at_most(n, expected):
    assert rounded(n) == expected


def test_padding_is_a_graph_whose_structures_stay_as_they_are():
    graph = batch(3.5)
    whole = padded(graph, 3.5)
    assert (whole.n_nodes, whole.n_edges // 2) == (rounded(graph.n_nodes + 1), rounded(graph.n_edges // 2))
    assert whole.n_graphs == graph.n_graphs + 1
    assert torch.equal(whole.senders[whole.reverse], whole.receivers)
    assert torch.equal(whole.shifts[whole.reverse], -whole.shifts)
    assert torch.equal(whole.reverse[whole.reverse], torch.arange(whole.n_edges))
    assert (whole.receivers.diff() >= 0).all()
    assert (whole.edge_lengths()[graph.n_edges :] == 7.0).all()
    assert torch.equal(whole.edge_vectors()[: graph.n_edges], graph.edge_vectors())
    assert whole.pairs[0].shape == (whole.n_edges // 2, 2)


def test_no_atom_of_the_padding_has_many_edges():
    n_pairs = 8193  # 1023 more
    graph = isolated(7, n_pairs, 1.0)
    whole = padded(graph, 1.0)
    assert whole.receivers[graph.n_edges :].bincount().max() <= 34


def test_a_graph_is_made_of_its_tensors():
    graph = batch(3.5)
    again = Graph.from_tensors(graph.tensors())
    assert graph.tensors().keys() == again.tensors().keys()
    for name, tensor in graph.tensors().items():
        assert again.tensors()[name] is tensor


@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith("-small")])
def test_padding_changes_no_number_of_any_preset(name, plain_operations):
    """Energies, forces, stress, and the gradient of a loss on them by every parameter."""
    model: ModelConfig = PRESETS[name].replace(elements=ELEMENTS, cutoff=3.5, dtype="float64")
    channels = {"hidden_irreps": model.hidden_irreps.replace("32x", "4x").replace("16x", "4x")}
    torch.manual_seed(0)
    potential = Potential(model.replace(**channels), Statistics([-1.0, -2.0, -3.0], 0.3, -0.2, 8.0))
    graph, results = batch(3.5), []
    for given in (graph, padded(graph, 3.5)):
        prediction = potential(given, stress=True, create_graph=True)
        forces, stress = prediction.forces[: graph.n_nodes], prediction.stress[1]
        energy = prediction.energy[: graph.n_graphs]
        loss = energy.square().sum() + forces.square().sum() + stress.square().sum()
        gradient = torch.autograd.grad(loss, list(potential.parameters()), materialize_grads=True)
        results.append([energy, forces, stress, *gradient])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
