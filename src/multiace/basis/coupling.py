r"""Clebsch-Gordan coefficients C^{LM}_{l1m1,l2m2} and their generalisation C_η to ν equal factors.

Convention: that of e3nn 0.6. The real components m = -l..l of degree l are

.. math:: Y_{lm} = \sum_{\mu} Q^l_{\mu m}\, Y^{complex}_{l\mu}, \qquad
          Q^l = (-i)^l \times \text{(the usual complex-to-real matrix, Condon-Shortley phase)},

with y as polar axis, so that l = 1 is ordered (x, y, z). The factor (-i)^l makes every coefficient real.
``clebsch_gordan(l1, l2, l3)`` is sqrt(2 l3 + 1) times e3nn's ``o3.wigner_3j(l1, l2, l3)``, sign included;
e3nn 0.4 (MACE, the first BOTNet code) has the opposite sign for ``OPPOSITE_SIGN_IN_E3NN_04``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement, permutations
from math import copysign, factorial, prod, sqrt
from typing import NamedTuple

import numpy as np

from multiace.basis.irreps import Irrep

__all__ = [
    "OPPOSITE_SIGN_IN_E3NN_04",
    "Polynomials",
    "SymmetricCoupling",
    "clebsch_gordan",
    "count_paths",
    "equivariant_polynomials",
    "symmetric_coupling",
]

OPPOSITE_SIGN_IN_E3NN_04 = frozenset(
    triple
    for degrees in (
        *((1, 2, 2), (1, 3, 3), (1, 4, 4), (1, 5, 5), (1, 6, 6)),
        *((4, 4, 5), (5, 5, 5), (3, 4, 6), (4, 5, 6), (5, 6, 6)),
    )
    for triple in permutations(degrees)
)
"""Triples (l1, l2, l3) up to degree 6 whose coefficients change sign between e3nn 0.4.4 and this file."""


@cache
def clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    r"""Coefficients that couple real components of degrees l1 and l2 to degree l3.

    .. math:: \sum_{m_1 m_2} C^{l_3 m}_{l_1 m_1, l_2 m_2} C^{l_3 m'}_{l_1 m_1, l_2 m_2} = \delta_{m m'}

    Returns:
        Read-only float64, shape (2 l1 + 1, 2 l2 + 1, 2 l3 + 1).

    Raises:
        ValueError: If the triangle inequality |l1 - l2| <= l3 <= l1 + l2 does not hold.

    Source: Racah's formula (Varshalovich et al., Quantum Theory of Angular Momentum, 8.2.1), in exact
    fractions up to the final square root.
    """
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ValueError(f"degrees {l1} and {l2} do not couple to {l3}: |l1 - l2| <= l3 <= l1 + l2 is needed")
    complex_basis = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            complex_basis[l1 + m1, l2 + m2, l3 + m1 + m2] = _racah(l1, m1, l2, m2, l3)
    Q1, Q2, Q3 = _complex_to_real(l1), _complex_to_real(l2), _complex_to_real(l3)
    real = np.einsum("abc,ai,bj,ck->ijk", complex_basis, Q1, Q2, Q3.conj(), optimize=True).real
    real[np.abs(real) < 1e-15] = 0.0
    return _read_only(real)


def _racah(l1: int, m1: int, l2: int, m2: int, l3: int) -> float:
    """<l1 m1 l2 m2 | l3 m1+m2> with the Condon-Shortley phase."""
    f, m3 = factorial, m1 + m2
    square = Fraction(
        (2 * l3 + 1) * f(l1 + l2 - l3) * f(l3 + l1 - l2) * f(l3 + l2 - l1), f(l1 + l2 + l3 + 1)
    ) * (f(l1 + m1) * f(l1 - m1) * f(l2 + m2) * f(l2 - m2) * f(l3 + m3) * f(l3 - m3))
    total = Fraction(0)
    for k in range(max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2) + 1):
        total += Fraction(
            (-1) ** k,
            f(k)
            * f(l1 + l2 - l3 - k)
            * f(l1 - m1 - k)
            * f(l2 + m2 - k)
            * f(l3 - l2 + m1 + k)
            * f(l3 - l1 - m2 + k),
        )
    return copysign(sqrt(total * total * square), total)


def _complex_to_real(degree: int) -> np.ndarray:
    """Q^l of the module's docstring, rows complex, columns real; unitary."""
    Q = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=complex)
    Q[degree, degree] = 1
    for m in range(1, degree + 1):
        Q[degree - m, [degree + m, degree - m]] = 1 / sqrt(2), -1j / sqrt(2)
        Q[degree + m, [degree + m, degree - m]] = (-1) ** m / sqrt(2), 1j * (-1) ** m / sqrt(2)
    return (-1j) ** degree * Q


