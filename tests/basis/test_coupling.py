"""Coupling coefficients: against e3nn, against characters, and against what they promise."""

import itertools
from collections import Counter
from math import prod

import numpy as np
import pytest
import torch
from e3nn import o3
from scipy.linalg import block_diag
from scipy.spatial.transform import Rotation

from multiace.basis.angular import SphericalHarmonics
from multiace.basis.coupling import clebsch_gordan, count_paths, symmetric_coupling
from multiace.basis.irreps import Irrep, Irreps

TRIPLES = [
    (l1, l2, l3)
    for l1, l2 in itertools.product(range(7), repeat=2)
    for l3 in range(abs(l1 - l2), min(l1 + l2, 8) + 1)
]

# (irreps of A, out, correlation)
CASES = [
    ("0e", "0e", 4),
    ("0e", "1o", 2),
    ("0o", "0e", 4),
    ("0o", "0o", 3),
    ("1o", "0e", 4),
    ("1e", "1e", 3),
    ("2e", "0e", 3),
    ("2e", "2e", 4),
    ("3o", "0e", 4),
    ("3o", "3o", 3),
    ("0e + 1o", "0e", 1),
    ("0e + 1o", "2e", 1),
    ("0e + 1o", "1o", 2),
    ("0e + 1o + 2e + 3o", "0e", 2),
    ("0e + 1o + 2e + 3o", "0e", 3),
    ("0e + 1o + 2e + 3o", "1o", 3),
    ("0e + 1o + 2e + 3o", "2e", 3),
    ("0e + 1o + 2e + 3o", "0e", 4),
    ("0e + 0o + 1o + 1e", "0o", 3),
    ("0e + 0o + 1o + 1e + 2e + 2o", "1e", 3),
    ("1o + 0e + 2e", "1o", 4),
    ("0e + 1o + 2e + 3o + 4e + 5o + 6e", "0e", 3),
    ("6e", "6e", 3),
    ("6e", "0e", 4),
]


def coupling_of(case):
    text, out, correlation = case
    irreps = tuple(Irreps.parse(text).irreps)
    return irreps, Irrep.parse(out), correlation, symmetric_coupling(irreps, Irrep.parse(out), correlation)


def coefficients(coupling):
    """C with its zeros, (n_paths, 2L + 1, n_monomials)."""
    C = np.zeros((coupling.n_paths, coupling.out.dim, len(coupling.factors)))
    C[tuple(coupling.indices)] = coupling.values
    return C


def evaluate(coupling, A):
    """B (n_samples, n_paths, 2L + 1) from A (n_samples, components)."""
    return np.einsum("pmn,sn->spm", coefficients(coupling), A[:, coupling.factors].prod(axis=-1))


def random_A(irreps, n_samples, seed=0):
    return np.random.default_rng(seed).standard_normal((n_samples, sum(irrep.dim for irrep in irreps)))


def wigner_D(irrep, determinant):
    """How the irrep transforms under one fixed rotation, with an inversion where the determinant is -1."""
    rotation = torch.from_numpy(Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix())
    vectors = torch.from_numpy(np.random.default_rng(5).standard_normal((60, 3)))
    before, after = (
        SphericalHarmonics(irrep.l)(v, v.norm(dim=1))[:, irrep.l**2 :]
        for v in (vectors, vectors @ rotation.T)
    )
    return (irrep.p if determinant < 0 else 1) * torch.linalg.lstsq(before, after).solution.T.numpy()


def multiplicity(irreps, out, correlation):
    """How often ``out`` occurs in Sym^ν(⊕ irreps): ∫ χ_Sym χ_out over O(3), exact with 256 angles."""
    theta = 2 * np.pi * np.arange(256) / 256

    def character(irrep, angle, determinant):
        parity = irrep.p if determinant < 0 else 1
        return parity * sum(np.cos(m * angle) for m in range(-irrep.l, irrep.l + 1))

    total = 0.0
    for determinant in (1, -1):
        powers = [
            sum(character(irrep, k * theta, determinant**k) for irrep in irreps)
            for k in range(1, correlation + 1)
        ]
        symmetric = [np.ones_like(theta)]  # Newton: ν h_ν = Σ_k p_k h_{ν-k}
        for nu in range(1, correlation + 1):
            symmetric.append(sum(powers[k - 1] * symmetric[nu - k] for k in range(1, nu + 1)) / nu)
        haar = 1 - np.cos(theta)
        total += 0.5 * np.mean(haar * symmetric[correlation] * character(out, theta, determinant))
    assert abs(total - round(total)) < 1e-6
    return round(total)


