"""Symmetric products, in each implementation, against their written definition and against e3nn."""

import e3nn.o3
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from multiace.basis.coupling import symmetric_coupling
from multiace.basis.irreps import Irrep
from multiace.ops import ProductPaths, cpu, reference
from tests.ops.operands import (
    PRODUCTS,
    SMALL,
    every_product_table,
    not_in_interpreter,
    product_operands,
    random,
)


@every_product_table
def test_symmetric_product_is_its_definition(symmetric_product, paths):
    """m = Σ_η W_η B_η, the B of each irrep and order one after another."""
    species = torch.tensor([1, 0, 1])
    A, W = product_operands(paths)
    blocks, first = [], 0
    for irrep in paths.targets:
        m = A.new_zeros(3, irrep.dim, 2)
        for order in range(1, paths.correlation + 1):
            coupling = symmetric_coupling(paths.irreps_in, irrep, order)
            monomials = A[:, torch.tensor(coupling.factors)].prod(dim=2)  # [n_nodes, n_monomials, channels]
            weights = W[species, first : first + coupling.n_paths]
            for path, M, monomial, value in zip(*coupling.indices, coupling.values, strict=True):
                m[:, M] += value * weights[:, path] * monomials[:, monomial]
            first += coupling.n_paths
        blocks.append(m)
    assert first == W.shape[1]
    expected = torch.cat(blocks, dim=1)
    torch.testing.assert_close(symmetric_product(A, W, species, paths), expected, rtol=1e-12, atol=1e-12)


def test_symmetric_products_of_two_vectors_are_those_of_e3nn(symmetric_product):
    """A polar vector with itself: |A|² / sqrt(3) up to normalisation, and its traceless part."""
    for out, L in ((Irrep(0, 1), 0), (Irrep(2, 1), 2)):
        paths = ProductPaths((Irrep(1, -1),), (out,), 2)
        A, _ = product_operands(paths)
        m = symmetric_product(A, torch.ones(1, 1, 2, dtype=A.dtype), None, paths)
        C = e3nn.o3.wigner_3j(1, 1, L, dtype=torch.float64)
        expected = torch.einsum("abM,nak,nbk->nMk", C, A, A)
        ratio = (m * expected).sum() / expected.square().sum()
        torch.testing.assert_close(m, ratio * expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("correlation", [2, 3, 4])
def test_derivatives_of_symmetric_product(symmetric_product, correlation):
    not_in_interpreter()
    paths = ProductPaths((Irrep(0, 1), Irrep(1, -1)), (Irrep(1, -1), Irrep(0, 1)), correlation)
    operands = [x.requires_grad_() for x in product_operands(paths, n_nodes=2)]
    species = torch.tensor([1, 0])

    def function(A, W):
        return symmetric_product(A, W, species, paths)

    def gradients(A, W):
        return torch.autograd.grad(function(A, W).square().sum(), (A, W), create_graph=True)

    assert gradcheck(function, operands)
    assert gradgradcheck(function, operands)
    assert gradgradcheck(gradients, operands, fast_mode=True)


@every_product_table
def test_gradients_of_symmetric_product_are_those_of_its_definition(symmetric_product, paths):
    """Up to the third, with more channels than a vector has lanes."""
    if len(paths.polynomial.monomial) > SMALL:
        not_in_interpreter()
    A, W = (x.requires_grad_() for x in product_operands(paths, channels=19))
    species = torch.tensor([1, 0, 1])
    if not W.numel():
        return
    results = []
    for function in (symmetric_product, reference.symmetric_product):
        total = function(A, W, species, paths).square().sum()
        for order in range(3 if paths.correlation > 1 else 1):
            g_A, g_W = torch.autograd.grad(total, (A, W), create_graph=True)
            results.append((g_A / g_A.detach().abs().max(), g_W / g_W.detach().abs().max()))
            total = (g_A * random(*A.shape, seed=10 + order)).sum() + (
                g_W * random(*W.shape, seed=20 + order)
            ).sum()
    half = len(results) // 2
    for ours, theirs in zip(results[:half], results[half:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_symmetric_product_without_elements_takes_the_first_matrix(symmetric_product):
    paths = PRODUCTS["0e + 1o + 2e to 0e 1o 2e, 3"]
    A, W = product_operands(paths, n_matrices=1)
    nought = torch.zeros(3, dtype=torch.int64)
    first, second = (symmetric_product(A, W, species, paths) for species in (None, nought))
    assert torch.equal(first, second)


def test_symmetric_product_of_no_atoms(symmetric_product):
    paths = ProductPaths((Irrep(0, 1), Irrep(1, -1)), (Irrep(1, -1),), 2)
    A, W = (x.requires_grad_() for x in product_operands(paths, n_nodes=0, channels=5))
    m = symmetric_product(A, W, torch.zeros(0, dtype=torch.int64), paths)
    assert m.shape == (0, 3, 5)
    assert not torch.autograd.grad(m.sum(), W)[0].any()


def test_symmetric_product_in_float32(symmetric_product):
    paths = PRODUCTS["0e + 1o + 2e to 0e 1o 2e, 4"]
    A, W = product_operands(paths, n_matrices=1, channels=33)
    expected = reference.symmetric_product(A, W, None, paths).float()
    m = symmetric_product(A.float(), W.float(), None, paths)
    torch.testing.assert_close(m, expected, rtol=1e-4, atol=1e-4)


def test_products_of_more_factors_than_the_kernel_has_run_as_defined():
    paths = ProductPaths((Irrep(0, 1),), (Irrep(0, 1),), 5)
    A, W = product_operands(paths)
    species = torch.tensor([1, 0, 1])
    torch.testing.assert_close(
        cpu.symmetric_product(A, W, species, paths), reference.symmetric_product(A, W, species, paths)
    )
