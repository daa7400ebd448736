"""Radial functions as cubic splines: values and slopes on knots, for each pair of elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from multiace.basis.radial import PairedEmbedding, RadialEmbedding

__all__ = ["SplinedEmbedding", "hermite"]


def hermite(r: Tensor, table: Tensor, spacing: float, code: Tensor | None) -> Tensor:
    """Interpolate between knots; see :func:`multiace.ops.reference.interpolate`."""
    n_knots = table.shape[1]
    x = (r / spacing).clamp(max=n_knots - 1)
    k = x.detach().long().clamp(0, n_knots - 2)
    t = (x - k)[:, None]
    first = k if code is None else code * n_knots + k
    at, after = (table.flatten(0, 1).index_select(0, knot) for knot in (first, first + 1))
    step = after[:, 0] - at[:, 0]  # derivatives are made of it, not of values, and keep their digits
    return at[:, 0] + t * t * (3 - 2 * t) * step + t * (t - 1) * ((t - 1) * at[:, 1] + t * after[:, 1])


class SplinedEmbedding(nn.Module):
    r"""e_n(r) of each pair of elements by cubic Hermite splines; they start as those of another embedding.

    Values and slopes on the knots are kept with the weights, so that radial functions of another code, which are not
    among the choices here, are a table of numbers. The slope is continuous, the curvature is not.

    Args:
        embedding: What is tabulated, without anything to train.
        n_knots: Number of knots, the first at r = 0, the last at the cutoff.
        n_species: Number of elements.

    Attributes:
        values: (n_species², n_knots, 2, num_radial): e_n, and its slope times the spacing; z_j is the slower index of
            pairs, and both orders have the same functions. They stay float64, since slopes are differences of them.

    Has the interface of :class:`~multiace.basis.radial.RadialEmbedding`.
    """

    values: Tensor
    like: Tensor
    is_plain_bessel = False
    by_pair = True

    def __init__(self, embedding: RadialEmbedding | PairedEmbedding, n_knots: int, n_species: int) -> None:
        super().__init__()
        self.num_radial, self.cutoff, self.n_species = embedding.num_radial, embedding.cutoff, n_species
        self.spacing = self.cutoff / (n_knots - 1)
        r = torch.linspace(0.0, self.cutoff, n_knots, dtype=torch.float64)
        ends = torch.arange(n_species**2).repeat_interleave(n_knots)
        senders, receivers = ends // n_species, ends % n_species

        def e(r: Tensor) -> Tensor:
            return embedding(r, senders, receivers)

        r = r.clamp(min=1e-3 * self.spacing).repeat(n_species**2)
        value, slope = torch.func.jvp(e, (r,), (torch.ones_like(r),))[:2]
        values = torch.stack([value, self.spacing * slope], dim=1).unflatten(0, (n_species**2, n_knots))
        self.register_buffer("values", values)
        self.register_buffer("like", torch.zeros((), dtype=torch.float64), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to a device or type; values change the device alone."""
        values = self.values
        super()._apply(fn, recurse)
        self.values = values.to(self.like.device)
        return self

    def code(self, sender_species: Tensor, receiver_species: Tensor) -> Tensor:
        """Which table a pair reads."""
        return sender_species * self.n_species + receiver_species

    def forward(self, lengths: Tensor, sender_species: Tensor, receiver_species: Tensor) -> Tensor:
        """Evaluate on edges, as :meth:`~multiace.basis.radial.RadialEmbedding.forward`."""
        code = self.code(sender_species, receiver_species)
        return hermite(lengths.to(self.values.dtype), self.values, self.spacing, code).to(self.like.dtype)
