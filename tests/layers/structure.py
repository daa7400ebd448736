"""One molecule as the layers see it."""

from dataclasses import replace

import torch

from multiace.basis.angular import SphericalHarmonics
from multiace.graph import Graph

N_NODES = 4
CUTOFF = 3.0


def graph(Q: torch.Tensor | None = None) -> Graph:
    """Four atoms of three elements that all see each other; vectors turned by Q."""
    positions = torch.tensor([[0.0, 0.0, 0.1], [1.1, 0.2, 0.0], [-0.3, 1.0, 0.4], [0.5, -0.4, 1.2]]).double()
    receivers, senders = (
        index.flatten() for index in torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    )
    different = receivers != senders
    receivers, senders = receivers[different], senders[different]
    number = torch.full((4, 4), -1)
    number[receivers, senders] = torch.arange(12)
    return Graph(
        species=torch.tensor([0, 1, 2, 1]),
        positions=positions if Q is None else positions @ Q.T,
        senders=senders,
        receivers=receivers,
        shifts=torch.zeros(12, 3, dtype=torch.float64),
        reverse=number[senders, receivers],
        cells=torch.zeros(1, 3, 3, dtype=torch.float64),
        node_graph=torch.zeros(4, dtype=torch.int64),
    )


def harmonics(graph: Graph, l_max: int) -> torch.Tensor:
    return SphericalHarmonics(l_max)(graph.edge_vectors(), graph.edge_lengths())


def radial(graph: Graph, num_radial: int = 3) -> torch.Tensor:
    """Some functions of the distance, one row per undirected pair."""
    lengths = graph.edge_lengths()
    lengths = lengths[graph.pairs[0][:, 0], None]
    n = torch.arange(1, num_radial + 1)
    return torch.sin(n * lengths) * (CUTOFF - lengths) ** 3


def without_edges(graph: Graph) -> Graph:
    nothing = torch.zeros(0, dtype=torch.int64)
    return replace(
        graph,
        senders=nothing,
        receivers=nothing,
        reverse=nothing,
        shifts=torch.zeros(0, 3, dtype=torch.float64),
    )
