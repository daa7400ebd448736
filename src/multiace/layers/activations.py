"""Scalar activations, each scaled so that its output has unit second moment on unit normal input."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from multiace.config import choose
from multiace.errors import InputError

__all__ = ["ACTIVATIONS", "ODD_ACTIVATIONS", "Activation"]


def shifted_softplus(x: Tensor) -> Tensor:
    """SchNet's activation, ln(1 + eˣ) - ln 2."""
    return functional.softplus(x, threshold=40.0) - float(np.log(2.0))  # smooth to float64


class Activation(nn.Module):
    r"""Scaled activation :math:`c f(x)` with :math:`c = \langle f(x)^2 \rangle^{-1/2}` for normal x.

    Args:
        name: A key of ``ACTIVATIONS`` (if ``odd``, of ``ODD_ACTIVATIONS``), or ``package.module:function``.
        odd: Whether f must be odd, for pseudoscalars.

    Raises:
        InputError: If f(0) is not 0: radial weights would not end at the cutoff, and an atom without
            neighbours would have an energy.

    The scale is a buffer, so that a model carried over from another code keeps that code's constant
    (e3nn estimates c from 10⁶ random numbers; here it is integrated exactly).
    """

    scale: Tensor

    def __init__(self, name: str, odd: bool = False):
        super().__init__()
        self.name = name
        table = ODD_ACTIVATIONS if odd else ACTIVATIONS
        self.function: Callable[[Tensor], Tensor] = choose(table, name, "activation")
        at_zero = float(self.function(torch.zeros(())))
        if abs(at_zero) > 1e-6:
            raise InputError(f"activation {name!r} is {at_zero:.3g} at zero; it must vanish there.")
        self.register_buffer("scale", torch.tensor(_unit_second_moment(self.function), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise; any shape."""
        return self.function(x) * self.scale.to(x.dtype)


@lru_cache(maxsize=64)
def _unit_second_moment(function: Callable[[Tensor], Tensor]) -> float:
    """⟨f²⟩^(-1/2) over the unit normal distribution, by a fine trapezium rule."""
    x = torch.linspace(-12.0, 12.0, 200_001, dtype=torch.float64)
    density = torch.exp(-0.5 * x**2) / (2.0 * torch.pi) ** 0.5
    return float(torch.trapezoid(function(x) ** 2 * density, x) ** -0.5)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "shifted_softplus": shifted_softplus,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "abs": torch.abs,
}
"""Activations of invariants (0e): gates, radial network, readout; f(0) = 0."""

ODD_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "softsign": functional.softsign}
"""Activations of pseudoscalars (0o); they must be odd, f(-x) = -f(x)."""
