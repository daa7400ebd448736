"""A radial basis that multiace does not have; example 6 uses it."""

import torch
from torch import Tensor, nn


class InversePowers(nn.Module):
    r"""Inverse powers of the distance, :math:`e_n(r) = (1 + r/r_0)^{-n}`, n = 1 .. N, with r_0 = r_c / 4.

    Args:
        num_radial: Number of functions N.
        cutoff: Cutoff radius r_c [Å]; the envelope is applied outside.
        trainable: Whether r_0 is a parameter.
    """

    def __init__(self, num_radial: int, cutoff: float, trainable: bool = False) -> None:
        super().__init__()
        self.num_radial = num_radial
        self.r0 = nn.Parameter(torch.tensor(cutoff / 4, dtype=torch.float64), requires_grad=trainable)

    def forward(self, r: Tensor) -> Tensor:
        """Evaluate at distances r [Å], shape (n_edges,); returns (n_edges, num_radial)."""
        powers = torch.arange(1, self.num_radial + 1, dtype=r.dtype, device=r.device)
        return (1 + r / self.r0)[:, None] ** -powers
