"""The radial weights R of the one-particle basis, from the radial basis and the elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from multiace import ops
from multiace.graph import Graph
from multiace.layers.mlp import MLP

__all__ = ["RADIAL_NETWORKS", "RADIAL_NORMS", "RADIAL_SPECIES", "RadialNetwork"]


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


RADIAL_NORMS = ("none", "layer")
"""Choices of ``ModelConfig.radial_norm``."""


class RadialNetwork(nn.Module):
    r"""Radial weights R of all paths of one layer.

    Without elements R is a function of the distance; with them the basis is multiplied by the attributes
    a of the sender, or of both ends, before the first matrix:

    .. math:: R_{k\eta}(r_{ij}; z_i, z_j) = \mathrm{net}\bigl[e_n(r_{ij})\, a_d(z_j)\, a_{d'}(z_i)\bigr]

    The basis is given once per undirected pair; where R sees no elements, so is the network evaluated.
    The network has no biases, so R vanishes where the basis does: at the cutoff. ``bias`` adds them; the
    energy then jumps at the cutoff.

    ``norm = layer`` normalises the values of each hidden layer before its activation, with learned gain and bias. What
    comes out no longer vanishes with the basis, and is multiplied by the envelope:

    .. math:: R_{k\eta} = f_c(r_{ij})\, \mathrm{net}[\dots], \qquad
              \mathrm{net}\!: \; x \to x W_0 \to f(\mathrm{LN}(\cdot))\, W_1 \to \dots

    ==============  ===================================  =============================
    symbol          code                                 shape
    ==============  ===================================  =============================
    e_n             ``radial``                           (n_pairs, num_radial)
    f_c             last column of ``radial``            (n_pairs, 1), where a network needs it
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
        norm: A key of ``RADIAL_NORMS``.

    Source: NequIP (arXiv:2101.03164), MLP; BOTNet (arXiv:2205.06643), element-dependent linear weights; EquiformerV2
    (arXiv:2306.12059), normalisation between linear map and activation, which MACE's ``RadialMLP`` has too, with the
    envelope behind it. They differ: their linear maps have biases, here only with ``bias``; and they see e_n without
    its envelope, whose size the first normalisation takes away here.
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
        norm: str = "none",
    ):
        super().__init__()
        self.num_radial, self.species = num_radial, species
        power, self.edge_attributes = RADIAL_SPECIES[species]
        self.sees_elements = power > 0
        n_attributes = embedding_dim**power
        sizes = [num_radial * n_attributes, *widths, n_weights]
        self.mlp = MLP(sizes, num_radial, activation, normalised=norm == "layer")
        bias_sizes = [(n_attributes, self.mlp.sizes[1]), *((m,) for m in self.mlp.sizes[2:])] if bias else []
        self.biases = nn.ParameterList(torch.zeros(size) for size in bias_sizes)
        self.recorder = ops.Recorder(self.mlp)

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
        return not self.sees_elements and not len(self.biases) and not self.is_normalised

    @property
    def is_normalised(self) -> bool:
        """Whether there are hidden values that are normalised."""
        return len(self.mlp.norms) > 0

    def forward(self, radial: Tensor, attributes: Tensor, graph: Graph) -> Tensor:
        """Return R, (n_edges, n_weights), or (n_pairs, n_weights) where it sees no elements.

        Args:
            radial: e_n of each pair, (n_pairs, num_radial), and f_c behind where a network is normalised.
            attributes: a(z) of every element, (n_species, embedding_dim).
            graph: The edges.
        """
        if not self.sees_elements:
            return self.network(radial, None)
        z_j, z_i = graph.species[graph.senders], graph.species[graph.receivers]
        return self.of_rows(radial.index_select(0, graph.pairs[1]), attributes, z_j, z_i)

    def of_rows(self, radial: Tensor, attributes: Tensor, z_j: Tensor, z_i: Tensor) -> Tensor:
        """Return R of each row of the basis, (n, num_radial), whose ends are of elements z_j and z_i, (n,)."""
        return self.network(radial, self.edge_attributes(attributes, z_j, z_i))

    def network(self, radial: Tensor, a: Tensor | None) -> Tensor:
        """Return R of each row of the basis, with the attributes ``a`` of its edge."""
        e = radial if radial.shape[1] == self.num_radial else radial[:, : self.num_radial]
        x = e if a is None else torch.einsum("en,ed->end", e, a).flatten(1)
        if len(self.biases):
            R = self._biased(x, a)
        elif self.is_normalised:
            R = ops.fused(self.recorder, ops.Computation(self.mlp, [x], []))
        else:
            R = self.mlp(x)
        return R * radial[:, self.num_radial :] if self.is_normalised else R

    def _biased(self, x: Tensor, a: Tensor | None) -> Tensor:
        """Apply the perceptron with the biases."""
        for layer, (W, b) in enumerate(zip(self.mlp.matrices(), self.biases, strict=True)):
            if layer > 0:
                x = self.mlp.activation(self.mlp.norms[layer - 1](x) if self.is_normalised else x)
            x = x @ (W * (W.shape[0] if layer > 0 else self.mlp.fan_in) ** -0.5)
            x = x + b if layer > 0 or a is None else x + a @ b
        return x
