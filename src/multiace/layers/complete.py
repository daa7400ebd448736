"""Complete coupling: the basis of linear ACE, every symmetric product of one-particle functions up to a degree."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multiace import ops
from multiace.basis.ace import AceBasis
from multiace.graph import Graph
from multiace.layers.density import DENSITIES
from multiace.layers.embedding import ElementEmbedding, FixedElements
from multiace.layers.radial import RadialNetwork, RadialWeights, itself

__all__ = ["CHANNEL_COUPLINGS", "CompleteDensity", "CompleteProduct", "CompleteRadial", "ElementChannels"]


class ElementChannels(nn.Module):
    """Features that tell elements apart and nothing else: h_d = a_d(z)."""

    def forward(self, species: Tensor, elements: ElementEmbedding) -> Tensor:
        """Return h, (n_nodes, embedding_dim), from z (n_nodes,)."""
        return elements.table.index_select(0, species)


class CompleteRadial(nn.Module):
    r"""Radial functions of the complete basis: R_nl, the same for each element d, and those of the two-body term.

    .. math:: R_{nl}(r_{ij}; z_i, z_j) = \mathrm{net}_{nl}[e(r_{ij}); z_i, z_j] \quad\text{or}\quad R_{nl} = e_n

    Args:
        num_radial: Number of radial basis functions e_n.
        n_max: Number of R_n of each l.
        pair_num_radial: Number of functions of the two-body term; they are the last columns of the basis.
        embedding_dim: Length of a(z).
        l_max: Largest degree.
        network: Keyword arguments of :class:`~multiace.layers.radial.RadialNetwork`; None: R_nl is e_n. A linear
            network starts as R_nl = e_n too, as far as there are e_n.

    Attributes:
        products: Which columns of R are multiplied with which Y_lm; see :func:`multiace.ops.reference.density`.
        n_weights: Number of columns of R: e_n, or R_nl by l; then those of the two-body term.

    Has the interface of :class:`~multiace.layers.radial.RadialNetwork`.

    Source: Drautz (PRB 99, 014104); Bochkarev et al., PRMaterials 6, 013804, for R_nl that depend on both elements.
    """

    def __init__(
        self,
        num_radial: int,
        n_max: int,
        pair_num_radial: int,
        embedding_dim: int,
        l_max: int,
        network: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.num_radial = num_radial
        n_functions = num_radial if network is None else n_max * (l_max + 1)
        self.network = None
        if network is not None:
            self.network = RadialNetwork(num_radial, n_functions, embedding_dim, **network)
            if not self.network.is_deep:
                self._start(n_max)
        self.n_weights = n_functions + pair_num_radial
        blocks = []
        for degree in range(l_max + 1):
            first = 0 if network is None else degree * n_max
            blocks += [(lm, first, n_max) for lm in range(degree**2, (degree + 1) ** 2)]
        if pair_num_radial:
            blocks.append((0, n_functions, pair_num_radial))
        self.products = tuple(blocks)

    def _start(self, n_max: int) -> None:
        """Make a linear network the basis: R_nl = e_n."""
        assert self.network is not None
        (W,) = self.network.mlp.matrices()
        W = W.unflatten(0, (self.num_radial, -1)).unflatten(2, (-1, n_max))  # [e, elements, l, n]
        with torch.no_grad():
            for n in range(min(self.num_radial, n_max)):
                W[:, :, :, n] = 0.0
                W[n, :, :, n] = self.num_radial**0.5

    @property
    def is_basis(self) -> bool:
        """Whether R_nl is e_n."""
        return self.network is None

    @property
    def species(self) -> str:
        """Which elements R sees, a key of ``RADIAL_SPECIES``."""
        return "none" if self.network is None else self.network.species

    @property
    def per_edge(self) -> bool:
        """Whether R depends on elements, and has a row for each edge, not for each pair."""
        return self.network is not None and self.network.per_edge

    @property
    def is_plain(self) -> bool:
        """Whether R is a function of the basis alone."""
        return self.network is None or self.network.is_plain

    @property
    def is_deep(self) -> bool:
        """Whether R is not linear in the basis."""
        return self.network is not None and self.network.is_deep

    def forward(self, radial: Tensor, attributes: Tensor, graph: Graph) -> Tensor:
        """Return R, (n_edges, n_weights), or (n_pairs, n_weights) where it sees no elements."""
        if self.network is None:
            return radial
        g = radial[:, self.num_radial :]
        g = g.index_select(0, graph.pairs[1]) if self.per_edge else g
        return beside(self.network(radial[:, : self.num_radial], attributes, graph), g)

    def on(self, graph: Graph, rows: Tensor, elements: ElementEmbedding) -> RadialWeights:
        """Return R on a graph, as :meth:`RadialNetwork.on`."""
        if self.network is None:
            return RadialWeights(itself, rows)
        n = self.num_radial
        R = self.network.on(graph, rows[:, :n], elements)
        if not self.network.runs_with_layers:
            return RadialWeights(itself, beside(R.rows, rows[:, n:]))
        return RadialWeights(lambda rows: beside(R.of(rows[:, :n]), rows[:, n:]), rows, R.code, R.others)

    def of_rows(self, radial: Tensor, attributes: Tensor, z_j: Tensor, z_i: Tensor) -> Tensor:
        """Return R of each row of the basis, (n, n_weights), whose ends are of elements z_j and z_i, (n,)."""
        if self.network is None:
            return radial
        R = self.network.of_rows(radial[:, : self.num_radial], attributes, z_j, z_i)
        return beside(R, radial[:, self.num_radial :])


def beside(R: Tensor, g: Tensor) -> Tensor:
    """Return both, side by side, if there is a second."""
    return torch.cat([R, g], dim=1) if g.shape[1] else R


class CompleteDensity(nn.Module):
    r"""Sums of every one-particle function over the neighbours of every element, without other weights.

    .. math:: A_{i,(nd),lm} = \frac{1}{\lambda} \sum_{j \in N(i)} a_d(z_j)\, R_{nl}(r_{ij})\, Y_{lm}(\hat r_{ij})

    Behind them are those of the two-body term, :math:`\frac{1}{\lambda} \sum_j a_d(z_j)\, e^{pair}_n(r_{ij})`.

    ==================  ============================  ==================================
    symbol              code                          shape
    ==================  ============================  ==================================
    a_d(z_j)            ``h``                         (n_nodes, embedding_dim)
    R_nl                ``R``                         (n_edges or n_pairs, n_weights)
    λ                   ``self.norm``                 ()
    A                   return value                  (n_nodes, components)
    ==================  ============================  ==================================

    Args:
        radial: R.
        norm: λ, what sums over neighbours are divided by.

    Source: Drautz (PRB 99, 014104), with one-hot a; otherwise Darby et al. (arXiv:2210.01705).
    """

    def __init__(self, radial: CompleteRadial, norm: nn.Module):
        super().__init__()
        self.radial_network = radial
        self.norm = norm

    def forward(self, h: Tensor, Y: Tensor, R: Tensor, graph: Graph) -> Tensor:
        """Return A."""
        pairs = None if self.radial_network.per_edge else graph.pairs
        edges = (graph.senders, graph.receivers)
        return ops.density(h, Y, self.norm(R), *edges, self.radial_network.products, pairs, graph.order)

    def one_particle(self, Y: Tensor, R: Tensor) -> Tensor:
        """Return φ of each edge, (n_edges, components / embedding_dim): A_d is the sum of a_d(z_j) φ.

        Args:
            Y: Spherical harmonics, (n_edges, (l_max + 1)²).
            R: Radial functions of each edge, (n_edges, n_weights).
        """
        R = self.norm(R)
        return torch.cat(
            [Y[:, lm : lm + 1] * R[:, q : q + n] for lm, q, n in self.radial_network.products], dim=1
        )


class CompleteProduct(nn.Module):
    r"""Invariants of all products in the basis of linear ACE.

    .. math:: m_{i,k} = \frac{1}{\sqrt{n}} \sum_f W_{f,k}(z_i)\, B_f(A_i)

    ==================  ============================  ==================================
    symbol              code                          shape
    ==================  ============================  ==================================
    A                   ``A``                         (n_nodes, components)
    W_fk(z)             ``self.weight``               (n_species or 1, n, channels)
    B_f                 ``basis.coefficients``        sums of monomials of A
    m                   return value                  (n_nodes, channels)
    ==================  ============================  ==================================

    Args:
        basis: The functions B_f, n of them.
        channels: K, how many such sums there are.
        embedding_dim: Length of the element attributes, or 0 for weights that do not see the element.

    Source: Drautz (PRB 99, 014104); Dusson et al. (arXiv:1911.03550).
    """

    factors: Tensor
    right: Tensor
    function: Tensor
    monomial: Tensor
    values: Tensor

    def __init__(self, basis: AceBasis, channels: int, embedding_dim: int):
        super().__init__()
        self.basis = basis
        self.sees_element = embedding_dim > 0
        self.weight = nn.Parameter(torch.randn(max(embedding_dim, 1), basis.n_functions, channels))
        c = basis.coefficients
        monomials, before = ops.recursion(c.factors, basis.n_components)
        now = np.argsort(before)
        tables = monomials._asdict() | {
            "function": torch.from_numpy(c.function),
            "monomial": torch.from_numpy(now[c.monomial]),
            "values": torch.from_numpy(c.values),
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    @property
    def monomials(self) -> ops.Monomials:
        """The monomials that the functions are sums of."""
        return ops.Monomials(*(getattr(self, name) for name in ops.Monomials._fields))

    def forward(self, A: Tensor, species: Tensor, elements: ElementEmbedding) -> Tensor:
        """Return m."""
        if isinstance(elements, FixedElements):
            W, *tables = elements.once(self.weight, lambda weight: self.needed(elements, weight))
            monomials = ops.Monomials(*tables)
        else:
            W, monomials = self.of_monomials(elements, self.weight), self.monomials
        return ops.polynomial(A, W, species if self.sees_element else None, monomials)

    def needed(self, elements: ElementEmbedding, weight: Tensor) -> tuple[Tensor, ...]:
        """Return the coefficients, and the monomials that have any: where some have none, a list for each element."""
        W = self.of_monomials(elements, weight)
        present = (W != 0).any(dim=2)
        if present.all():
            return (W, *self.monomials)
        lists, coefficients = [], []
        for of_element, some in zip(W, present, strict=True):
            factors = self.factors[some].numpy(force=True)
            monomials, before = ops.recursion(factors, self.basis.n_components)
            lists.append(monomials)
            coefficients.append(of_element[some][torch.from_numpy(before).to(W.device)])
        return (torch.cat(coefficients)[None], *(table.to(W.device) for table in ops.joined(lists)))

    def of_monomials(self, elements: ElementEmbedding, weight: Tensor) -> Tensor:
        """Return the coefficient of each monomial, (n_species or 1, monomials, channels), from those of functions."""
        W = weight * self.basis.n_functions**-0.5
        of_monomials = W.new_zeros(W.shape[0], len(self.right), W.shape[2]).index_add(
            1, self.monomial, W[:, self.function] * self.values.to(W.dtype)[:, None]
        )
        return elements(of_monomials) if self.sees_element else of_monomials


CHANNEL_COUPLINGS: dict[str, type[nn.Module]] = {**DENSITIES, "complete": CompleteDensity}
"""Choices of ``ModelConfig.channel_coupling``: the density of each."""
