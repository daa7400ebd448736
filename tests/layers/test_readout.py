"""Readouts see invariants only, and give nothing for nothing."""

import pytest
import torch

from multiace.basis.irreps import Irreps
from multiace.layers.activations import ACTIVATIONS, Activation
from multiace.layers.readout import FinnisSinclairReadout, Readout

IRREPS = Irreps.parse("2x1o + 4x0e + 1x0o")
Z = torch.tensor([0, 1, 1])


def features(seed=0):
    return torch.randn(3, IRREPS.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("width", [0, 5])
def test_only_invariants_are_read(width):
    readout = Readout(IRREPS, width, "silu").double()
    h, other = features(), features(1)
    other[:, 6:10] = h[:, 6:10]
    assert torch.equal(readout(h, Z), readout(other, Z))
    assert readout(h, Z).shape == (3, 1)
    assert not torch.equal(readout(h, Z), readout(features(2), Z))


def test_the_linear_readout_is_a_weighted_sum():
    readout = Readout(IRREPS, 0, "silu").double()
    expected = features()[:, 6:10] @ readout.mlp.matrices()[0] / 2
    torch.testing.assert_close(readout(features(), Z), expected)


def test_the_mlp_readout_has_one_hidden_layer():
    readout = Readout(IRREPS, 5, "tanh").double()
    W, w = readout.mlp.matrices()
    hidden = Activation("tanh")(features()[:, 6:10] @ W / 2)
    torch.testing.assert_close(readout(features(), Z), hidden @ w / 5**0.5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_features_that_are_zero_have_no_energy(activation):
    energy = Readout(IRREPS, 5, activation).double()(torch.zeros(3, IRREPS.dim, dtype=torch.float64), Z)
    torch.testing.assert_close(energy, torch.zeros_like(energy), rtol=0, atol=1e-15)


def test_densities_are_raised_to_their_powers_and_weighted_by_element():
    readout = FinnisSinclairReadout(IRREPS, (1.0, 0.5, 0.5, 2.0), 2).double()
    with torch.no_grad():
        readout.weight.copy_(torch.arange(8.0).view(2, 4))
    h = features() * 50  # far from zero, where F is the power
    h[:, 6] = features()[:, 6]
    rho = h[:, 6:10]
    powers = torch.sign(rho) * rho.abs() ** torch.tensor([1.0, 0.5, 0.5, 2.0], dtype=torch.float64)
    expected = (readout.weight[Z] * powers).sum(dim=1, keepdim=True) / 2
    torch.testing.assert_close(readout(h, Z), expected, rtol=1e-3, atol=1e-3)
    assert not readout(torch.zeros_like(h), Z).any()


def test_one_exponent_serves_all_densities():
    of_all, of_each = (FinnisSinclairReadout(IRREPS, m, 2).double() for m in ((0.5,), (0.5,) * 4))
    assert torch.equal(of_all(features(), Z), of_each(features(), Z))
