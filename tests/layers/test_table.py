"""Radial weights from tables are those of the networks."""

import pytest
import torch

from multiace.basis.radial import RadialEmbedding
from multiace.layers import table
from multiace.layers.radial import RadialNetwork
from multiace.layers.table import tabulate
from tests.layers.structure import CUTOFF, graph

RADII = torch.tensor([0.3, 0.7, 0.6], dtype=torch.float64)
ATTRIBUTES = {
    "one-hot": torch.eye(3, dtype=torch.float64),
    "continuous": torch.tensor([[1.0, 0.3], [0.2, -0.7], [0.5, 0.5]], dtype=torch.float64),
}


def build(species, attributes, transform="none", widths=(8, 8), bias=False):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RadialNetwork(5, 7, attributes.shape[1], species, widths, "silu", bias).double()
    for parameter in network.biases:
        torch.nn.init.constant_(parameter, 0.3)
    return network, RadialEmbedding("bessel", 5, CUTOFF, distance_transform=transform, covalent_radii=RADII)


def exact(network, basis, attributes, at):
    edges, _ = at.pairs
    _, lengths = at.edge_vectors()
    j, i = (at.species[nodes[edges[:, 0]]] for nodes in (at.senders, at.receivers))
    return network(basis(lengths[edges[:, 0]], j, i), attributes, at)


@pytest.mark.parametrize("attributes", ATTRIBUTES.values(), ids=ATTRIBUTES)
@pytest.mark.parametrize("species", ["none", "sender", "pair"])
@pytest.mark.parametrize("transform", ["none", "agnesi"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_table_is_as_close_to_the_network_as_it_says(species, attributes, transform, bias):
    network, basis = build(species, attributes, transform, bias=bias)
    tolerance = 1e-6 if transform == "none" else 1e-5
    made = tabulate(network, basis, attributes, tolerance)
    at = graph()
    _, lengths = at.edge_vectors()
    R = exact(network, basis, attributes, at)
    read = made(lengths[at.pairs[0][:, 0]], attributes, at)
    size = made.values[:, :, 0].square().mean().sqrt()
    assert 0 < made.error <= tolerance
    assert (read - R).abs().max() <= 1.1 * made.error * size
    assert read.shape == R.shape


def test_more_knots_are_taken_where_they_are_needed():
    network, basis = build("none", ATTRIBUTES["one-hot"])
    coarse, fine = (tabulate(network, basis, ATTRIBUTES["one-hot"], tolerance) for tolerance in (1e-4, 1e-10))
    assert coarse.values.shape[1] < fine.values.shape[1]
    assert fine.error <= 1e-10 < coarse.error


def test_a_table_that_would_be_too_large_is_not_made(monkeypatch):
    monkeypatch.setattr(table, "LARGEST", 1000)
    assert tabulate(*build("none", ATTRIBUTES["one-hot"]), ATTRIBUTES["one-hot"], 1e-5) is None
