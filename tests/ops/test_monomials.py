"""Sums of monomials: the kernel against the definition, to the third derivative; the recursion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from multiace.ops import Monomials, cpu, joined, recursion, reference
from multiace.ops.forms import Form

COMPONENTS = 7


def factors(orders: tuple[int, ...], each: int = 12) -> np.ndarray:
    rng = np.random.default_rng(0)
    found = {tuple(sorted(rng.integers(0, COMPONENTS, size=n).tolist())) for n in orders for _ in range(each)}
    most = max(orders)
    return np.array([[*m, *[-1] * (most - len(m))] for m in sorted(found, key=lambda m: (len(m), m))])


def operands(
    monomials: Monomials, dtype: torch.dtype, n_species: int, channels: int, nodes: int
) -> list[Tensor]:
    torch.manual_seed(1)
    A = torch.randn(nodes, COMPONENTS, dtype=dtype, requires_grad=True)
    W = torch.randn(n_species, len(monomials.factors), channels, dtype=dtype, requires_grad=True)
    return [A, W, torch.randint(n_species, (nodes,))]


def derivatives(
    function: object, A: Tensor, W: Tensor, z: Tensor | None, monomials: Monomials
) -> list[Tensor]:
    value = function(A, W, z, monomials)
    found, total = [value], value.sin().sum()
    for order in range(3):
        gradients = torch.autograd.grad(total, [A, W], create_graph=order < 2)
        found += gradients
        total = sum(gradient.square().sum() for gradient in gradients)
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("orders", "n_species", "channels", "nodes"),
    [((1, 2, 3, 4, 5), 2, 2, 21), ((2, 3), 1, 1, 40), ((1,), 3, 1, 5), ((4,), 1, 3, 1), ((3,), 2, 1, 0)],
)
def test_the_kernel_is_the_definition(
    orders: tuple[int, ...], n_species: int, channels: int, nodes: int, dtype: torch.dtype
) -> None:
    monomials, _ = recursion(factors(orders), COMPONENTS)
    A, W, species = operands(monomials, dtype, n_species, channels, nodes)
    z = species if n_species > 1 else None
    tolerance = 1e-12 if dtype is torch.float64 else 1e-4
    found = derivatives(cpu.polynomial, A, W, z, monomials)
    expected = derivatives(reference.polynomial, A, W, z, monomials)
    for value, defined in zip(found, expected, strict=True):
        scale = defined.abs().max().clamp(min=1e-30) if defined.numel() else 1.0
        torch.testing.assert_close(value / scale, defined / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lists_of_each_element_are_the_definition(dtype: torch.dtype) -> None:
    all_factors = factors((1, 2, 3, 4))
    parts = [all_factors[::2], all_factors[:0], all_factors[5:]]
    lists = [recursion(part, COMPONENTS)[0] for part in parts]
    monomials = joined(lists)
    assert [part.stop - part.start for part in monomials.lists] == [len(part) for part in parts]
    A, W, z = operands(monomials, dtype, 1, 2, 30)
    z = torch.randint(3, z.shape)
    found, expected = (derivatives(module.polynomial, A, W, z, monomials) for module in (cpu, reference))
    tolerance = 1e-12 if dtype is torch.float64 else 1e-4
    for value, defined in zip(found, expected, strict=True):
        scale = defined.abs().max()
        torch.testing.assert_close(value / scale, defined / scale, rtol=0, atol=tolerance)
    for number, (of_one, part) in enumerate(zip(lists, monomials.lists, strict=True)):
        nodes = z == number
        alone = reference.polynomial(A[nodes], W[:, part], None, of_one)
        torch.testing.assert_close(found[0][nodes], alone, rtol=tolerance, atol=tolerance)


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    monomials, _ = recursion(factors((1, 2, 3, 4)), COMPONENTS)
    A, W, z = operands(monomials, torch.float32, 2, 1, 100)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(derivatives(cpu.polynomial, A, W, z, monomials))
    finally:
        torch.set_num_threads(before)
    for values in zip(*found, strict=True):
        assert all(torch.equal(value, values[0]) for value in values)


def test_the_recursion_makes_each_monomial_from_two_values() -> None:
    given = factors((1, 2, 3, 4, 5), each=40)
    monomials, before = recursion(given, COMPONENTS)
    assert sorted(before.tolist()) == list(range(len(given)))
    np.testing.assert_array_equal(monomials.factors.numpy(), given[before])
    of_value: list[tuple[int, ...]] = [*((c,) for c in range(COMPONENTS)), ()]
    for a, b in monomials.products.tolist():
        of_value.append(tuple(sorted(of_value[a] + of_value[b])))
    sizes = monomials.first.diff()
    assert (sizes > 0).all()
    for left, right, row in zip(
        monomials.left.repeat_interleave(sizes).tolist(),
        monomials.right.tolist(),
        given[before].tolist(),
        strict=True,
    ):
        assert tuple(sorted(of_value[left] + of_value[right])) == tuple(c for c in row if c >= 0)
    assert len(set(of_value)) == len(of_value)


def test_the_form_is_an_operator_of_pytorch() -> None:
    monomials, _ = recursion(factors((1, 2, 3)), COMPONENTS)
    A, W, z = operands(monomials, torch.float64, 2, 1, 6)
    form: Form = cpu.MONOMIALS
    _, *tables = monomials
    constants = (z, COMPONENTS, 2, len(monomials.factors), 1, *tables)
    torch.library.opcheck(form.operator, ([A, W, A.new_empty((0,) * 5)], *constants, 2))
