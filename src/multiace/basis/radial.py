r"""Radial basis e_n(r): a basis of functions, an envelope that ends them smoothly, and a distance transform.

.. math:: e_n(r_{ij}) = \mathrm{basis}_n(\rho(r_{ij}; z_i, z_j))\, f_c(r_{ij})

Each axis has its table at the bottom of its section. A new choice is one class (or function) and one line.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

import torch
from torch import Tensor, nn

from multiace.basis.envelope import OF_TRANSFORMED, PAIR_ENVELOPES, SHORTEST, vanishing_orders
from multiace.config import choose
from multiace.errors import InputError

__all__ = [
    "DISTANCE_TRANSFORMS",
    "RADIAL_BASES",
    "AgnesiTransform",
    "BesselBasis",
    "ChebyshevBasis",
    "ConstantBasis",
    "GaussianBasis",
    "JacobiBasis",
    "LegendreBasis",
    "NoTransform",
    "PairedEmbedding",
    "RadialEmbedding",
    "WideAgnesiTransform",
]


class BesselBasis(nn.Module):
    r"""Spherical Bessel functions of order 0 that vanish at the cutoff; finite at r = 0.

    .. math:: e_n(r) = \sqrt{2 / r_c}\, \sin(w_n r) / r, \qquad w_n = n\pi / r_c, \quad n = 1 .. N

    Args:
        num_radial: Number of functions N.
        cutoff: Cutoff radius r_c [Å].
        trainable: Whether the roots w_n [1/Å] are parameters.

    Source: DimeNet (arXiv:2003.03123), eq. 7, as in BOTNet and MACE. nequip has 2 / r_c instead of
    sqrt(2 / r_c).
    """

    roots: Tensor

    def __init__(self, num_radial: int, cutoff: float, trainable: bool = False) -> None:
        super().__init__()
        self.prefactor = sqrt(2.0 / cutoff)
        self.shortest = SHORTEST * cutoff
        roots = torch.arange(1, num_radial + 1, dtype=torch.float64) * (pi / cutoff)
        _register(self, "roots", roots, trainable)

    def forward(self, r: Tensor) -> Tensor:
        """Evaluate at distances r [Å], shape (n_edges,); returns (n_edges, num_radial)."""
        r = r.clamp(min=self.shortest)[:, None]
        return torch.sin(r * self.roots) * (self.prefactor / r)


class GaussianBasis(nn.Module):
    r"""Gaussians on equally spaced centres, as wide as their spacing.

    .. math:: e_n(r) = \exp\bigl(-(r - c_n)^2 / 2 s_n^2\bigr), \quad
              c_n = (n - 1)\, s_n, \quad s_n = r_c / (N - 1)

    Args:
        num_radial: Number of functions N.
        cutoff: Cutoff radius r_c [Å], the last centre.
        trainable: Whether the centres c_n and widths s_n [Å] are parameters.

    Source: SchNet (arXiv:1706.08566), with the widths of schnetpack.
    """

    centres: Tensor
    widths: Tensor

    def __init__(self, num_radial: int, cutoff: float, trainable: bool = False) -> None:
        super().__init__()
        spacing = cutoff / max(num_radial - 1, 1)
        centres = torch.arange(num_radial, dtype=torch.float64) * spacing
        _register(self, "centres", centres, trainable)
        _register(self, "widths", torch.full_like(centres, spacing), trainable)

    def forward(self, r: Tensor) -> Tensor:
        """Evaluate at distances r [Å], shape (n_edges,); returns (n_edges, num_radial)."""
        return torch.exp(-0.5 * ((r[:, None] - self.centres) / self.widths) ** 2)


class _Polynomials(nn.Module):
    """Polynomials of x = 1 - 2 r / r_c from P_0 = 1 on, by a recurrence of three terms."""

    name: str

    def __init__(self, num_radial: int, cutoff: float, trainable: bool = False) -> None:
        super().__init__()
        if trainable:
            raise InputError(
                f"the {self.name} radial basis has nothing to train; "
                "choose bessel or gaussian, or do not ask for a trainable basis."
            )
        self.num_radial, self.cutoff = num_radial, cutoff

    def terms(self, n: int) -> tuple[float, float, float]:
        """a, b and c of P_n = (a x + b) P_(n-1) - c P_(n-2)."""
        raise NotImplementedError

    def forward(self, r: Tensor) -> Tensor:
        """Evaluate at distances r [Å], shape (n_edges,); returns (n_edges, num_radial)."""
        x = 1.0 - r * (2.0 / self.cutoff)
        P = [torch.zeros_like(x), torch.ones_like(x)]  # P_(-1) and P_0
        for n in range(1, self.num_radial):
            a, b, c = self.terms(n)
            P.append((a * x + b if b else a * x) * P[-1] - c * P[-2])
        return torch.stack(P[1:], dim=-1)


class ChebyshevBasis(_Polynomials):
    r"""Chebyshev polynomials of the first kind, the constant included; orthogonal with weight 1 / sqrt(1 - x²).

    .. math:: e_n(r) = T_{n-1}(x), \qquad x = 1 - 2 r / r_c, \quad n = 1 .. N

    The constant T_0 counts: times the envelope it is the smoothest radial function, and a linear model has no
    other way to make it. (MACE starts at T_1, and takes x = r.)

    Args:
        num_radial: Number of functions N.
        cutoff: Cutoff radius r_c [Å].
        trainable: Must be False, there is nothing to train.

    Raises:
        InputError: If ``trainable``.

    Source: Drautz (PRB 99, 014104), without the exponential scaling of the distance.
    """

    name = "chebyshev"

    def terms(self, n: int) -> tuple[float, float, float]:
        """T_n = 2 x T_(n-1) - T_(n-2)."""
        return (1.0 if n == 1 else 2.0), 0.0, 1.0


class LegendreBasis(_Polynomials):
    r"""Legendre polynomials, the constant included; orthogonal on [0, r_c] with unit weight.

    .. math:: e_n(r) = P_{n-1}(x), \qquad x = 1 - 2 r / r_c, \quad n = 1 .. N

    Args:
        num_radial: Number of functions N.
        cutoff: Cutoff radius r_c [Å].
        trainable: Must be False, there is nothing to train.

    Raises:
        InputError: If ``trainable``.
    """

    name = "legendre"

    def terms(self, n: int) -> tuple[float, float, float]:
        """n P_n = (2n - 1) x P_(n-1) - (n - 1) P_(n-2)."""
        return (2 * n - 1) / n, 0.0, (n - 1) / n


class JacobiBasis(_Polynomials):
    r"""Jacobi polynomials that are orthonormal with the envelope: with weight f_c².

    .. math:: e_n(r) = p_{n-1}(x), \qquad
              \int_{-1}^1 p_n p_m\, (1 - x)^\alpha (1 + x)^\beta\, dx = \delta_{nm}
              \int_{-1}^1 (1 - x)^\alpha (1 + x)^\beta\, dx, \quad x = 1 - 2 r / r_c

    α and β are twice the orders with which the envelope vanishes at r = 0 and at the cutoff, so that the weight is
    f_c² itself where the envelope is ``two_sided``, and behaves as it at both ends for others. Legendre polynomials
    are α = β = 0, but for their norm.

    Args:
        num_radial: Number of functions N.
        cutoff: Cutoff radius r_c [Å].
        trainable: Must be False, there is nothing to train.
        alpha: α, of the end r = 0.
        beta: β, of the cutoff.

    Raises:
        InputError: If ``trainable``.

    Source: ACEpotentials.jl (arXiv:2309.03161), with its weight. Recurrence: Gautschi, Orthogonal Polynomials
    (2004), table 1.1.
    """

    name = "jacobi"

    def __init__(
        self, num_radial: int, cutoff: float, trainable: bool = False, alpha: float = 0.0, beta: float = 0.0
    ) -> None:
        super().__init__(num_radial, cutoff, trainable)
        self.alpha, self.beta = alpha, beta

    def terms(self, n: int) -> tuple[float, float, float]:
        """s_n p_n = (x - m_(n-1)) p_(n-1) - s_(n-1) p_(n-2), with the elements m and s of the Jacobi matrix."""
        step = self._step(n)
        return 1.0 / step, -self._mean(n - 1) / step, (self._step(n - 1) / step if n > 1 else 0.0)

    def _mean(self, n: int) -> float:
        a, b = self.alpha, self.beta
        return (b - a) / (a + b + 2) if n == 0 else (b * b - a * a) / ((2 * n + a + b) * (2 * n + a + b + 2))

    def _step(self, n: int) -> float:
        a, b = self.alpha, self.beta
        if n == 1:  # the general formula is 0 / 0 for a + b = -1
            return 2.0 / (a + b + 2) * sqrt((a + 1) * (b + 1) / (a + b + 3))
        t = 2 * n + a + b
        return 2.0 / t * sqrt(n * (n + a) * (n + b) * (n + a + b) / ((t - 1) * (t + 1)))


def _register(module: nn.Module, name: str, values: Tensor, trainable: bool) -> None:
    if trainable:
        module.register_parameter(name, nn.Parameter(values))
    else:
        module.register_buffer(name, values, persistent=False)


class ConstantBasis(nn.Module):
    """One function, 1: with an envelope, the envelope."""

    def __init__(self, num_radial: int, cutoff: float, trainable: bool) -> None:
        super().__init__()

    def forward(self, lengths: Tensor) -> Tensor:
        """Return ones, (n_edges, 1)."""
        return torch.ones_like(lengths)[:, None]


RADIAL_BASES: dict[str, Callable[[int, float, bool], nn.Module]] = {
    "bessel": BesselBasis,
    "chebyshev": ChebyshevBasis,
    "gaussian": GaussianBasis,
    "jacobi": JacobiBasis,
    "legendre": LegendreBasis,
}
"""Choices of the radial basis: ``Basis(num_radial, cutoff, trainable)``, then (n_edges,) -> (n_edges, N)."""


class NoTransform(nn.Module):
    """The distance as it is, ρ = r."""

    def __init__(self, cutoff: float, covalent_radii: Tensor | None = None) -> None:
        super().__init__()

    def forward(self, lengths: Tensor, senders: Tensor | None, receivers: Tensor | None) -> Tensor:
        """Return ``lengths``; species are not looked at."""
        return lengths


class AgnesiTransform(nn.Module):
    r"""Stretch the bonding region and compress the tail, for each pair of elements on its own scale.

    .. math:: y(r) = \Bigl[1 + a\, \frac{x^q}{1 + x^{q-p}}\Bigr]^{-1}, \quad x = r / r_0, \quad
              r_0 = \tfrac{s}{2}(r_{z_i} + r_{z_j}), \qquad
              \rho(r) = r_c\, \frac{1 - y(r)}{1 - y(r_c)}

    s is 1: r_0 is half a bond length. y falls from 1 at r = 0. ρ rises from 0 to r_c over the same interval as
    r, so that every radial basis is used over the whole range on which it is defined. r_0 and the factor before
    1 - y are kept with the weights.

    Args:
        cutoff: Cutoff radius r_c [Å].
        covalent_radii: r_z [Å], shape (n_species,).

    Raises:
        InputError: If no covalent radii are given, or one of them is not positive.

    Source: Witt et al., ACEpotentials.jl (arXiv:2309.03161), with the parameters that MACE uses.
    MACE feeds y itself to its basis, as if it were a distance in Å; here it is first mapped to [0, r_c].
    """

    a, p, q, s = 1.0805, 4.5791, 0.9183, 1.0
    r0: Tensor
    scale: Tensor

    def __init__(self, cutoff: float, covalent_radii: Tensor | None = None) -> None:
        super().__init__()
        if covalent_radii is None or not bool((covalent_radii > 0).all()):
            raise InputError(
                "the agnesi distance transform needs a positive covalent radius for every element, "
                f"got {covalent_radii}."
            )
        radii = covalent_radii.to(torch.float64)
        r0 = 0.5 * self.s * (radii[:, None] + radii[None, :])
        self.register_buffer("r0", r0)  # [n_species, n_species]
        self.register_buffer("scale", cutoff / self._one_minus_y(cutoff / r0))

    def forward(self, lengths: Tensor, senders: Tensor | None, receivers: Tensor | None) -> Tensor:
        """Map lengths r [Å] to ρ [Å], both (n_edges,), given the species of both ends."""
        if senders is None or receivers is None:
            raise ValueError("the agnesi distance transform needs the species of senders and receivers")
        x = lengths / self.r0[senders, receivers]
        return self.scale[senders, receivers] * self._one_minus_y(x)

    def _one_minus_y(self, x: Tensor) -> Tensor:
        # x^q / (1 + x^(q-p)), written as x^p / (x^(p-q) + 1): only positive powers, finite at x = 0.
        t = self.a * x**self.p / (x ** (self.p - self.q) + 1.0)
        return t / (1.0 + t)


class WideAgnesiTransform(AgnesiTransform):
    """The same with s = 3: r_0 is one and a half bond lengths, so that the basis resolves second neighbours too."""

    s = 3.0


DISTANCE_TRANSFORMS: dict[str, Callable[[float, Tensor | None], nn.Module]] = {
    "none": NoTransform,
    "agnesi": AgnesiTransform,
    "agnesi_wide": WideAgnesiTransform,
}
"""Choices of the distance transform: ``Transform(cutoff, covalent_radii)``, maps [0, r_c] onto itself. A transform must
be symmetric in sender and receiver: the basis is evaluated once per undirected pair."""


class RadialEmbedding(nn.Module):
    r"""e_n(r) = basis_n(ρ(r)) f_c(r), the input of all radial networks; zero at and beyond the cutoff.

    The envelope sees the distance itself (``two_sided`` the transformed one), the basis the transformed one. Envelope
    and transform are evaluated in the dtype of the lengths, basis and result in that of the module (float64 until it
    is moved with ``.to``).

    Args:
        basis: A name in ``RADIAL_BASES``, ``package.module:Class``, or a class.
        num_radial: Number of basis functions.
        cutoff: Cutoff radius r_c [Å].
        trainable: Whether the basis has parameters: the roots of bessel, the centres and widths of gaussian.
        envelope: A name in ``PAIR_ENVELOPES`` or ``package.module:function``.
        envelope_power: Power p of the polynomial envelope.
        distance_transform: A name in ``DISTANCE_TRANSFORMS`` or ``package.module:Class``.
        covalent_radii: Covalent radius of each species [Å], shape (n_species,); for agnesi only.

    Attributes:
        by_pair: Whether e_n depends on the elements of both ends.

    Raises:
        InputError: If a name is unknown, a number is out of range, or the basis has nothing to train.
    """

    like: Tensor

    def __init__(
        self,
        basis: str | Callable[[int, float, bool], nn.Module],
        num_radial: int,
        cutoff: float,
        *,
        trainable: bool = False,
        envelope: str = "polynomial",
        envelope_power: int = 6,
        distance_transform: str = "none",
        covalent_radii: Tensor | None = None,
    ) -> None:
        super().__init__()
        if num_radial < 1 or envelope_power < 1 or not cutoff > 0:
            raise InputError(
                f"num_radial = {num_radial}, cutoff = {cutoff} and envelope_power = {envelope_power} "
                "must be positive."
            )
        self.num_radial, self.cutoff, self.envelope_power = num_radial, cutoff, envelope_power
        self.is_plain_bessel = not trainable and (basis, envelope, distance_transform) == (
            "bessel",
            "polynomial",
            "none",
        )
        make = choose(RADIAL_BASES, basis, "radial_basis") if isinstance(basis, str) else basis
        self.basis = make(num_radial, cutoff, trainable)
        self.envelope = choose(PAIR_ENVELOPES, envelope, "envelope")
        if isinstance(self.basis, JacobiBasis):
            inner, outer = vanishing_orders(self.envelope, envelope_power)
            self.basis.alpha, self.basis.beta = 2.0 * inner, 2.0 * outer
        self.transform = choose(DISTANCE_TRANSFORMS, distance_transform, "distance_transform")(
            cutoff, covalent_radii
        )
        self.by_pair = distance_transform != "none"
        # Not every basis holds numbers; this one carries the dtype set by `.to`.
        self.register_buffer("like", torch.zeros((), dtype=torch.float64), persistent=False)

    def forward(
        self, lengths: Tensor, sender_species: Tensor | None = None, receiver_species: Tensor | None = None
    ) -> Tensor:
        """Evaluate on edges.

        Args:
            lengths: r [Å], shape (n_edges,), float32 or float64.
            sender_species: z_j, shape (n_edges,), for transforms that depend on the elements.
            receiver_species: z_i, likewise.

        Returns:
            e_n, shape (n_edges, num_radial), in the dtype of the module.
        """
        dtype = self.like.dtype
        rho = self.transform(lengths.clamp(max=self.cutoff), sender_species, receiver_species)
        seen = lengths
        if self.envelope in OF_TRANSFORMED:
            seen = torch.where(lengths < self.cutoff, rho, self.cutoff)  # rounding must not end it elsewhere
        envelope = self.envelope(seen, self.cutoff, self.envelope_power)
        return self.basis(rho.to(dtype)) * envelope.to(dtype)[:, None]


class PairedEmbedding(nn.Module):
    """e_n(r) of products and, in the columns behind, those of the two-body term, or the envelope; the interface of
    RadialEmbedding.

    Args:
        products: The first.
        pair: Those behind, of the same cutoff and transform.
    """

    def __init__(self, products: RadialEmbedding, pair: RadialEmbedding) -> None:
        super().__init__()
        self.products, self.pair = products, pair
        self.num_radial, self.cutoff = products.num_radial + pair.num_radial, products.cutoff

    @property
    def by_pair(self) -> bool:
        """Whether functions depend on the elements of both ends."""
        return self.products.by_pair

    @property
    def like(self) -> Tensor:
        """Has the dtype and device of the result."""
        return self.products.like

    def forward(
        self, lengths: Tensor, sender_species: Tensor | None = None, receiver_species: Tensor | None = None
    ) -> Tensor:
        """Evaluate on edges, as :meth:`RadialEmbedding.forward`."""
        both = (self.products, self.pair)
        return torch.cat([part(lengths, sender_species, receiver_species) for part in both], dim=-1)
