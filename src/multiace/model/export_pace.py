r"""Linear and nonlinear ACE as potentials of pacemaker (``.yace``), for ML-PACE in LAMMPS.

Radial functions are written in pacemaker's ``ChebPow`` with λ = 1, :math:`g_k = (1 - T_k(x))/2` and x = 2 r / r_c - 1:
a function that vanishes at the cutoff has a Chebyshev series there,

.. math:: R(r) = \sum_{k \ge 0} a_k T_k(x) = -2 \sum_{k \ge 1} a_k g_k(r), \qquad \textstyle\sum_k a_k = R(r_c) = 0,

of as many terms as the accuracy asks for. An envelope that grows without bound (``pair_envelope = inverse``) is a
polynomial that is equal to it from a tenth of the cutoff on, and rises to a finite value below. Real harmonics become
complex ones, so that the coefficients of a product belong to combinations of m that sum to zero; of m and -m one is
written, with both coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, product
from math import isqrt
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.polynomial import Chebyshev, chebyshev

from multiace.basis.ace import Multiset, powers_of
from multiace.basis.coupling import equivariant_polynomials
from multiace.basis.envelope import Envelope
from multiace.basis.radial import PairedEmbedding
from multiace.errors import InputError
from multiace.files import atomic
from multiace.layers.complete import CompleteDensity, CompleteProduct
from multiace.layers.readout import FinnisSinclairReadout, Readout
from multiace.layers.update import Layer
from multiace.model.config import ModelConfig
from multiace.model.potential import Potential, Statistics

__all__ = ["export_pace"]

MOST_TERMS = 256
ORDER = 48  # of the polynomial in the place of an envelope without bound
ACCURACY = 1e-11  # of a radial function, of its largest value
INNER = 0.1  # part of the cutoff from which on envelopes without bound are those of the model
SMALLEST = 1e-13  # of a coefficient, of the largest one of its function


def export_pace(potential: Potential, path: str | PathLike, spacing: float = 0.001) -> None:
    """Write a model as ``.yace``.

    Args:
        potential: Complete coupling with one-hot elements, read by a linear or a ``finnis_sinclair`` readout.
        path: The file.
        spacing: Distance of the knots of the splines that pacemaker and LAMMPS make of radial functions [Å].

    Raises:
        InputError: If the format has no place for the model; says for what.
    """
    _check(potential.config)
    with torch.no_grad():
        lines = list(_Exporter(potential).lines(spacing))
    with atomic(Path(path)) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _check(config: ModelConfig) -> None:
    needed = {"channel_coupling": "complete", "element_embedding": "one_hot", "zbl": False}
    wrong = {name: value for name, value in needed.items() if getattr(config, name) != value}
    if config.readout_function == "mlp" and config.readout_width:
        wrong["readout_width"] = 0
    if wrong:
        asked = ", ".join(f"{name} = {str(value).lower()}" for name, value in wrong.items())
        raise InputError(f"a .yace file has no place for this model: it needs {asked}.")


class _Exporter:
    """What the lines of a file are made of."""

    def __init__(self, potential: Potential) -> None:
        config = potential.config.replace(dtype="float64")
        self.at = Potential(config, Statistics(np.zeros(len(config.elements))))
        self.at.load_state_dict(potential.state_dict())
        layer = cast("Layer", self.at.network.layers[0])
        self.density, self.block = (
            cast("CompleteDensity", layer.density),
            cast("CompleteProduct", layer.product),
        )
        if config.pair_num_radial and config.pair_envelope == "inverse" and not config.radial_knots:
            pair = cast("PairedEmbedding", self.at.network.radial_basis).pair
            pair.envelope = bounded(pair.envelope, pair.envelope_power)
        self.n_species, self.n_max = len(config.elements), config.truncation.num_radial
        self.weights, self.exponents = self._embeddings()
        self.norm = float(self.density.norm(torch.ones((), dtype=torch.float64)))
        self.R, self.pair = self._radial_series()
        self.is_symmetric = np.array_equal(self.R, self.R.swapaxes(0, 1))

    def _embeddings(self) -> tuple[np.ndarray, tuple[float, ...]]:
        """Weights of the densities, (n_species, P) [eV], and their exponents."""
        readout = cast("Readout | FinnisSinclairReadout", self.at.network.readouts[0])
        if isinstance(readout, FinnisSinclairReadout):
            w, exponents = readout.weight.numpy(), readout.exponents
        else:
            w, exponents = (
                readout.mlp.weight.expand(self.n_species, -1).numpy(),
                (1.0,) * self.at.config.channels,
            )
        return float(self.at.scale) * w * len(exponents) ** -0.5, exponents

    # ------------------------------------------------------------------ radial functions

    def _radial_series(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of g_k: of R_nl, (z_i, z_j, n, l, k), and of the functions of one factor, (z_i, z_j, n, k).

        Raises:
            InputError: If the series do not converge.
        """
        terms = 16
        while True:
            series = [
                [self._series_of(i, j, terms) for j in range(self.n_species)] for i in range(self.n_species)
            ]
            error = max(of_pair[1] for row in series for of_pair in row)
            if error < ACCURACY:
                break
            terms += 16
            if terms > MOST_TERMS:
                raise InputError(
                    f"the radial functions cannot be written for pacemaker: {MOST_TERMS} polynomials leave an error of "
                    f"{error:.1g} of their largest value."
                )
        c = np.array([[coefficients for coefficients, _ in row] for row in series])  # [z_i, z_j, function, k]
        of_products = self.n_max * (self.at.config.l_max + 1)
        R = c[:, :, :of_products].reshape(*c.shape[:2], -1, self.n_max, terms).swapaxes(2, 3)
        own = c[:, :, of_products:] if self.at.config.pair_num_radial else R[:, :, :, 0]
        return R, own

    def _series_of(self, i: int, j: int, terms: int) -> tuple[np.ndarray, float]:
        """Coefficients of all functions of a pair, (function, k), and the largest relative error between nodes."""
        n = terms + 1
        nodes, between = (np.cos(np.pi * (np.arange(size) + 0.5) / size) for size in (n, 3 * n))
        values, exact = self._functions(i, j, nodes), self._functions(i, j, between)
        T = chebyshev.chebvander(nodes, terms)
        a = 2 / n * T.T @ values  # [k, function]; the first row is given by the others
        g = (1 - chebyshev.chebvander(between, terms)[:, 1:]) / 2
        c = -2 * a[1:]
        size = np.abs(exact).max(axis=0).clip(min=1e-300)
        return c.T, float((np.abs(g @ c - exact) / size).max())

    def _functions(self, i: int, j: int, x: np.ndarray) -> np.ndarray:
        """R_nl, l by l, then those of the two-body term, at r = r_c (1 + x)/2, (len(x), functions)."""
        r = torch.from_numpy(0.5 * self.at.cutoff * (1 + x))
        z_j, z_i = (torch.full((len(r),), z) for z in (j, i))
        network = self.at.network
        e = network.radial_basis(r, z_j, z_i)
        radial = self.density.radial_network
        R = radial.of_rows(e, network.elements.table, z_j, z_i)
        once = [range(q, q + n) for lm, q, n in radial.products if isqrt(lm) ** 2 == lm]  # of each l, m = -l
        return R[:, [*chain(*once)]].numpy()

    # ------------------------------------------------------------------ the file

    def lines(self, spacing: float) -> Iterator[str]:
        """The lines of the file."""
        at, species = self.at, range(self.n_species)
        yield f"elements: [{', '.join(at.elements)}]"
        yield f"E0: {_flow((at.isolated_energies + at.shift).tolist())}"
        yield f"deltaSplineBins: {spacing}"
        yield "embeddings:"
        for z in species:
            parameters = [
                number for pair in zip(self.weights[z], self.exponents, strict=True) for number in pair
            ]
            yield f"  {z}: " + _flow(
                {
                    "ndensity": len(self.exponents),
                    "FS_parameters": parameters,
                    "npoti": "FinnisSinclairShiftedScaled",
                    "rho_core_cutoff": 100000,
                    "drho_core_cutoff": 250,
                }
            )
        yield "bonds:"
        for i, j in product(species, species):
            yield f"  [{i}, {j}]: " + _flow(self._bond(i, j))
        yield "functions:"
        for z in species:
            yield f"  {z}:"
            yield from ("    - " + _flow(function) for function in self._functions_of(z))

    def _bond(self, i: int, j: int) -> dict[str, Any]:
        """Both directions of a pair have the same functions; if R differ, those of i <= j, then those of i > j."""
        R = self.R[min(i, j), max(i, j)]
        if not self.is_symmetric:
            R = np.concatenate([R, self.R[max(i, j), min(i, j)]])
        return {
            "nradmax": len(R),
            "lmax": self.at.config.l_max,
            "nradbasemax": R.shape[-1],
            "radbasename": "ChebPow",
            "radparameters": [1],
            "radcoefficients": R.tolist(),
            "prehc": 0,
            "lambdahc": 1,
            "rcut": self.at.cutoff,
            "dcut": 0.01,
            "rcut_in": 0,
            "dcut_in": 0,
            "inner_cutoff_type": "density",
        }

    def _functions_of(self, z: int) -> Iterator[dict[str, Any]]:
        """Functions of a central element that have a coefficient."""
        weight = (
            self.block.weight[z if self.block.sees_element else 0].numpy()
            * self.block.basis.n_functions**-0.5
        )
        of_one: dict[int, np.ndarray] = {}
        for multiset in self.block.basis.multisets:
            c = weight[multiset.first : multiset.first + multiset.n_paths] * self.norm ** len(
                multiset.factors
            )
            if len(multiset.factors) == 1:
                (v,) = multiset.factors
                series = self.pair[z, v.element, v.n - 1]
                of_one[v.element] = of_one.get(v.element, 0.0) + series[:, None] * c
            elif c.any():
                yield self._function(z, multiset, c)
        for j, coefficients in of_one.items():
            for k, c in enumerate(coefficients):
                yield _entry(z, [(j, k + 1, 0)], {(0,): c})

    def _function(self, z: int, multiset: Multiset, c: np.ndarray) -> dict[str, Any]:
        """All functions of a multiset as one; factors by element, n and l."""
        behind = 0 if self.is_symmetric else self.n_max
        factors = [(v.element, v.n + (behind if v.element < z else 0), v.l) for v in multiset.factors]
        order = sorted(range(len(factors)), key=lambda xi: factors[xi])
        combinations: dict[tuple[int, ...], np.ndarray] = {}
        for ms, value in _complex_monomials(multiset, c):
            ordered = _canonical([ms[xi] for xi in order], [factors[xi] for xi in order])
            combinations[ordered] = combinations.get(ordered, 0.0) + value
        return _entry(z, [factors[xi] for xi in order], _halved(combinations, [factors[xi] for xi in order]))


