"""Readouts: from the invariant features of a layer to its part of the site energy."""

from __future__ import annotations

from torch import Tensor, nn

from multiace.basis.irreps import Irrep, Irreps
from multiace.layers.mlp import MLP

__all__ = ["Readout"]


class Readout(nn.Module):
    r"""Part of the site energy from the invariants (0e) of h.

    .. math:: E_i^t = \frac{1}{\sqrt K} \sum_k w_k h^t_{i,k00} \quad\text{or}\quad
              E_i^t = \frac{1}{\sqrt{K'}} \sum_{k'} w_{k'} f\!\left(\tfrac{1}{\sqrt K}
              \sum_k W_{kk'} h^t_{i,k00}\right)

    Args:
        irreps: Irreps of h.
        width: K', hidden width; 0 for the linear readout.
        activation: f.

    Without biases: an atom whose features are zero has no energy.
    """

    def __init__(self, irreps: Irreps, width: int, activation: str):
        super().__init__()
        self.scalars = irreps.slices()[Irrep(0, 1)]
        channels = irreps.mul("0e")
        self.mlp = MLP([channels, width, 1] if width else [channels, 1], channels, activation)

    def forward(self, h: Tensor) -> Tensor:
        """Map h (n_nodes, irreps.dim) to energies (n_nodes, 1)."""
        return self.mlp(h[:, self.scalars])
