"""Conversions between this library's features, channel last in each block, and e3nn's, component last."""

import torch

from multiace.basis.irreps import Irreps


def to_e3nn(x: torch.Tensor, irreps: Irreps) -> torch.Tensor:
    """(2l + 1, mul) blocks -> (mul, 2l + 1) blocks, of features (n, irreps.dim)."""
    return torch.cat(
        [x[:, part].unflatten(1, (irrep.dim, -1)).mT.flatten(1) for irrep, part in irreps.slices().items()],
        dim=1,
    )


def from_e3nn(x: torch.Tensor, irreps: Irreps) -> torch.Tensor:
    """(mul, 2l + 1) blocks -> (2l + 1, mul) blocks."""
    return torch.cat(
        [x[:, part].unflatten(1, (-1, irrep.dim)).mT.flatten(1) for irrep, part in irreps.slices().items()],
        dim=1,
    )
