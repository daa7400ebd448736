r"""Rows of a design matrix: derivatives of all functions of linear ACE, for the atoms of a batch.

For an atom i with density A, functions are :math:`B_f = \sum_t C_{ft} \prod_\xi A_{f_{t\xi}}`, and

.. math:: G_{fv} = \frac{\partial B_f}{\partial A_v}
          = \sum_t C_{ft} \sum_{\xi: f_{t\xi} = v} \prod_{\xi' \ne \xi} A_{f_{t\xi'}}.

:math:`\sum_v G_{fv} D_v` is the derivative of B_f along any D. Since B is homogeneous, of order ν, it is ν B_f itself
where D is A. G has a few entries for each function, so that the sum over v is short. Everything is float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from multiace.basis.ace import Coefficients

__all__ = ["AROUND", "VOIGT", "Functions", "Surroundings", "add_rows"]

AROUND = 7  # rows of a structure that are no forces: energy, and virial xx, yy, zz, yz, xz, xy
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))  # components of a symmetric tensor
TOGETHER = 64  # atoms whose G are made together by the definition
LARGEST_CHUNK = 1024  # coefficients of functions that are made together by the kernel


@dataclass(frozen=True)
class Functions:
    """Functions of a basis, and the columns that they have.

    Attributes:
        coefficients: C of the functions, ascending; each function is a sum of monomials of one order.
        columns: Column of each function for each set of coefficients, or -1, (n_sets, n_functions).
        n_components: Number of components of A.
    """

    coefficients: Coefficients
    columns: np.ndarray
    n_components: int

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return self.columns.shape[1]

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return int(self.columns.max(initial=-1)) + 1

    @cached_property
    def inverse_order(self) -> np.ndarray:
        """1 / ν of each function, (n_functions,)."""
        c, order = self.coefficients, np.ones(self.n_functions)
        order[c.function] = (c.factors[c.monomial] >= 0).sum(axis=1)
        return 1.0 / order

    @cached_property
    def entries(self) -> Entries:
        """What G consists of."""
        c, order = self.coefficients, self.coefficients.factors.shape[1]
        differentiated = c.factors[c.monomial]  # component of A, by each of the factors
        present = differentiated >= 0
        place = (c.function[:, None] * self.n_components + differentiated)[present]
        sort = np.argsort(place, kind="stable")
        place = place[sort]
        entry, first_term = np.unique(place, return_index=True)
        function, component = np.divmod(entry, self.n_components)
        term = (c.monomial[:, None] * order + np.arange(order))[present][sort]
        values = np.repeat(c.values, order).reshape(-1, order)[present][sort]
        first = np.searchsorted(function, np.arange(self.n_functions + 1))
        return Entries(first, component, np.append(first_term, len(place)), term, values)

    @cached_property
    def chunks(self) -> Chunks:
        """Functions in groups of some hundred, with monomials of their own."""
        c, order = self.coefficients, self.coefficients.factors.shape[1]
        ends = np.searchsorted(c.function, np.arange(self.n_functions + 1))
        starts = [0]
        for f, (_, end) in enumerate(pairwise(ends.tolist())):
            if end - ends[starts[-1]] > LARGEST_CHUNK:
                starts.append(f)
        starts = [*dict.fromkeys(starts), self.n_functions] if self.n_functions else [0]
        function = np.array(starts)
        chunk = np.searchsorted(function, c.function, side="right") - 1
        keys = np.unique(chunk * len(c.factors) + c.monomial)
        monomial = np.searchsorted(keys // max(len(c.factors), 1), np.arange(len(function)))
        factors = c.factors[keys % max(len(c.factors), 1)]
        e = self.entries
        of_term = np.repeat(np.arange(len(e.component)), np.diff(e.first_term))
        of_entry = np.repeat(np.arange(self.n_functions), np.diff(e.first))
        chunk = np.searchsorted(function, of_entry[of_term], side="right") - 1
        number = np.searchsorted(keys, chunk * len(c.factors) + e.term // order) - monomial[chunk]
        index = number * order + e.term % order
        return Chunks(function, monomial, np.where(factors < 0, self.n_components, factors), index)

    @cached_property
    def arrays(self) -> list[np.ndarray]:
        """What the kernel reads, in its order."""
        chunks, e = self.chunks, self.entries
        long = (chunks.function, chunks.monomial, e.first, e.first_term, self.columns)
        short = (chunks.factors, e.component, chunks.index)
        return [
            *(np.ascontiguousarray(array, dtype=np.int64) for array in long),
            *(np.ascontiguousarray(array, dtype=np.int32) for array in short),
            *(np.ascontiguousarray(array, dtype=np.float64) for array in (e.values, self.inverse_order)),
        ]


@dataclass(frozen=True)
class Entries:
    """Entries (f, v) of G that are not zero, and the terms that they are sums of.

    Attributes:
        first: First entry of each function, (n_functions + 1,).
        component: v of each entry.
        first_term: First term of each entry, (n_entries + 1,).
        term: Monomial times ν, plus the place of the factor that is left out, of each term.
        values: C of each term.
    """

    first: np.ndarray
    component: np.ndarray
    first_term: np.ndarray
    term: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Chunks:
    """The same for functions in groups.

    Attributes:
        function: First function of each chunk, (n_chunks + 1,).
        monomial: Its first monomial, (n_chunks + 1,).
        factors: Components of each monomial, (n, ν); the number of components stands for 1.
        index: Of each term, its monomial's number in the chunk times ν, plus the place of the factor left out.
    """

    function: np.ndarray
    monomial: np.ndarray
    factors: np.ndarray
    index: np.ndarray


@dataclass(frozen=True)
class Surroundings:
    """Atoms of a batch, and how their densities change.

    Attributes:
        A: Densities, (n_nodes, functions x dims): Σ_j φ_j a_d(z_j).
        share: Weight of each set of coefficients, (n_nodes, n_sets).
        slopes: ∂φ/∂r of the one-particle functions φ of each edge, (n_edges, functions, 3).
        a: a_d of the sender of each edge, (n_edges, dims).
        vectors: r of each edge, (n_edges, 3).
        senders, receivers: Atoms of each edge; receivers ascending.
        graph: Structure of each atom, (n_nodes,).
        n_graphs: Number of structures.
    """

    A: np.ndarray
    share: np.ndarray
    slopes: np.ndarray
    a: np.ndarray
    vectors: np.ndarray
    senders: np.ndarray
    receivers: np.ndarray
    graph: np.ndarray
    n_graphs: int

    @property
    def n_rows(self) -> int:
        """Energies of all structures, their virials, forces of all atoms."""
        return AROUND * self.n_graphs + 3 * len(self.A)

    @cached_property
    def first(self) -> np.ndarray:
        """First edge of each atom, (n_nodes + 1,)."""
        return np.searchsorted(self.receivers, np.arange(len(self.A) + 1))

    @cached_property
    def seen(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Atoms that each atom sees, itself included: first of each, atoms; and the number among them of what each
        edge, then each atom itself, leads to."""
        n = len(self.A)
        atoms = np.arange(n)
        keys = np.append(self.receivers * n + self.senders, atoms * (n + 1))
        different, number = np.unique(keys, return_inverse=True)
        first = np.searchsorted(different, np.arange(n + 1) * n)
        return first, different % max(n, 1), number - first[np.append(self.receivers, atoms)]


