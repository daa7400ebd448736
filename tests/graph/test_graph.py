"""Graphs and batches of them."""

from dataclasses import fields, replace

import ase
import pytest
import torch
from ase.build import bulk, molecule

from multiace.graph import Graph
from multiace.graph.neighbors import build_graph

ELEMENTS = ("H", "C", "O", "Cu")
STRUCTURES = {
    "molecule": molecule("CH3OH"),
    "crystal": bulk("Cu", "fcc", a=3.6),  # one atom that sees only images of itself
    "wire": ase.Atoms("CO", [[0, 0, 0], [1, 0.5, 0]], cell=[2.2, 0, 0], pbc=(True, False, False)),
    "atom": ase.Atoms("H"),
}


def graph(name: str) -> Graph:
    return build_graph(STRUCTURES[name], ELEMENTS, 4.0)


every_structure = pytest.mark.parametrize("name", STRUCTURES)


@every_structure
def test_the_reverse_of_an_edge_runs_the_other_way(name):
    at = graph(name)
    vectors = at.edge_vectors()
    assert torch.equal(at.senders[at.reverse], at.receivers)
    assert torch.equal(at.shifts[at.reverse], -at.shifts)
    assert torch.equal(at.reverse[at.reverse], torch.arange(at.n_edges))
    assert not (at.reverse == torch.arange(at.n_edges)).any()
    torch.testing.assert_close(vectors[at.reverse], -vectors)


@every_structure
def test_each_pair_has_two_edges(name):
    at = graph(name)
    edges, pair = at.pairs
    assert edges.shape == (at.n_edges // 2, 2)
    assert torch.equal(edges[:, 1], at.reverse[edges[:, 0]])
    assert torch.equal(pair[edges], torch.arange(len(edges))[:, None].expand(-1, 2))
    assert torch.equal(edges.flatten().sort().values, torch.arange(at.n_edges))


def test_a_batch_holds_its_graphs_one_after_another():
    parts = [graph(name) for name in STRUCTURES]
    together = Graph.batch(parts)
    assert (together.n_graphs, together.n_nodes) == (4, 6 + 1 + 2 + 1)
    torch.testing.assert_close(
        together.edge_vectors(), torch.cat([part.edge_vectors() for part in parts]), rtol=0, atol=0
    )
    assert torch.equal(together.senders[together.reverse], together.receivers)
    assert torch.equal(together.shifts[together.reverse], -together.shifts)
    assert (together.receivers.diff() >= 0).all()
    assert torch.equal(together.node_graph, torch.tensor([0] * 6 + [1] + [2] * 2 + [3]))
    assert torch.equal(together.edge_graph, together.node_graph[together.senders])


def test_batches_of_batches_are_batches():
    a, b, c = graph("molecule"), graph("crystal"), graph("wire")
    nested, flat = Graph.batch([Graph.batch([a, b]), c]), Graph.batch([a, b, c])
    for field in fields(Graph):
        if field.name != "vectors":
            assert torch.equal(getattr(nested, field.name), getattr(flat, field.name)), field.name


def test_given_vectors_survive_batching():
    at = graph("molecule")
    vectors = torch.randn(at.n_edges, 3, dtype=torch.float64)
    together = Graph.batch([at.with_vectors(vectors), graph("wire")])
    assert torch.equal(together.edge_vectors()[: at.n_edges], vectors)
    assert torch.equal(together.edge_vectors()[at.n_edges :], graph("wire").edge_vectors())


def test_edge_vectors_follow_positions_and_cell():
    at = graph("wire")
    at = replace(at, positions=at.positions.requires_grad_(), cells=at.cells.requires_grad_())
    at.edge_vectors().square().sum().backward()
    assert at.positions.grad.any()
    assert at.cells.grad[0, 0].any()


def test_a_graph_can_be_moved():
    at = graph("wire").to("cpu")
    assert at.n_edges == graph("wire").n_edges
    assert at.vectors is None
