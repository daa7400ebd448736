"""The radial weights R of the one-particle basis, from the radial basis and the elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from multiace import ops
from multiace.basis.irreps import Irreps
from multiace.graph import Graph
from multiace.layers.embedding import ElementEmbedding, FixedElements
from multiace.layers.mlp import MLP

__all__ = ["RADIAL_NETWORKS", "RADIAL_NORMS", "RADIAL_SPECIES", "RadialNetwork", "RadialWeights", "itself"]


OfElements = Callable[[Tensor], Tensor]
"""Σ a_d(z) W_d of all elements, (D, ...) -> (n_species, ...): an embedding."""


class RadialSpecies(NamedTuple):
    """Which elements R sees.

    Attributes:
        power: How many of both ends.
        matrices: Σ a_d(z) W_d of each element, or Σ a_d(z_j) a_d'(z_i) W_dd' of each pair of them, from an embedding
            and W (D ** power, ...).
        code: Which of these an edge takes, from z_j, z_i (n_edges,) and n_species.
    """

    power: int
    matrices: Callable[[OfElements, Tensor], Tensor]
    code: Callable[[Tensor, Tensor, int], Tensor]


def _of_element(elements: OfElements, W: Tensor) -> Tensor:
    return elements(W)


def _of_pair(elements: OfElements, W: Tensor) -> Tensor:
    D = math.isqrt(len(W))
    of_sender = elements(W.unflatten(0, (D, D))).transpose(0, 1)  # [d', z_j]
    return elements(of_sender).transpose(0, 1).flatten(0, 1)


def _sender(z_j: Tensor, z_i: Tensor, n_species: int) -> Tensor:
    return z_j


def _pair(z_j: Tensor, z_i: Tensor, n_species: int) -> Tensor:
    return z_j * n_species + z_i


RADIAL_SPECIES: dict[str, RadialSpecies | None] = {
    "none": None,
    "sender": RadialSpecies(1, _of_element, _sender),
    "pair": RadialSpecies(2, _of_pair, _pair),
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
        code: Which matrix, or table, each row takes, (n_rows,), if there are several.
        others: What else ``of`` uses that is differentiated, beside parameters.
    """

    of: Callable[[Any], Any]
    rows: Tensor
    code: Sequence[Tensor] = ()
    others: Sequence[Tensor] = ()

    @property
    def values(self) -> Tensor:
        """R."""
        return self.of(self.rows)


class RadialNetwork(nn.Module):
    r"""Radial weights R of all paths of one layer.

    Without elements R is a function of the distance; with them the basis is multiplied by the attributes
    a of the sender, or of both ends, before the first matrix, whose sums over these are made for each element, or pair:

    .. math:: R_{k\eta}(r_{ij}; z_i, z_j) = \mathrm{net}\bigl[e_n(r_{ij})\, a_d(z_j)\, a_{d'}(z_i)\bigr], \qquad
              W_0(z_j, z_i) = \sum_{dd'} a_d(z_j)\, a_{d'}(z_i)\, W_{0, dd'}

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
        self.per_edge = self.seen is not None
        n_attributes = embedding_dim**self.seen.power if self.seen else 1
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
        return not self.per_edge and self.runs_with_layers

    @property
    def runs_with_layers(self) -> bool:
        """Whether it does only what :class:`~multiace.ops.recorder.Symbol` takes: no biases, no envelope behind."""
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
        rows = radial.index_select(0, graph.pairs[1]) if self.per_edge else radial
        return self.of_rows(rows, attributes, graph.species[graph.senders], graph.species[graph.receivers])

    def of_rows(self, radial: Tensor, attributes: Tensor, z_j: Tensor, z_i: Tensor) -> Tensor:
        """Return R of each row of the basis, (n, num_radial), whose ends are of elements z_j and z_i, (n,)."""
        code = () if self.seen is None else (self.seen.code(z_j, z_i, len(attributes)),)
        return self._of(radial, partial(torch.tensordot, attributes, dims=1), *code).values

    def on(self, graph: Graph, rows: Tensor, elements: ElementEmbedding) -> RadialWeights:
        """Return R on a graph; biased or normalised, it is made already.

        Args:
            graph: The edges.
            rows: The basis of each pair, or of each edge where R sees elements.
            elements: Makes what depends on elements.
        """
        if self.seen is None:
            return self._of(rows, elements)
        z_j, z_i = graph.species[graph.senders], graph.species[graph.receivers]
        return self._of(rows, elements, self.seen.code(z_j, z_i, len(elements.table)))

    def _of(self, rows: Tensor, elements: OfElements, *code: Tensor) -> RadialWeights:
        first = (*code, self._first(elements)) if code else ()
        e = rows if rows.shape[1] == self.num_radial else rows[:, : self.num_radial]
        network = RadialWeights(lambda e: self.mlp.of(e, *first), e, code, first[1:])
        if self.runs_with_layers:
            return network
        if len(self.biases):
            R = self._biased(e, elements, *first)
        else:
            R = ops.fused(self.recorder, ops.Computation(lambda e, *_: network.of(e), [e, *first[1:]], code))
        return RadialWeights(itself, R * rows[:, self.num_radial :] if self.is_normalised else R)

    def _first(self, elements: OfElements) -> Tensor:
        """The first matrix for each element or pair of them, (n, num_radial n_1)."""

        def make(_: Tensor) -> Tensor:
            W = self.mlp.matrices()[0].unflatten(0, (self.num_radial, -1)).transpose(0, 1)
            return self._of_elements(elements, W).flatten(1)

        if isinstance(elements, FixedElements):
            return elements.once(self.mlp.weight, make)
        return make(self.mlp.weight)

    def _of_elements(self, elements: OfElements, W: Tensor) -> Tensor:
        assert self.seen is not None
        return self.seen.matrices(elements, W)

    def _biased(self, e: Tensor, elements: OfElements, *first: Tensor) -> Tensor:
        """Apply the perceptron with the biases."""
        (W, *others), (b, *more) = self.mlp.matrices(), self.biases
        if first:
            ones, one = e.new_ones(len(e), 1), Irreps.parse("1x0e")
            bias = ops.linear(ones, self._of_elements(elements, b), first[0], one, self.mlp.irreps[1])
            x = self.mlp.first(e, *first) + bias
        else:
            x = e @ (W * self.num_radial**-0.5) + b
        for layer, (W_l, b_l) in enumerate(zip(others, more, strict=True)):
            x = self.mlp.activation(self.mlp.norms[layer](x) if self.is_normalised else x)
            x = x @ (W_l * len(W_l) ** -0.5) + b_l
        return x


def itself(R: Tensor) -> Tensor:
    """R, where it is made already."""
    return R
