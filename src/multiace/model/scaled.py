"""The network as a function of factors of what its edges contribute."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from multiace.basis.irreps import Irrep
from multiace.graph import Graph
from multiace.layers.complete import CompleteDensity
from multiace.layers.density import ChannelwiseDensity, FullDensity
from multiace.layers.readout import FinnisSinclairReadout, Readout
from multiace.layers.update import Layer
from multiace.model.multi_ace import MultiACE
from multiace.ops.choice import definitions
from multiace.ops.paths import Path

__all__ = ["Readouts", "ScaledEdges"]

Readouts = Sequence[Readout | FinnisSinclairReadout | None]
"""What reads each layer, None where nothing does."""


class ScaledEdges:
    """A network whose edges' contributions are multiplied by numbers: φ_ij of path η in layer t by λ_tη.

    φ is a product of R and Y, so that λ multiplies R of the path, or Y where complete coupling has one R for all l.

    Args:
        network: It is copied.
        graph: The structures.
        dtype: Of λ and all that follows from it, float64 or complex128.

    Attributes:
        readouts: Of each layer, None where there is none.
        paths: Of each layer.
    """

    def __init__(self, network: MultiACE, graph: Graph, dtype: torch.dtype = torch.float64):
        self.network = deepcopy(network).double().requires_grad_(False)
        self.layers = [cast("Layer", layer) for layer in self.network.layers]
        with torch.no_grad(), definitions():
            self.Y = self.network.angular(graph.edge_vectors(), graph.edge_lengths()).to(dtype)
            self.R = [R.to(dtype) for R in radial_functions(self.network, graph)]
        with warnings.catch_warnings():  # of PyTorch, that complex modules are new
            warnings.simplefilter("ignore", UserWarning)
            self.network.to(dtype)
        self.graph = one_edge_a_pair(graph)
        unread: Readouts = [None] * (len(self.layers) - len(self.network.readouts))
        self.readouts: Readouts = [*unread, *self.network.readouts]
        found = [paths_and_columns(layer.density, self.network.config.l_max) for layer in self.layers]
        self.paths = [paths for paths, _ in found]
        self.columns = [columns.to(graph.species.device) for _, columns in found]

    def features(self, scale: complex | Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield h after each layer.

        Args:
            scale: λ of everything, or for each layer that of every edge and path, (n_edges, n_paths).
        """
        network, graph = self.network, self.graph
        h = network.embedding(graph.species, network.elements)
        for t, (layer, R) in enumerate(zip(self.layers, self.R, strict=True)):
            λ = scale if isinstance(scale, complex | float) else scale[t][:, self.columns[t]]
            shared = isinstance(layer.density, CompleteDensity)
            Y, R = (self.Y * λ, R) if shared else (self.Y, R * λ)
            with definitions():
                h = layer(h, Y, R, network.elements, graph)
            yield h

    def read(self, h: Iterable[Tensor], readouts: Readouts) -> Tensor:
        """Return the sum of what is read out of the features of all layers, or of the first ones, (n_nodes,)."""
        species, of_layers = self.graph.species, zip(h, readouts, strict=False)
        with definitions():
            energies = [readout(x, species) for x, readout in of_layers if readout is not None]
        return torch.cat(energies, dim=1).sum(dim=1)


def radial_functions(network: MultiACE, graph: Graph) -> Iterator[Tensor]:
    """Yield R of each layer for every edge, (n_edges, n_weights)."""
    radial = network.radial(graph)
    for net in network.radial_networks:
        R = net(radial, network.elements.table, graph)
        yield R if net.per_edge else R.index_select(0, graph.pairs[1])


def one_edge_a_pair(graph: Graph) -> Graph:
    """Return the same graph for functions R that are given for each edge, not for each pair of them."""
    edges = torch.arange(graph.n_edges, device=graph.senders.device)
    graph = replace(graph)
    vars(graph)["pairs"] = (edges[:, None], edges)
    return graph


def paths_and_columns(
    density: ChannelwiseDensity | FullDensity | CompleteDensity, l_max: int
) -> tuple[list[Path], Tensor]:
    """Return the paths of a density, and which path each column of R belongs to; with complete coupling, of Y."""
    if isinstance(density, CompleteDensity):
        irreps = [Irrep(degree, (-1) ** degree) for degree in range(l_max + 1)]
        paths = [(Path(Irrep(0, 1), irrep.l, irrep), irrep.dim) for irrep in irreps]
    else:
        several = density.paths if isinstance(density, FullDensity) else [density.paths]
        groups = [group for one in several for group in one.groups]
        paths = [(Path(g.irrep_in, l2, g.irrep_out), g.mul) for g in groups for l2 in g.l2s]
    columns = [number for number, (_, n) in enumerate(paths) for _ in range(n)]
    return [path for path, _ in paths], torch.tensor(columns)
