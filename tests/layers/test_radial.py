"""Radial weights see the elements they should, and end at the cutoff."""

import pytest
import torch

from multiace.layers.activations import ACTIVATIONS
from multiace.layers.embedding import ContinuousEmbedding
from multiace.layers.radial import RADIAL_SPECIES, RadialNetwork, itself
from tests.layers.structure import graph, radial

ATTRIBUTES = {
    "one-hot": torch.eye(3, dtype=torch.float64),
    "continuous": torch.tensor([[1.0, 0.3], [0.2, -0.7], [0.5, 0.5]], dtype=torch.float64),
}
every_embedding = pytest.mark.parametrize("attributes", ATTRIBUTES.values(), ids=ATTRIBUTES)
both_networks = pytest.mark.parametrize("widths", [(), (5, 4)], ids=["linear", "mlp"])


def build(species, attributes, widths, bias=False, activation="silu", norm="none"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RadialNetwork(3, 6, attributes.shape[1], species, widths, activation, bias, norm).double()
        for parameter in [*network.biases, *network.mlp.norms.parameters()]:
            torch.nn.init.normal_(parameter)
    return network


def with_species(at, *species):
    at.species.copy_(torch.tensor(species))
    return at


@both_networks
@every_embedding
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("species", "sees_sender", "sees_receiver"),
    [("none", False, False), ("sender", True, False), ("pair", True, True)],
)
def test_radial_weights_see_the_elements_they_should(
    species, sees_sender, sees_receiver, widths, attributes, bias
):
    network = build(species, attributes, widths, bias)
    before = network(radial(graph()), attributes, graph())
    changed = with_species(graph(), 2, 1, 2, 1)  # atom 0 is another element
    after = network(radial(changed), attributes, changed)
    differs = ((before - after).abs() > 1e-6).any(dim=1)
    expected = torch.zeros(6 if species == "none" else 12, dtype=torch.bool)  # pairs or edges
    if sees_sender:
        expected |= changed.senders == 0
    if sees_receiver:
        expected |= changed.receivers == 0
    assert torch.equal(differs, expected)


def test_each_choice_of_species_is_tested():
    assert set(RADIAL_SPECIES) == {"none", "sender", "pair"}


@both_networks
@every_embedding
@pytest.mark.parametrize("species", RADIAL_SPECIES)
def test_radial_weights_vanish_where_the_basis_does(species, attributes, widths):
    at = graph()
    nothing = torch.zeros_like(radial(at))
    assert not build(species, attributes, widths)(nothing, attributes, at).any()
    assert build(species, attributes, widths, bias=True)(nothing, attributes, at).any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_radial_weights_vanish_at_the_cutoff_for_every_activation(activation):
    at, attributes = graph(), ATTRIBUTES["one-hot"]
    R = build("pair", attributes, (5,), activation=activation)(torch.zeros_like(radial(at)), attributes, at)
    torch.testing.assert_close(R, torch.zeros_like(R), rtol=0, atol=1e-12)


@every_embedding
@pytest.mark.parametrize("species", RADIAL_SPECIES)
def test_the_linear_network_is_one_matrix_per_element_seen(species, attributes):
    network, at = build(species, attributes, ()), graph()
    _, pair = at.pairs
    a_j, a_i = attributes[at.species[at.senders]], attributes[at.species[at.receivers]]
    seen = {
        "none": torch.ones(12, 1, dtype=torch.float64),
        "sender": a_j,
        "pair": torch.einsum("ed,ef->edf", a_j, a_i).flatten(1),
    }[species]
    W = network.mlp.matrices()[0].unflatten(0, (3, seen.shape[1]))  # [num_radial, elements, weights]
    expected = torch.einsum("en,ed,ndw->ew", radial(at)[pair], seen, W) / 3**0.5
    R = network(radial(at), attributes, at)
    torch.testing.assert_close(R[pair] if species == "none" else R, expected)


