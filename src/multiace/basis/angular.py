"""Real spherical harmonics Y_lm of the edge directions."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from multiace.basis.coupling import clebsch_gordan

__all__ = ["SphericalHarmonics"]


class SphericalHarmonics(nn.Module):
    r"""Y_lm of unit vectors for l = 0..l_max, as monomials x^a y^b z^c of degree l times one constant matrix.

    The matrix follows from raising the degree one at a time,

    .. math:: Y_{00} = 1, \qquad
              Y_{l+1,m} = a_l \sum_{m_1 m_2} C^{l+1,m}_{l m_1, 1 m_2}\, Y_{l m_1} \hat r_{m_2},

    with a_l from the value sqrt(2l + 1) at the pole ŷ, where every m other than 0 vanishes.

    Convention: e3nn's. Degree by degree, m = -l..l within each, y as polar axis, so l = 1 is
    sqrt(3) (x, y, z); "component" normalisation, Σ_m Y_lm² = 2l + 1; degree l has parity (-1)^l.

    Args:
        l_max: Largest degree.
    """

    matrix: Tensor

    def __init__(self, l_max: int) -> None:
        super().__init__()
        self.l_max = l_max
        monomials: list[tuple[int, ...]] = [(0, 0, 0)]
        Y = torch.ones(1, 1, dtype=torch.float64)
        blocks = [Y]
        for degree in range(l_max):
            step, previous, Y_previous = _raising(degree), monomials, Y
            n = (degree + 2) * (degree + 3) // 2
            monomials, origins, Y = [], [], torch.zeros(n, 2 * degree + 3, dtype=torch.float64)
            for i, monomial in enumerate(previous):
                for axis in range(3):
                    raised = tuple(power + (axis == k) for k, power in enumerate(monomial))
                    if raised not in monomials:
                        monomials.append(raised)
                        origins.append((i, axis))
                    Y[monomials.index(raised)] += Y_previous[i] @ step[:, axis]
            blocks.append(Y)
            self.register_buffer(f"origins_{degree}", torch.tensor(origins).T, persistent=False)
        self.register_buffer("matrix", torch.block_diag(*blocks), persistent=False)

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
        # Edges along the rows' memory: selecting monomials then copies whole rows, which is faster.
        direction = direction.T.contiguous()  # [3, n_edges]
        monomials = [torch.ones_like(direction[:1])]
        for degree in range(self.l_max):
            parent, axis = self.get_buffer(f"origins_{degree}")
            monomials.append(monomials[-1].index_select(0, parent) * direction.index_select(0, axis))
        return torch.cat(monomials).T @ self.matrix.to(vectors.dtype)


def _raising(degree: int) -> Tensor:
    """a_l C of the recursion, shape (2l + 1, 3, 2l + 3)."""
    C = torch.from_numpy(clebsch_gordan(degree, 1, degree + 1).copy())
    at_pole = sqrt(2 * degree + 1) * C[degree, 1, degree + 1]
    return C * sqrt(2 * degree + 3) / at_pole
