r"""Real spherical harmonics Y_lm of the edge directions."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from multiace.basis.coupling import clebsch_gordan

__all__ = ["SphericalHarmonics"]


class SphericalHarmonics(nn.Module):
    r"""Y_lm of unit vectors for l = 0..l_max, by raising the degree one at a time.

    .. math:: Y_{00} = 1, \qquad
              Y_{l+1,m} = a_l \sum_{m_1 m_2} C^{l+1,m}_{l m_1, 1 m_2}\, Y_{l m_1} \hat r_{m_2}

    The a_l follow from the value sqrt(2l + 1) at the pole ŷ, where every m other than 0 vanishes.

    Convention: e3nn's. Degree by degree, m = -l..l within each, y as polar axis, so l = 1 is
    sqrt(3) (x, y, z); "component" normalisation, Σ_m Y_lm² = 2l + 1; degree l has parity (-1)^l.

    Args:
        l_max: Largest degree.
    """

    def __init__(self, l_max: int) -> None:
        super().__init__()
        self.l_max = l_max
        for degree in range(l_max):
            C = torch.from_numpy(clebsch_gordan(degree, 1, degree + 1).copy())
            pole = sqrt(2 * degree + 1) * C[degree, 1, degree + 1]
            step = C.flatten(0, 1) * sqrt(2 * degree + 3) / pole  # [(2l + 1) 3, 2l + 3]
            self.register_buffer(f"step_{degree}", step, persistent=False)

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Evaluate on edges.

        Args:
            vectors: Edge vectors [Å], shape (n_edges, 3).
            lengths: Their lengths [Å], shape (n_edges,). An edge of length zero (padding) has no
                direction: its Y is 1 for l = 0 and 0 for all other l, and its gradient is finite.

        Returns:
            Y, shape (n_edges, (l_max + 1)²), in the dtype of ``vectors``.
        """
        direction = vectors / lengths.where(lengths > 0, 1.0)[:, None]
        Y = [torch.ones_like(direction[:, :1])]
        for degree in range(self.l_max):
            step = self.get_buffer(f"step_{degree}").to(vectors.dtype)
            Y.append((Y[-1][:, :, None] * direction[:, None, :]).flatten(1) @ step)
        return torch.cat(Y, dim=1)
