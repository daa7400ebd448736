"""Readouts see invariants only, and give nothing for nothing."""

import pytest
import torch

from multiace.basis.irreps import Irreps
from multiace.layers.activations import ACTIVATIONS, Activation
from multiace.layers.readout import Readout

IRREPS = Irreps.parse("2x1o + 4x0e + 1x0o")


def features(seed=0):
    return torch.randn(3, IRREPS.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("width", [0, 5])
def test_only_invariants_are_read(width):
    readout = Readout(IRREPS, width, "silu").double()
    h, other = features(), features(1)
    other[:, 6:10] = h[:, 6:10]
    assert torch.equal(readout(h), readout(other))
    assert readout(h).shape == (3, 1)
    assert not torch.equal(readout(h), readout(features(2)))


def test_the_linear_readout_is_a_weighted_sum():
    readout = Readout(IRREPS, 0, "silu").double()
    expected = features()[:, 6:10] @ readout.mlp.matrices()[0] / 2
    torch.testing.assert_close(readout(features()), expected)


def test_the_mlp_readout_has_one_hidden_layer():
    readout = Readout(IRREPS, 5, "tanh").double()
    W, w = readout.mlp.matrices()
    hidden = Activation("tanh")(features()[:, 6:10] @ W / 2)
    torch.testing.assert_close(readout(features()), hidden @ w / 5**0.5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_features_that_are_zero_have_no_energy(activation):
    energy = Readout(IRREPS, 5, activation).double()(torch.zeros(2, IRREPS.dim, dtype=torch.float64))
    torch.testing.assert_close(energy, torch.zeros_like(energy), rtol=0, atol=1e-15)
