"""A radial basis that multiace does not have; example 6 uses it."""

from math import exp

import torch
from torch import Tensor, nn


class ExponentialGaussians(nn.Module):
    r"""Gaussians of :math:`e^{-r}`: narrow at short distances, wide at long ones.

    .. math:: e_n(r) = \exp\bigl(-\beta_n (e^{-r} - \mu_n)^2\bigr), \qquad
              \mu_n \text{ from } e^{-r_c} \text{ to } 1, \quad \beta_n = \bigl[\tfrac{2}{N} (1 - e^{-r_c})\bigr]^{-2}

    Args:
        num_radial: Number of functions N.
        cutoff: Cutoff radius r_c [Å]; the envelope is applied outside.
        trainable: Whether μ and β are parameters.

    Source: PhysNet (Unke and Meuwly, arXiv:1902.08408), eq. 7.
    """

    def __init__(self, num_radial: int, cutoff: float, trainable: bool = False) -> None:
        super().__init__()
        last = exp(-cutoff)
        centres = torch.linspace(last, 1.0, num_radial, dtype=torch.float64)
        betas = torch.full_like(centres, (2.0 / num_radial * (1.0 - last)) ** -2)
        self.centres = nn.Parameter(centres, requires_grad=trainable)
        self.betas = nn.Parameter(betas, requires_grad=trainable)

    def forward(self, r: Tensor) -> Tensor:
        """Evaluate at distances r [Å], shape (n_edges,); returns (n_edges, num_radial)."""
        return torch.exp(-self.betas * (torch.exp(-r)[:, None] - self.centres) ** 2)
