r"""Potentials of pacemaker (``.yace``) as points of the design space.

A potential of pacemaker is

.. math:: E_i = E^0_{z_i} + \sum_p w_p(z_i) F(\rho_{i,p}; m_p) + \sum_j V_{core}(r_{ij}), \qquad
          \rho_{i,p} = \sum_f \sum_m \tilde c_{fpm}(z_i)\, \mathrm{Re} \prod_\xi A_{i, v_\xi m_\xi}

with complex A. Here that is complete coupling with a list of products, radial functions that are linear in splines for
each pair of elements, and densities. Functions of one factor are g_k themselves, as the two-body term here; the core
repulsion is one more of those, in a density of exponent 1.

Sources: Drautz (PRB 99, 014104); Lysogorskiy et al. (npj Comput. Mater. 7, 97); Bochkarev et al. (PRMaterials 6,
013804).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import pi
from os import PathLike
from typing import cast

import numpy as np
import torch
from torch import Tensor

from multiace.basis.ace import Multiset, powers_of
from multiace.basis.coupling import equivariant_polynomials
from multiace.basis.spline import SplinedEmbedding
from multiace.errors import InputError
from multiace.layers.complete import CompleteDensity, CompleteProduct
from multiace.layers.readout import FinnisSinclairReadout
from multiace.layers.update import Layer
from multiace.model.config import ModelConfig
from multiace.model.pace_file import Bond, Function, PaceFile
from multiace.model.potential import Potential, Statistics

__all__ = ["import_pace"]

MOST_FACTORS = 6
CLOSED = 1e-9  # of a function's largest coefficient: what may be left of it when it is written in ours
REACHED = 0.3  # Å; distances below are not thought of
Polynomial = dict[tuple[int, ...], np.ndarray]


def import_pace(path: str | PathLike) -> Potential:
    """Carry a potential of pacemaker over, in float64.

    Energies and forces agree with pacemaker's to rounding, where both read the same radial splines.

    Args:
        path: A ``.yace`` file.

    Raises:
        InputError: If it cannot be read, or has something that has no place here; says what.
    """
    file = PaceFile.read(path)
    try:
        _check(file)
        shape = _Shape(file)
        metadata = {"imported_from": "pacemaker, .yace"}
        potential = Potential(shape.config(), Statistics(np.array(file.isolated_energies)), metadata)
        with torch.no_grad():
            _fill_radial(potential, file, shape)
            _fill_products(potential, file, shape)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return potential


def _check(file: PaceFile) -> None:
    """Refuse what has no place in the design space."""
    for symbol, embedding in zip(file.elements, file.embeddings, strict=True):
        if embedding.name != "FinnisSinclairShiftedScaled" and any(m != 1 for m in embedding.exponents):
            raise InputError(
                f"the embedding of {symbol} is {embedding.name}; only FinnisSinclairShiftedScaled can be carried over, "
                "or exponents of 1."
            )
    for (i, j), bond in file.bonds.items():
        names = f"{file.elements[i]}-{file.elements[j]}"
        if bond.basis not in RADIAL:
            raise InputError(
                f"the radial functions of {names} are {bond.basis}; only {', '.join(RADIAL)} can be carried over."
            )
        by_distance = bond.inner_kind == "distance"
        if not (by_distance or bond.inner_kind == "density") or (
            any(bond.inner) and not all((*bond.inner, by_distance))
        ):
            raise InputError(
                f"the bond {names} has an inner cutoff of {bond.inner[0]} Å, width {bond.inner[1]} Å and type "
                f"{bond.inner_kind}, which cannot be carried over; those of type distance can, if they have a width."
            )
        if _has_core(bond) and _core(torch.tensor([REACHED]), bond).item() > file.embeddings[i].core_cutoff:
            raise InputError(
                f"the core repulsion of {names} switches the embedding off at distances above {REACHED} Å, which "
                "cannot be carried over."
            )
        other = file.bonds[j, i]
        if not all(np.array_equal(getattr(bond, name), getattr(other, name)) for name in vars(bond)):
            raise InputError(f"the bond {names} differs from its reverse.")
    ranks = [len(function.factors) for functions in file.functions for function in functions]
    if not ranks or max(ranks) > MOST_FACTORS:
        raise InputError(
            f"functions have {max(ranks, default=0)} factors; 1 to {MOST_FACTORS} can be carried over."
        )


class _Shape:
    """Sizes of the model that a file asks for."""

    def __init__(self, file: PaceFile) -> None:
        self.file = file
        bonds, every = file.bonds.values(), [f for functions in file.functions for f in functions]
        self.cutoff = max(bond.cutoff for bond in bonds)
        self.n_base = max(bond.n_base for bond in bonds)
        self.has_core = any(map(_has_core, bonds))
        self.l_max = max(degree for f in every for *_, degree in f.factors)
        self.n_max = max((n for f in every if len(f.factors) > 1 for _, n, _ in f.factors), default=1)
        self.correlation = max(len(f.factors) for f in every)
        found = {tuple(sorted(f.factors)): None for f in every}
        if self.has_core:
            core = (((z, self.n_base + 1, 0),) for z in range(len(file.elements)))
            found |= dict.fromkeys(core)
        self.products = tuple(found)
        self.exponents = self._exponents()

    def _exponents(self) -> tuple[float, ...]:
        """Exponents of enough densities for each element, ascending; the core repulsion needs one of 1."""
        needed = [
            *(embedding.exponents for embedding in self.file.embeddings),
            (1.0,) if self.has_core else (),
        ]
        values = sorted({m for exponents in needed for m in exponents})
        return tuple(m for m in values for _ in range(max(exponents.count(m) for exponents in needed)))

    def densities(self, z: int) -> list[int]:
        """Which density here each one of an element is."""
        free = list(range(len(self.exponents)))
        places = []
        for m in self.file.embeddings[z].exponents:
            places.append(next(p for p in free if self.exponents[p] == m))
            free.remove(places[-1])
        return places

    def config(self) -> ModelConfig:
        """The model."""
        file = self.file
        return ModelConfig().replace(
            elements=file.elements,
            cutoff=self.cutoff,
            l_max=self.l_max,
            hidden_irreps=f"{len(self.exponents)}x0e",
            num_layers=1,
            correlation=self.correlation,
            product_elements=True,
            channel_coupling="complete",
            products=self.products,
            radial_basis="chebyshev",
            num_radial=self.n_base,
            n_max=self.n_max,
            pair_num_radial=self.n_base + self.has_core,
            radial_network="linear",
            radial_species="pair",
            radial_knots=round(self.cutoff / file.spacing) + 1,
            neighbor_norm="none",
            first_self_connection="none",
            readout_function="finnis_sinclair",
            readout_exponents=self.exponents,
            energy_reference="given",
            isolated_energies=dict(zip(file.elements, file.isolated_energies, strict=True)),
            scale="none",
            shift="none",
            dtype="float64",
        )


# ---------------------------------------------------------------------------- radial functions


def _chebyshev(x: Tensor, n: int) -> list[Tensor]:
    """T_0 ... T_n."""
    T = [torch.ones_like(x), x]
    for _ in range(2, n + 1):
        T.append(2 * x * T[-1] - T[-2])
    return T[: n + 1]


def _cosine(x: Tensor) -> Tensor:
    """From 1 at 0 to 0 at 1."""
    return 0.5 * (1 + torch.cos(pi * x.clamp(0.0, 1.0)))


def _cheb_exp_cos(r: Tensor, bond: Bond) -> list[Tensor]:
    r"""f_c and f_c (1 - T_k(x))/2 with :math:`x = 1 - 2 (e^{-\lambda r / r_c} - e^{-\lambda}) / (1 - e^{-\lambda})`."""
    last = np.exp(-bond.parameter)
    x = 1 - 2 * (torch.exp(-bond.parameter * r / bond.cutoff) - last) / (1 - last)
    f = _cosine(r / bond.cutoff)
    if bond.width > 0:
        f = f * _cosine((r - bond.cutoff + bond.width) / bond.width)
    return [f, *(f * (1 - T) / 2 for T in _chebyshev(x, bond.n_base - 1)[1:])]


def _cheb_pow(r: Tensor, bond: Bond) -> list[Tensor]:
    r"""(1 - T_k(x))/2 with :math:`x = 1 - 2 (1 - r / r_c)^\lambda`."""
    x = 1 - 2 * (1 - r / bond.cutoff).clamp(min=0.0) ** bond.parameter
    return [(1 - T) / 2 for T in _chebyshev(x, bond.n_base)[1:]]


def _sbessel(r: Tensor, bond: Bond) -> list[Tensor]:
    """Combinations of sin(k r)/r that are orthogonal and vanish at r_c with two derivatives (arXiv:1909.05942)."""

    def f(n: int) -> Tensor:
        a, b = n + 1, n + 2
        size = (-1) ** n * 2**0.5 * pi / bond.cutoff**1.5 * a * b / (a * a + b * b) ** 0.5
        return size * (torch.sinc(a * r / bond.cutoff) + torch.sinc(b * r / bond.cutoff))

    g, d = [f(0)], 1.0
    for n in range(1, bond.n_base):
        e = n**2 * (n + 2) ** 2 / (4 * (n + 1) ** 4 + 1)
        before, d = d, 1 - e / d
        g.append((f(n) + (e / before) ** 0.5 * g[-1]) / d**0.5)
    return g


RADIAL: dict[str, Callable[[Tensor, Bond], list[Tensor]]] = {
    "ChebExpCos": _cheb_exp_cos,
    "ChebPow": _cheb_pow,
    "SBessel": _sbessel,
}
"""The radial functions g_k of pacemaker, by its names; ChebLinear does not vanish at the cutoff, and is not here."""


def _core(r: Tensor, bond: Bond) -> Tensor:
    r""":math:`p\, e^{-\lambda r^2} / r` times a cosine that ends at the cutoff, or where the inner cutoff ends."""
    size, decay = bond.core
    core = size * torch.exp(-decay * r * r) / r * _cosine(r / bond.cutoff)
    return core * (1 - _inner(r, bond)) if bond.inner_kind == "distance" else core


def _has_core(bond: Bond) -> bool:
    """Whether there is a core repulsion."""
    return bond.core[0] != 0 and (bond.inner_kind == "density" or bond.inner[0] > 0)


def _inner(r: Tensor, bond: Bond) -> Tensor:
    """From 0 at short distance to 1 at the inner cutoff, with two vanishing derivatives at both ends."""
    end, width = bond.inner
    if not width:
        return torch.ones_like(r)
    x = ((r - end) / width + 1).clamp(0.0, 1.0)
    return x**3 * (10 - 15 * x + 6 * x * x)


def _fill_radial(potential: Potential, file: PaceFile, shape: _Shape) -> None:
    """Put the splines of g_k and of the core repulsion, and the coefficients of R_nl, into a model."""
    embedding = cast("SplinedEmbedding", potential.network.radial_basis)
    density = cast("CompleteDensity", cast("Layer", potential.network.layers[0]).density)
    assert density.radial_network.network is not None
    n_species, n_knots = len(file.elements), embedding.values.shape[1]
    knots = torch.arange(n_knots, dtype=torch.float64) * embedding.spacing
    knots[0] = 1e-3 * embedding.spacing  # the core repulsion diverges
    (W,) = density.radial_network.network.mlp.matrices()
    W = W.unflatten(0, (shape.n_base, -1)).unflatten(2, (-1, shape.n_max))  # [k, pair, l, n]
    W.zero_()
    embedding.values.zero_()
    for (i, j), bond in file.bonds.items():

        def functions(r: Tensor, bond: Bond = bond) -> Tensor:
            g = torch.stack(RADIAL[bond.basis](r, bond), dim=1) * _inner(r, bond)[:, None]
            g = torch.nn.functional.pad(g, (0, shape.n_base - bond.n_base))
            core = [_core(r, bond)[:, None]] if shape.has_core else []
            return torch.cat([g, g, *core], dim=1) * (r < bond.cutoff)[:, None]

        value, slope = torch.func.jvp(functions, (knots,), (torch.ones_like(knots),))[:2]
        embedding.values[j * n_species + i] = torch.stack([value, embedding.spacing * slope], dim=1)
        n, degrees, k = bond.coefficients.shape
        n, degrees = min(n, shape.n_max), min(degrees, shape.l_max + 1)
        c = torch.from_numpy(bond.coefficients[:n, :degrees]) * shape.n_base**0.5
        W[:k, j * n_species + i, :degrees, :n] = c.permute(2, 1, 0)


# ---------------------------------------------------------------------------- products


def _fill_products(potential: Potential, file: PaceFile, shape: _Shape) -> None:
    """Put the coefficients of products, and the weights of densities, into a model."""
    layer = cast("Layer", potential.network.layers[0])
    block = cast("CompleteProduct", layer.product)
    readout = cast("FinnisSinclairReadout", potential.network.readouts[0])
    multisets = {
        tuple(sorted((v.element, v.n, v.l) for v in multiset.factors)): multiset
        for multiset in block.basis.multisets
    }
    size = block.basis.n_functions**0.5
    block.weight.zero_()
    readout.weight.zero_()
    for z, functions in enumerate(file.functions):
        densities = shape.densities(z)
        for key, same in _by_product(functions).items():
            multiset = multisets[key]
            rows = slice(multiset.first, multiset.first + multiset.n_paths)
            block.weight[z, rows, densities] = torch.from_numpy(size * _in_ours(same, multiset))
        readout.weight[z, densities] = len(shape.exponents) ** 0.5 * torch.tensor(
            file.embeddings[z].weights, dtype=torch.float64
        )
        if shape.has_core:
            _fill_core(block, readout, z, shape, multisets)


def _fill_core(
    block: CompleteProduct,
    readout: FinnisSinclairReadout,
    z: int,
    shape: _Shape,
    multisets: dict[tuple, Multiset],
) -> None:
    """Add the core repulsion to a density of exponent 1, in its weight."""
    density = shape.exponents.index(1.0)
    if not readout.weight[z, density]:
        readout.weight[z, density] = len(shape.exponents) ** 0.5
    weight = readout.weight[z, density] * len(shape.exponents) ** -0.5
    for j in range(len(shape.file.elements)):
        function = multisets[((j, shape.n_base + 1, 0),)].first
        block.weight[z, function, density] = block.basis.n_functions**0.5 / weight


def _by_product(functions: tuple[Function, ...]) -> dict[tuple, list[Function]]:
    """Functions of the same factors, in whatever order."""
    found: dict[tuple, list[Function]] = {}
    for function in functions:
        found.setdefault(tuple(sorted(function.factors)), []).append(function)
    return found


def _in_ours(functions: list[Function], multiset: Multiset) -> np.ndarray:
    """Coefficients of our functions of a multiset that give the sum of theirs, (n_paths, ndensity).

    Raises:
        InputError: If theirs is no invariant, so that ours cannot make it.
    """
    monomials, C = equivariant_polynomials(powers_of(multiset.factors), 0)
    theirs: Polynomial = {}
    for function in functions:
        for monomial, value in _real_monomials(function, multiset):
            theirs[monomial] = theirs.get(monomial, 0.0) + value
    rows = {tuple(row): number for number, row in enumerate(monomials.tolist())}
    y = np.zeros((len(rows), functions[0].coefficients.shape[1]))
    for monomial, value in theirs.items():
        y[rows[monomial]] = value
    c, *_ = np.linalg.lstsq(C[:, 0].T, y, rcond=None)
    left = np.abs(C[:, 0].T @ c - y).max()
    if left > CLOSED * max(np.abs(y).max(), 1e-300):
        raise InputError(
            f"the function of the factors {[tuple(v)[:3] for v in multiset.factors]} (l, element, n) is not invariant "
            f"under rotations ({left:.1g} is left of it)."
        )
    return c


def _real_monomials(function: Function, multiset: Multiset) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    r"""A function as monomials of real components: for each factor of the multiset, in order, which m.

    With real harmonics of unit mean square a_lm, :math:`A_{lm} = (-1)^m (a_{l,m} + i a_{l,-m}) / \sqrt 2` for m > 0,
    :math:`A_{l0} = a_{l0}` and :math:`A_{l,-m} = (-1)^m A_{lm}^*`.
    """
    order = sorted(range(len(function.factors)), key=lambda xi: _key(function.factors[xi]))
    assert [_key(function.factors[xi]) for xi in order] == [(v.l, v.element, v.n) for v in multiset.factors]
    for ms, coefficient in zip(function.ms.tolist(), function.coefficients, strict=True):
        terms = [_of_real(function.factors[xi][2], ms[xi]) for xi in order]
        for chosen in product(*terms):
            value = np.prod([factor for _, factor in chosen]).real
            if value:
                components = [component for component, _ in chosen]
                yield _sorted_within(components, multiset), value * coefficient


def _key(factor: tuple[int, int, int]) -> tuple[int, int, int]:
    z, n, degree = factor
    return degree, z, n


def _of_real(degree: int, m: int) -> list[tuple[int, complex]]:
    """Real components in A_lm, and their factors."""
    if m == 0:
        return [(degree, 1.0)]
    sign = (-1.0) ** m if m > 0 else 1.0
    return [
        (degree + abs(m), sign * 0.5**0.5),
        (degree - abs(m), sign * 0.5**0.5 * (1j if m > 0 else -1j)),
    ]


def _sorted_within(components: list[int], multiset: Multiset) -> tuple[int, ...]:
    """Components of equal factors in ascending order."""
    return tuple(m for _, m in sorted(zip(multiset.factors, components, strict=True)))