@dataclass(frozen=True, eq=False)
class SymmetricCoupling:
    r"""All independent equivariant polynomials of degree ν, stored as sums of monomials.

    .. math:: B_{\eta M} = \sum_{\mu} C_{\eta M \mu} \prod_{\xi=1}^{\nu} A_{f_{\mu\xi}}

    Only coefficients other than zero are kept: of those of l <= 6 and ν = 4 one in 200.

    Attributes:
        out: Irrep of B, of degree L.
        factors: f, int64 (n_monomials, ν): which components of A a monomial multiplies. Rows are
            non-decreasing and differ from each other.
        n_paths: Number of paths η.
        indices: (η, M, μ) of each coefficient, int64 (3, n_coefficients).
        values: C, float64 (n_coefficients,).
    """

    out: Irrep
    factors: np.ndarray
    n_paths: int
    indices: np.ndarray
    values: np.ndarray


def count_paths(irreps: Iterable[Irrep], out: Irrep, correlation: int) -> int:
    r"""Number of paths of :func:`symmetric_coupling`, without computing it.

    Components of weight m are counted as in SO(2): how often L occurs in the symmetric power is the number
    of monomials of weight L less that of weight L + 1.
    """
    # number[k][p][M]: monomials of k factors with parity p and weight M
    irreps = tuple(irreps)
    furthest = correlation * max(irrep.l for irrep in irreps) + out.l + 1
    number = np.zeros((correlation + 1, 2, 2 * furthest + 1), dtype=object)
    number[0, 0, furthest] = 1
    for irrep in irreps:
        for m in range(-irrep.l, irrep.l + 1):
            for k in range(1, correlation + 1):  # in place: a component may occur any number of times
                shifted = np.roll(number[k - 1], m, axis=1)
                number[k] = number[k] + (shifted if irrep.p == 1 else shifted[::-1])
    of_parity = number[correlation, 0 if out.p == 1 else 1]
    return int(of_parity[furthest + out.l] - of_parity[furthest + out.l + 1])


@cache
def symmetric_coupling(irreps: tuple[Irrep, ...], out: Irrep, correlation: int) -> SymmetricCoupling:
    r"""Basis of the O(3)-equivariant, permutation-symmetric maps from ν factors A to ``out``.

    Every path η belongs to one multiset of irreps, such as (0e, 1o, 1o). Powers of one irrep are
    symmetrised and made independent by :func:`_symmetric_power`; different irreps are then coupled with
    Clebsch-Gordan coefficients, which keeps independence and norm. Paths are ordered by multiset, then by
    intermediate degrees, and this order is part of the format of saved models:

    .. math:: \mathrm{Sym}^\nu(\oplus_i V_i)
              = \oplus_{k_1 + k_2 + \dots = \nu} \otimes_i \mathrm{Sym}^{k_i}(V_i)

    Normalisation: where the components of A are independent unit normals, every B_ηM has mean square 1, and
    two paths of the same multiset are uncorrelated: E[B_ηM B_η'M'] = δ_ηη' δ_MM'. A sum over n paths with
    unit weights, divided by sqrt(n), then keeps the scale of A whatever ν is. For ν = 1 it is the identity.

    Args:
        irreps: Irreps of A, each once; the components of A are theirs, concatenated in this order.
        out: Irrep of B, of degree L.
        correlation: Number of factors ν >= 1.

    Returns:
        Read-only arrays; no paths (n_paths = 0) where ``out`` cannot be reached.

    Source: same space as Drautz (PRB 99, 014104) and the U matrices of Batatia et al. (MACE,
    arXiv:2206.07697), which holds linearly dependent paths as well; those are left out here.
    """
    starts = np.cumsum([0, *(irrep.dim for irrep in irreps)])
    factors, indices, values = [], [], []
    n_paths = n_monomials = 0
    for multiset in combinations_with_replacement(range(len(irreps)), correlation):
        degrees = [irreps[i].l for i in multiset]
        if prod(irreps[i].p for i in multiset) == out.p and out.l <= sum(degrees):
            powers = tuple((irreps[i].l, power) for i, power in sorted(Counter(multiset).items()))
            monomials, C = equivariant_polynomials(powers, out.l)
            path, M, monomial = np.nonzero(np.abs(C) >= 1e-12)
            used, column = np.unique(monomial, return_inverse=True)
            factors.append(monomials[used] + starts[list(multiset)])
            indices.append(np.stack([path + n_paths, M, column + n_monomials]))
            values.append(C[path, M, monomial])
            n_paths += len(C)
            n_monomials += len(used)
    return SymmetricCoupling(
        out,
        _read_only(np.concatenate([np.zeros((0, correlation), dtype=np.int64), *factors])),
        n_paths,
        _read_only(np.concatenate([np.zeros((3, 0), dtype=np.int64), *indices], axis=1)),
        _read_only(np.concatenate([np.zeros(0), *values])),
    )


