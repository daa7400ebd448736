"""Rows of linear ACE: energies, forces and virials of every basis function, with derivatives by hand."""

from __future__ import annotations

from typing import cast

import numpy as np

from multiace.basis.ace import Coefficients
from multiace.graph import Graph
from multiace.layers.readout import Readout
from multiace.model.linear_part import Products
from multiace.model.potential import Potential
from multiace.ops import AROUND, Functions, Surroundings, add_rows
from multiace.solve.rows import DesignMatrix, Rows

__all__ = ["AceRows"]


class AceRows(DesignMatrix):
    """The design matrix of linear ACE, in float64; see :mod:`multiace.ops.rows` for the equations.

    Args:
        potential: With complete coupling, one channel and a linear readout.
    """

    parameter = Products.names[0]
    """Name of the coefficients in the network."""
    part: Products

    def __init__(self, potential: Potential) -> None:
        super().__init__(potential)
        product = self.part.product
        self.basis, self.sees_element = product.basis, product.sees_element
        self.n_sets = len(product.weight)
        readout = cast("Readout", self.potential.network.readouts[0])
        self.scale = float(self.potential.scale * readout.mlp.weight.detach()[0, 0])
        self.scale *= self.basis.n_functions**-0.5  # E [eV] for a coefficient of 1 and B = 1
        self.choose(np.arange(self.n_columns))

    def choose(self, columns: np.ndarray) -> None:
        """Make only these columns, ascending, from here on."""
        used, function = np.unique(columns % self.basis.n_functions, return_inverse=True)
        c = self.basis.coefficients
        kept = np.isin(c.function, used)
        monomials, monomial = np.unique(c.monomial[kept], return_inverse=True)
        coefficients = Coefficients(
            c.factors[monomials],
            np.searchsorted(used, c.function[kept]),
            c.M[kept],
            monomial,
            c.values[kept],
        )
        column = np.full((self.n_sets, len(used)), -1)
        column[columns // self.basis.n_functions, function] = np.arange(len(columns))
        self.functions = Functions(coefficients, column, self.basis.n_components)

    def seen(self, graph: Graph) -> np.ndarray:
        """Whether there is an atom among whose neighbours are all elements of a function, (n_columns,)."""
        multisets = self.basis.multisets
        if self.potential.config.element_embedding != "one_hot":
            return np.ones(self.n_columns, dtype=bool)
        elements = [sum({1 << v.element for v in multiset.factors}) for multiset in multisets]
        bits = [1 << z for z in range(len(self.potential.elements))]
        around: dict[int, int] = {}
        species = graph.species.tolist()
        for i, j in zip(graph.receivers.tolist(), graph.senders.tolist(), strict=True):
            around[i] = around.get(i, 0) | bits[species[j]]
        found = {(species[i] if self.sees_element else 0, there) for i, there in around.items()}
        repeats = [multiset.n_paths for multiset in multisets]
        seen = [
            np.repeat(
                [any(z == centre and not e & ~there for centre, there in found) for e in elements], repeats
            )
            for z in range(self.n_sets)
        ]
        return np.concatenate(seen)

    def roughness(self) -> np.ndarray:
        r"""1 + Σ (n - 1 + w l)² over the factors of each function: how fast it varies, (n_columns,)."""
        w = self.basis.truncation.weight
        of_multiset = [1.0 + sum((v.n - 1 + w * v.l) ** 2 for v in m.factors) for m in self.basis.multisets]
        return np.tile(np.repeat(of_multiset, [m.n_paths for m in self.basis.multisets]), self.n_sets)

    def __call__(self, graph: Graph) -> Rows:
        """Return the rows of a batch."""
        a = self.potential.network.elements.table.detach()[graph.species]
        phi, slopes = self.part.one_particle(graph)
        of_edges = (phi[:, :, None] * a[graph.senders][:, None]).flatten(1)
        A = of_edges.new_zeros(graph.n_nodes, of_edges.shape[1]).index_add(0, graph.receivers, of_edges)
        atoms = Surroundings(
            A=A.numpy(),
            share=self.scale * (a.numpy() if self.sees_element else np.ones((graph.n_nodes, 1))),
            slopes=slopes.numpy(),
            a=a[graph.senders].numpy(),
            vectors=graph.edge_vectors().numpy(),
            senders=graph.senders.numpy(),
            receivers=graph.receivers.numpy(),
            graph=graph.node_graph.numpy(),
            n_graphs=graph.n_graphs,
        )
        rows = np.zeros((self.functions.n_columns, atoms.n_rows))
        add_rows(self.functions, atoms, rows)
        energy, virial, forces = np.split(rows.T, [graph.n_graphs, AROUND * graph.n_graphs])
        return Rows(energy, forces, virial.reshape(graph.n_graphs, 6, -1))
