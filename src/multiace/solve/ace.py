"""Rows of linear ACE: energies, forces and virials of every basis function, with derivatives by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from scipy.sparse import csr_array

from multiace.graph import Graph
from multiace.layers.complete import CompleteDensity, CompleteProduct
from multiace.layers.readout import Readout
from multiace.layers.update import Layer
from multiace.model.potential import Potential, Statistics

__all__ = ["VOIGT", "AceRows", "Rows"]

ATOMS = 64  # whose products are made together
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


class Rows(NamedTuple):
    """Derivatives of what a potential predicts for a structure with respect to p coefficients.

    Attributes:
        energy: Of the energy [eV], (p,).
        forces: Of each force component [eV/Å], (3 n_nodes, p).
        virial: Of stress times volume [eV], (6, p): xx, yy, zz, yz, xz, xy.
    """

    energy: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


class AceRows:
    r"""The design matrix of linear ACE.

    For an atom i with density A, the functions are :math:`B_f = \sum_t C_{ft} \prod_\xi A_{f_{t\xi}}`, and

    .. math:: G_{fv} = \frac{\partial B_f}{\partial A_v}
              = \sum_t C_{ft} \sum_{\xi: f_{t\xi} = v} \prod_{\xi' \ne \xi} A_{f_{t\xi'}}, \qquad
              \frac{\partial B_f}{\partial \mathbf r_k} = \sum_v G_{fv} \frac{\partial A_v}{\partial \mathbf r_k}.

    G is made for many atoms at once by one sparse matrix, of the products of all factors but one; it has a few entries
    for each function, so that the sum over v is short. Everything is float64.

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
        sets, functions = np.divmod(columns, self.basis.n_functions)
        used, self.function = np.unique(functions, return_inverse=True)
        self.set_starts = np.searchsorted(sets, np.arange(self.n_sets + 1))
        c = self.basis.coefficients
        kept = np.isin(c.function, used)
        function, values = np.searchsorted(used, c.function[kept]), c.values[kept]
        monomials, monomial = np.unique(c.monomial[kept], return_inverse=True)
        self.factors = c.factors[monomials]
        n_monomials, order = self.factors.shape
        self.C = csr_array((values, (function, monomial)), (len(used), n_monomials))
        differentiated = self.factors[monomial]  # component of A, by each of the factors
        present = differentiated >= 0
        place = (function[:, None] * self.basis.n_components + differentiated)[present]
        places, row = np.unique(place, return_inverse=True)
        column = (monomial[:, None] * order + np.arange(order))[present]
        each = np.repeat(values, order).reshape(-1, order)[present]
        self.S = csr_array((each, (row, column)), (len(places), n_monomials * order))
        of_place, self.component = np.divmod(places, self.basis.n_components)
        self.first = np.searchsorted(of_place, np.arange(len(used) + 1))

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
        """Return the rows of one structure."""
        table = self.potential.network.elements.table.detach().numpy()
        phi, slopes = self._one_particle(graph)
        species, senders = graph.species.numpy(), graph.senders.numpy()
        a = table[species]
        n_lm, n_radial = phi.shape[1:]
        A = np.zeros((graph.n_nodes, n_lm, a.shape[1], n_radial))
        np.add.at(A, graph.receivers.numpy(), phi[:, :, None, :] * a[senders][:, None, :, None])
        vectors, first = graph.edge_vectors().numpy(), graph.first.numpy()
        energy = np.zeros(len(self.function))
        rows = np.zeros((len(self.function), 3 * graph.n_nodes + 6))
        for atoms, B, G in self._functions(A.reshape(graph.n_nodes, -1)):
            for i, of_i, g in zip(atoms, B.T, G.T, strict=True):
                edges = slice(first[i], first[i + 1])
                places, D = self._moves(i, senders[edges], a[senders[edges]], slopes[edges], vectors[edges])
                derivatives = csr_array((g, self.component, self.first), (len(B), len(D))) @ D
                for d, share in enumerate(a[i] if self.sees_element else (1.0,)):
                    if share:
                        columns = slice(*self.set_starts[d : d + 2])
                        energy[columns] += share * of_i[self.function[columns]]
                        rows[columns, places] += share * derivatives[self.function[columns]]
        rows = self.scale * rows.T
        return Rows(self.scale * energy, rows[:-6], rows[-6:])

    def _one_particle(self, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
        """e_n Y_lm / λ of each edge (n_edges, lm, n), and its gradient with respect to the edge vector, (..., 3)."""
        network, vectors = self.potential.network, graph.edge_vectors()
        z_j, z_i = graph.species[graph.senders], graph.species[graph.receivers]

        def phi(v: torch.Tensor) -> torch.Tensor:
            r = torch.linalg.vector_norm(v, dim=-1)
            product = network.angular(v, r)[:, :, None] * network.radial_basis(r, z_j, z_i)[:, None, :]
            return self.density.norm(product)

        with torch.no_grad():
            steps = [step.expand_as(vectors) for step in torch.eye(3, dtype=torch.float64)]
            value, slopes = phi(vectors), [torch.func.jvp(phi, (vectors,), (step,))[1] for step in steps]
        return value.numpy(), torch.stack(slopes, dim=-1).numpy()

    def _functions(self, A: np.ndarray) -> Iterator[tuple[range, Any, Any]]:
        """B (functions, atoms) and the entries of G (entries, atoms), some atoms at a time."""
        padded = np.vstack([A.T, np.ones(len(A))])
        for start in range(0, len(A), ATOMS):
            atoms = range(start, min(start + ATOMS, len(A)))
            values = padded[:, atoms.start : atoms.stop][self.factors]  # (monomials, order, atoms)
            others = np.ones_like(values)
            others[:, 1:] = np.cumprod(values[:, :-1], axis=1)
            whole = others[:, -1] * values[:, -1]
            after = np.ones_like(whole)
            for place in range(values.shape[1] - 1, 0, -1):
                after *= values[:, place]
                others[:, place - 1] *= after
            yield atoms, self.C @ whole, self.S @ others.reshape(-1, len(atoms))

    def _moves(
        self, i: int, senders: np.ndarray, a: np.ndarray, slopes: np.ndarray, vectors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """-∂A_i/∂r of i and of the atoms that it sees, and Σ r ⊗ ∂A_i/∂r, (components, ...), and their columns."""
        atoms, local = np.unique(np.append(i, senders), return_inverse=True)
        _, n_lm, n_radial, _ = slopes.shape
        D = np.zeros((n_lm, a.shape[1], n_radial, 3 * len(atoms) + 6))
        for slope, of_j, j, r in zip(slopes, a, local[1:], vectors, strict=True):
            virial = np.stack(
                [0.5 * (r[x] * slope[..., y] + r[y] * slope[..., x]) for x, y in VOIGT], axis=-1
            )
            for d in np.flatnonzero(of_j):
                D[:, d, :, 3 * j : 3 * j + 3] += of_j[d] * slope
                D[:, d, :, 3 * local[0] : 3 * local[0] + 3] -= of_j[d] * slope
                D[:, d, :, -6:] += of_j[d] * virial
        places = np.append((3 * atoms[:, None] + np.arange(3)).ravel(), np.arange(-6, 0))
        return places, D.reshape(-1, D.shape[-1])
