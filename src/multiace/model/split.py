r"""The energy as a sum of terms: by order, by layer, by the edges of each layer, by degree of Y, by path.

Multiply what every edge contributes by λ, φ_ij -> λ φ_ij in every layer. Where updates and readouts are linear, the
energy of an atom is a polynomial,

.. math:: E_i(\lambda) = \sum_{d=0}^{D} \lambda^d E_i^{(d)}, \qquad D_t = \nu\,(D_{t-1} + 1), \quad D_0 = 0,

whose coefficients are the parts with d factors of edges: of d + 1 bodies at most, and of fewer where factors share
them. With a λ of its own for each group p of contributions, any energy is divided among the groups as

.. math:: E(1) - E(0) = \sum_p \int_0^1 \frac{\partial E}{\partial \lambda_p}(s, \dots, s)\, ds,

which divides the energy of a product equally among its factors (Aumann and Shapley, Values of Non-Atomic Games, 1974).
Everything is computed in float64, by the definitions of the operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from multiace.errors import InputError
from multiace.graph import Graph
from multiace.model.config import ModelConfig
from multiace.model.potential import Potential
from multiace.model.scaled import Readouts, ScaledEdges
from multiace.ops.paths import Path

__all__ = ["GROUPS", "SPLITS", "Split", "by_group", "by_layer", "by_order"]

NODES = (8, 16, 32, 64)
"""Numbers of nodes that are tried for an integrand that is no polynomial."""

TOLERANCE = 1e-9
"""Error of the quadrature, relative to the largest energy of a structure, at which no more nodes are tried."""


@dataclass(frozen=True, eq=False)
class Split:
    """Energies as sums of terms: E0, shift and ZBL, where there are any, then those of the network.

    Attributes:
        names: Of the terms.
        atoms: Part of each atom [eV], (n_nodes, n_terms) float64.
        energies: Of each structure [eV], (n_graphs, n_terms) float64: sums over its atoms.
        error: Largest difference of a structure's energy and the sum of its terms [eV].
        method: How the terms were found, in words.
    """

    names: tuple[str, ...]
    atoms: Tensor
    energies: Tensor
    error: float
    method: str


def by_order(potential: Potential, graph: Graph) -> Split:
    """Split energies by order, the number of factors of edges; the parts of atoms are those of site energies.

    Order 0 is what an atom has alone. What is not linear in the readouts makes one term, ``remainder``: its energy
    less that of the atom alone.

    Raises:
        InputError: If energies are no polynomials in the edges, not even in part.
    """
    edges = ScaledEdges(potential.network, graph)
    linear = linear_parts(edges.readouts)
    check_polynomial(potential.config, linear)
    depth = max(t for t, readout in enumerate(linear, 1) if readout is not None)
    circle = ScaledEdges(potential.network, graph, torch.complex128)
    of_circle = linear_parts(circle.readouts)

    def polynomial(scale: complex) -> Tensor:
        return circle.read(islice(circle.features(scale), depth), of_circle)

    with torch.no_grad():
        orders = powers(polynomial, highest_order(potential.config, depth))
        alone, whole = list(edges.features(0.0)), list(edges.features(1.0))
        rest_alone, rest = (edges.read(h, edges.readouts) - edges.read(h, linear) for h in (alone, whole))
        orders[:, 0] += rest_alone
        terms = {f"order {d}": E for d, E in enumerate(orders.T)}
        method = "order 1: pairs, order d: up to d + 1 atoms"
        if linear != edges.readouts:
            terms["remainder"] = rest - rest_alone
            method += "; remainder: what perceptron readouts read"
        method += f"; {orders.shape[1]} values of λ on the unit circle, condition number 1"
        return finished(potential, graph, terms, edges.read(whole, edges.readouts), method)


def by_layer(potential: Potential, graph: Graph) -> Split:
    """Split energies by the readouts; the parts of atoms are those of site energies."""
    edges = ScaledEdges(potential.network, graph)
    with torch.no_grad():
        h = list(edges.features(1.0))
        terms = {
            f"readout of layer {t}": edges.read([x], [readout])
            for t, (x, readout) in enumerate(zip(h, edges.readouts, strict=True), 1)
            if readout is not None
        }
        return finished(potential, graph, terms, edges.read(h, edges.readouts), "what each readout reads")


GROUPS: dict[str, Callable[[int, Path], str]] = {
    "edges": lambda t, path: f"edges of layer {t}",
    "l": lambda t, path: f"l = {path.l2}",
    "path": lambda t, path: f"layer {t}: {path.irrep_in} × {path.l2} → {path.irrep_out}",
}
"""Groups of contributions φ that :func:`by_group` divides energies among: the name of that of each layer and path."""


def by_group(potential: Potential, graph: Graph, group: str) -> Split:
    """Divide energies among groups of contributions of edges; the part of an atom is that of the edges it receives.

    ``atom alone`` is E(0). The quadrature is exact for polynomials; otherwise nodes are added until its error is small,
    or there are 64.

    Args:
        potential: Any model.
        graph: The structures.
        group: A key of ``GROUPS``.
    """
    edges, config = ScaledEdges(potential.network, graph), potential.config
    name = GROUPS[group]
    labels = [[name(t, path) for path in paths] for t, paths in enumerate(edges.paths, 1)]
    names = list(dict.fromkeys(label for of_layer in labels for label in of_layer))
    numbers = [torch.tensor([names.index(label) for label in of_layer]) for of_layer in labels]

    def slope(s: float) -> Tensor:
        """∂E/∂λ of the edges that each atom receives, (n_nodes, groups)."""
        scale = torch.full((graph.n_nodes, len(names)), s, dtype=torch.float64, device=edges.Y.device)
        of_edges = scale.requires_grad_()[graph.receivers]
        E = edges.read(edges.features([of_edges[:, number] for number in numbers]), edges.readouts)
        return torch.autograd.grad(E.sum(), scale, materialize_grads=True)[0]

    with torch.no_grad():
        alone, whole = (edges.read(edges.features(s), edges.readouts) for s in (0.0, 1.0))
    change = of_structures(whole - alone, graph)
    exact = is_polynomial(config) and linear_parts(edges.readouts) == edges.readouts
    for n in [(highest_order(config, config.num_layers) + 1) // 2] if exact else NODES:
        s, weights = np.polynomial.legendre.leggauss(n)
        slopes = torch.stack([slope(0.5 + 0.5 * node) for node in s], dim=-1)
        parts = slopes @ torch.from_numpy(0.5 * weights).to(slopes.device)
        error = (of_structures(parts, graph).sum(dim=1) - change).abs()
        if error.max() <= TOLERANCE * change.abs().max():
            break
    method = f"nodes of Gauss and Legendre: {n}, {'exact for polynomials' if exact else 'not exact'}"
    terms = {"atom alone": alone} | dict(zip(names, parts.T, strict=True))
    return finished(potential, graph, terms, whole, method)


SPLITS: dict[str, Callable[[Potential, Graph], Split]] = {
    "order": by_order,
    "layer": by_layer,
    **{group: partial(by_group, group=group) for group in GROUPS},
}
"""Every way to split an energy, by name."""


def powers(polynomial: Callable[[complex], Tensor], degree: int) -> Tensor:
    r"""Separate the powers of λ in polynomials with real coefficients.

    .. math:: E^{(d)} = \frac{1}{n} \sum_{k=0}^{n-1} \lambda_k^{-d} E(\lambda_k), \qquad
              \lambda_k = e^{2 \pi i (k + 1/2) / n}, \quad n = D + 1

    λ_k and λ_{n-1-k} are conjugate, and so are their values: half of them are computed. λ = 1 is not among them, so
    that the sum of all orders can be compared with E(1). The matrix of the λ_k^d is unitary but for a factor: its
    condition number is 1.

    Args:
        polynomial: From λ to values (n_nodes,).
        degree: D, the largest power.

    Returns:
        Coefficients, (n_nodes, D + 1).
    """
    n = degree + 1
    found: list[Tensor] = []
    for k in range((n + 1) // 2):
        angle = 2j * np.pi * (k + 0.5) / n
        E = polynomial(complex(np.exp(angle)))
        share = (1 if 2 * k + 1 == n else 2) / n
        found.append((E[:, None] * torch.from_numpy(share * np.exp(-angle * np.arange(n))).to(E.device)).real)
    return sum(found[1:], found[0])


def highest_order(config: ModelConfig, depth: int) -> int:
    """Return the largest number of factors of edges in the features after ``depth`` layers."""
    factors = 0
    for _ in range(depth):
        factors = config.correlation * (factors + 1)
    return factors


def linear_parts(readouts: Readouts) -> Readouts:
    """Return what of each readout is linear; None where nothing is."""
    return [None if readout is None else readout.linear_part() for readout in readouts]


def is_polynomial(config: ModelConfig) -> bool:
    """Whether features are polynomials in what edges contribute."""
    return not nonlinear(config)


def nonlinear(config: ModelConfig) -> list[str]:
    """What acts on features of edges and is no polynomial of them; the first layer reads none."""
    layers = [config.of_layer(t) for t in range(config.num_layers)]
    found = {f"nonlinearity = {layer.nonlinearity}" for layer in layers if layer.nonlinearity != "none"}
    norms = {f"feature_norm = {layer.feature_norm}" for layer in layers[1:] if layer.feature_norm != "none"}
    return sorted(found | norms)


def check_polynomial(config: ModelConfig, linear: Readouts) -> None:
    """Refuse models of which no part is a polynomial in what edges contribute."""
    instead = f"Splits by {', '.join(name for name in SPLITS if name != 'order')} work for this model"
    if found := nonlinear(config):
        needed = " and ".join(dict.fromkeys(f"{field.partition(' = ')[0]} = none" for field in found))
        raise InputError(
            f"energies cannot be split by order: the model has {', '.join(found)}, so that they are no polynomial "
            f"in the contributions of edges. {instead}; one by order needs a model with {needed}."
        )
    if all(readout is None for readout in linear):
        raise InputError(
            "energies cannot be split by order: the only readout is not linear, so that all of it would be the "
            f"remainder. {instead}; models with readout = every, readout_width = 0 or an exponent of 1 can be split."
        )


def of_structures(atoms: Tensor, graph: Graph) -> Tensor:
    """Sum over the atoms of each structure, (n_nodes, ...) -> (n_graphs, ...)."""
    return atoms.new_zeros(graph.n_graphs, *atoms.shape[1:]).index_add(0, graph.node_graph, atoms)


def finished(
    potential: Potential, graph: Graph, terms: Mapping[str, Tensor], E: Tensor, method: str
) -> Split:
    """Return the split of a potential's energies, from terms of its network's and their sum E, (n_nodes,) each."""
    outside = {"E0": potential.isolated_energies[graph.species]}
    if potential.shift != 0:
        outside["shift"] = potential.shift.expand(graph.n_nodes)
    if potential.zbl is not None:
        outside["ZBL"] = potential.zbl(graph).detach()
    scaled = {name: potential.scale * term for name, term in terms.items()}
    atoms = torch.stack([*outside.values(), *scaled.values()], dim=1)
    energies, whole = of_structures(atoms, graph), sum(outside.values()) + potential.scale * E
    error = (energies.sum(dim=1) - of_structures(whole, graph)).abs().max()
    return Split((*outside, *scaled), atoms, energies, float(error), method)
