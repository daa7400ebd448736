"""Spherical harmonics: against e3nn, derivatives, and the edges of the domain."""

import pytest
import torch
from e3nn import o3

from multiace.basis.angular import SphericalHarmonics


def random_vectors(n, dtype=torch.float64, seed=0):
    return torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def evaluate(l_max, vectors):
    return SphericalHarmonics(l_max)(vectors, vectors.norm(dim=1))


@pytest.mark.parametrize("l_max", range(7))
def test_values_are_those_of_e3nn(l_max):
    vectors = torch.cat(
        [random_vectors(200), torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)]
    )
    theirs = o3.spherical_harmonics(list(range(l_max + 1)), vectors, True, "component")
    torch.testing.assert_close(evaluate(l_max, vectors), theirs, rtol=0, atol=1e-13)


def test_squares_of_each_degree_sum_to_2l_plus_1():
    Y = evaluate(6, random_vectors(100))
    for degree in range(7):
        total = Y[:, degree**2 : (degree + 1) ** 2].square().sum(dim=1)
        torch.testing.assert_close(total, torch.full_like(total, 2 * degree + 1), rtol=0, atol=1e-12)


def test_degree_one_is_sqrt3_times_the_direction_in_order_x_y_z():
    vectors = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(evaluate(1, vectors)[:, 1:], 3**0.5 * torch.eye(3, dtype=torch.float64))


def test_length_does_not_matter():
    vectors = random_vectors(20)
    torch.testing.assert_close(evaluate(4, 7.5 * vectors), evaluate(4, vectors), rtol=0, atol=1e-13)


def test_inversion_changes_the_sign_of_odd_degrees():
    vectors = random_vectors(20)
    sign = torch.cat([torch.full((2 * degree + 1,), (-1.0) ** degree) for degree in range(6)]).double()
    torch.testing.assert_close(evaluate(5, -vectors), sign * evaluate(5, vectors), rtol=0, atol=1e-13)


def test_float32_is_accurate_to_1e_5_and_stays_float32():
    vectors = random_vectors(2000)
    Y = evaluate(6, vectors.float())
    assert Y.dtype == torch.float32
    assert (Y - evaluate(6, vectors)).abs().max() < 1e-5


@pytest.mark.parametrize("l_max", [1, 3, 6])
def test_first_and_second_derivatives(l_max):
    vectors = random_vectors(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: evaluate(l_max, v), vectors)
    assert torch.autograd.gradgradcheck(lambda v: evaluate(l_max, v), vectors)


def test_third_derivatives():
    weights = random_vectors(16)[:, 0]

    def gradient(v):
        return torch.autograd.grad((evaluate(3, v) @ weights).sum(), v, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(gradient, random_vectors(2).requires_grad_())


@pytest.mark.parametrize("l_max", [0, 1, 4])
def test_no_edges(l_max):
    vectors = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
    Y = evaluate(l_max, vectors)
    assert Y.shape == (0, (l_max + 1) ** 2)
    (gradient,) = torch.autograd.grad((Y + 0 * vectors.sum()).sum(), vectors)
    assert gradient.shape == (0, 3)


def test_edge_of_zero_length_has_no_direction_and_finite_derivatives():
    vectors = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([0.0, 14.0**0.5], dtype=torch.float64, requires_grad=True)
    Y = SphericalHarmonics(4)(vectors, lengths)
    assert Y[0].tolist() == [1.0] + [0.0] * 24
    weights = torch.linspace(-1, 1, 25, dtype=torch.float64)
    first = torch.autograd.grad((Y @ weights).square().sum(), (vectors, lengths), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), (vectors, lengths))
    assert all(g.isfinite().all() for g in (*first, *second))


def test_there_is_nothing_to_train_or_to_save():
    angular = SphericalHarmonics(3)
    assert list(angular.parameters()) == []
    assert angular.state_dict() == {}
