"""The part of a network that its energies are linear in: coefficients of many models are predicted with at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from multiace import ops
from multiace.layers.complete import CompleteDensity, CompleteProduct
from multiace.layers.readout import Readout
from multiace.ops.choice import definitions

if TYPE_CHECKING:
    from multiace.graph import Graph
    from multiace.layers.update import Layer
    from multiace.model.config import ModelConfig
    from multiace.model.multi_ace import MultiACE

__all__ = ["LINEAR_PARTS", "LastLayers", "LinearPart", "Predicted", "Products", "linear_part"]

NODES = 4096  # whose products are differentiated together
EDGES = 2048  # whose gradients are made together


class Predicted(NamedTuple):
    """What a network gives with several sets of coefficients, without units.

    Attributes:
        sites: Energies of the atoms, (n_nodes, n_sets).
        gradients: Of their sums with respect to the edge vectors, (n_sets, n_edges, 3) float64; none if not asked for.
    """

    sites: Tensor
    gradients: Tensor


class LinearPart(ABC):
    r"""Parameters c that the energies of a network are linear in, all others being as they are.

    .. math:: \sum_t \mathcal R_t(h_i^t) = \sum_k c_k B_{ik}

    Args:
        network: Whose.

    Attributes:
        network: As given.
        names: Parameters of the network that hold them.
    """

    names: tuple[str, ...]

    def __init__(self, network: MultiACE) -> None:
        self.network = network

    @staticmethod
    @abstractmethod
    def suits(config: ModelConfig) -> bool:
        """Whether a network has this part."""

    @property
    @abstractmethod
    def n_columns(self) -> int:
        """Number of coefficients."""

    @abstractmethod
    def coefficients(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return c, (..., n_columns), of values of the parameters, (..., *shape) each."""

    @abstractmethod
    def values(self, c: Tensor) -> dict[str, Tensor]:
        """Return the values of the parameters, (..., *shape) each, with the coefficients c, (..., n_columns)."""

    @abstractmethod
    def predict(self, graph: Graph, c: Tensor) -> Predicted:
        """Predict with several sets of coefficients, (n_sets, n_columns), at once."""

    @property
    def present(self) -> Tensor:
        """The coefficients of the network, (n_columns,)."""
        return self.coefficients({name: self.network.get_parameter(name).detach() for name in self.names})

    def put(self, c: Tensor) -> None:
        """Give these coefficients, (n_columns,), to the network."""
        with torch.no_grad():
            for name, value in self.values(c).items():
                self.network.get_parameter(name).copy_(value)


