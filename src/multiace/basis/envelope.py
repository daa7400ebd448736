r"""Envelopes f_c(r), which end the functions of a radial basis smoothly.

A new one is one function and one line in a table at the bottom.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2, pi

import torch
from torch import Tensor

from multiace.errors import InputError

__all__ = [
    "ENVELOPES",
    "OF_TRANSFORMED",
    "PAIR_ENVELOPES",
    "SHORTEST",
    "Envelope",
    "cosine_envelope",
    "inverse_envelope",
    "polynomial_envelope",
    "two_sided_envelope",
    "vanishing_orders",
]

SHORTEST = 1e-6
"""Fraction of the cutoff below which the functions are held constant: sin(w r) / r differs from its limit w by less
than 1e-9 there, and the derivatives are kept from dividing zero by zero."""


def polynomial_envelope(lengths: Tensor, cutoff: float, power: int = 6) -> Tensor:
    r"""Smooth step from 1 at r = 0 to 0 at the cutoff, with two vanishing derivatives there.

    .. math:: f(x) = 1 - \tfrac{(p+1)(p+2)}{2} x^p + p(p+2) x^{p+1} - \tfrac{p(p+1)}{2} x^{p+2},
              \quad x = r / r_c

    Args:
        lengths: Edge lengths r [Å], shape (n_edges,).
        cutoff: Cutoff radius r_c [Å]; the result is exactly zero at and beyond it.
        power: p. Larger values keep the function near 1 for longer.

    Returns:
        Envelope, shape (n_edges,), in the dtype of ``lengths``.

    Source: Gasteiger et al., DimeNet (arXiv:2003.03123), eq. 8. Same as nequip (default power 6) and
    mace (default power 5).
    """
    p = power
    x = (lengths / cutoff).clamp(max=1.0)
    return 1.0 - x**p * (0.5 * (p + 1) * (p + 2) - x * (p * (p + 2) - x * (0.5 * p * (p + 1))))


def cosine_envelope(lengths: Tensor, cutoff: float, power: int = 6) -> Tensor:
    r"""Half a cosine wave from 1 at r = 0 to 0 at the cutoff.

    .. math:: f(r) = \tfrac{1}{2}\bigl(1 + \cos(\pi r / r_c)\bigr)

    Only one derivative vanishes at the cutoff: forces are continuous, second derivatives jump.

    Args:
        lengths: Edge lengths r [Å], shape (n_edges,).
        cutoff: Cutoff radius r_c [Å]; the result is exactly zero at and beyond it.
        power: Has no meaning here; the polynomial envelope's.

    Returns:
        Envelope, shape (n_edges,), in the dtype of ``lengths``.

    Source: Behler (J. Chem. Phys. 134, 074106).
    """
    return 0.5 * (1.0 + torch.cos(pi * (lengths / cutoff).clamp(max=1.0)))


def two_sided_envelope(rho: Tensor, cutoff: float, power: int = 6) -> Tensor:
    r"""Zero at both ends of the transformed distance ρ, with p - 1 vanishing derivatives at each; 1 in the middle.

    .. math:: f(\rho) = \Bigl[\frac{4 \rho\, (r_c - \rho)}{r_c^2}\Bigr]^p

    What other structures have at short distance does not tell about these functions: they vanish there. Forces are
    continuous at the cutoff for p = 2, their derivatives for p = 3.

    Args:
        rho: Transformed distances ρ [Å], shape (n_edges,).
        cutoff: Cutoff radius r_c [Å]; the result is exactly zero at and beyond it.
        power: p.

    Returns:
        Envelope, shape (n_edges,), in the dtype of ``rho``.

    Source: ``PolyEnvelope2sX`` of ACEpotentials.jl (arXiv:2309.03161), with one power for both ends and the maximum 1.
    """
    x = (rho / cutoff).clamp(max=1.0)
    return (4.0 * x * (1.0 - x)) ** power


def inverse_envelope(lengths: Tensor, cutoff: float, power: int = 6) -> Tensor:
    r"""Grow without bound at short distance, as nuclei repel; zero at the cutoff, with two vanishing derivatives.

    .. math:: f(x) = x^{-p} - 1 - p (1 - x) - \tfrac{p(p+1)}{2} (1 - x)^2, \quad x = r / r_c

    Args:
        lengths: Edge lengths r [Å], shape (n_edges,).
        cutoff: Cutoff radius r_c [Å]; the result is exactly zero at and beyond it.
        power: p.

    Returns:
        Envelope, shape (n_edges,), in the dtype of ``lengths``.

    Source: ``PolyEnvelope1sR`` of ACEpotentials.jl (arXiv:2309.03161), which has one vanishing derivative.
    """
    x = (lengths / cutoff).clamp(min=SHORTEST, max=1.0)
    y = 1.0 - x
    return x**-power - 1.0 - y * (power + y * (0.5 * power * (power + 1)))


Envelope = Callable[[Tensor, float, int], Tensor]

ENVELOPES: dict[str, Envelope] = {
    "polynomial": polynomial_envelope,
    "cosine": cosine_envelope,
    "two_sided": two_sided_envelope,
}
"""Choices of the envelope: ``envelope(lengths, cutoff, power)``."""

PAIR_ENVELOPES: dict[str, Envelope] = {**ENVELOPES, "inverse": inverse_envelope}
"""Choices of the envelope of the two-body term."""

OF_TRANSFORMED = (two_sided_envelope,)
"""Envelopes that see the transformed distance."""


def vanishing_orders(envelope: Envelope, power: int) -> tuple[int, int]:
    """Return the orders with which an envelope vanishes at zero and at the cutoff; 0 where it does not.

    Raises:
        InputError: If it vanishes there like no power.
    """
    h = 1e-3
    at = torch.tensor([h, 2 * h, 1 - h, 1 - 2 * h], dtype=torch.float64)
    inner, twice_inner, outer, twice_outer = envelope(at, 1.0, power).tolist()
    if not min(inner, outer) > 0:
        raise InputError(
            "radial_basis = jacobi needs an envelope that vanishes like a power of the distance from the cutoff; "
            "choose legendre."
        )
    return max(round(log2(twice_inner / inner)), 0), max(round(log2(twice_outer / outer)), 0)
