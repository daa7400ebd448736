"""The basis of linear ACE is complete, independent and equivariant."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from multiace.basis.ace import AceBasis, OneParticle, Truncation
from multiace.basis.angular import SphericalHarmonics
from multiace.basis.irreps import Irrep

SMALL = AceBasis(2, Truncation((6, 6, 5, 5), weight=1.0, l_max=3, num_radial=3))
FIVE = AceBasis(1, Truncation((5, 5, 5, 6, 7), weight=1.0, l_max=2, num_radial=2))
VECTOR = AceBasis(1, Truncation((5, 5, 6), 1.0, 3, 2), Irrep(1, -1))
ODD = AceBasis(1, Truncation((8, 8, 8), 1.0, 3, 2), Irrep(1, 1))
PAIRED = AceBasis(2, Truncation((1, 6, 5), weight=1.0, l_max=2, num_radial=3, pair_num_radial=5))
every_basis = pytest.mark.parametrize(
    "basis", [SMALL, FIVE, VECTOR, ODD, PAIRED], ids=["two", "five", "1o", "1e", "pair"]
)


def character_count(multiset: Counter[int], L: int) -> int:
    """How often L occurs in ⊗ Sym^k(l) over the different factors (l, k), by an integral over SO(3) of characters."""
    ls = [v.l for v in multiset]
    n = 2 * (sum(v.l * k for v, k in multiset.items()) + L) + 4
    angles = np.pi * (np.arange(n) + 0.5) / n  # trapezoidal sums are exact for these cosines
    haar = (1.0 - np.cos(angles)) / n

    def character(degree: int, angle: np.ndarray) -> np.ndarray:
        return 1.0 + 2.0 * sum(np.cos(m * angle) for m in range(1, degree + 1))

    def symmetric_power(degree: int, power: int) -> np.ndarray:
        """Newton's identity: h_k = (1/k) Σ_i p_i h_(k-i), p_i the character at i times the angle."""
        h = [np.ones_like(angles)]
        for k in range(1, power + 1):
            h.append(sum(character(degree, i * angles) * h[k - i] for i in range(1, k + 1)) / k)
        return h[power]

    chi = prod(
        (symmetric_power(degree, k) for degree, k in zip(ls, multiset.values(), strict=True)), start=1.0
    )
    return round(float((haar * chi * character(L, angles)).sum()))


def density(basis: AceBasis, vectors: torch.Tensor, elements: torch.Tensor) -> torch.Tensor:
    """A of some environments, (n, components), from neighbours (n, neighbours, 3)."""
    lengths = torch.linalg.vector_norm(vectors, dim=-1)
    Y = SphericalHarmonics(basis.truncation.l_max).double()(vectors.flatten(0, 1), lengths.flatten())
    Y = Y.unflatten(0, lengths.shape)
    A = vectors.new_zeros(len(vectors), basis.n_components)
    for v in basis.one_particle + basis.pair_functions:
        R = (torch.sin if v.pair else torch.cos)(v.n * lengths) * (elements == v.element)
        A[:, list(basis.components[v])] = (R[..., None] * Y[..., v.l**2 : (v.l + 1) ** 2]).sum(dim=1)
    return A


def values(basis: AceBasis, A: torch.Tensor) -> torch.Tensor:
    """B of some environments, (n, functions, 2L + 1)."""
    c = basis.coefficients
    ones = torch.cat([A, torch.ones_like(A[:, :1])], dim=1)
    monomials = ones[:, torch.from_numpy(c.factors)].prod(dim=2)
    B = A.new_zeros(len(A), basis.n_functions, basis.irrep.dim)
    B.index_put_(
        (torch.arange(len(A))[:, None], torch.from_numpy(c.function), torch.from_numpy(c.M)),
        monomials[:, torch.from_numpy(c.monomial)] * torch.from_numpy(c.values),
        accumulate=True,
    )
    return B


