"""Complete coupling: the basis of linear ACE, every symmetric product of one-particle functions up to a degree."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multiace import ops
from multiace.basis.ace import AceBasis
from multiace.basis.irreps import Irrep, Irreps
from multiace.graph import Graph
from multiace.layers.density import DENSITIES
from multiace.layers.embedding import ElementEmbedding, FixedElements
from multiace.layers.radial import RadialNetwork
from multiace.ops import ConvolutionPaths

__all__ = ["CHANNEL_COUPLINGS", "CompleteDensity", "CompleteProduct", "CompleteRadial", "ElementChannels"]


class ElementChannels(nn.Module):
    """Features that tell elements apart and nothing else: h_(n,d) = a_d(z), for each radial function n.

    Args:
        copies: Number of radial functions, those of the two-body term included.
    """

    def __init__(self, copies: int):
        super().__init__()
        self.copies = copies

    def forward(self, species: Tensor, elements: ElementEmbedding) -> Tensor:
        """Return h, (n_nodes, copies x embedding_dim), from z (n_nodes,)."""
        return elements.table.repeat(1, self.copies).index_select(0, species)


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

    Has the interface of :class:`~multiace.layers.radial.RadialNetwork`.

    Source: Drautz (PRB 99, 014104); Bochkarev et al., PRMaterials 6, 013804, for R_nl that depend on both elements.
    """

    copies: Tensor

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
        self.num_radial, self.pair_num_radial, self.embedding_dim = num_radial, pair_num_radial, embedding_dim
        n_functions = n_max * (l_max + 1)
        self.network = None
        if network is None:
            R = torch.eye(num_radial, dtype=torch.float64).repeat(1, l_max + 1)
        else:
            self.network = RadialNetwork(num_radial, n_functions, embedding_dim, **network)
            R = torch.eye(n_functions, dtype=torch.float64)
            if not self.network.is_deep:
                self._start(n_max)
        copies = torch.block_diag(R, torch.eye(pair_num_radial, dtype=torch.float64))
        copies = copies.repeat_interleave(embedding_dim, dim=1)
        self.register_buffer("copies", (copies * len(copies) ** 0.5).reshape(1, -1), persistent=False)
        self.irreps_in, self.irreps_out = (Irreps([(n, Irrep(0, 1))]) for n in copies.shape)

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
    def sees_elements(self) -> bool:
        """Whether R depends on elements."""
        return self.network is not None and self.network.sees_elements

    @property
    def is_plain(self) -> bool:
        """Whether R is a function of the basis alone."""
        return self.network is None or self.network.is_plain

    @property
    def is_deep(self) -> bool:
        """Whether R is not linear in the basis."""
        return self.network is not None and self.network.is_deep

    @property
    def n_weights(self) -> int:
        """Number of weights of a row."""
        return self.irreps_out.dim

    def forward(self, radial: Tensor, attributes: Tensor, graph: Graph) -> Tensor:
        """Return R, (n_edges, n_weights), or (n_pairs, n_weights) where it sees no elements."""
        if self.network is None:
            return self._copied(radial)
        g = radial[:, self.num_radial :]
        if self.sees_elements:
            g = g.index_select(0, graph.pairs[1])
        return self._beside(self.network(radial[:, : self.num_radial], attributes, graph), g)

    def of_rows(self, radial: Tensor, attributes: Tensor, z_j: Tensor, z_i: Tensor) -> Tensor:
        """Return R of each row of the basis, (n, n_weights), whose ends are of elements z_j and z_i, (n,)."""
        if self.network is None:
            return self._copied(radial)
        R = self.network.of_rows(radial[:, : self.num_radial], attributes, z_j, z_i)
        return self._beside(R, radial[:, self.num_radial :])

    def _beside(self, R: Tensor, g: Tensor) -> Tensor:
        return self._copied(torch.cat([R, g], dim=1) if self.pair_num_radial else R)

    def _copied(self, functions: Tensor) -> Tensor:
        return ops.linear(functions, self.copies, None, self.irreps_in, self.irreps_out)


