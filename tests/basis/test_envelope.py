"""Envelopes: limits, and derivatives that vanish."""

import math

import pytest
import torch

from multiace.basis.envelope import (
    ENVELOPES,
    cosine_envelope,
    inverse_envelope,
    polynomial_envelope,
    two_sided_envelope,
)

CUTOFF = 5.1


def distances(n=50):
    return torch.linspace(0.05, CUTOFF, n, dtype=torch.float64)


@pytest.mark.parametrize("power", [1, 2, 3, 5, 6, 12])
def test_polynomial_envelope_is_the_published_formula(power):
    x, p = distances() / CUTOFF, power
    expected = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    torch.testing.assert_close(polynomial_envelope(distances(), CUTOFF, power), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("power", [2, 5, 6])
def test_polynomial_envelope_has_two_vanishing_derivatives_at_the_cutoff(power):
    r = torch.tensor([CUTOFF], dtype=torch.float64, requires_grad=True)
    first = torch.autograd.grad(polynomial_envelope(r, CUTOFF, power).sum(), r, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), r)[0]
    assert abs(first.item()) < 1e-12
    assert abs(second.item()) < 1e-11
    # From inside, f falls with the third power of the distance to the cutoff.
    near = polynomial_envelope(CUTOFF * (1 - torch.tensor([2e-3, 1e-3], dtype=torch.float64)), CUTOFF, power)
    assert near[0] / near[1] == pytest.approx(8, rel=0.03)


def test_cosine_envelope_has_one_vanishing_derivative_at_the_cutoff():
    near = cosine_envelope(CUTOFF * (1 - torch.tensor([2e-3, 1e-3], dtype=torch.float64)), CUTOFF)
    assert near[0] / near[1] == pytest.approx(4, rel=0.01)
    r = distances()
    torch.testing.assert_close(cosine_envelope(r, CUTOFF), 0.5 * (1 + torch.cos(math.pi * r / CUTOFF)))


@pytest.mark.parametrize("name", sorted({*ENVELOPES} - {"two_sided"}))
def test_envelopes_fall_from_one_to_zero(name):
    values = ENVELOPES[name](torch.linspace(0, 1.2 * CUTOFF, 400, dtype=torch.float64), CUTOFF, 6)
    assert values[0] == 1
    assert torch.all(values.diff() <= 1e-14)
    assert values[-1] == 0


@pytest.mark.parametrize("power", [2, 3, 5])
def test_two_sided_envelope_has_the_prescribed_derivatives_at_both_ends(power):
    for end in (0.0, CUTOFF):
        r = torch.tensor([end], dtype=torch.float64, requires_grad=True)
        derivative = two_sided_envelope(r, CUTOFF, power)
        for _ in range(power):
            assert derivative.item() == 0
            (derivative,) = torch.autograd.grad(derivative.sum(), r, create_graph=True)
        assert abs(derivative.item()) > 0.1
    rising = two_sided_envelope(torch.linspace(0, CUTOFF / 2, 50, dtype=torch.float64), CUTOFF, power)
    assert torch.all(rising.diff() > 0)
    assert rising[-1] == 1


@pytest.mark.parametrize("power", [1, 2, 5])
def test_inverse_envelope_is_a_power_less_its_taylor_polynomial_at_the_cutoff(power):
    r = torch.tensor([CUTOFF], dtype=torch.float64, requires_grad=True)
    derivative = inverse_envelope(r, CUTOFF, power)
    for _ in range(3):
        assert abs(derivative.item()) < 1e-12
        (derivative,) = torch.autograd.grad(derivative.sum(), r, create_graph=True)
    near = inverse_envelope(CUTOFF * (1 - torch.tensor([2e-3, 1e-3], dtype=torch.float64)), CUTOFF, power)
    assert near[0] / near[1] == pytest.approx(8, rel=0.03)
    short = CUTOFF * torch.tensor([1e-3, 1e-4], dtype=torch.float64)
    torch.testing.assert_close(
        inverse_envelope(short, CUTOFF, power) * (short / CUTOFF) ** power,
        torch.ones(2).double(),
        rtol=0,
        atol=5e-3,
    )
    values = inverse_envelope(torch.linspace(0, 1.2 * CUTOFF, 400, dtype=torch.float64), CUTOFF, power)
    assert values.isfinite().all()
    assert torch.all(values.diff() <= 0)
    assert values[-1] == 0
