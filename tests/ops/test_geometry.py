"""Harmonics, radial functions and tables, against their definitions."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from multiace.basis.angular import SphericalHarmonics
from multiace.ops import cpu, reference
from tests.ops.operands import plain_bessel, random


def plain_harmonics(vectors, l_max):
    return SphericalHarmonics(l_max)(vectors, vectors.norm(dim=1))


SMOOTH = {
    **{f"harmonics, {l_max}": (cpu.spherical_harmonics, plain_harmonics, (l_max,)) for l_max in (0, 1, 3, 6)},
    **{f"bessel, {p}": (cpu.bessel, plain_bessel, (5, 3.0, p)) for p in (1, 2, 3, 6)},
}


@pytest.mark.parametrize(("function", "definition", "constants"), SMOOTH.values(), ids=SMOOTH)
@pytest.mark.parametrize("n", [0, 1, 19])
def test_geometry_and_its_derivatives_are_those_of_the_definition(function, definition, constants, n):
    """Up to the third; lengths from zero to beyond the cutoff."""
    harmonics, results = function is cpu.spherical_harmonics, []
    x = random(n, 3, seed=1) if harmonics else torch.linspace(1e-9, 3.3, n, dtype=torch.float64)
    x.requires_grad_()
    for f in (function, definition):
        y = f(x, *constants)
        gradients = [y]
        total = (y * random(*y.shape, seed=2)).sum()
        for order in range(0 if constants == (0,) else 3):
            (g,) = torch.autograd.grad(total, x, create_graph=True, allow_unused=True, materialize_grads=True)
            gradients.append(g)
            total = (g * random(*g.shape, seed=3 + order)).sum()
        results.append(gradients)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-9)


def test_an_edge_of_length_zero_has_finite_harmonics():
    vectors = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    Y = cpu.spherical_harmonics(vectors, 3)
    assert torch.equal(Y, torch.eye(16, dtype=torch.float64)[:1].expand(2, 16))
    assert torch.autograd.grad(Y.sum(), vectors)[0].isfinite().all()


@pytest.mark.parametrize("interpolate", [reference.interpolate, cpu.interpolate], ids=["reference", "cpu"])
@pytest.mark.parametrize("coded", [False, True])
def test_interpolation_is_exact_for_cubics(interpolate, coded):
    """Values and all derivatives, each table its own cubics; more weights than a vector has lanes."""
    c, spacing = random(4, 2, 21, seed=1), 0.5
    knots = torch.arange(7, dtype=torch.float64)[:, None, None] * spacing
    values = c[0] + knots * (c[1] + knots * (c[2] + knots * c[3]))
    slopes = spacing * (c[1] + knots * (2 * c[2] + knots * 3 * c[3]))
    table = torch.stack([values, slopes], dim=1).permute(2, 0, 1, 3).contiguous()
    r = torch.tensor([0.0, 0.3, 1.7, 2.9, 3.0], dtype=torch.float64, requires_grad=True)
    code = torch.tensor([1, 0, 1, 1, 0])
    of_pair = c[:, code if coded else torch.zeros_like(code)]
    R = interpolate(r, table, spacing, code if coded else None)
    x, v = r.detach()[:, None], random(5, 21, seed=2)
    expected = [
        of_pair[0] + x * (of_pair[1] + x * (of_pair[2] + x * of_pair[3])),
        of_pair[1] + x * (2 * of_pair[2] + x * 3 * of_pair[3]),
        2 * of_pair[2] + 6 * x * of_pair[3],
        6 * of_pair[3],
    ]
    torch.testing.assert_close(R, expected[0], rtol=1e-12, atol=1e-12)
    derivative = (R * v).sum()
    for order in (1, 2, 3):
        (g,) = torch.autograd.grad(derivative, r, create_graph=True)
        torch.testing.assert_close(g, (expected[order] * v).sum(1), rtol=1e-11, atol=1e-11)
        derivative = g.sum()


@pytest.mark.parametrize("n_weights", [1, 35])
def test_derivatives_of_interpolation_are_those_of_its_definition(n_weights):
    """Value and three derivatives with respect to distances and tables; a table and knots that no pair reads."""
    r, code = torch.linspace(0.0, 3.9, 23, dtype=torch.float64).requires_grad_(), torch.arange(23) % 2
    table, results = random(3, 9, 2, n_weights, seed=1).requires_grad_(), []
    for function in (cpu.interpolate, reference.interpolate):
        found = [function(r, table, 0.5, code)]
        for order in range(3):
            total = sum((g * random(*g.shape, seed=order)).pow(2).sum() for g in found[-2:])
            found += torch.autograd.grad(total, (r, table), create_graph=True)
        results.append(found)
    assert not results[0][2][2].any()
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)
    assert cpu.interpolate(r[:0], table, 0.5, code[:0]).shape == (0, n_weights)


def test_interpolation_passes_gradcheck():
    table, code = random(2, 5, 2, 3, seed=1).requires_grad_(), torch.tensor([1, 0, 1, 1])
    r = torch.tensor(
        [0.1, 0.7, 0.8, 2.3], dtype=torch.float64, requires_grad=True
    )  # the last beyond the table

    def function(r, table):
        return cpu.interpolate(r, table, 0.5, code)

    def gradients(r, table):
        return torch.autograd.grad(function(r, table).pow(2).sum(), (r, table), create_graph=True)

    assert gradcheck(function, (r, table))
    assert gradgradcheck(function, (r, table))
    assert gradgradcheck(gradients, (r, table), fast_mode=True)


def test_tables_that_nobody_reads_have_no_gradient():
    r, table = torch.zeros(0, dtype=torch.float64), random(1, 5, 2, 9).requires_grad_()
    (g,) = torch.autograd.grad(cpu.interpolate(r, table, 0.5, None).sum(), table)
    assert torch.equal(g, torch.zeros_like(table))


@pytest.mark.parametrize("interpolate", [reference.interpolate, cpu.interpolate], ids=["reference", "cpu"])
def test_tables_are_constant_beyond_their_last_knot(interpolate):
    table, r = random(1, 5, 2, 9), torch.tensor([2.0, 2.3, 1e30], dtype=torch.float64, requires_grad=True)
    R = interpolate(r, table, 0.5, None)
    torch.testing.assert_close(R, table[0, -1, :1].expand(3, 9))
    (g,) = torch.autograd.grad(R.sum(), r)
    assert not g[1:].any()