class CompleteDensity(nn.Module):
    r"""Sums of every one-particle function over the neighbours of every element, without other weights.

    .. math:: A_{i,(nd),lm} = \frac{1}{\lambda} \sum_{j \in N(i)} a_d(z_j)\, R_{nl}(r_{ij})\, Y_{lm}(\hat r_{ij})

    Behind them are those of the two-body term, :math:`\frac{1}{\lambda} \sum_j a_d(z_j)\, e^{pair}_n(r_{ij})`.

    ==================  ============================  ==================================
    symbol              code                          shape
    ==================  ============================  ==================================
    a_d(z_j)            ``h``                         (n_nodes, channels)
    R_nl                ``R``                         (n_edges or n_pairs, n_weights)
    λ                   ``self.norm``                 ()
    A                   return value                  (n_nodes, components)
    ==================  ============================  ==================================

    Args:
        radial: R.
        n_max: Number of R_n of each l.
        l_max: Largest degree of Y.
        norm: λ, what sums over neighbours are divided by.

    Source: Drautz (PRB 99, 014104), with one-hot a; otherwise Darby et al. (arXiv:2210.01705).
    """

    def __init__(self, radial: CompleteRadial, n_max: int, l_max: int, norm: nn.Module):
        super().__init__()
        natural = tuple(Irrep(degree, (-1) ** degree) for degree in range(l_max + 1))
        K, K_pair = (n * radial.embedding_dim for n in (n_max, radial.pair_num_radial))
        self.paths = ConvolutionPaths(Irreps([(K, natural[0])]), l_max, natural)
        self.pair_paths = ConvolutionPaths(Irreps([(K_pair, natural[0])]), 0, natural[:1]) if K_pair else None
        self.radial_network = radial
        self.norm = norm

    def forward(self, h: Tensor, Y: Tensor, R: Tensor, graph: Graph) -> Tensor:
        """Return A."""
        pairs = None if self.radial_network.sees_elements else graph.pairs
        edges = (graph.senders, graph.receivers)
        K, n = self.paths.irreps_in.dim, self.paths.n_weights
        A = ops.convolution(h[:, :K], Y, R[:, :n], *edges, self.paths, pairs, graph.order)
        if self.pair_paths is not None:
            of_pairs = (h[:, K:], Y[:, :1], R[:, n:], *edges, self.pair_paths, pairs, graph.order)
            A = torch.cat([A, ops.convolution(*of_pairs)], dim=1)
        return self.norm(A)

    def one_particle(self, Y: Tensor, R: Tensor) -> Tensor:
        """Return φ of each edge, (n_edges, components / embedding_dim): A_d is the sum of a_d(z_j) φ.

        Args:
            Y: Spherical harmonics, (n_edges, (l_max + 1)²).
            R: Radial functions of each edge, (n_edges, n_weights).
        """
        d = self.radial_network.embedding_dim
        of_elements = R[:, ::d]
        n = self.paths.n_weights // d
        degrees = torch.arange(self.paths.l_max + 1)
        R = of_elements[:, :n].unflatten(1, (len(degrees), -1))[:, degrees.repeat_interleave(2 * degrees + 1)]
        phi = torch.cat([(Y[:, :, None] * R).flatten(1), Y[:, :1] * of_elements[:, n:]], dim=1)
        return self.norm(phi)


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
            W = elements.once(self.weight, lambda _: self.of_monomials(elements))
        else:
            W = self.of_monomials(elements)
        return ops.polynomial(A, W, species if self.sees_element else None, self.monomials)

    def of_monomials(self, elements: ElementEmbedding) -> Tensor:
        """Return the coefficient of each monomial, (n_species or 1, monomials, channels)."""
        W = self.weight * self.basis.n_functions**-0.5
        of_monomials = W.new_zeros(W.shape[0], len(self.right), W.shape[2]).index_add(
            1, self.monomial, W[:, self.function] * self.values.to(W.dtype)[:, None]
        )
        return elements(of_monomials) if self.sees_element else of_monomials


CHANNEL_COUPLINGS: dict[str, type[nn.Module]] = {**DENSITIES, "complete": CompleteDensity}
"""Choices of ``ModelConfig.channel_coupling``: the density of each."""