# ((l_1, power_1), (l_2, power_2), ...): how often each of several different irreps is a factor.
Powers = tuple[tuple[int, int], ...]


class Polynomials(NamedTuple):
    """Equivariant polynomials that form n_paths copies of the irrep J.

    The list of monomials depends on the variables only, not on J.
    """

    monomials: np.ndarray  # int64 (n_monomials, power); components are counted within their own irrep
    coefficients: np.ndarray  # float64 (n_paths, 2J + 1, n_monomials)


@cache
def equivariant_polynomials(powers: Powers, J: int) -> Polynomials:
    """Copies of J in the product of Sym^k_i(l_i) over different irreps, ``powers`` = ((l_1, k_1), ...)."""
    return _couple(powers[:-1], powers[-1], J) if len(powers) > 1 else _symmetric_power(*powers[0], J)


@cache
def _symmetric_power(degree: int, power: int, J: int) -> Polynomials:
    """Copies of J in Sym^power of one irrep.

    Coupling Sym^(power - 1) with one more factor in every way gives a complete set; collecting equal
    monomials symmetrises it; Gram-Schmidt leaves an independent one.
    """
    if power == 1:
        n = 2 * degree + 1
        return Polynomials(
            np.arange(n)[:, None], np.eye(n)[None] if degree == J else np.zeros((0, 2 * J + 1, n))
        )
    pairs = _couple(((degree, power - 1),), (degree, 1), J)
    monomials, column = np.unique(np.sort(pairs.monomials, axis=1), axis=0, return_inverse=True)
    order = np.argsort(column.ravel(), kind="stable")
    starts = np.searchsorted(column.ravel()[order], np.arange(len(monomials)))
    collected = np.add.reduceat(pairs.coefficients[:, :, order], starts, axis=2)
    return Polynomials(monomials, _orthonormalise(collected, _second_moments(monomials, degree)))


def _couple(left: Powers, right: tuple[int, int], J: int) -> Polynomials:
    """Products of polynomials of ``left`` and of ``right``, coupled to J in every way."""
    furthest, reach = sum(degree * power for degree, power in left), right[0] * right[1]
    firsts = {
        J1: equivariant_polynomials(left, J1) for J1 in range(max(0, J - reach), min(furthest, J + reach) + 1)
    }
    seconds = [_symmetric_power(*right, J2) for J2 in range(reach + 1)]
    rows, columns = next(iter(firsts.values())).monomials, seconds[0].monomials
    paths = []
    for J1, first in firsts.items():
        for J2 in range(abs(J - J1), min(J + J1, reach) + 1):
            C, a, b = clebsch_gordan(J1, J2, J), first.coefficients, seconds[J2].coefficients
            products = np.einsum("pam,qbn,abc->pqcmn", a, b, C, optimize=True)
            paths.append(products.reshape(len(a) * len(b), 2 * J + 1, len(rows) * len(columns)))
    monomials = np.hstack([np.repeat(rows, len(columns), axis=0), np.tile(columns, (len(rows), 1))])
    return Polynomials(monomials, np.concatenate(paths))


def _second_moments(monomials: np.ndarray, degree: int) -> np.ndarray:
    """E[monomial x monomial'] for independent unit normals: Π (s - 1)!!, or 0 if an exponent s is odd."""
    largest = 2 * monomials.shape[1]
    double_factorial = np.array(
        [prod(range(1, s, 2)) * (s % 2 == 0) for s in range(largest + 1)], dtype=float
    )
    moments = np.ones((len(monomials), len(monomials)))
    for component in range(2 * degree + 1):
        exponent = np.sum(monomials == component, axis=1)
        moments *= double_factorial[exponent[:, None] + exponent]
    return moments


def _orthonormalise(paths: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Gram-Schmidt with E[B B'] as inner product; dependent paths are dropped.

    By Schur's lemma E[B_ηM B_η'M'] = δ_MM' G_ηη', so one component M says everything. The paths are taken in
    the given order, without pivoting: the outcome must be the same on every machine, because the weights
    of saved models refer to it.
    """
    middle = paths.shape[1] // 2
    kept: list[np.ndarray] = []
    for path in paths:  # of norm about 1, or 0 where the coupling is antisymmetric
        for _ in range(2):  # the second pass removes the rounding errors of the first
            for other in kept:
                path = path - (other[middle] @ moments @ path[middle]) * other
        square = path[middle] @ moments @ path[middle]
        if square > 1e-10:
            kept.append(path / sqrt(square))
    return np.array(kept).reshape(len(kept), *paths.shape[1:])


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
