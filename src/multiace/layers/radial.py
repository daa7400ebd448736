"""The radial weights R of the one-particle basis, from the radial basis and the elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from multiace import ops
from multiace.graph import Graph
from multiace.layers.mlp import MLP

__all__ = ["RADIAL_NETWORKS", "RADIAL_NORMS", "RADIAL_SPECIES", "RadialNetwork", "RadialWeights", "itself"]


class RadialSpecies(NamedTuple):
    """Which elements R sees.

    Attributes:
        power: How many of both ends.
        matrices: Σ a_d(z) W_d of each element, or Σ a_d(z_j) a_d'(z_i) W_dd' of each pair of them, from a
            (n_species, D) and W (D ** power, ...).
        code: Which of these an edge takes, from z_j, z_i (n_edges,) and n_species.
    """

    power: int
    matrices: Callable[[Tensor, Tensor], Tensor]
    code: Callable[[Tensor, Tensor, int], Tensor | None]


def _of_element(a: Tensor, W: Tensor) -> Tensor:
    return torch.einsum("zd,d...->z...", a, W)


def _of_pair(a: Tensor, W: Tensor) -> Tensor:
    W = torch.einsum("ze,de...->dz...", a, W.unflatten(0, (a.shape[1], -1)))
    return torch.einsum("yd,dz...->yz...", a, W).flatten(0, 1)


RADIAL_SPECIES: dict[str, RadialSpecies] = {
    "none": RadialSpecies(0, lambda a, W: W, lambda z_j, z_i, n: None),
    "sender": RadialSpecies(1, _of_element, lambda z_j, z_i, n: z_j),
    "pair": RadialSpecies(2, _of_pair, lambda z_j, z_i, n: z_j * n + z_i),
}
"""Choices of ``ModelConfig.radial_species``."""

RADIAL_NETWORKS = ("linear", "mlp", "none")
"""Choices of ``ModelConfig.radial_network``."""


RADIAL_NORMS = ("none", "layer")
"""Choices of ``ModelConfig.radial_norm``."""


class RadialWeights(NamedTuple):
    """R of one layer on a graph, as a function of what depends on distances.

    Attributes:
        of: Makes R, (n_edges or n_pairs, n_weights), of ``rows``, by operations that can be recorded.
        rows: Of each pair, or of each edge where R sees elements: e_n, r where tables are read, or R itself.
        code: Which matrix, or table, each row takes, or None.
        others: What else ``of`` uses that is differentiated, beside parameters.
    """

    of: Callable[[Any], Any]
    rows: Tensor
    code: Tensor | None = None
    others: Sequence[Tensor] = ()

    @property
    def values(self) -> Tensor:
        """R."""
        return self.of(self.rows)


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
        self.seen = RADIAL_SPECIES[species]
        self.sees_elements = self.seen.power > 0
        n_attributes = embedding_dim**self.seen.power
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
    def per_edge(self) -> bool:
        """Whether R has a row for each edge, not for each pair."""
        return self.sees_elements

    @property
    def is_deep(self) -> bool:
        """Whether R is not linear in the basis."""
        return len(self.mlp.sizes) > 2

    @property
    def is_plain(self) -> bool:
        """Whether R is a perceptron of the basis alone."""
        return not self.sees_elements and self.is_recordable

    @property
    def is_recordable(self) -> bool:
        """Whether it does only what :class:`~multiace.ops.recorder.Symbol` takes."""
        return not len(self.biases) and not self.is_normalised

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
        rows = radial.index_select(0, graph.pairs[1]) if self.sees_elements else radial
        return self.on(graph, rows, attributes).values

    def on(self, graph: Graph, rows: Tensor, attributes: Tensor) -> RadialWeights:
        """Return the same before it is made, of the basis of each pair, or of each edge where R sees elements."""
        return self._of(rows, attributes, graph.species[graph.senders], graph.species[graph.receivers])

    def of_rows(self, radial: Tensor, attributes: Tensor, z_j: Tensor, z_i: Tensor) -> Tensor:
        """Return R of each row of the basis, (n, num_radial), whose ends are of elements z_j and z_i, (n,)."""
        return self._of(radial, attributes, z_j, z_i).values

    def _of(self, rows: Tensor, a: Tensor, z_j: Tensor, z_i: Tensor) -> RadialWeights:
        code = self.seen.code(z_j, z_i, len(a))
        W = [] if code is None else [self._first(a, self.mlp.matrices()[0])]
        e = rows if rows.shape[1] == self.num_radial else rows[:, : self.num_radial]
        network = RadialWeights(lambda e: self.mlp.of(e, code, *W), e, code, W)
        if self.is_recordable:
            return network
        if len(self.biases):
            R = self._biased(e, a, network)
        else:
            codes = [] if code is None else [code]
            R = ops.fused(self.recorder, ops.Computation(lambda e, *W: network.of(e), [e, *W], codes))
        return RadialWeights(itself, R * rows[:, self.num_radial :] if self.is_normalised else R)

    def _first(self, a: Tensor, W: Tensor) -> Tensor:
        """The first matrix for each element or pair of them, (n, num_radial n_1)."""
        return self.seen.matrices(a, W.unflatten(0, (self.num_radial, -1)).transpose(0, 1)).flatten(1)

    def _biased(self, e: Tensor, a: Tensor, network: RadialWeights) -> Tensor:
        """Apply the perceptron with the biases."""
        (W, *others), (b, *more) = self.mlp.matrices(), self.biases
        if network.code is None:
            x = e @ (W * self.num_radial**-0.5) + b
        else:
            x = self.mlp.first(e, network.code, *network.others)
            x = x + self.seen.matrices(a, b).index_select(0, network.code)
        for layer, (W, b) in enumerate(zip(others, more, strict=True)):
            x = self.mlp.activation(self.mlp.norms[layer](x) if self.is_normalised else x)
            x = x @ (W * len(W) ** -0.5) + b
        return x


def itself(R: Tensor) -> Tensor:
    """R, where it is made already."""
    return R
