"""MultiACE: from a graph to site energies. Start reading here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from ase.data import atomic_numbers, covalent_radii
from torch import Tensor, nn

from multiace import ops
from multiace.basis.ace import AceBasis
from multiace.basis.angular import SphericalHarmonics
from multiace.basis.irreps import Irrep, Irreps
from multiace.basis.radial import ConstantBasis, PairedEmbedding, RadialEmbedding
from multiace.basis.spline import SplinedEmbedding
from multiace.graph import Graph
from multiace.layers.complete import CompleteDensity, CompleteProduct, CompleteRadial, ElementChannels
from multiace.layers.density import DENSITIES, NEIGHBOR_NORMS
from multiace.layers.embedding import ELEMENT_EMBEDDINGS, ElementEmbedding, FixedElements, InitialFeatures
from multiace.layers.product import PRODUCTS, IdentityProduct
from multiace.layers.radial import RadialNetwork, RadialWeights
from multiace.layers.readout import FinnisSinclairReadout, Readout
from multiace.layers.table import TOLERANCE, RadialFunction, RadialTable, RadialTables, piecewise, tabulate
from multiace.layers.update import FEATURE_NORMS, NONLINEARITIES, Layer, LayerIrreps
from multiace.model.config import ModelConfig
from multiace.model.irreps import density_irreps, message_irreps

__all__ = ["MultiACE"]

HEADS = 8  # whose backward passes are one program


class MultiACE(nn.Module):
    r"""The network: h⁰ from the elements, T layers, and readouts of their invariants.

    .. math:: E_i = \sum_t \mathcal R_t(h_i^t), \qquad h^{t+1} = \mathrm{layer}_t(h^t; Y, e)

    Energies here are dimensionless; :class:`~multiace.model.potential.Potential` adds E0, scale and shift.

    Args:
        config: The point of the design space; its ``elements`` must be set.
        num_neighbors: Mean number of neighbours in the training set, for ``neighbor_norm``.

    Source: Batatia et al., arXiv:2205.06643.
    """

    def __init__(self, config: ModelConfig, num_neighbors: float = 1.0):
        super().__init__()
        self.config = config
        self.angular = SphericalHarmonics(config.l_max)
        self.radial_basis = build_radial_basis(config)
        self.elements = ELEMENT_EMBEDDINGS[config.element_embedding](
            len(config.elements), config.embedding_dim
        )
        embedding_dim = self.elements.table.shape[1]
        complete = config.channel_coupling == "complete"
        self.embedding = ElementChannels() if complete else InitialFeatures(embedding_dim, config.channels)
        self.layers = nn.ModuleList()
        self.readouts = nn.ModuleList()
        h = config.irreps.keep([Irrep(0, 1)])
        for t in range(config.num_layers):
            last = t == config.num_layers - 1
            layer: Layer = (
                build_complete_layer(config, embedding_dim, num_neighbors)
                if complete
                else build_layer(config.of_layer(t), h, last, embedding_dim, num_neighbors)
            )
            self.layers.append(layer)
            h = layer.irreps.h_out
            if last or config.readout == "every":
                self.readouts.append(build_readout(config, h, last))
        self.to(getattr(torch, config.dtype))
        self.recorder, self.heads_recorder = ops.Recorder(self), ops.Recorder(self)
        self.holders = [named for part in self.modules() for named in (part._parameters, part._buffers)]

    def forward(self, graph: Graph, tables: RadialTables | None = None) -> Tensor:
        """Return the energy of each atom from each readout, (n_nodes, n_readouts); the sum is E_i.

        Args:
            graph: The atoms and edges.
            tables: From :meth:`tabulate`, to be read instead of the radial networks.
        """
        energies, _ = self._energies(graph, tables)
        return ops.fused(self.recorder, energies)

    def with_gradient(self, graph: Graph, tables: RadialTables | None = None) -> tuple[Tensor, Tensor]:
        """Return the same, and the gradient of its sum with respect to the edge vectors, (n_edges, 3) float64.

        One program computes both, in less memory and time, and nothing of it can be differentiated again.
        """
        vectors = graph.edge_vectors().detach().requires_grad_()
        with torch.enable_grad():
            energies, moving = self._energies(graph.with_vectors(vectors), tables)
        ones = torch.ones(graph.n_nodes, len(self.readouts), dtype=self.dtype, device=vectors.device)
        value, (gradients,) = ops.value_and_gradients(self.recorder, energies, [ones], moving)
        if moving == [0]:
            return value, gradients[0].to(vectors.dtype)
        (g,) = torch.autograd.grad([energies.tensors[n] for n in moving], [vectors], gradients)
        return value, g

    def of_heads(self, graph: Graph, heads: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the energies of atoms with other last linear maps of the readouts, and their gradients.

        Features are made once for all of them, and so are eight backward passes in one program.

        Args:
            graph: The atoms and edges.
            heads: For each readout the last matrices of all maps as columns, (features, n_heads).

        Returns:
            Sums over readouts, (n_nodes, n_heads), and the gradient of the sum over nodes with respect to the edge
            vectors, (n_heads, n_edges, 3) float64; without a graph.
        """
        vectors = graph.edge_vectors().detach().requires_grad_()
        with torch.enable_grad():
            weights = [
                cast("Readout", readout).of_maps(head).detach()
                for readout, head in zip(self.readouts, heads, strict=True)
            ]
            energies, moving = self._energies(graph.with_vectors(vectors), None, weights)
        found: list[Tensor] = []
        n_heads = heads[0].shape[1]
        one_hot = torch.eye(n_heads, dtype=self.dtype, device=vectors.device)
        for together in one_hot.split(HEADS):
            cotangents = [w.expand(graph.n_nodes, -1).contiguous() for w in together]
            value, gradients = ops.value_and_gradients(self.heads_recorder, energies, cotangents, moving)
            for of_one in gradients:
                tensors = [energies.tensors[n] for n in moving]
                found += torch.autograd.grad(tensors, [vectors], of_one, retain_graph=True)
        return value, torch.stack(found)

    def _energies(
        self, graph: Graph, tables: RadialTables | None, heads: Sequence[Tensor] = ()
    ) -> tuple[ops.Computation, list[int]]:
        """What :meth:`forward` computes, and which tensors of it depend on the edge vectors.

        With ``heads``, weights of the readouts, what :meth:`of_heads` computes.
        """
        vectors = graph.edge_vectors()
        elements: ElementEmbedding = self.elements
        networks: Sequence[RadialNetwork | CompleteRadial | RadialTable] = self.radial_networks
        if tables is not None:
            elements = tables.elements
            networks = tables.layers or networks
        pieces = None if tables is None else tables.pieces
        h = self.embedding(graph.species, elements)  # h⁰
        R: list[RadialWeights] = []  # of each layer
        if pieces is None:
            radial = self.radial(graph, tables)
            per_edge = any(network.per_edge for network in networks)
            of_edges = radial.index_select(0, graph.pairs[1]) if per_edge else radial
            for network in networks:
                R.append(network.on(graph, of_edges if network.per_edge else radial, elements))
        rows: list[Tensor] = []  # those that differ, and which of them a layer has
        places: list[int] = []
        for of_layer in R:
            places.append(next((n for n, seen in enumerate(rows) if of_layer.rows is seen), len(rows)))
            rows += [of_layer.rows] if places[-1] == len(rows) else []
        made = [cast("Layer", layer).made(elements) for layer in self.layers]
        used = [tensor for of_layer in (*(weights.others for weights in R), *made) for tensor in of_layer]
        codes = [code for of_layer in R for code in of_layer.code]

        def site_energies(vectors: Tensor, h: Tensor, *others: Tensor) -> Tensor:
            weights = others[len(others) - len(heads) :]
            Y = ops.spherical_harmonics(vectors, self.angular)  # Y_lm(r̂)
            energies: list[Tensor] = []
            for t, layer in enumerate(self.layers):
                R_t = pieces(vectors, graph) if pieces is not None else R[t].of(others[places[t]])
                h = layer(h, Y, R_t, elements, graph, *made[t])
                if t >= len(self.layers) - len(self.readouts):
                    readout = self.readouts[len(energies)]
                    weight = weights[len(energies) :][:1]
                    energies.append(readout(h, graph.species, *weight))  # E_i = Σ_t R_t(h_i)
            if heads:
                return sum(energies[1:], energies[0])
            return torch.cat(energies, dim=1) if len(energies) > 1 else energies[0]

        tensors = [vectors.to(self.dtype), h, *rows, *used, *heads]
        persistent = [] if tables is None else tables.made
        moving = [0, *range(2, 2 + len(rows))]
        return ops.Computation(site_energies, tensors, [*graph.indices, *codes], persistent), moving

    def radial(self, graph: Graph, tables: RadialTables | None = None) -> Tensor:
        """Return what R of each undirected pair is made of: e_n(r) with its envelope, or r where tables are read."""
        one_edge = graph.pairs[0][:, 0]
        r = torch.linalg.vector_norm(graph.edge_vectors()[one_edge], dim=-1)
        if tables is not None and tables.layers:
            return r.to(self.dtype)
        z_j, z_i = (graph.species[nodes[one_edge]] for nodes in (graph.senders, graph.receivers))
        return ops.radial_basis(r, z_j, z_i, self.radial_basis)

    def tabulate(self, tolerance: float = TOLERANCE) -> RadialTables | None:
        """Tabulate R of all layers, for inference.

        Args:
            tolerance: Largest error of R halfway between knots, relative to the root mean square of R. The
                default is what rounding to float32 does to the network itself.

        Returns:
            The tables, or None where one would be too large, or R is the basis itself. They do not follow changes
            of the weights.
        """
        layers, error = [], 0.0
        if any(isinstance(network, CompleteRadial) and network.is_basis for network in self.radial_networks):
            return None  # there is nothing to save
        for function in self.radial_functions:
            found = tabulate([function], tolerance)
            if found is None:
                return None
            (table,), of_layer = found
            layers.append(replace(table, values=table.values.to(self.dtype)))
            error = max(error, of_layer)
        return RadialTables(layers, FixedElements(self.elements), error, self.version())

    def fixed(self) -> RadialTables:
        """What does not depend on positions, made once; the radial networks are evaluated.

        With complete coupling the radial basis is evaluated as polynomials between knots, which are the basis to
        rounding, unless R sees elements.
        """
        pieces = None
        plain = all(isinstance(net, CompleteRadial) and net.is_plain for net in self.radial_networks)
        if plain and self.device.type == "cpu":
            pieces = piecewise(self.radial_basis, len(self.config.elements))
        return RadialTables([], FixedElements(self.elements), 0.0, self.version(), pieces)

    def version(self) -> tuple[Any, ...]:
        """What changes when a weight does."""
        return tuple(
            (tensor.data_ptr(), tensor._version)
            for named in self.holders
            for tensor in named.values()
            if tensor is not None
        )

    @property
    def radial_networks(self) -> list[RadialNetwork | CompleteRadial]:
        """The radial network of each layer."""
        return [cast("Layer", layer).density.radial_network for layer in self.layers]

    @property
    def radial_functions(self) -> list[RadialFunction]:
        """R of each layer as a function of r, to be tabulated."""
        return [
            RadialFunction(network, self.radial_basis, self.elements.table)
            for network in self.radial_networks
        ]

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters."""
        return self.radial_basis.like.dtype


def build_radial_basis(config: ModelConfig) -> RadialEmbedding | PairedEmbedding | SplinedEmbedding:
    """Build e_n(r), with that of the two-body term beside it if it has its own, or with the envelope where a network is
    normalised; as splines if there are knots."""
    radii = torch.tensor([covalent_radii[atomic_numbers[symbol]] for symbol in config.elements])

    def functions(number: int, envelope: str, basis: Any = config.radial_basis) -> RadialEmbedding:
        return RadialEmbedding(
            basis,
            number,
            config.cutoff,
            trainable=config.trainable_radial and basis is config.radial_basis,
            envelope=envelope,
            envelope_power=config.envelope_power,
            distance_transform=config.distance_transform,
            covalent_radii=radii,
        )

    products, behind = functions(config.num_radial, config.envelope), None
    if config.channel_coupling == "complete" and config.pair_num_radial > 0:
        behind = functions(config.pair_num_radial, config.pair_envelope)
    elif any(config.of_layer(t).normalises_radial for t in range(config.num_layers)):
        behind = functions(1, config.envelope, ConstantBasis)
    e = products if behind is None else PairedEmbedding(products, behind)
    return SplinedEmbedding(e, config.radial_knots, len(config.elements)) if config.radial_knots else e


def build_layer(
    config: ModelConfig, h_in: Irreps, last: bool, embedding_dim: int, num_neighbors: float
) -> Layer:
    """Build a layer that reads features of irreps ``h_in``; the last one gives invariants only."""
    hidden = config.irreps.keep([Irrep(0, 1)]) if last else config.irreps
    products = config.correlation > 1 or config.product_elements

    A_irreps = density_irreps(h_in, config.irreps, config.l_max, config.correlation)
    h_out = message_irreps(A_irreps, hidden, config.correlation, config.channel_coupling == "full")
    nonlinearity = NONLINEARITIES[config.nonlinearity](h_out, config.activation, config.odd_activation)
    m = nonlinearity.irreps_in
    if config.correlation == 1:
        A_irreps = m.irreps
    A = Irreps((config.channels, irrep) for irrep in A_irreps) if products else m
    product = (
        PRODUCTS[config.channel_coupling](
            A, m, config.correlation, embedding_dim if config.product_elements else 0
        )
        if products
        else IdentityProduct()
    )
    radial = {"num_radial": config.num_radial, "embedding_dim": embedding_dim, **network_options(config)}
    density = DENSITIES[config.channel_coupling](
        h_in, A, config.l_max, radial, NEIGHBOR_NORMS[config.neighbor_norm](num_neighbors)
    )
    return Layer(
        norm=FEATURE_NORMS[config.feature_norm](h_in),
        density=density,
        self_connection=config.self_connection,
        product=product,
        nonlinearity=nonlinearity,
        irreps=LayerIrreps(h_in, A, m, h_out),
        embedding_dim=embedding_dim,
    )


def build_readout(config: ModelConfig, h: Irreps, last: bool) -> Readout | FinnisSinclairReadout:
    """Build what reads features of irreps ``h``; only the last layer's is not linear."""
    if last and config.readout_function == "finnis_sinclair":
        return FinnisSinclairReadout(h, config.readout_exponents, len(config.elements))
    return Readout(h, config.readout_width if last else 0, config.readout_activation)


