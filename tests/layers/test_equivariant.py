"""Linear maps and gates are e3nn's with the same weights; activations of norms and normalisation are equivariant."""

import e3nn.nn
import e3nn.o3
import pytest
import torch

from multiace.basis.irreps import Irrep, Irreps
from multiace.layers.activations import ACTIVATIONS, ODD_ACTIVATIONS, Activation
from multiace.layers.embedding import ContinuousEmbedding, OneHotEmbedding
from multiace.layers.equivariant import ElementLinear, Gate, LayerNorm, Linear, NormActivation
from tests.layers.e3nn_order import from_e3nn, to_e3nn
from tests.rotations import orthogonal, turn

IN = Irreps.parse("5x0e + 3x1o + 2x1e + 4x2e + 2x0o")
OUT = Irreps.parse("2x1o + 4x0e + 3x2e + 6x3o + 1x1e")
SPECIES = torch.tensor([2, 0, 0, 1])


def random(n: int, irreps: Irreps, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, irreps.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def e3nn_irreps(irreps: Irreps) -> e3nn.o3.Irreps:
    return e3nn.o3.Irreps(str(irreps))


def test_linear_is_that_of_e3nn():
    ours = Linear(IN, OUT).double()
    theirs = e3nn.o3.Linear(e3nn_irreps(IN), e3nn_irreps(OUT)).double()
    x = random(6, IN)
    with torch.no_grad():
        for instruction, weight in zip(theirs.instructions, theirs.weight_views(), strict=True):
            irrep = theirs.irreps_in[instruction.i_in].ir
            weight.copy_(ours.matrices()[Irrep.parse(str(irrep))])
    torch.testing.assert_close(to_e3nn(ours(x), OUT), theirs(to_e3nn(x, IN)), rtol=1e-6, atol=1e-6)
    assert not ours(x)[:, OUT.slices()[OUT[3].irrep]].any()  # 3o, which the input lacks


def test_element_linear_is_the_fully_connected_tensor_product_of_e3nn():
    ours = ElementLinear(IN, OUT, 3).double()
    theirs = e3nn.o3.FullyConnectedTensorProduct(e3nn_irreps(IN), "3x0e", e3nn_irreps(OUT)).double()
    x, elements = random(4, IN), OneHotEmbedding(3, 0).double()
    with torch.no_grad():
        for instruction, weight in zip(theirs.instructions, theirs.weight_views(), strict=True):
            irrep = theirs.irreps_in1[instruction.i_in1].ir
            weight.copy_(
                ours.matrices()[Irrep.parse(str(irrep))].transpose(0, 1)
            )  # (mul_in, element, mul_out)
    expected = theirs(to_e3nn(x, IN), elements.table[SPECIES]) * 3**0.5  # e3nn counts elements as fan-in
    torch.testing.assert_close(to_e3nn(ours(x, SPECIES, elements), OUT), expected, rtol=1e-6, atol=1e-6)


def test_element_linear_mixes_matrices_by_the_attributes():
    layer = ElementLinear(IN, OUT, 2).double()
    x, elements = random(4, IN), ContinuousEmbedding(3, 2).double()
    elements.table.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.3, -2.0]], dtype=torch.float64)
    first, second, mixed = (layer(x, torch.full((4,), z), elements) for z in range(3))
    torch.testing.assert_close(mixed, 0.3 * first - 2.0 * second)


