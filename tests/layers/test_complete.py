"""The density of complete coupling: sums of radial functions times harmonics, for every kind of radial function."""

from __future__ import annotations

import pytest
import torch

from multiace.layers.complete import CompleteDensity, CompleteRadial, ElementChannels
from multiace.layers.density import FixedNorm
from multiace.layers.embedding import OneHotEmbedding
from tests.layers.structure import graph, harmonics, radial

L_MAX, N_RADIAL, N_PAIR, N_ELEMENTS = 2, 3, 4, 3
NETWORKS = {
    "none": None,
    "linear": {"species": "none", "widths": (), "activation": "silu", "bias": False},
    "pair": {"species": "pair", "widths": (), "activation": "silu", "bias": False},
    "deep": {"species": "sender", "widths": (5,), "activation": "silu", "bias": True},
}


def parts(name: str, n_max: int, n_pair: int) -> tuple[CompleteRadial, CompleteDensity]:
    torch.manual_seed(0)
    R = CompleteRadial(N_RADIAL, n_max, n_pair, N_ELEMENTS, L_MAX, NETWORKS[name]).double()
    return R, CompleteDensity(R, FixedNorm(1.7)).double()


@pytest.mark.parametrize("n_pair", [0, N_PAIR])
@pytest.mark.parametrize(
    ("name", "n_max"), [("none", 3), ("linear", 2), ("linear", 5), ("pair", 4), ("deep", 2)]
)
def test_density_is_the_sum_over_neighbours_of_an_element(name: str, n_max: int, n_pair: int) -> None:
    network, density = parts(name, n_max, n_pair)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    at, elements = graph(), OneHotEmbedding(N_ELEMENTS, 0)
    Y, e = harmonics(at, L_MAX), radial(at, N_RADIAL + n_pair)
    table = elements.table.double()
    h = ElementChannels()(at.species, elements).double()
    A = density(h, Y, network(e, table, at), at)
    expected = torch.zeros(at.n_nodes, (L_MAX + 1) ** 2 * n_max * N_ELEMENTS + n_pair * N_ELEMENTS).double()
    for edge, (j, i) in enumerate(zip(at.senders.tolist(), at.receivers.tolist(), strict=True)):
        z_j, row = at.species[j], e[at.pairs[1][edge], :]
        if name == "none":
            R = row[None, :N_RADIAL].expand(L_MAX + 1, n_max)
        else:
            ends = (at.species[j, None], at.species[i, None])
            R = network.network.of_rows(row[None, :N_RADIAL], table, *ends).reshape(L_MAX + 1, n_max)
        for lm in range((L_MAX + 1) ** 2):
            for n in range(n_max):
                place = (lm * n_max + n) * N_ELEMENTS + z_j
                expected[i, place] += R[int(lm**0.5), n] * Y[edge, lm] / 1.7
        for n in range(n_pair):
            expected[i, (L_MAX + 1) ** 2 * n_max * N_ELEMENTS + n * N_ELEMENTS + z_j] += (
                row[N_RADIAL + n] / 1.7
            )
    torch.testing.assert_close(A, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("n_max", [2, 3, 5])
@pytest.mark.parametrize("name", ["linear", "pair"])
def test_linear_radial_functions_start_as_the_basis(name: str, n_max: int) -> None:
    network, _ = parts(name, n_max, 0)
    at = graph()
    e, table = radial(at, N_RADIAL), torch.eye(N_ELEMENTS).double()
    R = network(e, table, at).unflatten(1, (L_MAX + 1, n_max))
    e = e[at.pairs[1]] if network.per_edge else e
    same = min(n_max, N_RADIAL)
    torch.testing.assert_close(R[:, :, :same], e[:, None, :same].expand(-1, L_MAX + 1, -1))
