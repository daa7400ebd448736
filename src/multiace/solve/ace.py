"""Rows of linear ACE: energies, forces and virials of every basis function, with derivatives by hand."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import torch

from multiace.basis.ace import Coefficients
from multiace.graph import Graph
from multiace.layers.complete import CompleteDensity, CompleteProduct
from multiace.layers.readout import Readout
from multiace.layers.update import Layer
from multiace.model.potential import Potential, Statistics
from multiace.ops import AROUND, Functions, Surroundings, add_rows
from multiace.ops.choice import definitions

__all__ = ["AceRows", "Rows"]


class Rows(NamedTuple):
    """Derivatives of what a potential predicts for a batch with respect to p coefficients.

    Attributes:
        energy: Of each energy [eV], (n_graphs, p).
        forces: Of each force component [eV/Å], (3 n_nodes, p).
        virial: Of stress times volume of each structure [eV], (n_graphs, 6, p): xx, yy, zz, yz, xz, xy.
    """

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


class AceRows:
    """The design matrix of linear ACE, in float64; see :mod:`multiace.ops.rows` for the equations.

    Args:
        potential: With complete coupling, one channel and a linear readout.
    """

    def __init__(self, potential: Potential) -> None:
        self.potential = Potential(
            potential.config.replace(dtype="float64"), Statistics(np.zeros(len(potential.elements)))
        )
        self.potential.load_state_dict(potential.state_dict())
        network = self.potential.network
        layer = cast("Layer", network.layers[0])
        self.density, product = cast("CompleteDensity", layer.density), cast("CompleteProduct", layer.product)
        self.basis, self.sees_element = product.basis, product.sees_element
        self.n_sets = len(product.weight)
        readout = cast("Readout", network.readouts[0])
        self.scale = float(self.potential.scale * readout.mlp.weight.detach()[0, 0])
        self.scale *= self.basis.n_functions**-0.5  # E [eV] for a coefficient of 1 and B = 1
        self.choose(np.arange(self.n_columns))

    parameter = "layers.0.product.weight"
    """Name of the coefficients in the network."""

    @property
    def n_columns(self) -> int:
        """Functions of all central elements."""
        return self.n_sets * self.basis.n_functions

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

    def put(self, potential: Potential, coefficients: np.ndarray) -> None:
        """Give a potential the coefficients of all columns, (n_columns,)."""
        weight = potential.network.get_parameter(self.parameter)
        with torch.no_grad():
            weight.copy_(torch.from_numpy(coefficients).view_as(weight))

    def __call__(self, graph: Graph) -> Rows:
        """Return the rows of a batch."""
        a = self.potential.network.elements.table.detach()[graph.species]
        phi, slopes = self._one_particle(graph)
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

    def _one_particle(self, graph: Graph) -> tuple[torch.Tensor, torch.Tensor]:
        """φ of each edge (n_edges, functions), and its gradient with respect to the edge vector, (..., 3)."""
        network, vectors, r = self.potential.network, graph.edge_vectors(), graph.edge_lengths()
        z_j, z_i = graph.species[graph.senders], graph.species[graph.receivers]
        phi = self.density.one_particle

        def angular(v: torch.Tensor) -> torch.Tensor:
            return network.angular(v, torch.linalg.vector_norm(v, dim=-1))

        def radial(r: torch.Tensor) -> torch.Tensor:
            e = network.radial_basis(r, z_j, z_i)
            return self.density.radial_network.of_rows(e, network.elements.table, z_j, z_i)

        with torch.no_grad(), definitions():
            R, R_slope = torch.func.jvp(radial, (r,), (torch.ones_like(r),))[:2]
            axes = [axis.expand_as(vectors) for axis in torch.eye(3, dtype=torch.float64)]
            Y, Y_slopes = angular(vectors), [torch.func.jvp(angular, (vectors,), (axis,))[1] for axis in axes]
            along = phi(Y, R_slope)[:, :, None] * (vectors / r[:, None])[:, None]
            return phi(Y, R), along + torch.stack([phi(Y_slope, R) for Y_slope in Y_slopes], dim=-1)