def build_complete_layer(config: ModelConfig, embedding_dim: int, num_neighbors: float) -> Layer:
    """Build the layer of linear ACE, from the elements alone to invariants."""
    n_max = config.truncation.num_radial
    radial = CompleteRadial(
        config.num_radial,
        n_max,
        config.pair_num_radial,
        embedding_dim,
        config.l_max,
        None if config.radial_network == "none" else network_options(config),
    )
    density = CompleteDensity(radial, NEIGHBOR_NORMS[config.neighbor_norm](num_neighbors))
    basis = AceBasis(embedding_dim, config.truncation)
    product = CompleteProduct(basis, config.channels, embedding_dim if config.product_elements else 0)
    h, m = Irreps([(embedding_dim, Irrep(0, 1))]), config.irreps
    A = Irreps((basis.n_channels, Irrep(degree, (-1) ** degree)) for degree in range(config.l_max + 1))
    return Layer(
        norm=FEATURE_NORMS["none"](h),
        density=density,
        self_connection="none",
        product=product,
        nonlinearity=NONLINEARITIES["none"](m, config.activation, config.odd_activation),
        irreps=LayerIrreps(h, A, m, m),
        embedding_dim=embedding_dim,
    )


def network_options(config: ModelConfig) -> dict[str, Any]:
    """Arguments of RadialNetwork that are fields of the config."""
    return {
        "species": config.radial_species,
        "widths": config.radial_widths if config.radial_network == "mlp" else (),
        "activation": config.radial_activation,
        "bias": config.radial_bias,
        "norm": config.radial_norm,
    }