def test_clebsch_gordan_equals_scaled_wigner_3j_of_e3nn_with_sign():
    for l1, l2, l3 in TRIPLES:
        theirs = np.sqrt(2 * l3 + 1) * o3.wigner_3j(l1, l2, l3, dtype=torch.float64).numpy()
        np.testing.assert_allclose(
            clebsch_gordan(l1, l2, l3), theirs, rtol=0, atol=1e-13, err_msg=f"{l1}{l2}{l3}"
        )


def test_clebsch_gordan_matrices_are_orthogonal_and_complete():
    for l1, l2 in itertools.product(range(5), repeat=2):
        C = np.concatenate([clebsch_gordan(l1, l2, l3) for l3 in range(abs(l1 - l2), l1 + l2 + 1)], axis=2)
        C = C.reshape((2 * l1 + 1) * (2 * l2 + 1), -1)
        np.testing.assert_allclose(C.T @ C, np.eye(len(C)), atol=1e-14)


def test_two_vectors_couple_to_dot_and_cross_product():
    a, b = np.random.default_rng(1).standard_normal((2, 3))
    np.testing.assert_allclose(a @ clebsch_gordan(1, 1, 0)[:, :, 0] @ b, a @ b / np.sqrt(3), atol=1e-15)
    cross = np.einsum("i,j,ijk->k", a, b, clebsch_gordan(1, 1, 1))
    np.testing.assert_allclose(cross, np.cross(a, b) / np.sqrt(2), atol=1e-15)


def test_clebsch_gordan_refuses_degrees_that_do_not_couple():
    with pytest.raises(ValueError, match="do not couple to 4"):
        clebsch_gordan(1, 2, 4)


def test_clebsch_gordan_is_kept_and_cannot_be_changed():
    assert clebsch_gordan(2, 2, 2) is clebsch_gordan(2, 2, 2)
    with pytest.raises(ValueError, match="read-only"):
        clebsch_gordan(2, 2, 2)[0, 0, 0] = 1.0


@pytest.mark.parametrize("case", CASES, ids=str)
def test_number_of_paths_is_the_multiplicity_from_characters(case):
    irreps, out, correlation, coupling = coupling_of(case)
    assert coupling.n_paths == multiplicity(irreps, out, correlation)


@pytest.mark.parametrize("degree", range(6))
def test_number_of_paths_is_right_for_every_power_of_one_irrep(degree):
    irrep = Irrep(degree, 1)
    for correlation, J in itertools.product((2, 3, 4), range(5)):
        coupling = symmetric_coupling((irrep,), Irrep(J, 1), correlation)
        expected = multiplicity((irrep,), Irrep(J, 1), correlation)
        assert coupling.n_paths == expected, (correlation, J)


@pytest.mark.parametrize("correlation", [1, 2, 3, 4])
def test_number_of_paths_is_right_for_every_output_of_mixed_parity(correlation):
    irreps = tuple(Irreps.parse("0o + 1o + 1e + 2e").irreps)
    for degree, parity in itertools.product(range(5), (1, -1)):
        out = Irrep(degree, parity)
        n_paths = symmetric_coupling(irreps, out, correlation).n_paths
        assert n_paths == multiplicity(irreps, out, correlation), out


@pytest.mark.parametrize("case", CASES, ids=str)
def test_paths_are_linearly_independent_and_well_conditioned(case):
    irreps, _, _, coupling = coupling_of(case)
    n_paths = coupling.n_paths
    B = evaluate(coupling, random_A(irreps, 8 * n_paths + 20))
    if n_paths:
        B = B.transpose(0, 2, 1).reshape(-1, n_paths)
        B = B / np.linalg.norm(B, axis=0)
        singular = np.linalg.svd(B, compute_uv=False)
        assert singular[-1] > 0.01 * singular[0]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_paths_are_equivariant_under_rotation_and_inversion(case):
    irreps, out, _, coupling = coupling_of(case)
    A = random_A(irreps, 5)
    B = evaluate(coupling, A)
    for determinant in (1, -1):
        D = block_diag(*(wigner_D(irrep, determinant) for irrep in irreps))
        expected = B @ wigner_D(out, determinant).T
        np.testing.assert_allclose(
            evaluate(coupling, A @ D.T), expected, rtol=0, atol=1e-11 * np.abs(A).max() ** 4
        )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_paths_are_counted_without_computing_them(case):
    irreps, out, correlation, coupling = coupling_of(case)
    assert count_paths(irreps, out, correlation) == coupling.n_paths


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_monomial_is_sorted_listed_once_and_used(case):
    irreps, out, correlation, coupling = coupling_of(case)
    factors, C = coupling.factors, coefficients(coupling)
    assert factors.dtype == np.int64
    assert C.dtype == np.float64
    assert factors.shape == (C.shape[2], correlation)
    assert C.shape[1] == out.dim
    assert np.all(np.diff(factors, axis=1) >= 0)
    assert len(np.unique(factors, axis=0)) == len(factors)
    assert np.all(np.abs(C).max(axis=(0, 1), initial=0) > 1e-9)
    assert factors.size == 0 or 0 <= factors.min() <= factors.max() < sum(irrep.dim for irrep in irreps)


