"""The product basis: equivariance, the exact identity, what full coupling spans, and elements."""

import pytest
import torch

from multiace.basis.coupling import symmetric_coupling
from multiace.basis.irreps import Irrep, Irreps
from multiace.errors import InputError
from multiace.layers.embedding import OneHotEmbedding
from multiace.layers.product import PRODUCTS, ChannelwiseProduct, FullProduct, IdentityProduct
from tests.rotations import orthogonal, turn

ELEMENTS = OneHotEmbedding(3, 0).double()
SPECIES = torch.tensor([0, 2, 2, 1, 0])
IN = Irreps.parse("2x0e + 2x1o + 2x1e")
OUT = Irreps.parse("3x0e + 1x1o + 2x2e")

every_product = pytest.mark.parametrize("kind", PRODUCTS)
correlations = pytest.mark.parametrize("correlation", [1, 2, 3])


def build(kind, irreps_in=IN, irreps_out=OUT, correlation=2, elements=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PRODUCTS[kind](irreps_in, irreps_out, correlation, elements).double()


def features(n, irreps, seed=1):
    return torch.randn(n, irreps.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_product
@correlations
@pytest.mark.parametrize("determinant", [1, -1], ids=["rotation", "reflection"])
def test_messages_turn_with_the_density(kind, correlation, determinant):
    out = OUT if correlation > 1 else Irreps.parse("3x0e + 1x1o")
    product, A, Q = (
        build(kind, irreps_out=out, correlation=correlation),
        features(5, IN),
        orthogonal(0, determinant),
    )
    m = product(A, SPECIES, ELEMENTS)
    turned = product(turn(A, IN, Q), SPECIES, ELEMENTS)
    torch.testing.assert_close(turned, turn(m, out, Q), rtol=1e-10, atol=1e-10)
    for part in out.slices().values():
        assert m[:, part].abs().max() > 1e-3


def test_the_identity_product_is_exact():
    A = features(5, IN)
    product = IdentityProduct()
    assert product(A, SPECIES, ELEMENTS) is A
    assert not list(product.parameters())


@every_product
@correlations
def test_messages_are_polynomials_of_degree_correlation_without_a_constant(kind, correlation):
    product, A = build(kind, irreps_out=Irreps.parse("2x0e"), correlation=correlation), features(2, IN)
    scales = torch.arange(correlation + 2, dtype=torch.float64) - 0.5
    values = torch.stack([product(s * A, SPECIES[:2], ELEMENTS) for s in scales])
    powers = torch.stack([scales**n for n in range(1, correlation + 1)], dim=1)
    fit = torch.linalg.lstsq(powers, values.flatten(1)).solution
    torch.testing.assert_close(powers @ fit, values.flatten(1), rtol=1e-9, atol=1e-9)
    assert fit[-1].abs().max() > 1e-3
    assert not product(0 * A, SPECIES[:2], ELEMENTS).any()


@every_product
@pytest.mark.parametrize("elements", [0, 3])
def test_only_weights_that_see_the_element_do(kind, elements):
    product, A = build(kind, elements=elements), features(1, IN)
    first, second = (product(A, torch.tensor([z]), ELEMENTS) for z in (0, 1))
    assert torch.equal(first, second) == (elements == 0)


def design_matrix(product, weight, A):
    """Values of every product times its own weight alone, (n_values, n_weights)."""
    columns = []
    with torch.no_grad():
        for index in range(weight.numel()):
            weight.zero_()
            weight.view(-1)[index] = 1.0
            columns.append(product(A, torch.zeros(len(A), dtype=torch.int64), ELEMENTS).flatten())
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize(
    ("irreps", "out", "correlation"),
    [
        ("0e + 1o", "0e", 2),
        ("0e + 1o", "1o", 3),
        ("1o + 1e", "1e", 2),
        ("1o + 2e", "0e", 3),
        ("0e + 1o", "0e", 4),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_full_products_span_all_equivariant_polynomials(irreps, out, correlation, channels):
    """The rank is the number of independent couplings of all channels, as if each were an irrep of its own."""
    single = Irreps.parse(irreps)
    A_irreps = Irreps((channels, irrep) for irrep in single.irreps)
    wanted = Irrep.parse(out)
    separate = tuple(irrep for irrep in single.irreps for _ in range(channels))
    dimension = sum(
        symmetric_coupling(separate, wanted, order).n_paths for order in range(1, correlation + 1)
    )
    product = build("full", A_irreps, Irreps([(1, wanted)]), correlation, elements=0)
    A = features(dimension + 10, A_irreps)
    matrix = design_matrix(product, product.weights[out], A)
    assert torch.linalg.matrix_rank(matrix, rtol=1e-9) == dimension


def test_full_products_reproduce_channelwise_ones():
    channelwise = build("channelwise", Irreps.parse("2x0e + 2x1o"), Irreps.parse("2x1o"), 3, elements=0)
    full = build("full", Irreps.parse("2x0e + 2x1o"), Irreps.parse("1x1o"), 3, elements=0)
    A = features(40, Irreps.parse("2x0e + 2x1o"))
    matrix = design_matrix(full, full.weights["1o"], A)
    m = channelwise(A, torch.zeros(40, dtype=torch.int64), ELEMENTS).detach()
    for channel in range(2):
        target = m.unflatten(1, (3, 2))[:, :, channel].flatten()
        solution = torch.linalg.lstsq(matrix, target[:, None], driver="gelsd").solution
        torch.testing.assert_close(matrix @ solution, target[:, None], rtol=1e-8, atol=1e-8)


def test_channelwise_products_keep_channels_apart_before_their_linear_map():
    product = build("channelwise", correlation=3)
    product.linear = torch.nn.Identity()
    A = features(3, IN)
    changed = A.clone()
    changed.unflatten(1, (-1, 2))[:, :, 1] += 1.0  # the second channel of every component
    before, after = (product(x, SPECIES[:3], ELEMENTS).unflatten(1, (-1, 2)) for x in (A, changed))
    assert torch.equal(before[:, :, 0], after[:, :, 0])
    assert (before[:, :, 1] - after[:, :, 1]).abs().max() > 1e-3


@every_product
@correlations
def test_messages_keep_the_size_of_the_density(kind, correlation):
    """Weights are unit normal: messages of unit normal densities are of order one, whatever ν and the channels."""
    irreps = Irreps((3, irrep) for irrep in Irreps.parse("0e + 1o + 2e").irreps)
    product = build(kind, irreps, Irreps.parse("40x0e"), correlation, elements=0)
    m = product(features(400, irreps), torch.zeros(400, dtype=torch.int64), ELEMENTS)
    assert 0.3 < m.square().mean() < 3.0


def test_full_products_too_large_to_hold_are_refused():
    with pytest.raises(
        InputError, match=r"'full' with 200 channels and correlation = 4 needs [\d,]+ weights"
    ):
        FullProduct(Irreps.parse("200x0e"), Irreps.parse("200x0e"), 4, 0)


def test_channelwise_products_have_one_weight_per_path_and_channel():
    product = build("channelwise", correlation=3)
    assert isinstance(product, ChannelwiseProduct)
    for irrep, weight in product.weights.items():
        paths = sum(
            symmetric_coupling(tuple(IN.irreps), Irrep.parse(irrep), order).n_paths for order in (1, 2, 3)
        )
        assert weight.shape == (3, paths, 2)


def test_more_products_than_fit_are_refused():
    natural = [Irrep(degree, (-1) ** degree) for degree in range(7)]
    A = Irreps((2, irrep) for irrep in (*natural, *(Irrep(i.l, -i.p) for i in natural)))
    with pytest.raises(InputError, match=r"correlation = 4 .* makes products of [\d,]+ components .*lower"):
        PRODUCTS["channelwise"](A, A, 4, 0)


def test_products_of_four_factors_up_to_degree_five():
    irreps = Irreps((3, Irrep(degree, (-1) ** degree)) for degree in range(6))
    product = PRODUCTS["channelwise"](irreps, irreps.keep([Irrep(0, 1)]), 4, 0)
    A = torch.randn(2, irreps.dim, generator=torch.Generator().manual_seed(0))
    m = product(A, torch.zeros(2, dtype=torch.int64), torch.ones(1, 1))
    assert m.shape == (2, 3)
    assert torch.isfinite(m).all()