def test_gate_is_that_of_e3nn():
    irreps = Irreps.parse("2x1o + 4x0e + 3x0o + 2x2e + 1x1e")
    ours = Gate(irreps, "silu", "tanh").double()
    assert str(ours.irreps_in) == "2x1o + 9x0e + 3x0o + 2x2e + 1x1e"
    theirs = e3nn.nn.Gate(
        "4x0e + 3x0o",
        [torch.nn.functional.silu, torch.tanh],
        "5x0e",
        [torch.nn.functional.silu],
        "2x1o + 2x2e + 1x1e",
    )
    x = random(6, ours.irreps_in)
    blocks = to_e3nn(x, ours.irreps_in).split([block.dim for block in ours.irreps_in], dim=1)
    by_irrep = dict(zip(map(str, ours.irreps_in.irreps), blocks, strict=True))
    result = theirs(torch.cat([by_irrep[str(irrep)] for _, irrep in theirs.irreps_in], dim=1))
    even, odd, polar, tensor, axial = result.split([4, 3, 6, 10, 3], dim=1)
    expected = from_e3nn(torch.cat([polar, even, odd, tensor, axial], dim=1), irreps)
    # e3nn estimates the normalisation of activations with random numbers.
    torch.testing.assert_close(ours(x), expected, rtol=5e-3, atol=5e-3)
    for activation, module in (
        (ours.activation, theirs.act_scalars.acts[0]),
        (ours.odd_activation, theirs.act_scalars.acts[1]),
    ):
        activation.scale.fill_(module.cst)
    torch.testing.assert_close(ours(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("table", [ACTIVATIONS, ODD_ACTIVATIONS], ids=["even", "odd"])
def test_activations_keep_the_size_of_normal_numbers(table):
    x = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name in table:
        activation = Activation(name, odd=table is ODD_ACTIVATIONS)
        assert activation(x).square().mean() == pytest.approx(1.0, abs=0.02)
        assert activation(torch.zeros(1)) == pytest.approx(0.0, abs=1e-7)


def test_odd_activations_are_odd():
    x = torch.linspace(-3, 3, 50, dtype=torch.float64)
    for name in ODD_ACTIVATIONS:
        activation = Activation(name, odd=True)
        torch.testing.assert_close(activation(-x), -activation(x))


def test_activations_that_do_not_vanish_at_zero_are_refused():
    with pytest.raises(ValueError, match=r"'torch:sigmoid' is 0\.5 at zero; it must vanish there"):
        Activation("torch:sigmoid")


@pytest.mark.parametrize("determinant", [1, -1])
@pytest.mark.parametrize(
    ("layer", "irreps_in", "irreps_out"),
    [
        (Linear(IN, OUT), IN, OUT),
        (NormActivation(IN, "silu"), IN, IN),
        (LayerNorm(IN), IN, IN),
        ((gate := Gate(OUT, "tanh", "softsign")), gate.irreps_in, OUT),
        ((odd := Gate(IN, "tanh", "softsign")), odd.irreps_in, IN),
    ],
    ids=["linear", "norm", "layer norm", "gate", "gate with 0o"],
)
def test_layers_are_equivariant(layer, irreps_in, irreps_out, determinant):
    layer = layer.double()
    x, Q = random(5, irreps_in), orthogonal(3, determinant)
    expected = turn(layer(x), irreps_out, Q)
    torch.testing.assert_close(layer(turn(x, irreps_in, Q)), expected, rtol=1e-10, atol=1e-10)
    assert (expected - layer(x)).abs().max() > 0.1


def test_norm_activation_scales_each_channel_by_the_activation_of_its_norm():
    irreps = Irreps.parse("1x0e + 2x1o")
    layer = NormActivation(irreps, "silu").double()
    with torch.no_grad():
        layer.biases["1o"].copy_(torch.tensor([0.0, 0.5]))
    x = random(3, irreps)
    vectors = x[:, 1:].unflatten(1, (3, 2))
    norms = (vectors.square().mean(dim=1) + 1e-4).sqrt() + torch.tensor([0.0, 0.5])
    silu = Activation("silu")
    expected = torch.cat([silu(x[:, :1]), (vectors * silu(norms)[:, None]).flatten(1)], dim=1)
    torch.testing.assert_close(layer(x), expected)


def test_norm_activation_is_smooth_at_zero():
    layer = NormActivation(Irreps.parse("2x1o"), "silu").double()
    x = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)