@pytest.mark.parametrize("case", [case for case in CASES if case[0].count("+") < 4], ids=str)
def test_paths_have_unit_mean_square_and_those_of_one_multiset_are_uncorrelated(case):
    irreps, _, _, coupling = coupling_of(case)
    of_component = np.repeat(np.arange(len(irreps)), [irrep.dim for irrep in irreps])
    multiset = [tuple(row) for row in of_component[coupling.factors]]
    double_factorial = {0: 1, 2: 1, 4: 3, 6: 15, 8: 105}
    for label in sorted(set(multiset)):
        columns = [i for i, other in enumerate(multiset) if other == label]
        moments = np.zeros((len(columns), len(columns)))
        for (i, a), (j, b) in itertools.combinations_with_replacement(enumerate(columns), 2):
            exponents = Counter([*coupling.factors[a], *coupling.factors[b]]).values()
            moments[i, j] = moments[j, i] = prod(double_factorial.get(exponent, 0) for exponent in exponents)
        C = coefficients(coupling)[:, :, columns]
        C = C[np.abs(C).max(axis=(1, 2)) > 0]
        C = C.reshape(-1, len(columns))
        np.testing.assert_allclose(C @ moments @ C.T, np.eye(len(C)), atol=1e-11)


def test_one_factor_gives_the_identity():
    irreps = tuple(Irreps.parse("0e + 1o + 1e + 2e").irreps)
    slices = Irreps.parse("0e + 1o + 1e + 2e").slices()
    for irrep in irreps:
        coupling = symmetric_coupling(irreps, irrep, 1)
        assert coupling.factors[:, 0].tolist() == list(range(*slices[irrep].indices(99)))
        np.testing.assert_array_equal(coefficients(coupling), np.eye(irrep.dim)[None])


def test_an_output_that_cannot_be_reached_has_no_paths():
    coupling = symmetric_coupling((Irrep(0, 1), Irrep(1, -1)), Irrep(1, 1), 2)
    assert coefficients(coupling).shape == (0, 3, 0)
    assert coupling.factors.shape == (0, 2)


@pytest.mark.parametrize(
    ("out", "correlation", "terms"),
    [
        ("0e", 1, 1),
        ("0e", 2, 16),
        ("0e", 3, 77),
        ("1o", 2, 35),
        ("1o", 3, 278),
        ("2e", 2, 74),
        ("2e", 3, 398),
    ],
)
def test_number_of_terms_is_that_of_mace_for_l_max_3(out, correlation, terms):
    coupling = symmetric_coupling(
        tuple(Irreps.parse("0e + 1o + 2e + 3o").irreps), Irrep.parse(out), correlation
    )
    assert np.count_nonzero(np.abs(coefficients(coupling)).max(axis=0)) == terms


def test_order_of_irreps_only_relabels_components():
    one, other = (Irrep(0, 1), Irrep(1, -1), Irrep(2, 1)), (Irrep(2, 1), Irrep(0, 1), Irrep(1, -1))
    permutation = [4, 5, 6, 7, 8, 0, 1, 2, 3]  # components of `other` within those of `one`
    A = random_A(one, 200)
    span = [
        np.linalg.qr(evaluate(symmetric_coupling(irreps, Irrep(0, 1), 3), values)[:, :, 0])[0]
        for irreps, values in ((one, A), (other, A[:, permutation]))
    ]
    np.testing.assert_allclose(span[0] @ span[0].T, span[1] @ span[1].T, atol=1e-10)


def test_coupling_is_kept_and_cannot_be_changed():
    coupling = symmetric_coupling((Irrep(1, -1),), Irrep(0, 1), 2)
    assert coupling is symmetric_coupling((Irrep(1, -1),), Irrep(0, 1), 2)
    for array in (coupling.factors, coupling.indices, coupling.values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
