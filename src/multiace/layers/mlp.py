"""The perceptron of radial networks and readouts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from multiace import ops
from multiace.basis.irreps import Irrep, Irreps
from multiace.layers.activations import Activation
from multiace.layers.equivariant import LayerNorm

__all__ = ["MLP"]


class MLP(nn.Module):
    r"""Perceptron without biases, :math:`f(\dots f(x W_0 / \sqrt F)\, W_1 / \sqrt{n_1} \dots)\, W_L / \sqrt{n_L}`.

    Args:
        sizes: n_0 ... n_(L+1); two of them make a linear map.
        fan_in: F, how many inputs are not zero.
        activation: f.
        normalised: Whether hidden values are normalised before each activation.

    Same as e3nn's ``FullyConnectedNet``. Weights start unit normal and lie in one tensor.
    """

    def __init__(self, sizes: Sequence[int], fan_in: int, activation: str, normalised: bool = False):
        super().__init__()
        self.sizes, self.fan_in = list(sizes), fan_in
        self.weight = nn.Parameter(torch.randn(1, sum(n * m for n, m in pairwise(sizes))))
        self.activation = Activation(activation)
        self.irreps = [Irreps([(n, Irrep(0, 1))]) for n in (fan_in, *self.sizes[1:])]
        hidden = self.irreps[1:-1] if normalised else []
        self.norms = nn.ModuleList(LayerNorm(irreps) for irreps in hidden)

    def matrices(self) -> list[Tensor]:
        """W_l, (n_l, n_(l+1)) each: views of ``weight``."""
        shapes = list(pairwise(self.sizes))
        parts = self.weight[0].split([n * m for n, m in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def with_last(self, W: Tensor) -> Tensor:
        """Return the weights with another last matrix, (n_L, any number of outputs)."""
        return torch.cat([self.weight[:, : -self.sizes[-2] * self.sizes[-1]], W.reshape(1, -1)], dim=1)

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Map (n_rows, n_0) to (n_rows, n_(L+1)); with ``weight``, from :meth:`with_last`, to as many as it has."""
        sizes = self.sizes
        if weight is not None:
            *widths, n_L = self.sizes[:-1]
            before = sum(n * m for n, m in pairwise([*widths, n_L]))
            sizes = [*widths, n_L, (weight.shape[1] - before) // n_L]
        W = self.weight if weight is None else weight
        return ops.mlp(x, W, sizes, self.fan_in, self.activation, self.gains)

    @property
    def gains(self) -> list[Tensor]:
        """Gains and biases of each normalisation."""
        return [cast("LayerNorm", norm).weight for norm in self.norms]

    def first(self, x: Tensor, code: Tensor, W: Tensor) -> Tensor:
        """Map (n_rows, F) to (n_rows, n_1), with row ``code`` of matrices W (n_matrices, F n_1) in the place of W_0."""
        return ops.linear(x, W, code, *self.irreps[:2])

    def of(self, x: Tensor, *first: Tensor) -> Tensor:
        """Map (n_rows, n_0) to (n_rows, n_(L+1)); with ``code`` and W of :meth:`first`, (n_rows, F)."""
        if not first:
            return self(x)
        (n_0, *sizes), hidden = self.sizes, self.irreps[1]
        x, gains = self.first(x, *first), self.gains
        if len(sizes) == 1:
            return x
        if gains:
            x = ops.layer_norm(x, gains[0], hidden)
        x = ops.gate(x, hidden, self.activation, self.activation)  # there are scalars alone
        return ops.mlp(x, self.weight, sizes, sizes[0], self.activation, gains[1:], n_0 * sizes[0])
