r"""The expensive operations in plain PyTorch: this file is their definition.

Every operation is differentiable to any order, works in float32 and float64, on any device, and on empty
inputs. Faster twins have the same signatures and are tested against these.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from multiace.basis.coupling import clebsch_gordan
from multiace.basis.irreps import Irrep, Irreps
from multiace.basis.spline import hermite
from multiace.ops.paths import ConvolutionPaths, ProductBlocks, ProductPaths, gate_irreps, linear_blocks
from multiace.ops.recursion import Monomials

__all__ = [
    "convolution",
    "density",
    "finnis_sinclair",
    "gate",
    "interpolate",
    "layer_norm",
    "linear",
    "mlp",
    "piecewise",
    "polynomial",
    "symmetric_product",
]


NORM_EPSILON = 1e-4
"""ε of :func:`layer_norm`."""


class Activation(Protocol):
    """A scaled function of numbers: ``name`` says which, ``scale`` is its factor."""

    name: str
    scale: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Apply elementwise."""


def convolution(
    h: Tensor,
    Y: Tensor,
    R: Tensor,
    senders: Tensor,
    receivers: Tensor,
    paths: ConvolutionPaths,
    pairs: tuple[Tensor, Tensor] | None = None,
    order: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    r"""Sum the one-particle basis over neighbours.

    .. math:: A_{i,k\eta,LM} = \sum_{j} R_{k\eta}(r_{ij}) \sum_{m_1 m_2}
              C^{LM}_{l_1 m_1, l_2 m_2}\, h_{j,k,l_1 m_1} Y_{l_2 m_2}(\hat r_{ij})

    C is contracted with Y first, since that part is shared by all channels.

    ==================  ========================  ==============================
    symbol              code                      shape
    ==================  ========================  ==============================
    h_j                 ``h[senders]``            (n_edges, irreps_in.dim)
    Y                   ``Y``                     (n_edges, (l_max + 1)²)
    Σ_m2 C Y            ``coupled``               (n_edges, (2L + 1) paths, 2l1 + 1)
    R                   ``R``                     (n_edges, n_weights)
    A                   return value              (n_nodes, irreps_out.dim)
    ==================  ========================  ==============================

    Args:
        h: Features of the nodes, (n_nodes, irreps_in.dim), channel last in each block.
        Y: Spherical harmonics of the edges, (n_edges, (l_max + 1)²).
        R: Radial weights, (n_edges or n_pairs, n_weights) in the order of ``paths``.
        senders: j, (n_edges,).
        receivers: i, (n_edges,), ascending.
        paths: The paths and the layout.
        pairs: Where both edges of a pair share a row of R: the edges of each pair (n_pairs, 2), and the pair
            of each edge (n_edges,).
        order: The first edge of each receiver, and the number of edges, (n_nodes + 1,); and the edge i -> j of each
            edge j -> i, (n_edges,). They change no number, but spare a GPU searching and sorting.

    Returns:
        A, (n_nodes, paths.irreps_out.dim).
    """
    n_nodes, n_edges = h.shape[0], senders.shape[0]
    if pairs is not None:
        R = R.index_select(0, pairs[1])
    pooled: dict[Irrep, list[Tensor]] = {irrep: [] for irrep in paths.irreps_out.irreps}
    slices = paths.irreps_in.slices()
    h_senders = h.index_select(0, senders)
    for irrep_in, C in _coupling_with_Y(paths, h.dtype, h.device).items():
        groups = [g for g in paths.groups if g.irrep_in == irrep_in]
        h_in = h_senders[:, slices[irrep_in]].view(n_edges, irrep_in.dim, groups[0].mul)
        coupled = (Y @ C).unflatten(1, (-1, irrep_in.dim))
        product = torch.bmm(coupled, h_in)  # [n_edges, (L, M, path), channel]
        widths = [g.irrep_out.dim * len(g.l2s) for g in groups]
        for group, part in zip(groups, product.split(widths, dim=1), strict=True):
            weights = R[:, group.weights].unsqueeze(1)  # [n_edges, 1, (path, channel)]
            one_particle = part.unflatten(1, (group.irrep_out.dim, -1)).flatten(2) * weights
            A = h.new_zeros(n_nodes, *one_particle.shape[1:]).index_add(0, receivers, one_particle)
            pooled[group.irrep_out].append(A)
    blocks = [torch.cat(parts, dim=-1).flatten(1) for parts in pooled.values()]
    return torch.cat(blocks, dim=-1)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is kept must serve training too
def _coupling_with_Y(
    paths: ConvolutionPaths, dtype: torch.dtype, device: torch.device
) -> dict[Irrep, Tensor]:
    """Matrices (n_Y, Σ (L, M, path, m1)) for each irrep of h, so that Σ_m2 C Y is ``Y @ matrix``."""
    n_Y = (paths.l_max + 1) ** 2
    columns: dict[Irrep, list[np.ndarray]] = {}
    for group in paths.groups:
        l1, L = group.irrep_in.l, group.irrep_out.l
        block = np.zeros((n_Y, 2 * L + 1, len(group.l2s), 2 * l1 + 1))
        for path, l2 in enumerate(group.l2s):
            C = clebsch_gordan(l1, l2, L)  # [m1, m2, M]
            block[l2**2 : (l2 + 1) ** 2, :, path, :] = C.transpose(1, 2, 0)
        columns.setdefault(group.irrep_in, []).append(block.reshape(n_Y, -1))
    return {
        irrep: torch.from_numpy(np.concatenate(blocks, axis=1)).to(device=device, dtype=dtype)
        for irrep, blocks in columns.items()
    }


def symmetric_product(A: Tensor, W: Tensor, species: Tensor | None, paths: ProductPaths) -> Tensor:
    r"""Weighted sum of all symmetrised products of up to ν factors of the same channel.

    .. math:: m_{i,k,LM} = \sum_{\mu} c_{\mu M k}(z_i) \prod_{\xi} A_{i,k,f_{\mu\xi}}, \qquad
              c_{\mu M k}(z) = \sum_\eta W_{k\eta}(z)\, C^{LM}_{\eta\mu}

    The coefficients c are made once for all atoms of an element: m is a polynomial in A.

    ==================  ========================  ====================================
    symbol              code                      shape
    ==================  ========================  ====================================
    Π A                 ``monomials``             (n_nodes, n_monomials, channels)
    c                   ``coefficients``          (n_matrices, n_entries, channels)
    ==================  ========================  ====================================

    Args:
        A: (n_nodes, components, channels), the components of all irreps of A one after another.
        W: (n_matrices, n_paths, channels), in the order of ``paths``.
        species: Which row of W a node takes, (n_nodes,); None takes the first for all.
        paths: The products and the layout.

    Returns:
        m, (n_nodes, components of m, channels).
    """
    factors, monomial, component, entry, path, C = _polynomial(paths, A.dtype, A.device)
    powers = torch.cat([A, torch.ones_like(A[:, :1])], dim=1)  # the last one pads monomials of low degree
    monomials = powers.index_select(1, factors[:, 0])
    for factor in factors.T[1:]:
        monomials = monomials * powers.index_select(1, factor)
    terms = W.index_select(1, path) * C[:, None]
    coefficients = W.new_zeros(W.shape[0], len(monomial), W.shape[2]).index_add(1, entry, terms)
    c = coefficients if species is None else coefficients.index_select(0, species)
    m = A.new_zeros(A.shape[0], sum(irrep.dim for irrep in paths.targets), A.shape[2])
    return m.index_add(1, component, c * monomials.index_select(1, monomial))


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _polynomial(paths: ProductPaths, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """The arrays of ``paths.polynomial`` as tensors; factor -1 becomes the number of components."""
    *indices, values = paths.polynomial
    indices[0] = np.where(indices[0] < 0, sum(irrep.dim for irrep in paths.irreps_in), indices[0])
    tensors = (torch.tensor(array, dtype=torch.int64, device=device) for array in indices)
    return *tensors, torch.tensor(values, dtype=dtype, device=device)


def linear(x: Tensor, W: Tensor, species: Tensor | None, irreps_in: Irreps, irreps_out: Irreps) -> Tensor:
    r"""Mix the channels of equal irreps, with a matrix for each irrep and element.

    .. math:: y_{i,lm,k'} = \frac{1}{\sqrt{K_l}} \sum_k x_{i,lm,k} W^l_{kk'}(z_i), \quad
              K_l \text{ the channels of } x

    Args:
        x: (n_nodes, irreps_in.dim), channel last in each block.
        W: (n_matrices, Σ channels in x channels out), the matrices of all irreps that both sides have, in the
            order of ``irreps_out``.
        species: Which row of W a node takes, (n_nodes,); None takes the first for all.
        irreps_in: Irreps of x; those that y lacks are not used.
        irreps_out: Irreps of y; those that x lacks are zero.

    Returns:
        y, (n_nodes, irreps_out.dim).
    """
    y = {irrep: x.new_zeros(x.shape[0], irrep.dim * mul) for mul, irrep in irreps_out}
    for block in linear_blocks(irreps_in, irreps_out):
        matrices = W[:, block.weights].unflatten(1, (block.mul_in, block.mul_out))
        matrix = matrices[0] if species is None else matrices.index_select(0, species)
        part = x[:, block.x].unflatten(1, (block.irrep.dim, block.mul_in))
        y[block.irrep] = (part @ (matrix * block.mul_in**-0.5)).flatten(1)
    return torch.cat(list(y.values()), dim=1)


def mlp(
    x: Tensor,
    W: Tensor,
    sizes: Sequence[int],
    fan_in: int,
    activation: Activation,
    norms: Sequence[Tensor] = (),
    start: int = 0,
) -> Tensor:
    r"""Perceptron without biases.

    .. math:: h_1 = \frac{x W_0}{\sqrt{F}}, \qquad h_{l+1} = \frac{f(N_l(h_l))\, W_l}{\sqrt{n_l}}

    Args:
        x: (n_rows, n_0).
        W: The matrices (n_l, n_(l+1)) one after another, (1, start + Σ n_l n_(l+1)).
        sizes: n_0 ... n_L.
        fan_in: F, how many inputs of a row are not zero.
        activation: f, scaled to unit second moment.
        norms: Gains and biases of the normalisation N of each hidden layer, (1, 2 n_l) each; none: N is the identity.
        start: Where W_0 begins in W.

    Returns:
        h_L, (n_rows, n_L).
    """
    shapes = list(pairwise(sizes))
    parts = W[0, start:].split([n * m for n, m in shapes])
    for layer, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
        if layer > 0:
            if norms:
                x = layer_norm(x, norms[layer - 1], Irreps([(shape[0], Irrep(0, 1))]))
            x = activation(x)
        x = x @ (part.view(shape) * (shape[0] if layer > 0 else fan_in) ** -0.5)
    return x


def density(
    h: Tensor,
    Y: Tensor,
    R: Tensor,
    senders: Tensor,
    receivers: Tensor,
    products: ProductBlocks,
    pairs: tuple[Tensor, Tensor] | None,
    order: tuple[Tensor, Tensor],
) -> Tensor:
    r"""Sum products of radial functions and spherical harmonics over neighbours, apart for each attribute of theirs.

    .. math:: A_{i,pd} = \sum_{j} h_{j,d}\, R_{q_p}(r_{ij})\, Y_{(lm)_p}(\hat r_{ij})

    Args:
        h: Attributes of the nodes, (n_nodes, n_h).
        Y: Spherical harmonics of the edges, (n_edges, (l_max + 1)²).
        R: Radial functions, (n_edges or n_pairs, n_R).
        senders: j, (n_edges,).
        receivers: i, (n_edges,), ascending.
        products: lm and q of the products p: blocks of one lm with ``n`` values of q, from ``q`` on.
        pairs: As in :func:`convolution`.
        order: As in :func:`convolution`.

    Returns:
        A, (n_nodes, number of p x n_h).
    """
    if pairs is not None:
        R = R.index_select(0, pairs[1])
    blocks = [Y[:, lm : lm + 1] * R[:, q : q + n] for lm, q, n in products]
    terms = torch.cat(blocks, dim=1)[:, :, None] * h.index_select(0, senders)[:, None, :]
    return h.new_zeros(len(h), *terms.shape[1:]).index_add(0, receivers, terms).flatten(1)


def piecewise(
    vectors: Tensor,
    tables: Tensor,
    cutoff: float,
    species: Tensor | None,
    senders: Tensor,
    receivers: Tensor,
    pairs: tuple[Tensor, Tensor],
) -> Tensor:
    r"""Radial functions that are polynomials between knots.

    .. math:: R(r) = \sum_p C_{kp}\, u^p, \quad u = 2 (r / s - k) - 1, \quad r = |\mathbf r_{ij}|

    Args:
        vectors: Edge vectors, (n_edges, 3) [Å].
        tables: C of each interval, (n_tables, n_intervals, n_powers, n_R).
        cutoff: End of the last interval [Å], behind which R is zero.
        species: z, (n_nodes,): a pair reads table z_j √n_tables + z_i; None: all read the first.
        senders: j, (n_edges,).
        receivers: i, (n_edges,).
        pairs: The edges of each pair, of which the first is read, and the pair of each edge.

    Returns:
        R, (n_pairs, n_R).
    """
    n_tables, n_intervals, n_powers, _ = tables.shape
    edges = pairs[0][:, 0]
    v = vectors.index_select(0, edges)
    squared = v.square().sum(dim=1)
    r = squared.where(squared > 0, 1.0).sqrt() * (squared > 0)
    at = r * (n_intervals / cutoff)
    k = at.detach().long().clamp(max=n_intervals - 1)
    u = 2.0 * (at - k) - 1.0
    inside = (at < n_intervals).to(u.dtype)
    if species is not None:
        z_j, z_i = species[senders[edges]], species[receivers[edges]]
        k = k + n_intervals * (z_j * round(n_tables**0.5) + z_i)
    C = tables.flatten(0, 1).index_select(0, k)
    value = C[:, -1]
    for p in range(n_powers - 2, -1, -1):
        value = value * u[:, None] + C[:, p]
    return value * inside[:, None]


def polynomial(A: Tensor, W: Tensor, species: Tensor | None, monomials: Monomials) -> Tensor:
    r"""Sums of monomials of all components, those of linear ACE.

    .. math:: m_{i,k} = \sum_t W_{tk}(z_i) \prod_{\xi=1}^{\nu} A_{i,f_{t\xi}}

    Args:
        A: (n_nodes, components).
        W: (n_species or 1, monomials, channels); one where each species has monomials of its own.
        species: z, (n_nodes,); None: all nodes take the first matrix.
        monomials: With the factors f.

    Returns:
        m, (n_nodes, channels).
    """
    lists = monomials.lists
    if species is not None and len(lists) > 1:
        m = A.new_zeros(len(A), W.shape[2])
        for z, part in enumerate(lists):
            nodes = (species == z).nonzero().squeeze(1)
            products = _products(A.index_select(0, nodes), monomials.factors[part])
            m = m.index_add(0, nodes, products @ W[0, part])
        return m
    products = _products(A, monomials.factors)
    if species is None:
        return products @ W[0]
    n_species, _, channels = W.shape
    of_all = (products @ W.transpose(0, 1).flatten(1)).view(len(A), n_species, channels)
    return of_all[torch.arange(len(A), device=A.device), species]


def _products(A: Tensor, factors: Tensor) -> Tensor:
    """Monomials of A (n_nodes, components), (n_nodes, n)."""
    padded = torch.cat([A, A.new_ones(len(A), 1)], dim=1)  # its last column stands for what is not there
    first, *others = factors.unbind(1)
    products = padded[:, first]
    for factor in others:
        products = products * padded[:, factor]
    return products


def gate(x: Tensor, irreps_out: Irreps, activation: Activation, odd_activation: Activation) -> Tensor:
    r"""NequIP's gate: scalars through activations, every other irrep times an activated scalar.

    .. math:: s_e \to f(s_e), \quad s_o \to g(s_o), \quad x_{lm,k} \to f(s_{lk})\, x_{lm,k}

    Args:
        x: (n_nodes, gate_irreps(irreps_out).dim).
        irreps_out: Irreps of the result.
        activation: f, of invariants and gates.
        odd_activation: g, of pseudoscalars.

    Returns:
        (n_nodes, irreps_out.dim).
    """
    slices = gate_irreps(irreps_out).slices()
    n_scalars = gate = irreps_out.mul("0e")
    scalars = activation(x[:, slices[Irrep(0, 1)]])
    blocks = []
    for mul, irrep in irreps_out:
        if irrep.is_scalar:
            blocks.append(scalars[:, :n_scalars])
        elif irrep.l == 0:
            blocks.append(odd_activation(x[:, slices[irrep]]))
        else:
            part = x[:, slices[irrep]].unflatten(1, (irrep.dim, mul))
            blocks.append((part * scalars[:, None, gate : gate + mul]).flatten(1))
            gate += mul
    return torch.cat(blocks, dim=1)


def layer_norm(x: Tensor, W: Tensor, irreps: Irreps) -> Tensor:
    r"""Layer normalisation of irreps: invariants to zero mean and unit variance, all others by one factor.

    .. math:: s_k \to a_k \frac{s_k - \bar s}{\sqrt{\overline{(s - \bar s)^2} + \epsilon}} + b_k, \qquad
              x_{lm,k} \to a_{lk} \frac{x_{lm,k}}{\sqrt{\sigma^2 + \epsilon}}, \qquad
              \sigma^2 = \Bigl\langle \overline{x_{lm,k}^2} \Bigr\rangle_l

    A bar is the mean over channels and components, the bracket that over all irreps but 0e. With ε = 10⁻⁴ derivatives
    are finite where features vanish; zero remains zero, but for the biases.

    Args:
        x: (n_nodes, irreps.dim), channel last in each block, with invariants s (0e) and other irreps.
        W: Gains a of all channels, in the order of ``irreps``, and biases b of the invariants,
            (1, :func:`~multiace.ops.paths.n_norm_weights`).
        irreps: Irreps of x.

    Returns:
        Of the shape of x.
    """
    *gains, biases = W.split([*(mul for mul, _ in irreps), irreps.mul("0e")], dim=1)
    parts = [x[:, part].unflatten(1, (irrep.dim, -1)) for irrep, part in irreps.slices().items()]
    scalar = [irrep.is_scalar for irrep in irreps.irreps]
    parts = [y - y.mean(dim=2, keepdim=True) if is_0e else y for y, is_0e in zip(parts, scalar, strict=True)]
    squares = [y.square().mean(dim=(1, 2), keepdim=True) for y in parts]
    others = [square for square, is_0e in zip(squares, scalar, strict=True) if not is_0e]
    blocks = []
    for y, gain, square, is_0e in zip(parts, gains, squares, scalar, strict=True):
        variance = square if is_0e else torch.stack(others).mean(dim=0)
        y = gain * y * (variance + NORM_EPSILON).rsqrt()
        blocks.append((y + biases if is_0e else y).flatten(1))
    return torch.cat(blocks, dim=1)


def finnis_sinclair(x: Tensor, exponents: Sequence[float]) -> Tensor:
    r"""Power of a density, odd and with a finite slope at zero; each column has its exponent.

    .. math:: F(x; m) = \operatorname{sgn}(x) \left[ (a + x_m e^{-a})^m - y_m e^{-a} \right], \quad a = |x|, \quad
              x_m = m^{-1/(m - 1)}, \quad y_m = m^{-m/(m - 1)}

    F(x; 1) = x; for other m the second derivative jumps at zero.

    Args:
        x: (n_nodes, n).
        exponents: m of each column, above 0.

    Returns:
        F, (n_nodes, n).

    Source: Bochkarev et al. (Phys. Rev. Materials 6, 013804): pacemaker's ``FinnisSinclairShiftedScaled``.
    """
    columns = []
    for part, m in zip(x.unbind(1), exponents, strict=True):
        if m == 1:
            columns.append(part)
            continue
        offset = m ** (-1 / (m - 1))
        sign = torch.where(part < 0, -1.0, 1.0).to(part.dtype)
        a = sign * part
        decay = torch.exp(-a)
        columns.append(sign * ((a + offset * decay) ** m - offset**m * decay))
    return torch.stack(columns, dim=1)


def interpolate(r: Tensor, table: Tensor, spacing: float, code: Tensor | None) -> Tensor:
    r"""Radial weights between knots, by cubic Hermite interpolation; their slope is continuous.

    .. math:: R(r) = H_{00}(t) R_k + H_{10}(t) R'_k + H_{01}(t) R_{k+1} + H_{11}(t) R'_{k+1},
              \quad t = r / s - k

    Args:
        r: (n_pairs,) [Å].
        table: (n_tables, n_knots, 2, n_weights): at each knot R and its slope times the spacing.
        spacing: s, distance between knots [Å]; the first is at r = 0. Beyond the last one R is constant.
        code: Which table a pair reads, (n_pairs,); None takes the first for all.

    Returns:
        R, (n_pairs, n_weights).
    """
    return hermite(r, table, spacing, code)
