"""Radial weights see the elements they should, and end at the cutoff."""

import pytest
import torch

from multiace.layers.activations import ACTIVATIONS
from multiace.layers.radial import RADIAL_SPECIES, RadialNetwork
from tests.layers.structure import graph, radial

ATTRIBUTES = {
    "one-hot": torch.eye(3, dtype=torch.float64),
    "continuous": torch.tensor([[1.0, 0.3], [0.2, -0.7], [0.5, 0.5]], dtype=torch.float64),
}
every_embedding = pytest.mark.parametrize("attributes", ATTRIBUTES.values(), ids=ATTRIBUTES)
both_networks = pytest.mark.parametrize("widths", [(), (5, 4)], ids=["linear", "mlp"])


def build(species, attributes, widths, bias=False, activation="silu"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RadialNetwork(3, 6, attributes.shape[1], species, widths, activation, bias).double()
        for parameter in network.biases:
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
