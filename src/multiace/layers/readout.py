"""Readouts: from the invariant features of a layer to its part of the site energy."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn

from multiace import ops
from multiace.basis.irreps import Irrep, Irreps
from multiace.layers.mlp import MLP

__all__ = ["READOUT_FUNCTIONS", "FinnisSinclairReadout", "Readout"]


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

    def forward(self, h: Tensor, species: Tensor, weight: Tensor | None = None) -> Tensor:
        """Map h (n_nodes, irreps.dim) to energies (n_nodes, 1); z, (n_nodes,), is not looked at.

        With ``weight``, from :meth:`of_maps`, to (n_nodes, n_maps).
        """
        return self.mlp(h[:, self.scalars], weight)

    def linear_part(self) -> Self | None:
        """Return what of this is linear in h: all, or nothing."""
        return self if len(self.mlp.sizes) == 2 else None

    parameter = "mlp.weight"
    """Name of the parameter that has the last map."""

    @property
    def n_columns(self) -> int:
        """Number of coefficients of the last map."""
        return self.mlp.sizes[-2]

    def of_maps(self, c: Tensor) -> Tensor:
        """Return the weight of several last maps, (n_columns, n_maps)."""
        return self.mlp.with_last(c)

    def coefficients(self, weight: Tensor) -> Tensor:
        """Return the last map, (..., n_columns), of weights (..., 1, n_weights)."""
        return weight[..., 0, -self.n_columns :]

    def weights(self, c: Tensor) -> Tensor:
        """Return weights with last maps c, (..., n_columns)."""
        before = self.mlp.weight.detach()[:, : -self.n_columns].to(c)
        c = c.unsqueeze(-2)
        return torch.cat([before.expand(*c.shape[:-1], -1), c], dim=-1)


class FinnisSinclairReadout(nn.Module):
    r"""Part of the site energy from the invariants of h as densities of Finnis and Sinclair.

    .. math:: E_i = \frac{1}{\sqrt P} \sum_{p=1}^P w_p(z_i)\, F(\rho_{i,p}; m_p), \qquad \rho_{i,p} = h_{i,p00}

    F(ρ; m) goes as sgn(ρ) \|ρ\|^m, with a finite slope at zero, and F(ρ; 1) = ρ: see
    :func:`multiace.ops.reference.finnis_sinclair`.

    Args:
        irreps: Irreps of h, with P invariants.
        exponents: m, one for all densities or one for each.
        n_species: Number of elements; weights of each start at 1.

    An atom whose densities are zero has no energy.

    Source: Bochkarev et al. (Phys. Rev. Materials 6, 013804); there w and m are given, here w is trained.
    """

    def __init__(self, irreps: Irreps, exponents: Sequence[float], n_species: int):
        super().__init__()
        self.scalars = irreps.slices()[Irrep(0, 1)]
        channels = irreps.mul("0e")
        self.exponents = tuple(exponents) * (channels if len(exponents) == 1 else 1)
        self.irreps_in, self.irreps_out = (Irreps([(n, Irrep(0, 1))]) for n in (channels, 1))
        self.weight = nn.Parameter(torch.ones(n_species, channels))

    def forward(self, h: Tensor, species: Tensor, weight: Tensor | None = None) -> Tensor:
        """Map h (n_nodes, irreps.dim) and z (n_nodes,) to energies (n_nodes, 1).

        With ``weight``, from :meth:`of_maps`, to (n_nodes, n_maps).
        """
        F = ops.finnis_sinclair(h[:, self.scalars], self.exponents)
        if weight is None:
            return ops.linear(F, self.weight, species, self.irreps_in, self.irreps_out)
        irreps_out = Irreps([(weight.shape[1] // self.weight.shape[1], Irrep(0, 1))])
        return ops.linear(F, weight, species, self.irreps_in, irreps_out)

    def linear_part(self) -> Self | None:
        """Return what of this is linear in h: the densities of exponent 1, if there are any."""
        linear = [m == 1 for m in self.exponents]
        if all(linear) or not any(linear):
            return self if any(linear) else None
        part = deepcopy(self)
        part.exponents = (1,) * len(linear)
        part.weight.data *= torch.tensor(linear, device=part.weight.device)
        return part

    parameter = "weight"
    """Name of the parameter that has the last map."""

    @property
    def n_columns(self) -> int:
        """Number of weights: of every density of every element."""
        return self.weight.numel()

    def of_maps(self, c: Tensor) -> Tensor:
        """Return the weight of several last maps, (n_columns, n_maps)."""
        return c.reshape(len(self.weight), -1)

    def coefficients(self, weight: Tensor) -> Tensor:
        """Return the weights (..., n_species, P) as (..., n_columns)."""
        return weight.flatten(-2)

    def weights(self, c: Tensor) -> Tensor:
        """Return weights of c, (..., n_columns)."""
        return c.unflatten(-1, self.weight.shape)


READOUT_FUNCTIONS: dict[str, type[nn.Module]] = {"mlp": Readout, "finnis_sinclair": FinnisSinclairReadout}
"""Choices of ``ModelConfig.readout_function``: how the last layer is read."""
