"""Rotations and reflections, and how features turn with them."""

from functools import cache

import numpy as np
import torch

from multiace.basis.angular import SphericalHarmonics
from multiace.basis.irreps import Irrep, Irreps


@cache
def orthogonal(seed: int, determinant: int) -> torch.Tensor:
    """A random rotation (determinant 1) or rotation with reflection (-1), (3, 3) float64."""
    Q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return torch.from_numpy(Q * determinant * np.sign(np.linalg.det(Q)))


def matrix(irrep: Irrep, Q: torch.Tensor) -> torch.Tensor:
    """D of one irrep, from Y(R r) = D(R) Y(r); the inversion multiplies by the parity."""
    determinant = torch.linalg.det(Q).round()
    points = torch.randn(4 * irrep.dim, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    Y, Y_turned = (
        SphericalHarmonics(irrep.l)(r, r.norm(dim=1))[:, -irrep.dim :]
        for r in (points, points @ (determinant * Q).T)
    )
    return torch.linalg.lstsq(Y, Y_turned).solution.T * (irrep.p if determinant < 0 else 1)


def turn(x: torch.Tensor, irreps: Irreps, Q: torch.Tensor) -> torch.Tensor:
    """Features (n, irreps.dim) of a structure whose vectors are turned by Q."""
    blocks = []
    for (mul, irrep), part in zip(irreps, irreps.slices().values(), strict=True):
        blocks.append((matrix(irrep, Q) @ x[:, part].unflatten(1, (irrep.dim, mul))).flatten(1))
    return torch.cat(blocks, dim=1)