def environments(n: int, neighbours: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Neighbours of n atoms, and their elements."""
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn(n, neighbours, 3, generator=generator, dtype=torch.float64)
    return vectors, torch.randint(2, (n, neighbours), generator=generator)


@every_basis
def test_multisets_have_as_many_functions_as_characters_say(basis: AceBasis) -> None:
    counts = {multiset.factors: multiset.n_paths for multiset in basis.multisets}
    for order in range(1, basis.correlation + 1):
        for factors in basis._products(order):
            assert counts.get(factors, 0) == character_count(Counter(factors), basis.irrep.l)


@every_basis
def test_functions_are_independent(basis: AceBasis) -> None:
    vectors, elements = environments(2 * basis.n_functions)
    B = values(basis, density(basis, vectors, elements)).transpose(1, 2).flatten(0, 1)
    singular = torch.linalg.svdvals(B / B.square().mean(dim=0).sqrt())
    assert basis.n_functions > 3
    assert singular[-1] > 1e-9 * singular[0]


@pytest.mark.parametrize("basis", [SMALL, FIVE], ids=["two", "five"])
def test_functions_are_invariant(basis: AceBasis) -> None:
    vectors, elements = environments(4)
    B = values(basis, density(basis, vectors, elements))
    rotation = torch.from_numpy(Rotation.random(random_state=3).as_matrix())
    for matrix in (rotation, -rotation):
        moved = values(basis, density(basis, vectors @ matrix.T, elements))
        assert (moved - B).abs().max() < 1e-12 * B.abs().max()
    shuffled = torch.randperm(vectors.shape[1], generator=torch.Generator().manual_seed(1))
    moved = values(basis, density(basis, vectors[:, shuffled], elements[:, shuffled]))
    assert (moved - B).abs().max() < 1e-12 * B.abs().max()


@pytest.mark.parametrize("basis", [VECTOR, ODD], ids=["1o", "1e"])
def test_vectors_turn_with_the_structure(basis: AceBasis) -> None:
    vectors, elements = environments(4)
    B = values(basis, density(basis, vectors, elements))
    rotation = torch.from_numpy(Rotation.random(random_state=3).as_matrix())
    for matrix, sign in ((rotation, 1), (-rotation, basis.irrep.p)):
        moved = values(basis, density(basis, vectors @ matrix.T, elements))
        assert (moved - sign * B @ rotation.T).abs().max() < 1e-12 * B.abs().max()


def test_a_two_body_term_of_its_own_has_all_its_functions_and_no_others() -> None:
    plain = AceBasis(2, Truncation((1, 6, 5), weight=1.0, l_max=2, num_radial=3))
    pairs = [multiset.factors for multiset in PAIRED.multisets if len(multiset.factors) == 1]
    assert [(v.element, v.n) for (v,) in pairs] == [(z, n) for z in range(2) for n in range(1, 6)]
    assert all(v.pair and v.l == 0 for (v,) in pairs)
    products = [[m.factors for m in basis.multisets if len(m.factors) > 1] for basis in (plain, PAIRED)]
    assert products[0] == products[1]
    places = [c for components in PAIRED.components.values() for c in components]
    assert len(places) == len(set(places))
    assert {c for v in PAIRED.pair_functions for c in PAIRED.components[v]} == {
        *range(plain.n_components, PAIRED.n_components)
    }
    vectors = AceBasis(2, PAIRED.truncation, Irrep(1, -1))
    assert not any(v.pair for multiset in vectors.multisets for v in multiset.factors)


def test_small_cases_by_hand() -> None:
    basis = AceBasis(1, Truncation((2, 4), weight=1.0, l_max=1, num_radial=2))
    named = [tuple((v.n, v.l) for v in multiset.factors) for multiset in basis.multisets]
    assert named == [
        ((1, 0),),
        ((2, 0),),
        ((1, 0), (1, 0)),
        ((1, 0), (2, 0)),
        ((2, 0), (2, 0)),
        ((1, 1), (1, 1)),
    ]
    A = torch.tensor([[0.5, -0.3, 1.0, 0.1, 2.0, 0.2, -1.0, 0.3]], dtype=torch.float64)
    assert list(basis.components[OneParticle(1, 0, 1)]) == [2, 4, 6]
    B = values(basis, A)[0, :, 0]
    square = A[0, 2::2].square().sum()
    torch.testing.assert_close(B[:2], A[0, :2])
    assert B[3] / B[2] == pytest.approx(3**0.5 * -0.3 / 0.5)  # of unit normals E[(A A')²] = 1, E[(A A)²] = 3
    assert float(B[5] / square) == pytest.approx(float(1 / np.sqrt(15)))  # of a sum of three squares


def test_a_listed_basis_has_the_functions_of_its_products():
    listed = (((0, 1, 0),), ((1, 2, 1), (0, 1, 1)), ((0, 1, 2), (0, 1, 2), (1, 2, 2)))
    whole = AceBasis(2, Truncation((10.0, 10.0, 10.0), 1.0, 2, 2))
    some = AceBasis(2, Truncation((1.0, 1.0, 1.0), 1.0, 2, 2, products=listed))
    paths = {multiset.factors: multiset.n_paths for multiset in whole.multisets}
    assert len(some.multisets) == 3
    for multiset in some.multisets:
        assert multiset.n_paths == paths[multiset.factors] == 1
    assert some.n_components == whole.n_components
    A = np.random.default_rng(0).normal(size=whole.n_components)

    def values(basis):
        c = basis.coefficients
        products = np.append(A, 1.0)[c.factors].prod(axis=1)
        return np.bincount(c.function, c.values * products[c.monomial], basis.n_functions)

    in_whole = [m.first for m in whole.multisets if m.factors in {n.factors for n in some.multisets}]
    np.testing.assert_allclose(values(some), values(whole)[in_whole])