def add_rows(functions: Functions, atoms: Surroundings, rows: np.ndarray) -> None:
    """Add derivatives of functions to rows, by definition; the kernel is ``rows.c``.

    Args:
        functions: What belongs to the columns.
        atoms: What belongs to the rows.
        rows: (n_columns, n_rows), contiguous: energies of all structures, virials xx, yy, zz, yz, xz, xy of each,
            forces of all atoms.
    """
    from scipy.sparse import csr_array  # loads slowly

    e, c = functions.entries, functions.coefficients
    n_monomials, order = c.factors.shape
    S = csr_array((e.values, e.term, e.first_term), (len(e.component), n_monomials * order))
    padded = np.vstack([atoms.A.T, np.ones(len(atoms.A))])
    for start in range(0, len(atoms.A), TOGETHER):
        values = padded[:, start : start + TOGETHER][c.factors]  # (monomials, order, atoms)
        others = [np.delete(values, place, axis=1).prod(axis=1) for place in range(order)]
        G = S @ np.stack(others, axis=1).reshape(n_monomials * order, -1)
        for i, g in enumerate(G.T, start):
            places, D = _moves(atoms, i)
            derivatives = csr_array((g, e.component, e.first), (functions.n_functions, len(D))) @ D
            derivatives[:, 0] *= functions.inverse_order
            for share, columns in zip(atoms.share[i], functions.columns, strict=True):
                used = np.flatnonzero(columns >= 0)
                rows[columns[used, None], places] += share * derivatives[used]


def _moves(atoms: Surroundings, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that atom i contributes to, and for each component of A: itself, Σ r ⊗ ∂A/∂r, -∂A/∂r of what i sees."""
    first_seen, seen, local = atoms.seen
    n_edges, n_phi, _ = atoms.slopes.shape
    there = seen[first_seen[i] : first_seen[i + 1]]
    D = np.zeros((n_phi, atoms.a.shape[1], AROUND + 3 * len(there)))
    D[..., 0] = atoms.A[i].reshape(D.shape[:-1])
    here = AROUND + 3 * local[n_edges + i]
    for edge in range(*atoms.first[i : i + 2]):
        slope = atoms.a[edge][:, None] * atoms.slopes[edge][:, None]  # (functions, dims, 3)
        r, j = atoms.vectors[edge], AROUND + 3 * local[edge]
        D[..., j : j + 3] += slope
        D[..., here : here + 3] -= slope
        for place, (x, y) in enumerate(VOIGT, 1):
            D[..., place] += 0.5 * (r[x] * slope[..., y] + r[y] * slope[..., x])
    graph = atoms.graph[i]
    of_graph = [graph, *(atoms.n_graphs + 6 * graph + np.arange(6))]
    of_atoms = AROUND * atoms.n_graphs + 3 * there[:, None] + np.arange(3)
    return np.append(of_graph, of_atoms), D.reshape(-1, D.shape[-1])
