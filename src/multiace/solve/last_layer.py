"""Rows of the last layers of any model: energies, forces and virials of the features of all readouts."""

from __future__ import annotations

import numpy as np
import torch

from multiace.graph import Graph
from multiace.model.potential import Potential
from multiace.ops import VOIGT
from multiace.solve.rows import DesignMatrix, Rows

__all__ = ["LastLayerRows"]


class LastLayerRows(DesignMatrix):
    r"""The design matrix of the last linear maps of the readouts, features φ being as they were trained.

    .. math:: E = \text{scale} \sum_t \sum_k c_{tk} \frac{1}{\sqrt n} \sum_i \phi_{tk}(h_i^t) + \dots

    Derivatives with respect to positions are a backward pass for each feature, eight in one program with one
    forward pass: the time of about half as many predictions with forces as there are features.

    Args:
        potential: Any, trained.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__(potential)
        self.choose(np.arange(self.n_columns))

    def choose(self, columns: np.ndarray) -> None:
        """Make only these columns, ascending, from here on."""
        self.columns = torch.from_numpy(columns)

    def seen(self, graph: Graph) -> np.ndarray:
        """All columns."""
        return np.ones(self.n_columns, dtype=bool)

    def roughness(self) -> np.ndarray:
        """1: features are of one kind, and their weights start unit normal."""
        return np.ones(self.n_columns)

    def __call__(self, graph: Graph) -> Rows:
        """Return the rows of a batch."""
        one_hot = torch.eye(self.n_columns, dtype=torch.float64)[self.columns]
        sites, g = self.part.predict(graph, one_hot)
        vectors, scale = graph.edge_vectors().detach(), float(self.potential.scale)
        (x, y), of_structure = torch.tensor(VOIGT).T, graph.edge_graph
        of_edges = 0.5 * (vectors[:, x] * g[..., y] + vectors[:, y] * g[..., x])  # [columns, edges, 6]
        virial = g.new_zeros(graph.n_graphs, 6, len(g)).index_add_(0, of_structure, of_edges.permute(1, 2, 0))
        energy = sites.new_zeros(graph.n_graphs, len(g)).index_add_(0, graph.node_graph, sites)
        forces = graph.forces(g).flatten(1).T
        return Rows(*(scale * rows.numpy() for rows in (energy, forces, virial)))
