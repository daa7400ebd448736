"""Radial weights from tables are those of the networks."""

import pytest
import torch

from multiace.basis.radial import ConstantBasis, PairedEmbedding, RadialEmbedding
from multiace.layers import table
from multiace.layers.embedding import OneHotEmbedding
from multiace.layers.radial import RadialNetwork
from multiace.layers.table import RadialFunction, tabulate
from tests.layers.structure import CUTOFF, graph

RADII = torch.tensor([0.3, 0.7, 0.6], dtype=torch.float64)
ATTRIBUTES = {
    "one-hot": torch.eye(3, dtype=torch.float64),
    "continuous": torch.tensor([[1.0, 0.3], [0.2, -0.7], [0.5, 0.5]], dtype=torch.float64),
}


def build(species, attributes, transform="none", widths=(8, 8), bias=False, norm="none"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RadialNetwork(5, 7, attributes.shape[1], species, widths, "silu", bias, norm).double()
    for parameter in network.biases:
        torch.nn.init.constant_(parameter, 0.3)
    options = {"distance_transform": transform, "covalent_radii": RADII}
    basis = RadialEmbedding("bessel", 5, CUTOFF, **options)
    if norm == "layer":
        basis = PairedEmbedding(basis, RadialEmbedding(ConstantBasis, 1, CUTOFF, **options))
    return network, basis


def table_of(network, basis, attributes, tolerance):
    """The table of a layer and its error."""
    (made,), error = tabulate([RadialFunction(network, basis, attributes)], tolerance)
    return made, error


def exact(network, basis, attributes, at):
    edges, _ = at.pairs
    lengths = at.edge_lengths()
    j, i = (at.species[nodes[edges[:, 0]]] for nodes in (at.senders, at.receivers))
    return network(basis(lengths[edges[:, 0]], j, i), attributes, at)


def read_from(table, lengths, attributes, at):
    """R of all edges or pairs, from lengths of pairs."""
    rows = lengths[at.pairs[1]] if table.per_edge else lengths
    return table.on(at, rows, OneHotEmbedding(*attributes.shape)).values  # they are in the table


@pytest.mark.parametrize("attributes", ATTRIBUTES.values(), ids=ATTRIBUTES)
@pytest.mark.parametrize("species", ["none", "sender", "pair"])
@pytest.mark.parametrize("transform", ["none", "agnesi"])
@pytest.mark.parametrize(("bias", "norm"), [(False, "none"), (True, "none"), (True, "layer")])
def test_a_table_is_as_close_to_the_network_as_it_says(species, attributes, transform, bias, norm):
    network, basis = build(species, attributes, transform, bias=bias, norm=norm)
    tolerance = (1e-6 if transform == "none" else 1e-5) * (100 if norm == "layer" else 1)
    made, error = table_of(network, basis, attributes, tolerance)
    at = graph()
    lengths = at.edge_lengths()
    R = exact(network, basis, attributes, at)
    read = read_from(made, lengths[at.pairs[0][:, 0]], attributes, at)
    size = made.values[:, :, 0].square().mean().sqrt()
    assert 0 < error <= tolerance
    assert (read - R).abs().max() <= 1.1 * error * size
    assert read.shape == R.shape


def test_more_knots_are_taken_where_they_are_needed():
    network, basis = build("none", ATTRIBUTES["one-hot"])
    (coarse, large), (fine, small) = (
        table_of(network, basis, ATTRIBUTES["one-hot"], tolerance) for tolerance in (1e-4, 1e-10)
    )
    assert coarse.values.shape[1] < fine.values.shape[1]
    assert small <= 1e-10 < large


def test_layers_are_tabulated_at_the_same_knots_and_not_fewer_than_asked():
    functions = [
        RadialFunction(*build("none", ATTRIBUTES["one-hot"], widths=widths), ATTRIBUTES["one-hot"])
        for widths in ((), (8, 8))
    ]
    tables, _ = tabulate(functions, 1e-4, least=512)
    assert [table.values.shape[1] for table in tables] == [513, 513]
    assert tabulate(functions, 1e-4, least=4096) is None


def test_a_table_that_would_be_too_large_is_not_made(monkeypatch):
    monkeypatch.setattr(table, "LARGEST", 1000)
    function = RadialFunction(*build("none", ATTRIBUTES["one-hot"]), ATTRIBUTES["one-hot"])
    assert tabulate([function], 1e-5) is None


@pytest.mark.parametrize("species", ["none", "pair"])
def test_what_is_read_from_a_table_has_the_gradients_of_the_network(species):
    """With respect to weights, attributes and roots of the basis; of values and of forces."""
    attributes = ATTRIBUTES["continuous"].clone().requires_grad_()
    network, _ = build(species, attributes)
    basis, at, results = RadialEmbedding("bessel", 5, CUTOFF, trainable=True), graph(), []
    wanted = [attributes, *network.parameters(), *basis.parameters()]
    lengths = at.edge_lengths()
    for made in (None, RadialFunction(network, basis, attributes).tabulate(2048)):
        r = lengths[at.pairs[0][:, 0]].requires_grad_()
        R = network(basis(r), attributes, at) if made is None else read_from(made, r, attributes, at)
        (slope,) = torch.autograd.grad(R.square().sum(), r, create_graph=True)
        gradients = torch.autograd.grad(
            R.sum() + slope.square().sum(), wanted, allow_unused=True, materialize_grads=True
        )
        results.append([value.detach() for value in (R, slope, *gradients)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6 * float(one.abs().max()))