@both_networks
@every_embedding
@pytest.mark.parametrize("species", RADIAL_SPECIES)
def test_weights_are_recorded_with_the_layers_unless_there_are_biases_or_norms(species, attributes, widths):
    at, elements = graph(), ContinuousEmbedding(*attributes.shape)
    elements.table = torch.nn.Parameter(attributes)

    def recorded(norm="none", **options):
        network = build(species, attributes, widths, norm=norm, **options)
        rows = radial(at) if norm == "none" else with_envelope(at)
        rows = rows[at.pairs[1]] if network.per_edge else rows
        return network.on(at, rows, elements).of is not itself

    assert recorded()
    assert not recorded(bias=True)
    assert recorded(norm="layer") == (not widths)  # nothing hidden, nothing normalised


def with_envelope(at):
    """The functions of ``radial``, and an envelope in a column behind."""
    lengths = at.edge_lengths()[at.pairs[0][:, 0]]
    return torch.cat([radial(at), (1 - lengths[:, None] / 4.0) ** 3], dim=1)


@every_embedding
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("species", RADIAL_SPECIES)
def test_normalised_weights_are_those_of_the_equation(species, attributes, bias):
    """Linear map, normalisation with gain and bias, activation; the envelope at the end."""
    network, at = build(species, attributes, (5, 4), bias, norm="layer"), graph()
    rows = with_envelope(at)[at.pairs[1]]
    a_j, a_i = attributes[at.species[at.senders]], attributes[at.species[at.receivers]]
    a = {"none": None, "sender": a_j, "pair": torch.einsum("ed,ef->edf", a_j, a_i).flatten(1)}[species]
    x = rows[:, :3] if a is None else torch.einsum("en,ed->end", rows[:, :3], a).flatten(1)
    for layer, W in enumerate(network.mlp.matrices()):
        if layer > 0:
            gain, shift = network.mlp.norms[layer - 1].weight[0].chunk(2)
            x = (x - x.mean(dim=1, keepdim=True)) / (x.var(dim=1, keepdim=True, correction=0) + 1e-4).sqrt()
            x = network.mlp.activation(x * gain + shift)
        x = x @ W / (len(W) if layer > 0 else 3) ** 0.5
        if bias:
            x = x + (a @ network.biases[0] if layer == 0 and a is not None else network.biases[layer])
    R = network(with_envelope(at), attributes, at)
    torch.testing.assert_close(R[at.pairs[1]] if species == "none" else R, x * rows[:, 3:])


@every_embedding
@pytest.mark.parametrize("species", RADIAL_SPECIES)
def test_normalised_weights_vanish_where_the_envelope_does(species, attributes):
    at = graph()
    rows = with_envelope(at)
    ended = torch.cat([rows[:, :3], torch.zeros_like(rows[:, 3:])], dim=1)
    network = build(species, attributes, (5, 4), bias=True, norm="layer")
    assert not network(ended, attributes, at).any()
    ended[:, 3] = 1.0
    assert network(ended, attributes, at).all()


@both_networks
@pytest.mark.parametrize("bias", [False, True])
def test_a_network_that_is_not_normalised_leaves_the_envelope_of_another_alone(widths, bias):
    at, attributes = graph(), ATTRIBUTES["one-hot"]
    network = build("pair", attributes, widths, bias)
    assert torch.equal(network(with_envelope(at), attributes, at), network(radial(at), attributes, at))


def test_the_envelope_of_the_basis_does_not_matter_to_normalised_values():
    """The first normalisation takes it away, so that what is normalised is f_c net[e_n]."""
    at, attributes = graph(), ATTRIBUTES["one-hot"]
    rows = with_envelope(at)
    smaller = torch.cat([0.5 * rows[:, :3], rows[:, 3:]], dim=1)
    network = build("none", attributes, (5, 4), norm="layer")
    torch.testing.assert_close(
        network(smaller, attributes, at), network(rows, attributes, at), rtol=1e-2, atol=1e-4
    )
