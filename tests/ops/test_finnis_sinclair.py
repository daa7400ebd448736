"""Powers of densities: known values, the kernel against the definition to the third derivative."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from multiace.ops import cpu, reference

EXPONENTS = (1.0, 0.5, 0.3, 2.0, 1.0001)


def densities(n: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = torch.randn(n, len(EXPONENTS), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (x * torch.logspace(-3, 1, n, dtype=torch.float64)[:, None]).to(dtype).requires_grad_()


def derivatives(function, x):
    value = function(x, EXPONENTS)
    found, total = [value], value.sin().sum()
    for order in range(3):
        (gradient,) = torch.autograd.grad(total, [x], create_graph=order < 2)
        found.append(gradient)
        total = gradient.square().sum()
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n", [0, 1, 37])
def test_the_kernel_is_the_definition(n, dtype):
    found, expected = (
        derivatives(function.finnis_sinclair, densities(n, dtype)) for function in (cpu, reference)
    )
    for value, defined in zip(found, expected, strict=True):
        tolerance = 1e-11 if dtype is torch.float64 else 1e-3
        torch.testing.assert_close(value, defined, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("function", [cpu.finnis_sinclair, reference.finnis_sinclair])
def test_derivatives_are_those_of_differences(function):
    x = densities(5)
    assert gradcheck(lambda x: function(x, EXPONENTS), x)
    assert gradgradcheck(lambda x: function(x, EXPONENTS), x)


@pytest.mark.parametrize("function", [cpu.finnis_sinclair, reference.finnis_sinclair])
def test_values_by_hand(function):
    """m = 1/2 has the offset 1/4 and the factor 1/2: F(1) = (1 + 1/4e)^½ - 1/2e, and the slope 5/4 at zero."""
    x = torch.tensor([[1.0], [-1.0], [0.0], [100.0]], dtype=torch.float64, requires_grad=True)
    F = function(x, (0.5,))
    at_1 = (1 + 0.25 * 2.718281828459045**-1) ** 0.5 - 0.5 * 2.718281828459045**-1
    torch.testing.assert_close(F[:, 0], torch.tensor([at_1, -at_1, 0.0, 10.0], dtype=torch.float64))
    (slope,) = torch.autograd.grad(F[2], [x])
    torch.testing.assert_close(slope[2], torch.tensor([1.25], dtype=torch.float64))


@pytest.mark.parametrize("function", [cpu.finnis_sinclair, reference.finnis_sinclair])
def test_it_is_odd_and_its_slope_has_no_jump_at_zero(function):
    x = (
        torch.tensor([[1e-9], [-1e-9]], dtype=torch.float64)
        .expand(2, len(EXPONENTS))
        .clone()
        .requires_grad_()
    )
    F = function(x, EXPONENTS)
    torch.testing.assert_close(F[0], -F[1], rtol=0, atol=0)
    (slope,) = torch.autograd.grad(F.sum(), [x])
    torch.testing.assert_close(slope[0], slope[1], rtol=1e-7, atol=0)
    assert (slope > 0).all()
