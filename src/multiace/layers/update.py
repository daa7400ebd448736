"""One layer of the network: from node states h to new ones, through A, B and the message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from multiace.basis.irreps import Irreps
from multiace.graph import Graph
from multiace.layers.complete import CompleteDensity
from multiace.layers.density import ChannelwiseDensity, FullDensity
from multiace.layers.embedding import ElementEmbedding
from multiace.layers.equivariant import ElementLinear, Gate, LayerNorm, NormActivation
from multiace.layers.product import ChannelwiseProduct

__all__ = ["FEATURE_NORMS", "NONLINEARITIES", "SELF_CONNECTIONS", "Layer", "LayerIrreps"]


@dataclass(frozen=True)
class LayerIrreps:
    """What a layer reads, makes and gives.

    Attributes:
        h_in: Features that come in.
        A: The A-basis after mixing.
        m: The message: what the nonlinearity reads.
        h_out: Features that go out.
    """

    h_in: Irreps
    A: Irreps
    m: Irreps
    h_out: Irreps


class Layer(nn.Module):
    r"""One Multi-ACE layer.

    .. math:: A = \text{density}(N(h)), \quad A \to W_{z} A \;\text{(selector)}, \quad
              m = \text{product}(A), \quad h' = U(m + W_z h \;\text{(residual)})

    Only the density reads h through the normalisation N. The residual and the readouts see h itself, so that an atom
    with few or far neighbours has a small energy.

    Args:
        norm: N, the identity or :class:`~multiace.layers.equivariant.LayerNorm`.
        density: From N(h) to A.
        self_connection: A key of ``SELF_CONNECTIONS``: ``selector`` maps A by a matrix of the receiver's
            element (an atom without neighbours stays zero), ``residual`` adds such a map of h to the message.
        product: From A to m.
        nonlinearity: U.
        irreps: Irreps along the layer.
        embedding_dim: Length of the element attributes.

    Source: Batatia et al. (arXiv:2205.06643), sections 2 and 4. Selector and residual are the two uses of
    ``skip_tp`` in BOTNet and MACE.
    """

    def __init__(
        self,
        norm: nn.Module,
        density: ChannelwiseDensity | FullDensity | CompleteDensity,
        self_connection: str,
        product: nn.Module,
        nonlinearity: nn.Module,
        irreps: LayerIrreps,
        embedding_dim: int,
    ):
        super().__init__()
        self.norm = norm
        self.density = density
        self.selector = self.residual = None
        if self_connection == "selector":
            self.selector = ElementLinear(irreps.A, irreps.A, embedding_dim)
        elif self_connection == "residual":
            self.residual = ElementLinear(irreps.h_in, irreps.m, embedding_dim)
        self.product = product
        self.nonlinearity = nonlinearity
        self.irreps = irreps

    def made(self, elements: ElementEmbedding) -> list[Tensor]:
        """Return what is made of parameters alone, as the coefficients of products, to be given to a call."""
        product = self.product
        return [product.coefficients(elements)] if isinstance(product, ChannelwiseProduct) else []

    def forward(
        self, h: Tensor, Y: Tensor, R: Tensor, elements: ElementEmbedding, graph: Graph, *made: Tensor
    ) -> Tensor:
        """Return h', (n_nodes, irreps.h_out.dim).

        Args:
            h: Features, (n_nodes, irreps.h_in.dim).
            Y: Spherical harmonics, (n_edges, (l_max + 1)²).
            R: Radial weights of each undirected pair, or of each edge where they see elements.
            elements: a(z) of all elements.
            graph: The atoms and edges.
            made: As of :meth:`made`, if it is there already.
        """
        A = self.density(self.norm(h), Y, R, graph)
        if self.selector is not None:
            A = self.selector(A, graph.species, elements)
        m = self.product(A, graph.species, elements, *made)
        if self.residual is not None:
            m = m + self.residual(h, graph.species, elements)
        return self.nonlinearity(m)


class NoNonlinearity(nn.Module):
    """The update is linear in the message: body order is kept (BOTNet)."""

    def __init__(self, irreps: Irreps, activation: str, odd_activation: str):
        super().__init__()
        self.irreps_in = self.irreps_out = irreps

    def forward(self, m: Tensor) -> Tensor:
        """Return m."""
        return m


FEATURE_NORMS: dict[str, Callable[[Irreps], nn.Module]] = {"none": nn.Identity, "layer": LayerNorm}
"""Choices of ``ModelConfig.feature_norm``: from the irreps of h to N."""

SELF_CONNECTIONS = ("none", "selector", "residual")
"""Choices of ``ModelConfig.self_connection`` and ``first_self_connection``."""

NONLINEARITIES: dict[str, Callable[[Irreps, str, str], NoNonlinearity | Gate | NormActivation]] = {
    "none": NoNonlinearity,
    "gate": Gate,
    "norm": lambda irreps, activation, odd_activation: NormActivation(irreps, activation),
}
"""Choices of ``ModelConfig.nonlinearity``; each has ``irreps_in``, what it needs to give the irreps asked for."""