def bounded(envelope: Envelope, power: int) -> Envelope:
    """Return the polynomial that is equal to an envelope from INNER of the cutoff on."""
    polynomial = Chebyshev.interpolate(
        lambda x: envelope(torch.from_numpy(x), 1.0, power).numpy(), ORDER, domain=[INNER, 1.0]
    )
    return lambda lengths, cutoff, power: torch.from_numpy(polynomial((lengths / cutoff).numpy()))


def _complex_monomials(multiset: Multiset, c: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Monomials of complex A in Σ c B, with complex coefficients (ndensity,); m of each factor of the multiset."""
    monomials, C = equivariant_polynomials(powers_of(multiset.factors), 0)
    degrees = [v.l for v in multiset.factors]
    for components, values in zip(monomials.tolist(), (C[:, 0].T @ c), strict=True):
        if not values.any():
            continue
        terms = [
            _of_complex(component - degree) for component, degree in zip(components, degrees, strict=True)
        ]
        for chosen in product(*terms):
            yield tuple(m for m, _ in chosen), np.prod([factor for _, factor in chosen]) * values


def _of_complex(m: int) -> list[tuple[int, complex]]:
    r"""Complex A in a real component, and their factors.

    :math:`a_m = ((-1)^m A_m + A_{-m})/\sqrt2` and :math:`a_{-m} = ((-1)^m A_m - A_{-m})/i\sqrt2` for m > 0.
    """
    if m == 0:
        return [(0, 1.0)]
    sign, root = (-1.0) ** m, 0.5**0.5
    if m > 0:
        return [(m, sign * root), (-m, root)]
    return [(-m, -1j * sign * root), (m, 1j * root)]


def _canonical(ms: list[int], factors: list[tuple[int, int, int]]) -> tuple[int, ...]:
    """The m of equal factors in ascending order."""
    return tuple(m for _, m in sorted(zip(factors, ms, strict=True)))


def _halved(
    combinations: dict[tuple[int, ...], np.ndarray], factors: list[tuple[int, int, int]]
) -> dict[tuple[int, ...], np.ndarray]:
    """Real coefficients of one of m and -m, whose products of A are conjugates of each other."""
    halved: dict[tuple[int, ...], np.ndarray] = {}
    largest = max(np.abs(value).max() for value in combinations.values())
    for ms, value in combinations.items():
        assert np.abs(value.imag).max() <= 1e-10 * largest
        kept = max(ms, _canonical([-m for m in ms], factors))
        halved[kept] = halved.get(kept, 0.0) + value.real
    return {ms: value for ms, value in halved.items() if np.abs(value).max() > SMALLEST * largest}


def _entry(
    z: int, factors: list[tuple[int, int, int]], combinations: dict[tuple[int, ...], np.ndarray]
) -> dict[str, Any]:
    """A function as the file has it."""
    mus, ns, ls = (list(column) for column in zip(*factors, strict=True))
    return {
        "mu0": z,
        "rank": len(factors),
        "ndensity": len(next(iter(combinations.values()))),
        "num_ms_combs": len(combinations),
        "mus": mus,
        "ns": ns,
        "ls": ls,
        "ms_combs": [m for ms in combinations for m in ms],
        "ctildes": [float(value) for values in combinations.values() for value in values],
    }


def _flow(value: Any) -> str:
    """YAML in one line; numbers with all their digits."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return f"{value:.17g}" if isinstance(value, float) else str(value)
