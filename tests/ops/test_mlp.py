"""Perceptrons against matrices and activations."""

from itertools import pairwise

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from multiace.layers.activations import ACTIVATIONS, Activation
from multiace.ops import cpu, reference
from tests.ops.operands import (
    every_size,
    mlp_operands,
    random,
)

every_mlp = pytest.mark.parametrize("mlp", [reference.mlp, cpu.mlp], ids=["reference", "cpu"])


@every_mlp
@every_size
@pytest.mark.parametrize("first", [0, 3])
def test_mlp_is_matrices_and_activations(mlp, sizes, first):
    x, W = mlp_operands(sizes)
    W = torch.cat([random(1, first, seed=3), W], dim=1)
    expected, start = x, first
    for layer, (n, m) in enumerate(pairwise(sizes)):
        if layer > 0:
            expected = 1.7 * expected / (1 + torch.exp(-expected))
        matrix = W[0, start : start + n * m].view(n, m)
        expected, start = expected @ matrix / (n if layer else 2) ** 0.5, start + n * m
    activation = Activation("silu")
    activation.scale.fill_(1.7)
    found = mlp(x, W, sizes, 2, activation, (), first)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("start", [0, 4])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_mlp_are_those_of_its_definition(name, start):
    """Up to the third, for every activation, with more rows than a tile has and arguments of any size."""
    sizes, activation, results = [5, 9, 6, 7], Activation(name), []
    x, W = mlp_operands(sizes, n_rows=101)
    W = torch.cat([random(1, start, seed=3), W], dim=1)
    x, W = (10.0 * x).requires_grad_(), W.requires_grad_()
    for function in (cpu.mlp, reference.mlp):
        of_function = []
        y = function(x, W, sizes, 5, activation, (), start)
        total = (y * y.tanh()).sum()
        for order in range(3):
            g_x, g_W = torch.autograd.grad(total, (x, W), create_graph=True)
            of_function.append((g_x / g_x.detach().abs().max(), g_W / g_W.detach().abs().max()))
            total = (g_x * random(*x.shape, seed=10 + order)).sum() + (
                g_W * random(*W.shape, seed=20 + order)
            ).sum()
        results.append(of_function)
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_normalised_hidden_values_and_their_gradients_are_those_of_the_definition(name):
    """Up to the third, also of gains and biases."""
    sizes, activation, results = [5, 9, 6, 7], Activation(name), []
    x, W = mlp_operands(sizes, n_rows=33)
    operands = [x, W, random(1, 18, seed=5), random(1, 12, seed=6)]
    operands = [operand.requires_grad_() for operand in operands]
    for function in (cpu.mlp, reference.mlp):
        x, W, *norms = operands
        y = function(x, W, sizes, 5, activation, norms)
        found, total = [y], (y * y.tanh()).sum()
        for order in range(3):
            gradients = torch.autograd.grad(total, operands, create_graph=True)
            found += [g / g.detach().abs().max() for g in gradients]
            total = sum((g * random(*g.shape, seed=10 + order)).sum() for g in found[-4:])
        results.append(found)
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


@every_mlp
@every_size
def test_derivatives_of_mlp(mlp, sizes):
    operands = [tensor.requires_grad_() for tensor in mlp_operands(sizes, n_rows=3)]
    activation = Activation("silu")

    def function(x, W):
        return mlp(x, W, sizes, 2, activation)

    assert gradcheck(function, operands, fast_mode=True)
    assert gradgradcheck(function, operands, fast_mode=True)


@every_mlp
def test_mlp_of_no_rows(mlp):
    x, W = (tensor.requires_grad_() for tensor in mlp_operands([4, 9, 6], n_rows=0))
    R = mlp(x, W, [4, 9, 6], 4, Activation("silu"))
    assert R.shape == (0, 6)
    assert not torch.autograd.grad(R.sum(), W)[0].any()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mlp_in_float32(name):
    x, W = mlp_operands([8, 64, 64, 64, 100], n_rows=50)
    activation = Activation(name)
    expected = reference.mlp(x, W, [8, 64, 64, 64, 100], 8, activation).float()
    found = cpu.mlp(x.float(), W.float(), [8, 64, 64, 64, 100], 8, activation)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_mlp_of_more_rows_than_are_kept_at_once():
    x, W = (tensor.requires_grad_() for tensor in mlp_operands([2, 3, 4], n_rows=9001))
    ours, theirs = (
        torch.autograd.grad(f(x, W, [2, 3, 4], 2, Activation("silu")).square().sum(), W)[0]
        for f in (cpu.mlp, reference.mlp)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
