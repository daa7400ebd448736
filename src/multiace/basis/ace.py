r"""The basis of linear ACE: all symmetric products of one-particle functions up to a degree.

A one-particle function v = (z, n, l) is R_n(r) Y_lm of the neighbours of element z; its sums over neighbours are the
components A_vm of the density. A basis function belongs to a multiset of them,

.. math:: B_{\{v_1 \dots v_\nu\} \eta, LM}
          = \sum_{m_1 \dots m_\nu} C^{LM}_{\eta, m_1 \dots m_\nu} \prod_{\xi=1}^{\nu} A_{v_\xi m_\xi},

where η counts the independent equivariant maps of the multiset: powers of one v are symmetrised. Functions of different
multisets have no monomial in common, so that the whole basis is independent. The two-body term, invariants of one
factor, may have radial functions of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import inf, prod
from typing import NamedTuple

import numpy as np

from multiace.basis.coupling import equivariant_polynomials
from multiace.basis.irreps import Irrep

__all__ = ["AceBasis", "OneParticle", "Truncation"]

INVARIANT = Irrep(0, 1)


class OneParticle(NamedTuple):
    """R_n Y_l of the neighbours of one element, all m."""

    l: int  # noqa: E741
    element: int
    n: int  # from 1
    pair: bool = False  # whether R_n is one of the two-body term's own

    @property
    def irrep(self) -> Irrep:
        """How it turns: degree l, parity (-1)^l."""
        return Irrep(self.l, (-1) ** self.l)


@dataclass(frozen=True)
class Truncation:
    r"""Which products belong to the basis: those of total degree :math:`\sum_\xi (n_\xi + w\, l_\xi) \le D_\nu`.

    Attributes:
        degrees: D_1 ... D_ν, the largest degree of each order.
        weight: w, what a degree of Y counts against one of R.
        l_max: Largest l.
        num_radial: Largest n.
        pair_num_radial: Number of radial functions of the two-body term, which has all of them and no others; 0: it
            has those of the other terms.
        products: Multisets of (z, n, l), if the basis has these alone; degrees then do not count.
    """

    degrees: tuple[float, ...]
    weight: float
    l_max: int
    num_radial: int
    pair_num_radial: int = 0
    products: tuple[tuple[tuple[int, int, int], ...], ...] = ()


class Multiset(NamedTuple):
    """Functions of one multiset: those of paths ``first`` .. ``first + n_paths`` - 1."""

    factors: tuple[OneParticle, ...]  # ascending
    first: int
    n_paths: int


@dataclass(frozen=True)
class AceBasis:
    """All functions of an irrep for one central element; the same for each.

    Attributes:
        n_elements: Number of elements that neighbours can have.
        truncation: Which products there are.
        irrep: LM of the functions: 0e for energies.
    """

    n_elements: int
    truncation: Truncation
    irrep: Irrep = INVARIANT

    @property
    def correlation(self) -> int:
        """The largest number of factors, ν."""
        return len(self.truncation.degrees)

    @property
    def n_channels(self) -> int:
        """Number of one-particle functions of each l, if none were cut off: elements times radial functions."""
        return self.n_elements * self.truncation.num_radial

    def degree(self, v: OneParticle) -> float:
        """n + w l."""
        return v.n + self.truncation.weight * v.l

    @cached_property
    def one_particle(self) -> tuple[OneParticle, ...]:
        """The functions v that occur, by l, element and n."""
        t = self.truncation
        highest = inf if t.products else max(t.degrees)
        functions = (
            OneParticle(degree, element, n)
            for degree in range(t.l_max + 1)
            for element in range(self.n_elements)
            for n in range(1, t.num_radial + 1)
        )
        return tuple(v for v in functions if self.degree(v) <= highest)

    @cached_property
    def pair_functions(self) -> tuple[OneParticle, ...]:
        """The functions v of the two-body term, if it has its own."""
        n = range(1, self.truncation.pair_num_radial + 1)
        return tuple(OneParticle(0, z, k, pair=True) for z in range(self.n_elements) for k in n)

    @cached_property
    def components(self) -> dict[OneParticle, range]:
        """Where the 2l + 1 components of each v are in a row of A: by l, then m, then channel (n, element).

        Those of the two-body term's own functions come last.
        """
        K, rest = self.n_channels, self.n_components - len(self.pair_functions)

        def channel(v: OneParticle) -> int:
            return (v.n - 1) * self.n_elements + v.element

        many = {v: range(K * v.l**2 + channel(v), K * (v.l + 1) ** 2, K) for v in self.one_particle}
        return many | {v: range(rest + channel(v), rest + channel(v) + 1) for v in self.pair_functions}

    @property
    def n_components(self) -> int:
        """Number of components of A, those that no function uses included."""
        return self.n_channels * (self.truncation.l_max + 1) ** 2 + len(self.pair_functions)

    @cached_property
    def multisets(self) -> tuple[Multiset, ...]:
        """The multisets that have functions, by order, then as their factors."""
        found, first = [], 0
        for order in range(1, self.correlation + 1):
            for factors in self._products(order):
                n_paths = len(equivariant_polynomials(powers_of(factors), self.irrep.l)[1])
                if n_paths:
                    found.append(Multiset(factors, first, n_paths))
                    first += n_paths
        return tuple(found)

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return self.multisets[-1].first + self.multisets[-1].n_paths if self.multisets else 0

    def _products(self, order: int) -> Iterator[tuple[OneParticle, ...]]:
        """All ascending tuples within the degree whose parity is that of the irrep and whose l can couple to L."""
        if self.truncation.products:
            yield from self._listed(order)
            return
        if order == 1 and self.pair_functions and self.irrep == INVARIANT:
            yield from ((v,) for v in self.pair_functions)
            return
        budget = self.truncation.degrees[order - 1]
        ascending = self.one_particle
        degrees = [self.degree(v) for v in ascending]
        cheapest = min(degrees, default=0.0)

        def extend(chosen: list[int], left: float) -> Iterator[list[int]]:
            if len(chosen) == order:
                yield chosen
                return
            reserve = (order - len(chosen) - 1) * cheapest
            for number in range(chosen[-1] if chosen else 0, len(ascending)):
                if degrees[number] + reserve <= left + 1e-9:
                    yield from extend([*chosen, number], left - degrees[number])

        for numbers in extend([], budget):
            factors = tuple(ascending[number] for number in numbers)
            ls = [v.l for v in factors]
            reachable = 2 * max(ls) - sum(ls) <= self.irrep.l <= sum(ls)
            if reachable and prod(v.irrep.p for v in factors) == self.irrep.p:
                yield factors

    def _listed(self, order: int) -> Iterator[tuple[OneParticle, ...]]:
        """The multisets of an order that the truncation lists."""
        pair = order == 1 and bool(self.pair_functions)
        for product in self.truncation.products:
            if len(product) == order:
                yield tuple(sorted(OneParticle(degree, z, n, pair) for z, n, degree in product))

    @cached_property
    def coefficients(self) -> Coefficients:
        """C of all functions."""
        columns, factors, values, n_monomials = [], [], [], 0
        for multiset in self.multisets:
            monomials, C = equivariant_polynomials(powers_of(multiset.factors), self.irrep.l)
            path, M, monomial = np.nonzero(np.abs(C) >= 1e-12)
            used, column = np.unique(monomial, return_inverse=True)
            components = np.stack(
                [np.array(self.components[v])[monomials[used, n]] for n, v in enumerate(multiset.factors)],
                axis=1,
            )
            padding = np.full((len(used), self.correlation - len(multiset.factors)), -1)
            factors.append(np.hstack([components, padding]))
            columns.append(np.stack([path + multiset.first, M, column + n_monomials]))
            values.append(C[path, M, monomial])
            n_monomials += len(used)
        function, M, monomial = np.concatenate([np.zeros((3, 0), dtype=int), *columns], axis=1)
        return Coefficients(
            np.concatenate([np.zeros((0, self.correlation), dtype=int), *factors]),
            function,
            M,
            monomial,
            np.concatenate([np.zeros(0), *values]),
        )


class Coefficients(NamedTuple):
    """C as sums of monomials: B_f,M = Σ values Π A over the coefficients of f and M."""

    factors: np.ndarray  # components of A of each monomial, (n_monomials, ν); those of lower order end in -1
    function: np.ndarray  # (n_coefficients,)
    M: np.ndarray  # (n_coefficients,)
    monomial: np.ndarray  # (n_coefficients,)
    values: np.ndarray  # (n_coefficients,)


def powers_of(factors: tuple[OneParticle, ...]) -> tuple[tuple[int, int], ...]:
    """Degree and power of each of the different factors, in their order."""
    return tuple((v.l, power) for v, power in Counter(factors).items())
