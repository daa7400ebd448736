"""Complete coupling: the basis of linear ACE, every symmetric product of one-particle functions up to a degree."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from multiace import ops
from multiace.basis.ace import AceBasis
from multiace.basis.irreps import Irrep, Irreps
from multiace.graph import Graph
from multiace.layers.density import DENSITIES
from multiace.layers.embedding import ElementEmbedding, FixedElements
from multiace.ops import ConvolutionPaths

__all__ = ["CHANNEL_COUPLINGS", "CompleteDensity", "CompleteProduct", "ElementChannels", "FixedRadial"]


class ElementChannels(nn.Module):
    """Features that tell elements apart and nothing else: h_(d,n) = a_d(z), for each radial function n.

    Args:
        num_radial: Number of radial functions.
    """

    def __init__(self, num_radial: int):
        super().__init__()
        self.num_radial = num_radial

    def forward(self, species: Tensor, elements: ElementEmbedding) -> Tensor:
        """Return h, (n_nodes, embedding_dim x num_radial), from z (n_nodes,)."""
        return elements.table.repeat_interleave(self.num_radial, dim=1).index_select(0, species)


class FixedRadial(nn.Module):
    """Radial functions that are those of the basis: R_(d,n),l = e_n, without weights.

    Args:
        num_radial: Number of radial basis functions.
        embedding_dim: Length of a(z).
        l_max: Largest degree.

    Has the interface of :class:`~multiace.layers.radial.RadialNetwork`.
    """

    matrix: Tensor
    species = "none"
    sees_elements, is_plain, is_deep = False, True, False

    def __init__(self, num_radial: int, embedding_dim: int, l_max: int):
        super().__init__()
        copies = torch.eye(num_radial, dtype=torch.float64).repeat(1, (l_max + 1) * embedding_dim)
        self.register_buffer("matrix", (copies * num_radial**0.5).reshape(1, -1), persistent=False)
        self.irreps_in, self.irreps_out = (Irreps([(n, Irrep(0, 1))]) for n in (num_radial, copies.shape[1]))

    @property
    def n_weights(self) -> int:
        """Number of weights of a row."""
        return self.irreps_out.dim

    def forward(self, radial: Tensor, attributes: Tensor, graph: Graph) -> Tensor:
        """Return R, (n_pairs, n_weights)."""
        return ops.linear(radial, self.matrix, None, self.irreps_in, self.irreps_out)

    def of_rows(self, radial: Tensor, attributes: Tensor, z_j: Tensor, z_i: Tensor) -> Tensor:
        """Return R of each row of the basis, (n, num_radial)."""
        return ops.linear(radial, self.matrix, None, self.irreps_in, self.irreps_out)


class CompleteDensity(nn.Module):
    r"""Sums of every one-particle function over the neighbours of every element, without weights.

    .. math:: A_{i,(dn),lm} = \frac{1}{\lambda} \sum_{j \in N(i)} a_d(z_j)\, e_n(r_{ij})\, Y_{lm}(\hat r_{ij})

    ==================  ============================  ==================================
    symbol              code                          shape
    ==================  ============================  ==================================
    a_d(z_j)            ``h``                         (n_nodes, channels)
    e_n                 ``R``                         (n_pairs, (l_max + 1) channels)
    λ                   ``self.norm``                 ()
    A                   return value                  (n_nodes, channels (l_max + 1)²)
    ==================  ============================  ==================================

    Args:
        embedding_dim: Length of a(z).
        num_radial: Number of radial functions.
        l_max: Largest degree of Y.
        norm: λ, what sums over neighbours are divided by.

    Source: Drautz (PRB 99, 014104), with one-hot a; otherwise Darby et al. (arXiv:2210.01705).
    """

    def __init__(self, embedding_dim: int, num_radial: int, l_max: int, norm: nn.Module):
        super().__init__()
        h = Irreps([(embedding_dim * num_radial, Irrep(0, 1))])
        natural = tuple(Irrep(degree, (-1) ** degree) for degree in range(l_max + 1))
        self.paths = ConvolutionPaths(h, l_max, natural)
        self.radial_network = FixedRadial(num_radial, embedding_dim, l_max)
        self.norm = norm

    def forward(self, h: Tensor, Y: Tensor, R: Tensor, graph: Graph) -> Tensor:
        """Return A."""
        A = ops.convolution(h, Y, R, graph.senders, graph.receivers, self.paths, graph.pairs, graph.order)
        return self.norm(A)


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