class Products(LinearPart):
    """Coefficients of the basis of linear ACE: of all products, where one channel of them is the energy."""

    names = ("layers.0.product.weight",)

    def __init__(self, network: MultiACE) -> None:
        super().__init__(network)
        layer = cast("Layer", network.layers[0])
        self.density = cast("CompleteDensity", layer.density)
        self.product = cast("CompleteProduct", layer.product)

    @staticmethod
    def suits(config: ModelConfig) -> bool:
        """Whether the products are complete, and read out by a factor."""
        return config.is_read_by_one_number

    @property
    def n_columns(self) -> int:
        """Functions of all central elements."""
        return self.product.weight.numel()

    def coefficients(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return c of the weights (..., n_sets, n_functions, 1)."""
        return values[self.names[0]].flatten(-3)

    def values(self, c: Tensor) -> dict[str, Tensor]:
        """Return the weights of c."""
        return {self.names[0]: c.unflatten(-1, self.product.weight.shape)}

    def predict(self, graph: Graph, c: Tensor) -> Predicted:
        r"""Predict with many sets of coefficients: densities A are made once.

        .. math:: \frac{\partial E}{\partial \mathbf r_{ij}} = \sum_v \frac{\partial E_i}{\partial A_{iv}}
                  \frac{\partial A_{iv}}{\partial \mathbf r_{ij}}
        """
        network, product, species = self.network, self.product, graph.species
        with torch.no_grad():
            c = c.to(network.dtype) * cast("Readout", network.readouts[0]).mlp.weight[0, 0]
            weight = self.values(c)[self.names[0]].squeeze(-1).permute(1, 2, 0)  # a set is a channel
            A, W = self._densities(graph), product.of_monomials(network.elements, weight)
            sites: list[Tensor] = []
            found: list[Tensor] = []
            slopes = self.one_particle(graph)[1]
            for weights in W.split(max(1, NODES // max(graph.n_nodes, 1)), dim=2):
                of_sites, G = self._of_sets(A, weights, species)
                sites.append(of_sites)
                found.append(self._of_edges(G, slopes, graph))
            return Predicted(torch.cat(sites, dim=1), torch.cat(found))

    def one_particle(self, graph: Graph) -> tuple[torch.Tensor, torch.Tensor]:
        """R_nl Y_lm / λ of each edge (n_edges, lmn), and its gradient with respect to the edge vector, (..., 3)."""
        network, vectors, r = self.network, graph.edge_vectors().detach(), graph.edge_lengths().detach()
        z_j, z_i = graph.species[graph.senders], graph.species[graph.receivers]
        phi = self.density.one_particle

        def angular(v: torch.Tensor) -> torch.Tensor:
            return network.angular(v, torch.linalg.vector_norm(v, dim=-1))

        def radial(r: torch.Tensor) -> torch.Tensor:
            e = network.radial_basis(r, z_j, z_i)
            return self.density.radial_network.of_rows(e, network.elements.table, z_j, z_i)

        with torch.no_grad(), definitions():
            Y, (R, R_slope) = angular(vectors), torch.func.jvp(radial, (r,), (torch.ones_like(r),))[:2]
            steps = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
            axes = [axis.expand_as(vectors) for axis in steps]
            Y_slopes = [torch.func.jvp(angular, (vectors,), (axis,))[1] for axis in axes]
            slopes = phi(Y, R_slope)[..., None] * (vectors / r[:, None])[:, None]
            slopes += torch.stack([phi(Y_slope, R) for Y_slope in Y_slopes], dim=-1)
            return phi(Y, R), slopes

    def _densities(self, graph: Graph) -> Tensor:
        """A, (n_nodes, components)."""
        network, vectors, one_edge = self.network, graph.edge_vectors().detach(), graph.pairs[0][:, 0]
        r = torch.linalg.vector_norm(vectors[one_edge], dim=-1)
        z_j, z_i = (graph.species[nodes[one_edge]] for nodes in (graph.senders, graph.receivers))
        radial = ops.radial_basis(r, z_j, z_i, network.radial_basis)
        R = self.density.radial_network(radial, network.elements.table, graph)
        Y = ops.spherical_harmonics(vectors.to(network.dtype), network.angular)
        return self.density(network.embedding(graph.species, network.elements), Y, R, graph)

    def _of_sets(self, A: Tensor, W: Tensor, species: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (n_nodes, n_sets) and their gradients with respect to A, (n_sets, n_nodes, components).

        Every node is repeated for each set, whose weights are those of elements of its own.
        """
        n_elements, _, n_sets = W.shape
        first = n_elements * torch.arange(n_sets, device=A.device)[:, None]
        elements = first + (species if self.product.sees_element else torch.zeros_like(species))
        of_elements = W.permute(2, 0, 1).flatten(0, 1)[:, :, None].contiguous()
        repeated = A.repeat(n_sets, 1).requires_grad_()
        with torch.enable_grad():
            E = ops.polynomial(repeated, of_elements, elements.flatten(), self.product.monomials)
            (G,) = torch.autograd.grad(E.sum(), repeated)
        return E.detach().view(n_sets, -1).T, G.view(n_sets, len(species), -1)

    def _of_edges(self, G: Tensor, slopes: Tensor, graph: Graph) -> Tensor:
        """Gradients with respect to edge vectors, (n_sets, n_edges, 3) float64."""
        a = self.network.elements.table
        of_sender = torch.einsum("zd,mifd->izmf", a, G.unflatten(2, (-1, a.shape[1])))
        nodes, elements = graph.receivers, graph.species[graph.senders]
        edges = torch.arange(graph.n_edges, device=G.device).split(EDGES)
        found = [torch.bmm(of_sender[nodes[e], elements[e]], slopes[e].to(G.dtype)) for e in edges]
        return torch.cat([G.new_zeros(0, len(G), 3), *found]).transpose(0, 1).double()


class LastLayers(LinearPart):
    r"""The last linear map of every readout: :math:`\mathcal R_t(h) = \frac{1}{\sqrt n} \sum_k c_{tk} \phi_k(h)`.

    Features φ are the invariants of h, or the last hidden layer of a perceptron of them.
    """

    def __init__(self, network: MultiACE) -> None:
        super().__init__(network)
        self.readouts = [cast("Readout", readout) for readout in network.readouts]
        self.names = tuple(f"readouts.{t}.{readout.parameter}" for t, readout in enumerate(self.readouts))
        self.widths = [readout.n_columns for readout in self.readouts]

    @staticmethod
    def suits(config: ModelConfig) -> bool:
        """Every network has readouts."""
        return True

    @property
    def n_columns(self) -> int:
        """Features of all readouts."""
        return sum(self.widths)

    def coefficients(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return c of the weights of the readouts."""
        parts = zip(self.names, self.readouts, strict=True)
        return torch.cat([readout.coefficients(values[name]) for name, readout in parts], dim=-1)

    def values(self, c: Tensor) -> dict[str, Tensor]:
        """Return the weights of the readouts with c for their last maps."""
        parts = zip(self.names, self.readouts, c.split(self.widths, dim=-1), strict=True)
        return {name: readout.weights(part) for name, readout, part in parts}

    def predict(self, graph: Graph, c: Tensor) -> Predicted:
        """Predict with many sets of coefficients: features are made once, and never more backward passes than those."""
        c = c.to(self.network.dtype)
        if len(c) <= self.n_columns:
            return Predicted(*self.network.of_heads(graph, c.T.split(self.widths)))
        one_hot = torch.eye(self.n_columns, dtype=c.dtype, device=c.device)
        features, slopes = self.network.of_heads(graph, one_hot.split(self.widths))
        return Predicted(features @ c.T, torch.tensordot(c.to(slopes), slopes, 1))


LINEAR_PARTS: tuple[type[LinearPart], ...] = (Products, LastLayers)
"""Kinds of them; a network has the first that suits."""


def linear_part(network: MultiACE) -> LinearPart:
    """Return the part of a network that its energies are linear in."""
    return next(kind for kind in LINEAR_PARTS if kind.suits(network.config))(network)
