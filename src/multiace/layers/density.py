"""The one-particle basis φ and its sum over neighbours, the A-basis."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from multiace import ops
from multiace.basis.irreps import Irreps
from multiace.graph import Graph
from multiace.layers.equivariant import Linear
from multiace.layers.radial import RadialNetwork
from multiace.ops import ConvolutionPaths

__all__ = ["DENSITIES", "NEIGHBOR_NORMS", "ChannelwiseDensity", "FixedNorm", "FullDensity", "LearnedNorm"]


class ChannelwiseDensity(nn.Module):
    r"""A-basis whose channels stay apart until the linear mixing ("uvu").

    .. math:: A_{i,k,LM} = \frac{1}{\lambda} \sum_{k'\eta} W_{kk'\eta} \sum_{j \in N(i)}
              R_{k'\eta}(r_{ij}; z_i, z_j) \sum_{m_1 m_2} C^{LM}_{l_1 m_1, l_2 m_2}
              (W h_j)_{k',l_1 m_1} Y_{l_2 m_2}(\hat r_{ij})

    ==================  ============================  ==================================
    symbol              code                          shape
    ==================  ============================  ==================================
    W h_j               ``self.linear_up(h)``         (n_nodes, irreps_in.dim)
    R                   ``R``                         (n_edges or n_pairs, n_weights)
    A before mixing     ``ops.convolution(...)``      (n_nodes, paths.irreps_out.dim)
    λ                   ``self.norm``                 ()
    A                   return value                  (n_nodes, irreps_out.dim)
    ==================  ============================  ==================================

    Args:
        irreps_in: Irreps of h.
        irreps_out: Irreps of A, all of them reachable.
        l_max: Largest degree of Y.
        radial: Keyword arguments of :class:`RadialNetwork`, without ``n_weights``.
        norm: λ, what sums over neighbours are divided by.

    Source: NequIP (arXiv:2101.03164), BOTNet (arXiv:2205.06643). Paths are ordered by (l1, L, l2).
    """

    def __init__(self, irreps_in: Irreps, irreps_out: Irreps, l_max: int, radial: dict, norm: nn.Module):
        super().__init__()
        self.linear_up = Linear(irreps_in, irreps_in)
        self.paths = ConvolutionPaths(irreps_in, l_max, tuple(irreps_out.irreps))
        self.radial_network = RadialNetwork(n_weights=self.paths.n_weights, **radial)
        self.linear = Linear(self.paths.irreps_out, irreps_out)
        self.norm = norm

    def forward(self, h: Tensor, Y: Tensor, R: Tensor, graph: Graph) -> Tensor:
        """Return A, (n_nodes, irreps_out.dim)."""
        j, i = graph.senders, graph.receivers
        pairs = None if self.radial_network.per_edge else graph.pairs
        A = ops.convolution(self.linear_up(h), Y, R, j, i, self.paths, pairs, graph.order)
        return self.norm(self.linear(A))


class FullDensity(nn.Module):
    r"""A-basis that mixes all pairs of channels on each edge ("uvw").

    .. math:: A_{i,k,LM} = \frac{1}{\lambda} \sum_{j \in N(i)} \sum_{k'\eta} R_{kk'\eta}(r_{ij}; z_i, z_j)
              \sum_{m_1 m_2} C^{LM}_{l_1 m_1, l_2 m_2} (W h_j)_{k',l_1 m_1} Y_{l_2 m_2}(\hat r_{ij})

    There is a radial function for every pair of channels: K times the cost of :class:`ChannelwiseDensity`.
    Channels of h are repeated once per channel of A, so that the same convolution serves.

    Args: As of :class:`ChannelwiseDensity`.
    """

    def __init__(self, irreps_in: Irreps, irreps_out: Irreps, l_max: int, radial: dict, norm: nn.Module):
        super().__init__()
        self.linear_up = Linear(irreps_in, irreps_in)
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.paths = [
            ConvolutionPaths(Irreps((block.mul * mul, block.irrep) for block in irreps_in), l_max, (irrep,))
            for mul, irrep in irreps_out
        ]
        self.radial_network = RadialNetwork(n_weights=sum(p.n_weights for p in self.paths), **radial)
        self.norm = norm

    def forward(self, h: Tensor, Y: Tensor, R: Tensor, graph: Graph) -> Tensor:
        """Return A, (n_nodes, irreps_out.dim)."""
        j, i = graph.senders, graph.receivers
        pairs = None if self.radial_network.per_edge else graph.pairs
        h = self.linear_up(h)
        blocks = []
        parts = R.split([paths.n_weights for paths in self.paths], dim=1)
        for (mul, irrep), paths, R_part in zip(self.irreps_out, self.paths, parts, strict=True):
            repeated = torch.cat(
                [
                    h[:, part].unflatten(1, (in_.dim, -1)).repeat_interleave(mul, dim=2).flatten(1)
                    for in_, part in self.irreps_in.slices().items()
                ],
                dim=1,
            )
            A = ops.convolution(repeated, Y, R_part, j, i, paths, pairs, graph.order)
            A = A.unflatten(1, (irrep.dim, -1, mul))  # [n_nodes, M, (path, k'), k]
            blocks.append((A.sum(dim=2) * A.shape[2] ** -0.5).flatten(1))
        return self.norm(torch.cat(blocks, dim=1))


class FixedNorm(nn.Module):
    """Divide by a constant λ, kept with the weights."""

    value: Tensor

    def __init__(self, value: float):
        super().__init__()
        self.register_buffer("value", torch.tensor(value, dtype=torch.float64))

    def forward(self, A: Tensor) -> Tensor:
        """Return A / λ."""
        return A / self.value.to(A.dtype)


class LearnedNorm(nn.Module):
    """Divide by a trainable positive λ of this layer, which starts at the mean number of neighbours."""

    def __init__(self, value: float):
        super().__init__()
        self.log_value = nn.Parameter(torch.tensor(value, dtype=torch.float64).log())

    def forward(self, A: Tensor) -> Tensor:
        """Return A / λ."""
        return A * torch.exp(-self.log_value)


DENSITIES: dict[str, type[ChannelwiseDensity] | type[FullDensity]] = {
    "channelwise": ChannelwiseDensity,
    "full": FullDensity,
}
"""The density of each channel coupling but the complete one."""

NEIGHBOR_NORMS: dict[str, Callable[[float], nn.Module]] = {
    "mean": FixedNorm,
    "sqrt": lambda num_neighbors: FixedNorm(num_neighbors**0.5),
    "none": lambda num_neighbors: FixedNorm(1.0),
    "learned": LearnedNorm,
}
"""Choices of ``ModelConfig.neighbor_norm``: from the mean number of neighbours to λ."""
