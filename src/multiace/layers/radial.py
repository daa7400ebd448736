"""The radial weights R of the one-particle basis, from the radial basis and the elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from multiace.graph import Graph
from multiace.layers.mlp import MLP

__all__ = ["RADIAL_NETWORKS", "RADIAL_SPECIES", "RadialNetwork"]


def _none(attributes: Tensor, senders: Tensor, receivers: Tensor) -> None:
    return None


def _sender(attributes: Tensor, senders: Tensor, receivers: Tensor) -> Tensor:
    return attributes.index_select(0, senders)


def _pair(attributes: Tensor, senders: Tensor, receivers: Tensor) -> Tensor:
    both = torch.einsum("yd,ze->yzde", attributes, attributes)
    return both.flatten(2).flatten(0, 1).index_select(0, senders * len(attributes) + receivers)


RADIAL_SPECIES: dict[str, tuple[int, Callable[[Tensor, Tensor, Tensor], Tensor | None]]] = {
    "none": (0, _none),
    "sender": (1, _sender),
    "pair": (2, _pair),
}
"""Choices of ``ModelConfig.radial_species``: power of the embedding dimension, and the attributes of an edge."""

RADIAL_NETWORKS = ("linear", "mlp", "none")
"""Choices of ``ModelConfig.radial_network``."""


class RadialNetwork(nn.Module):
    r"""Radial weights R of all paths of one layer.

    Without elements R is a function of the distance; with them the basis is multiplied by the attributes
    a of the sender, or of both ends, before the first matrix:

    .. math:: R_{k\eta}(r_{ij}; z_i, z_j) = \mathrm{net}\bigl[e_n(r_{ij})\, a_d(z_j)\, a_{d'}(z_i)\bigr]

    The basis is given once per undirected pair; where R sees no elements, so is the network evaluated.
    The network has no biases, so R vanishes where the basis does: at the cutoff. ``bias`` adds them; the
    energy then jumps at the cutoff.

    ==============  ===================================  =============================
    symbol          code                                 shape
    ==============  ===================================  =============================
    e_n             ``radial``                           (n_pairs, num_radial)
    a(z)            ``attributes``                       (n_species, embedding_dim)
    R               return value                         (n_edges or n_pairs, n_weights)
    ==============  ===================================  =============================

    Args:
        num_radial: Number of radial basis functions.
        n_weights: Number of weights per edge.
        embedding_dim: Length of a(z).
        species: Which elements R sees, a key of ``RADIAL_SPECIES``.
        widths: Hidden widths; none makes R linear in the basis.
        activation: Activation of the hidden layers.
        bias: Add biases (the first one per element seen).

    Source: NequIP (arXiv:2101.03164), MLP; BOTNet (arXiv:2205.06643), element-dependent linear weights.
    """

    def __init__(
        self,
        num_radial: int,
        n_weights: int,
        embedding_dim: int,
        species: str,
        widths: Sequence[int],
        activation: str,
        bias: bool,
    ):
        super().__init__()
        self.species = species
        power, self.edge_attributes = RADIAL_SPECIES[species]
        self.sees_elements = power > 0
        n_attributes = embedding_dim**power
        self.mlp = MLP([num_radial * n_attributes, *widths, n_weights], num_radial, activation)
        bias_sizes = [(n_attributes, self.mlp.sizes[1]), *((m,) for m in self.mlp.sizes[2:])] if bias else []
        self.biases = nn.ParameterList(torch.zeros(size) for size in bias_sizes)

    @property
    def n_weights(self) -> int:
        """Number of weights of a row."""
        return self.mlp.sizes[-1]

    @property
    def is_deep(self) -> bool:
        """Whether R is not linear in the basis."""
        return len(self.mlp.sizes) > 2

    @property
    def is_plain(self) -> bool:
        """Whether R is a perceptron of the basis alone."""
        return not self.sees_elements and not len(self.biases)

    def forward(self, radial: Tensor, attributes: Tensor, graph: Graph) -> Tensor:
        """Return R, (n_edges, n_weights), or (n_pairs, n_weights) where it sees no elements.

        Args:
            radial: e_n of each pair, (n_pairs, num_radial).
            attributes: a(z) of every element, (n_species, embedding_dim).
            graph: The edges.
        """
        if not self.sees_elements:
            return self.network(radial, None)
        z_j, z_i = graph.species[graph.senders], graph.species[graph.receivers]
        return self.of_rows(radial.index_select(0, graph.pairs[1]), attributes, z_j, z_i)

    def of_rows(self, radial: Tensor, attributes: Tensor, z_j: Tensor, z_i: Tensor) -> Tensor:
        """Return R of each row of the basis, (n, num_radial), whose ends are of elements z_j and z_i, (n,)."""
        a = self.edge_attributes(attributes, z_j, z_i)
        if a is None:
            return self.network(radial, None)
        return self.network(torch.einsum("en,ed->end", radial, a).flatten(1), a)

    def network(self, R: Tensor, a: Tensor | None) -> Tensor:
        """Apply the matrices and activations to rows of features, whose attributes are ``a``."""
        if not len(self.biases):
            return self.mlp(R)
        for layer, (W, b) in enumerate(zip(self.mlp.matrices(), self.biases, strict=True)):
            if layer > 0:
                R = self.mlp.activation(R)
            R = R @ (W * (W.shape[0] if layer > 0 else self.mlp.fan_in) ** -0.5)
            R = R + b if layer > 0 or a is None else R + a @ b
        return R
