"""Many sets of coefficients at once give what each of them gives alone."""

from __future__ import annotations

import pytest
import torch

from multiace.graph import Graph
from multiace.graph.neighbors import build_graph
from multiace.model.config import ModelConfig
from multiace.model.linear_part import LastLayers, Products, linear_part
from multiace.model.multi_ace import MultiACE
from tests.potentials import crystal, methanol

ACE = {
    "preset": "ace-small",
    "l_max": 2,
    "num_radial": 4,
    "total_degree": [5.0, 5.0, 5.0],
    "neighbor_norm": "mean",
}
SMALL = {"hidden_irreps": "6x0e + 6x1o", "l_max": 1}
MODELS = {
    "ace": ACE,
    "ace, one set of weights": {**ACE, "product_elements": False},
    "ace, continuous elements": {**ACE, "element_embedding": "continuous", "embedding_dim": 2},
    "ace, read out by an MLP": {**ACE, "hidden_irreps": "3x0e", "readout_width": 5},
    "ace, densities of Finnis and Sinclair": {
        **ACE,
        "hidden_irreps": "3x0e",
        "readout_function": "finnis_sinclair",
        "readout_exponents": [1.0, 0.5, 2.0],
    },
    "ace, a two-body term and splines": {**ACE, "pair_num_radial": 3, "radial_knots": 200},
    "botnet": {"preset": "botnet-small", **SMALL, "num_layers": 2},
    "botnet, weights of pairs": {
        "preset": "botnet-small",
        **SMALL,
        "num_layers": 2,
        "radial_species": "pair",
    },
    "nequip": {"preset": "nequip-small", **SMALL},
    "mace": {"preset": "mace-small", **SMALL},
    "schnet": {"preset": "schnet-small", "hidden_irreps": "6x0e"},
    "full, seen elements": {
        "preset": "botnet-elements-small",
        "hidden_irreps": "2x0e + 2x1o",
        "l_max": 1,
        "num_layers": 2,
        "channel_coupling": "full",
    },
}


PRODUCTS = (*list(MODELS)[:3], "ace, a two-body term and splines")


def network(name: str, dtype: str) -> MultiACE:
    torch.manual_seed(5)
    fields = {**MODELS[name], "elements": ["H", "C", "O"], "cutoff": 3.5, "dtype": dtype}
    return MultiACE(ModelConfig.from_dict(fields), num_neighbors=6.0)


def batch() -> Graph:
    return Graph.batch([build_graph(atoms, ("H", "C", "O"), 3.5) for atoms in (methanol(), crystal())])


def of_pairs(gradients: torch.Tensor, graph: Graph) -> torch.Tensor:
    """Gradients of undirected pairs: which of its two edges has a share of the radial part is a matter of taste."""
    return gradients - gradients[:, graph.reverse]


def one_by_one(net: MultiACE, graph: Graph, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    part, before = linear_part(net), linear_part(net).present.clone()
    sites, gradients = [], []
    for one in c:
        part.put(one)
        energies, g = net.with_gradient(graph)
        sites.append(energies.sum(dim=1))
        gradients.append(g)
    part.put(before)
    return torch.stack(sites, dim=1), of_pairs(torch.stack(gradients), graph)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_sets", [3, 40])  # fewer than features, and more
@pytest.mark.parametrize("name", MODELS)
def test_sets_of_coefficients_are_predicted_with_at_once(name: str, n_sets: int, dtype: str) -> None:
    net, graph = network(name, dtype), batch()
    part = linear_part(net)
    c = part.present + torch.randn(n_sets, part.n_columns, dtype=net.dtype)
    found = part.predict(graph, c)
    sites, gradients = one_by_one(net, graph, c)
    tolerance = {"rtol": 0, "atol": (1e-11 if dtype == "float64" else 2e-5) * float(gradients.abs().max())}
    torch.testing.assert_close(found.sites, sites, **tolerance)
    torch.testing.assert_close(of_pairs(found.gradients, graph), gradients, **tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_coefficients_that_are_put_are_there(name: str) -> None:
    net = network(name, "float64")
    part = linear_part(net)
    assert isinstance(part, Products if name in PRODUCTS else LastLayers)
    c = torch.randn(2, part.n_columns, dtype=torch.float64)
    torch.testing.assert_close(part.coefficients(part.values(c)), c, rtol=0, atol=0)
    parameters = {name: value.detach().clone() for name, value in net.named_parameters()}
    part.put(part.present)
    assert all(torch.equal(value, parameters[name]) for name, value in net.named_parameters())
    part.put(c[0])
    torch.testing.assert_close(part.present, c[0], rtol=0, atol=0)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("name", ["ace", "ace, densities of Finnis and Sinclair", "botnet", "nequip", "mace"])
def test_kernels_give_the_same(name: str) -> None:
    net, graph = network(name, "float64"), batch()
    part = linear_part(net)
    c = torch.randn(10, part.n_columns, dtype=torch.float64)  # more than one program has
    sites, gradients = one_by_one(net, graph, c)
    found = part.predict(graph, c)
    torch.testing.assert_close(found.sites, sites, rtol=0, atol=1e-10)
    torch.testing.assert_close(of_pairs(found.gradients, graph), gradients, rtol=0, atol=1e-10)


def test_an_atom_alone_has_no_gradients() -> None:
    for name in ("ace", "nequip"):
        net = network(name, "float64")
        part = linear_part(net)
        graph = build_graph(methanol()[:1], ("H", "C", "O"), 3.5)
        found = part.predict(graph, torch.randn(4, part.n_columns, dtype=torch.float64))
        assert found.sites.shape == (1, 4)
        assert found.gradients.shape == (4, 0, 3)
