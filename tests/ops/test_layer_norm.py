"""Layer normalisation of irreps against its equation and its definition."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from multiace.basis.irreps import Irreps
from multiace.ops import cpu, reference
from multiace.ops.paths import n_norm_weights
from tests.ops.operands import GATES, every_gated, random

every_norm = pytest.mark.parametrize("norm", [reference.layer_norm, cpu.layer_norm], ids=["reference", "cpu"])


def weights(irreps, seed=7):
    return random(1, n_norm_weights(irreps), seed=seed)


@every_norm
def test_invariants_and_other_irreps_are_normalised_by_the_equation(norm):
    irreps = Irreps.parse("2x1o + 5x0e + 1x0o + 3x2e")
    x, W = 3.0 * random(4, irreps.dim, seed=1), weights(irreps)
    a_1, a_0, a_odd, a_2, b = np.split(W[0].numpy(), [2, 7, 8, 11])
    for row, y in zip(x.numpy(), norm(x, W, irreps).numpy(), strict=True):
        vectors, s, odd, tensors = row[:6], row[6:11], row[11:12], row[12:]
        sigma = np.sqrt((np.mean(vectors**2) + np.mean(odd**2) + np.mean(tensors**2)) / 3 + 1e-4)
        expected = [
            (vectors.reshape(3, 2) * a_1).ravel() / sigma,
            a_0 * (s - s.mean()) / np.sqrt(s.var() + 1e-4) + b,
            a_odd * odd / sigma,
            (tensors.reshape(5, 3) * a_2).ravel() / sigma,
        ]
        np.testing.assert_allclose(y, np.concatenate(expected), rtol=1e-13, atol=1e-13)


@every_gated
@pytest.mark.parametrize("size", [3.0, 1e-3, 0.0])
def test_gradients_of_layer_norm_are_those_of_its_definition(irreps, size):
    """Up to the third; also where features are smaller than the root of epsilon, or vanish."""
    w, results = random(4, irreps.dim, seed=2), []
    for function in (cpu.layer_norm, reference.layer_norm):
        x, W = (size * random(4, irreps.dim, seed=1)).requires_grad_(), weights(irreps).requires_grad_()
        y = function(x, W, irreps)
        derivatives, total = [y], (w * y + y.square()).sum()
        for _ in range(3):
            both = torch.autograd.grad(total, [x, W], create_graph=True)
            both = [g / g.detach().abs().max() for g in both]
            derivatives += both
            total = sum((g + g.square()).sum() for g in both)
        results.append(derivatives)
    assert all(derivative.isfinite().all() for derivative in results[0])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


@every_norm
@every_gated
def test_derivatives_of_layer_norm(norm, irreps):
    operands = random(2, irreps.dim, seed=1).requires_grad_(), weights(irreps).requires_grad_()
    assert gradcheck(lambda x, W: norm(x, W, irreps), operands, fast_mode=True)
    assert gradgradcheck(lambda x, W: norm(x, W, irreps), operands, fast_mode=True)


@every_norm
def test_layer_norm_of_no_atoms_of_many_and_in_float32(norm):
    irreps = Irreps.parse(GATES["all"])
    x, W = random(99, irreps.dim), weights(irreps)
    y = norm(x, W, irreps)
    assert norm(x[:0], W, irreps).shape == (0, irreps.dim)
    torch.testing.assert_close(norm(x[7:9], W, irreps), y[7:9], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(norm(x.float(), W.float(), irreps), y.float(), rtol=1e-5, atol=1e-6)


@every_norm
def test_the_size_of_features_does_not_matter_but_where_it_is_small(norm):
    irreps = Irreps.parse(GATES["natural"])
    x, W = random(5, irreps.dim), weights(irreps)
    W[:, -irreps.mul("0e") :] = 0.0
    torch.testing.assert_close(norm(1000 * x, W, irreps), norm(x, W, irreps), rtol=1e-3, atol=1e-3)
    assert not norm(0 * x, W, irreps).any()
    torch.testing.assert_close(
        norm(1e-6 * x, W, irreps), 0.1 * norm(1e-5 * x, W, irreps), rtol=1e-3, atol=1e-6
    )
