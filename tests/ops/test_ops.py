"""Each operation, in each implementation, against its written definition and against e3nn."""

import os
from itertools import pairwise

import e3nn.o3
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx

from multiace import ops
from multiace.basis.angular import SphericalHarmonics
from multiace.basis.coupling import clebsch_gordan, symmetric_coupling
from multiace.basis.irreps import Irrep, Irreps
from multiace.basis.radial import RadialEmbedding
from multiace.errors import InputError
from multiace.layers.activations import ACTIVATIONS, ODD_ACTIVATIONS, Activation
from multiace.ops import ConvolutionPaths, ProductPaths, cpu, gpu_linear, reference
from multiace.ops.paths import gate_irreps


@pytest.fixture(params=["reference", "cpu", "triton"])
def implementation(request, monkeypatch):
    """Each implementation; Triton's kernels run in its interpreter, backward passes too."""
    if request.param == "triton":
        pytest.importorskip("triton")
        monkeypatch.setenv("MULTIACE_OPS", "triton")
    return reference if request.param == "reference" else cpu


@pytest.fixture
def convolution(implementation):
    return implementation.convolution


@pytest.fixture
def symmetric_product(implementation):
    return implementation.symmetric_product


def not_in_interpreter():
    if os.environ.get("MULTIACE_OPS") == "triton":
        pytest.skip(
            "minutes in the interpreter; three derivatives of smaller tables are those of the definition"
        )


def in_tiles(*operands):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_linear, "LARGEST", -1)  # also where a matrix for each atom would take little memory
        return gpu_linear.linear(*operands)


every_linear = pytest.mark.parametrize(
    "linear",
    [reference.linear, cpu.linear, gpu_linear.linear, in_tiles],
    ids=["reference", "cpu", "gpu", "tiles"],
)

PATHS = {
    "invariants": ConvolutionPaths(Irreps.parse("5x0e"), 0, (Irrep(0, 1),)),
    "natural": ConvolutionPaths(
        Irreps.parse("4x0e + 3x1o + 2x2e"), 2, (Irrep(0, 1), Irrep(1, -1), Irrep(2, 1))
    ),
    "both parities": ConvolutionPaths(
        Irreps.parse("2x1e + 3x0e + 1x0o + 2x1o"), 2, (Irrep(1, 1), Irrep(0, -1), Irrep(2, -1), Irrep(0, 1))
    ),
    "from invariants": ConvolutionPaths(Irreps.parse("3x0e"), 3, (Irrep(3, -1), Irrep(1, 1), Irrep(0, 1))),
}
every_path_table = pytest.mark.parametrize("paths", PATHS.values(), ids=PATHS)

SENDERS = torch.tensor([1, 2, 0, 2, 3, 1, 1])
RECEIVERS = torch.tensor([0, 0, 1, 1, 1, 3, 3])  # nobody sends to atom 2, nor to atom 4
N_NODES = 5
FEW = {"n_nodes": 3, "senders": torch.tensor([1, 2, 0]), "receivers": torch.tensor([0, 0, 1])}


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def arguments(paths, n_nodes=N_NODES, senders=SENDERS, receivers=RECEIVERS):
    n_edges = len(senders)
    h = random(n_nodes, paths.irreps_in.dim, seed=1)
    Y = random(n_edges, (paths.l_max + 1) ** 2, seed=2)
    R = random(n_edges, paths.n_weights, seed=3)
    return h, Y, R, senders, receivers, paths


def by_definition(h, Y, R, senders, receivers, paths):
    """A_{i,kη,LM} = Σ_j R_kη Σ C h Y, one number of the result at a time in loops over paths and channels.

    R: path by path in the order of ``paths.paths``, one weight per channel. A: a block (2L + 1, mul) per
    irrep; channels are counted path by path.
    """
    slices_in, slices_out = paths.irreps_in.slices(), paths.irreps_out.slices()
    A = h.new_zeros(len(h), paths.irreps_out.dim)
    first_weight = 0
    first_channel = dict.fromkeys(paths.irreps_out.irreps, 0)
    for irrep_in, l2, irrep_out in paths.paths:
        mul, total = paths.irreps_in.mul(irrep_in), paths.irreps_out.mul(irrep_out)
        C = torch.from_numpy(clebsch_gordan(irrep_in.l, l2, irrep_out.l).copy())
        x = h[:, slices_in[irrep_in]].reshape(len(h), irrep_in.dim, mul)
        for k in range(mul):
            channel = first_channel[irrep_out] + k
            for M in range(irrep_out.dim):
                phi = R[:, first_weight + k] * torch.einsum(
                    "ab,ea,eb->e", C[:, :, M], x[senders, :, k], Y[:, l2**2 : (l2 + 1) ** 2]
                )
                column = slices_out[irrep_out].start + M * total + channel
                for edge, i in enumerate(receivers.tolist()):
                    A[i, column] += phi[edge]
        first_weight += mul
        first_channel[irrep_out] += mul
    assert first_weight == R.shape[1]
    return A


@every_path_table
def test_convolution_is_its_definition(convolution, paths):
    torch.testing.assert_close(
        convolution(*arguments(paths)), by_definition(*arguments(paths)), rtol=1e-12, atol=1e-12
    )


def test_order_of_radial_weights_and_results(convolution):
    """One weight of R at a time: which numbers of A it makes."""
    paths = ConvolutionPaths(Irreps.parse("2x0e + 1x1o"), 1, (Irrep(0, 1), Irrep(1, -1)))
    assert [tuple(map(str, path)) for path in paths.paths] == [
        ("0e", "0", "0e"),
        ("0e", "1", "1o"),
        ("1o", "1", "0e"),
        ("1o", "0", "1o"),
    ]
    assert str(paths.irreps_out) == "3x0e + 3x1o"
    h, Y, _, _, _, _ = arguments(paths, 2, torch.tensor([0]), torch.tensor([1]))
    # A: 0e with channels (0e0, 0e1, 1o), then 1o as M = x, y, z, each with channels (0e0, 0e1, 1o).
    columns = {0: [0], 1: [1], 2: [3, 6, 9], 3: [4, 7, 10], 4: [2], 5: [5, 8, 11]}
    for weight, expected in columns.items():
        R = torch.zeros(1, paths.n_weights, dtype=torch.float64)
        R[0, weight] = 1.0
        A = convolution(h, Y, R, torch.tensor([0]), torch.tensor([1]), paths)
        assert not A[0].any()
        assert A[1].nonzero().flatten().tolist() == expected
        if weight < 2:
            assert A[1, expected] == h[0, weight] * Y[0, 0]


@pytest.mark.parametrize("name", ["natural", "both parities"])
def test_convolution_is_the_tensor_product_of_e3nn(convolution, name):
    paths = PATHS[name]
    h, Y, R, senders, receivers, _ = arguments(paths)
    irreps_Y = e3nn.o3.Irreps.spherical_harmonics(paths.l_max)
    instructions, blocks = [], []
    for irrep_in, l2, irrep_out in paths.paths:
        blocks.append((paths.irreps_in.mul(irrep_in), e3nn.o3.Irrep(str(irrep_out))))
        instructions.append((paths.irreps_in.irreps.index(irrep_in), l2, len(blocks) - 1, "uvu", True))
    product = e3nn.o3.TensorProduct(
        e3nn.o3.Irreps(str(paths.irreps_in)),
        irreps_Y,
        e3nn.o3.Irreps(blocks),
        instructions,
        irrep_normalization="component",
        path_normalization="none",
        shared_weights=False,
        internal_weights=False,
    ).double()
    x = torch.cat(
        [
            h[:, part].unflatten(1, (irrep.dim, -1)).mT.flatten(1)  # e3nn keeps (mul, 2l + 1)
            for irrep, part in paths.irreps_in.slices().items()
        ],
        dim=1,
    )
    edges = product(x[senders], Y, R)
    A = edges.new_zeros(N_NODES, edges.shape[1]).index_add(0, receivers, edges)
    pooled: dict[str, list] = {str(irrep): [] for irrep in paths.irreps_out.irreps}
    for part, (mul, irrep) in zip(A.split([mul * ir.dim for mul, ir in blocks], dim=1), blocks, strict=True):
        pooled[str(irrep)].append(part.unflatten(1, (mul, irrep.dim)).mT)
    expected = torch.cat([torch.cat(parts, dim=2).flatten(1) for parts in pooled.values()], dim=1)
    # e3nn computes its coefficients in torch's default dtype, float32.
    torch.testing.assert_close(convolution(*arguments(paths)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["natural", "both parities"])
def test_first_and_second_derivatives_of_convolution(convolution, name):
    not_in_interpreter()
    h, Y, R, senders, receivers, paths = arguments(PATHS[name], **FEW)
    inputs = [x.requires_grad_() for x in (h, Y, R)]

    def function(h, Y, R):
        return convolution(h, Y, R, senders, receivers, paths)

    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True)


def test_third_derivatives_of_convolution(convolution):
    not_in_interpreter()
    paths = ConvolutionPaths(Irreps.parse("2x0e + 1x1o"), 1, (Irrep(0, 1), Irrep(1, -1)))
    h, Y, R, senders, receivers, _ = arguments(paths, **FEW)
    inputs = [x.requires_grad_() for x in (h, Y, R)]

    def gradients(h, Y, R):
        energy = convolution(h, Y, R, senders, receivers, paths).square().sum()
        return torch.autograd.grad(energy, (h, Y, R), create_graph=True)

    assert gradgradcheck(gradients, inputs, fast_mode=True)


@every_path_table
def test_convolution_without_edges_is_zero(convolution, paths):
    nobody = torch.zeros(0, dtype=torch.int64)
    for n_nodes in (0, 1, 3):
        h, Y, R, *rest = arguments(paths, n_nodes, nobody, nobody)
        inputs = [x.requires_grad_() for x in (h, Y, R)]
        A = convolution(*inputs, *rest)
        assert A.shape == (n_nodes, paths.irreps_out.dim)
        assert not A.any()
        gradients = torch.autograd.grad(A.square().sum(), inputs, create_graph=True)
        assert [g.shape for g in gradients] == [x.shape for x in inputs]
        assert not any(g.any() for g in gradients)


def test_convolution_with_one_row_of_R_for_both_edges_of_a_pair(convolution):
    """Value and three derivatives are those with R written out for each edge, and no word of their order."""
    paths = ConvolutionPaths(Irreps.parse("2x0e + 1x1o + 1x0o"), 1, (Irrep(0, 1), Irrep(1, 1), Irrep(0, -1)))
    senders, receivers = torch.tensor([1, 2, 0, 3, 0, 1]), torch.tensor([0, 0, 1, 1, 2, 3])
    pairs = torch.tensor([[0, 2], [1, 4], [3, 5]]), torch.tensor([0, 1, 0, 2, 1, 2])
    order = torch.tensor([0, 2, 4, 5, 6]), torch.tensor([2, 4, 0, 5, 1, 3])
    h, Y, R, *_ = arguments(paths, 4, senders, receivers)
    inputs = [x.requires_grad_() for x in (h, Y, R[:3].contiguous())]
    results = []
    for function in (
        lambda h, Y, R: convolution(h, Y, R, senders, receivers, paths, pairs, order),
        lambda h, Y, R: reference.convolution(h, Y, R[pairs[1]], senders, receivers, paths),
    ):
        total, of_function = function(*inputs).pow(2).sum(), []
        for _ in range(3):
            gradients = torch.autograd.grad(total, inputs, create_graph=True)
            of_function += [g / g.detach().abs().max() for g in gradients]
            total = sum((g / g.detach().abs().max()).pow(2).sum() for g in gradients)
        results.append(of_function)
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_convolution_of_one_atom_with_its_own_images(convolution):
    paths = PATHS["natural"]
    self_edges = torch.zeros(2, dtype=torch.int64)
    A = convolution(*arguments(paths, 1, self_edges, self_edges))
    torch.testing.assert_close(A, by_definition(*arguments(paths, 1, self_edges, self_edges)))


def test_atoms_nobody_sends_to_get_nothing(convolution):
    A = convolution(*arguments(PATHS["natural"]))
    assert not A[[2, 4]].any()
    assert A[[0, 1, 3]].any(dim=1).all()


def test_convolution_in_float32(convolution):
    h, Y, R, *rest = arguments(PATHS["both parities"])
    single = convolution(h.float(), Y.float(), R.float(), *rest)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), convolution(h, Y, R, *rest), rtol=1e-5, atol=1e-5)


def test_convolution_repeats_its_bits(convolution):
    first, second = (convolution(*arguments(PATHS["natural"])) for _ in range(2))
    assert torch.equal(first, second)


def test_convolution_takes_views_of_any_strides(convolution):
    h, Y, R, *rest = arguments(PATHS["natural"])
    strided = [x.T.contiguous().T for x in (h, Y, R)]
    assert not strided[0].is_contiguous()
    torch.testing.assert_close(convolution(*strided, *rest), convolution(h, Y, R, *rest))


def test_what_inference_mode_has_touched_can_still_be_trained(convolution):
    paths = ConvolutionPaths(Irreps.parse("7x0e"), 1, (Irrep(1, -1),))  # used by no other test
    with torch.inference_mode():
        convolution(*arguments(paths))
    h, *rest = arguments(paths)
    convolution(h.requires_grad_(), *rest).sum().backward()
    assert h.grad.any()


PRODUCTS = {
    f"{irreps} to {targets}, {correlation}": ProductPaths(
        tuple(Irreps.parse(irreps).irreps), tuple(map(Irrep.parse, targets.split())), correlation
    )
    for irreps, targets in (("0e + 1o + 2e", "0e 1o 2e"), ("0e + 0o + 1o + 1e", "1e 0o"), ("2e", "1o 2e"))
    for correlation in (1, 2, 3, 4)
}
PRODUCTS |= {
    f"0e + 0o, {n}": ProductPaths((Irrep(0, 1), Irrep(0, -1)), (Irrep(0, 1), Irrep(0, -1)), n) for n in (2, 3)
}
SMALL = 16  # entries of a table
every_product_table = pytest.mark.parametrize("paths", PRODUCTS.values(), ids=PRODUCTS)


def product_operands(paths, n_nodes=3, n_matrices=2, channels=2):
    n_A, n_paths = sum(irrep.dim for irrep in paths.irreps_in), sum(paths.n_paths.values())
    return random(n_nodes, n_A, channels, seed=1), random(n_matrices, n_paths, channels, seed=2)


@every_product_table
def test_symmetric_product_is_its_definition(symmetric_product, paths):
    """m = Σ_η W_η B_η, the B of each irrep and order one after another."""
    species = torch.tensor([1, 0, 1])
    A, W = product_operands(paths)
    blocks, first = [], 0
    for irrep in paths.targets:
        m = A.new_zeros(3, irrep.dim, 2)
        for order in range(1, paths.correlation + 1):
            coupling = symmetric_coupling(paths.irreps_in, irrep, order)
            monomials = A[:, torch.tensor(coupling.factors)].prod(dim=2)  # [n_nodes, n_monomials, channels]
            weights = W[species, first : first + coupling.n_paths]
            for path, M, monomial, value in zip(*coupling.indices, coupling.values, strict=True):
                m[:, M] += value * weights[:, path] * monomials[:, monomial]
            first += coupling.n_paths
        blocks.append(m)
    assert first == W.shape[1]
    expected = torch.cat(blocks, dim=1)
    torch.testing.assert_close(symmetric_product(A, W, species, paths), expected, rtol=1e-12, atol=1e-12)


def test_symmetric_products_of_two_vectors_are_those_of_e3nn(symmetric_product):
    """A polar vector with itself: |A|² / sqrt(3) up to normalisation, and its traceless part."""
    for out, L in ((Irrep(0, 1), 0), (Irrep(2, 1), 2)):
        paths = ProductPaths((Irrep(1, -1),), (out,), 2)
        A, _ = product_operands(paths)
        m = symmetric_product(A, torch.ones(1, 1, 2, dtype=A.dtype), None, paths)
        C = e3nn.o3.wigner_3j(1, 1, L, dtype=torch.float64)
        expected = torch.einsum("abM,nak,nbk->nMk", C, A, A)
        ratio = (m * expected).sum() / expected.square().sum()
        torch.testing.assert_close(m, ratio * expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("correlation", [2, 3, 4])
def test_derivatives_of_symmetric_product(symmetric_product, correlation):
    not_in_interpreter()
    paths = ProductPaths((Irrep(0, 1), Irrep(1, -1)), (Irrep(1, -1), Irrep(0, 1)), correlation)
    operands = [x.requires_grad_() for x in product_operands(paths, n_nodes=2)]
    species = torch.tensor([1, 0])

    def function(A, W):
        return symmetric_product(A, W, species, paths)

    def gradients(A, W):
        return torch.autograd.grad(function(A, W).square().sum(), (A, W), create_graph=True)

    assert gradcheck(function, operands)
    assert gradgradcheck(function, operands)
    assert gradgradcheck(gradients, operands, fast_mode=True)


@every_product_table
def test_gradients_of_symmetric_product_are_those_of_its_definition(symmetric_product, paths):
    """Up to the third, with more channels than a vector has lanes."""
    if len(paths.polynomial.monomial) > SMALL:
        not_in_interpreter()
    A, W = (x.requires_grad_() for x in product_operands(paths, channels=19))
    species = torch.tensor([1, 0, 1])
    if not W.numel():
        return
    results = []
    for function in (symmetric_product, reference.symmetric_product):
        total = function(A, W, species, paths).square().sum()
        for order in range(3 if paths.correlation > 1 else 1):
            g_A, g_W = torch.autograd.grad(total, (A, W), create_graph=True)
            results.append((g_A / g_A.detach().abs().max(), g_W / g_W.detach().abs().max()))
            total = (g_A * random(*A.shape, seed=10 + order)).sum() + (
                g_W * random(*W.shape, seed=20 + order)
            ).sum()
    half = len(results) // 2
    for ours, theirs in zip(results[:half], results[half:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_symmetric_product_without_elements_takes_the_first_matrix(symmetric_product):
    paths = PRODUCTS["0e + 1o + 2e to 0e 1o 2e, 3"]
    A, W = product_operands(paths, n_matrices=1)
    nought = torch.zeros(3, dtype=torch.int64)
    first, second = (symmetric_product(A, W, species, paths) for species in (None, nought))
    assert torch.equal(first, second)


def test_symmetric_product_of_no_atoms(symmetric_product):
    paths = ProductPaths((Irrep(0, 1), Irrep(1, -1)), (Irrep(1, -1),), 2)
    A, W = (x.requires_grad_() for x in product_operands(paths, n_nodes=0, channels=5))
    m = symmetric_product(A, W, torch.zeros(0, dtype=torch.int64), paths)
    assert m.shape == (0, 3, 5)
    assert not torch.autograd.grad(m.sum(), W)[0].any()


def test_symmetric_product_in_float32(symmetric_product):
    paths = PRODUCTS["0e + 1o + 2e to 0e 1o 2e, 4"]
    A, W = product_operands(paths, n_matrices=1, channels=33)
    expected = reference.symmetric_product(A, W, None, paths).float()
    m = symmetric_product(A.float(), W.float(), None, paths)
    torch.testing.assert_close(m, expected, rtol=1e-4, atol=1e-4)


MAPS = {
    "square": ("8x0e + 8x1o", "8x0e + 8x1o"),
    "wide": ("33x0e + 7x1o + 2x2e", "20x1o + 40x0e"),
    "narrow": ("5x0e + 3x1o + 2x1e", "1x0e"),
    "missing": ("4x0e + 2x1o", "3x2e + 4x0e + 9x1e"),
}
every_map = pytest.mark.parametrize("maps", [tuple(map(Irreps.parse, m)) for m in MAPS.values()], ids=MAPS)


def linear_operands(maps, n_matrices, n_nodes=6):
    irreps_in, irreps_out = maps
    n_weights = sum(irreps_in.mul(ir) * mul for mul, ir in irreps_out)
    return random(n_nodes, irreps_in.dim, seed=1), random(n_matrices, n_weights, seed=2)


@every_linear
@every_map
def test_linear_multiplies_each_atom_by_the_matrices_of_its_element(linear, maps):
    x, W = linear_operands(maps, 3)
    species = torch.tensor([2, 0, 0, 2, 2, 0])
    y = linear(x, W, species, *maps)
    irreps_in, irreps_out = maps
    start = 0
    for mul, irrep in irreps_out:
        mine = y[:, irreps_out.slices()[irrep]].view(6, irrep.dim, mul)
        if not irreps_in.mul(irrep):
            assert not mine.any()
            continue
        size = irreps_in.mul(irrep) * mul
        part = x[:, irreps_in.slices()[irrep]].view(6, irrep.dim, -1)
        for atom, z in enumerate(species.tolist()):
            expected = part[atom] @ W[z, start : start + size].view(-1, mul) / part.shape[2] ** 0.5
            torch.testing.assert_close(mine[atom], expected, rtol=1e-13, atol=1e-13)
        start += size


@every_linear
@every_map
def test_linear_without_elements_takes_the_first_matrix(linear, maps):
    x, W = linear_operands(maps, 1)
    nought = torch.zeros(6, dtype=torch.int64)
    torch.testing.assert_close(linear(x, W, None, *maps), linear(x, W, nought, *maps), rtol=0, atol=0)


@every_linear
@every_map
def test_derivatives_of_linear(linear, maps):
    x, W = linear_operands(maps, 3, n_nodes=4)
    species = torch.tensor([2, 0, 2, 0])

    def function(x, W):
        return linear(x, W, species, *maps)

    operands = x.requires_grad_(), W.requires_grad_()
    assert gradcheck(function, operands, fast_mode=True)
    assert gradgradcheck(function, operands, fast_mode=True)
    (gradient,) = torch.autograd.grad(function(x, W).sum(), W)
    assert not gradient[1].any()


@pytest.mark.parametrize("n_nodes", [0, 1, 16, 50])
def test_tiles_of_elements_hold_every_atom(n_nodes):
    """More atoms than a tile has rows, and an element without atoms."""
    maps = tuple(map(Irreps.parse, MAPS["narrow"]))
    x, W = linear_operands(maps, 4, n_nodes)
    species = torch.arange(n_nodes) * 7 % 3
    expected = reference.linear(x, W, species, *maps)
    torch.testing.assert_close(in_tiles(x, W, species, *maps), expected, rtol=1e-13, atol=1e-13)


@every_linear
def test_linear_of_no_atoms(linear):
    irreps = Irreps.parse("3x0e + 2x1o")
    nobody = torch.zeros(0, dtype=torch.int64)
    assert linear(random(0, 9), random(2, 13), nobody, irreps, irreps).shape == (0, 9)


@every_linear
def test_linear_in_float32(linear):
    maps = tuple(map(Irreps.parse, MAPS["wide"]))
    x, W = linear_operands(maps, 3)
    species = torch.tensor([2, 0, 1, 1, 0, 0])
    expected = reference.linear(x, W, species, *maps).float()
    torch.testing.assert_close(linear(x.float(), W.float(), species, *maps), expected, rtol=1e-5, atol=1e-5)


every_mlp = pytest.mark.parametrize("mlp", [reference.mlp, cpu.mlp], ids=["reference", "cpu"])
SIZES = {"one matrix": [3, 5], "two": [4, 9, 6], "wide": [8, 64, 64, 64, 100], "narrow": [1, 1, 1]}
every_size = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


def mlp_operands(sizes, n_rows=7):
    n_weights = sum(n * m for n, m in pairwise(sizes))
    return random(n_rows, sizes[0], seed=1), random(1, n_weights, seed=2)


@every_mlp
@every_size
def test_mlp_is_matrices_and_activations(mlp, sizes):
    x, W = mlp_operands(sizes)
    expected, start = x, 0
    for layer, (n, m) in enumerate(pairwise(sizes)):
        if layer > 0:
            expected = 1.7 * expected / (1 + torch.exp(-expected))
        matrix = W[0, start : start + n * m].view(n, m)
        expected, start = expected @ matrix / (n if layer else 2) ** 0.5, start + n * m
    activation = Activation("silu")
    activation.scale.fill_(1.7)
    torch.testing.assert_close(mlp(x, W, sizes, 2, activation), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_mlp_are_those_of_its_definition(name):
    """Up to the third, for every activation, with more rows than a tile has and arguments of any size."""
    sizes, activation, results = [5, 9, 6, 7], Activation(name), []
    x, W = mlp_operands(sizes, n_rows=101)
    x, W = (10.0 * x).requires_grad_(), W.requires_grad_()
    for function in (cpu.mlp, reference.mlp):
        of_function = []
        y = function(x, W, sizes, 5, activation)
        total = (y * y.tanh()).sum()
        for order in range(3):
            g_x, g_W = torch.autograd.grad(total, (x, W), create_graph=True)
            of_function.append((g_x / g_x.detach().abs().max(), g_W / g_W.detach().abs().max()))
            total = (g_x * random(*x.shape, seed=10 + order)).sum() + (
                g_W * random(*W.shape, seed=20 + order)
            ).sum()
        results.append(of_function)
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-11)


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


every_gate = pytest.mark.parametrize("gate", [reference.gate, cpu.gate], ids=["reference", "cpu"])
GATES = {
    "natural": "5x0e + 9x1o + 2x2e",
    "all": "2x1e + 3x0e + 11x0o + 2x1o",
    "wide": "17x0e + 33x1o + 8x0o",
    "scalars": "8x0e",
}
every_gated = pytest.mark.parametrize("irreps", [Irreps.parse(text) for text in GATES.values()], ids=GATES)


@every_gate
def test_gate_order_of_scalars_gates_and_blocks(gate):
    irreps = Irreps.parse("1x0e + 2x1o + 1x0o + 1x2e")
    even, odd = Activation("silu"), Activation("tanh", odd=True)
    x = random(3, gate_irreps(irreps).dim)
    scalar, gates = even(x[:, :1]), even(x[:, 1:4])
    vectors = (x[:, 4:10].view(3, 3, 2) * gates[:, None, :2]).flatten(1)
    expected = torch.cat([scalar, vectors, odd(x[:, 10:11]), x[:, 11:] * gates[:, 2:]], dim=1)
    torch.testing.assert_close(gate(x, irreps, even, odd), expected, rtol=1e-14, atol=1e-14)


@every_gated
@pytest.mark.parametrize("name", cpu.ACTIVATIONS)
def test_gradients_of_gate_are_those_of_its_definition(irreps, name):
    """Up to the third."""
    even = Activation(name if name in ACTIVATIONS else "silu")
    odd = Activation(name if name in ODD_ACTIVATIONS else "tanh", odd=True)
    x, results = (3.0 * random(4, gate_irreps(irreps).dim, seed=1)).requires_grad_(), []
    for function in (cpu.gate, reference.gate):
        y = function(x, irreps, even, odd)
        gradients = [y]
        for order in range(3):
            total = (
                (gradients[-1] * gradients[-1].tanh() + gradients[-1]).sum()
                if order
                else (y * y.tanh()).sum()
            )
            (g,) = torch.autograd.grad(total, x, create_graph=True)
            gradients.append(g / g.detach().abs().max())
        results.append(gradients)
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@every_gate
@every_gated
def test_derivatives_of_gate(gate, irreps):
    even, odd = Activation("silu"), Activation("tanh", odd=True)
    x = random(2, gate_irreps(irreps).dim, seed=1).requires_grad_()
    assert gradcheck(lambda x: gate(x, irreps, even, odd), x, fast_mode=True)
    assert gradgradcheck(lambda x: gate(x, irreps, even, odd), x, fast_mode=True)


@every_gate
def test_gate_of_no_atoms_and_in_float32(gate):
    irreps, even, odd = Irreps.parse(GATES["all"]), Activation("silu"), Activation("tanh", odd=True)
    x = random(9, gate_irreps(irreps).dim)
    assert gate(x[:0], irreps, even, odd).shape == (0, irreps.dim)
    expected = reference.gate(x, irreps, even, odd).float()
    torch.testing.assert_close(gate(x.float(), irreps, even, odd), expected, rtol=1e-5, atol=1e-6)


def plain_harmonics(vectors, l_max):
    return SphericalHarmonics(l_max)(vectors, vectors.norm(dim=1))


def plain_bessel(lengths, num_radial, cutoff, power):
    return RadialEmbedding("bessel", num_radial, cutoff, envelope_power=power)(lengths)


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


def test_gradients_that_nobody_asked_for_are_not_computed(monkeypatch):
    irreps = Irreps.parse("3x0e + 2x1o")
    x, W = random(4, 9, seed=1).requires_grad_(), random(1, 13, seed=2).requires_grad_()
    y = cpu.linear(x * 1.0, W * 1.0, None, irreps, irreps).square().sum()
    computed = []
    run = cpu.LINEAR.run
    monkeypatch.setattr(cpu.LINEAR, "run", lambda *inputs: (computed.append(inputs[2]), run(*inputs)))
    torch.autograd.grad(y, x)
    assert computed == [0]


def operands_of_convolution():
    paths = PATHS["natural"]
    tensors = [*arguments(paths)[:3], random(N_NODES, paths.irreps_out.dim, seed=4)]
    return tensors, (SENDERS, RECEIVERS, None, None, None, None, cpu.encode_paths(paths)), 3


def operands_of_linear():
    irreps = Irreps.parse("3x0e + 2x1o")
    tensors = [random(3, 9, seed=1), random(2, 13, seed=2), random(3, 9, seed=3)]
    return tensors, (torch.tensor([1, 0, 1]), 2, cpu.encode_irreps(irreps, irreps)), 2


def operands_of_product():
    paths = PRODUCTS["0e + 1o + 2e to 0e 1o 2e, 3"]
    tensors = [*product_operands(paths), random(3, 9, 2, seed=3)]
    return tensors, (torch.tensor([1, 0, 1]), 2, tensors[0].shape[2], cpu.encode_products(paths)), 2


def operands_of_mlp():
    tensors = [*mlp_operands([4, 9, 6]), random(7, 6, seed=3)]
    return tensors, (Activation("silu").scale, "silu", 4, [4, 9, 6]), 2


def operands_of_gate():
    irreps = Irreps.parse(GATES["all"])
    tensors = [random(3, gate_irreps(irreps).dim, seed=1), random(3, irreps.dim, seed=2)]
    scales = Activation("silu").scale, Activation("tanh", odd=True).scale
    return tensors, (*scales, "silu", "tanh", str(irreps)), 1


def operands_of_harmonics():
    return [random(5, 3, seed=1), random(5, 9, seed=2)], (2,), 1


def operands_of_bessel():
    return [random(5, seed=1).abs() + 0.1, random(5, 4, seed=2)], (4, 3.0, 6), 1


def operands_of_table():
    tensors = [random(5, seed=1).abs() + 0.1, random(2, 9, 2, 4, seed=3), random(5, 4, seed=2)]
    return tensors, (torch.tensor([0, 1, 1, 0, 1]), 0.5, 2, 9, 4), 2


FORMS = {
    "convolution": (cpu.CONVOLUTION, operands_of_convolution),
    "linear": (cpu.LINEAR, operands_of_linear),
    "product": (cpu.PRODUCT, operands_of_product),
    "mlp": (cpu.MLP, operands_of_mlp),
    "gate": (cpu.GATE, operands_of_gate),
    "harmonics": (cpu.HARMONICS, operands_of_harmonics),
    "bessel": (cpu.BESSEL, operands_of_bessel),
    "table": (cpu.TABLE, operands_of_table),
}


@pytest.mark.parametrize(("form", "operands"), FORMS.values(), ids=FORMS)
def test_operators_pass_the_checks_of_torch_library(form, operands):
    tensors, constants, slot = operands()
    tensors = [tensor.requires_grad_() for tensor in tensors]
    torch.library.opcheck(form.operator, (tensors, *constants, slot))


@pytest.mark.parametrize(("form", "operands"), FORMS.values(), ids=FORMS)
def test_traced_operators_have_the_derivatives_of_the_eager_ones(form, operands):
    tensors, constants, slot = operands()
    inputs = [tensor.requires_grad_() for b, tensor in enumerate(tensors) if b != slot]
    results = []
    for function in (
        lambda: form.operator([*inputs, torch.empty(0)], *constants, slot),
        lambda: form(inputs, constants),
    ):
        first = torch.autograd.grad(function().pow(3).sum(), inputs, create_graph=True)
        results.append((first, torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs)))
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-11)


@pytest.fixture
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [2, 5], indirect=True)
@pytest.mark.parametrize("operands", [case[1] for case in FORMS.values()], ids=FORMS)
def test_several_threads_give_the_numbers_of_one(operands, threads):
    """Value, first and second derivatives of every form."""
    form = next(form for form, case in FORMS.values() if case is operands)
    tensors, constants, slot = operands()
    inputs = [tensor.requires_grad_() for b, tensor in enumerate(tensors) if b != slot]
    results = []
    for number in (threads, 1):
        torch.set_num_threads(number)
        value = form(inputs, constants)
        first = torch.autograd.grad(value.pow(3).sum(), inputs, create_graph=True)
        results.append((value, first, torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs)))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("form", "operands"), FORMS.values(), ids=FORMS)
def test_what_a_kernel_would_misread_is_refused(form, operands):
    tensors, constants, slot = operands()
    inputs = [tensor for b, tensor in enumerate(tensors) if b != slot]
    with pytest.raises(TypeError, match=r"must be float32, or all float64"):
        form([tensor.half() for tensor in inputs], constants)
    if len(inputs) > 1:
        with pytest.raises(TypeError, match=r"must be float32, or all float64"):
            form([inputs[0].float(), *inputs[1:]], constants)
        with pytest.raises(ValueError, match="has shape"):
            form([*inputs[:-1], inputs[-1][..., :-1]], constants)
    indices = [isinstance(c, torch.Tensor) and c.dtype == torch.int64 for c in constants]
    if any(indices):
        short = [c.int() if index else c for c, index in zip(constants, indices, strict=True)]
        with pytest.raises(TypeError, match="they must be int64"):
            form(inputs, short)


def test_fourth_derivatives_exist_and_fifth_ones_are_refused():
    r, results = torch.tensor([0.7, 1.3], dtype=torch.float64, requires_grad=True), []
    for function in (cpu.bessel, plain_bessel):
        derivative = function(r, 3, 3.0, 6).sum()
        for _ in range(4):
            (g,) = torch.autograd.grad(derivative, r, create_graph=True)
            derivative = g.sum()
        results.append(derivative)
        if function is cpu.bessel:
            with pytest.raises(NotImplementedError, match="beyond the fourth"):
                torch.autograd.grad(derivative, r)
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*functools.lru_cache.*:UserWarning")
def test_operations_are_seen_by_tracers():
    irreps = Irreps.parse("3x0e + 2x1o")
    x, W = random(4, 9, seed=1), random(1, 13, seed=2)
    expected = ops.linear(x, W, None, irreps, irreps)
    traced = make_fx(lambda x, W: ops.linear(x, W, None, irreps, irreps))(x, W)
    assert any("multiace.linear" in str(node.target) for node in traced.graph.nodes)
    torch.testing.assert_close(traced(2 * x, W), 2 * expected)
    compiled = torch.compile(ops.linear, backend="aot_eager")
    torch.testing.assert_close(compiled(x, W, None, irreps, irreps), expected)
    r = torch.zeros(0, dtype=torch.float64)
    assert cpu.BESSEL.operator([r, torch.empty((0,) * 5)], 3, 3.0, 6, 1).shape == (0, 3)


def test_products_of_more_factors_than_the_kernel_has_run_as_defined():
    paths = ProductPaths((Irrep(0, 1),), (Irrep(0, 1),), 5)
    A, W = product_operands(paths)
    species = torch.tensor([1, 0, 1])
    torch.testing.assert_close(
        cpu.symmetric_product(A, W, species, paths), reference.symmetric_product(A, W, species, paths)
    )


@pytest.mark.parametrize("interpolate", [reference.interpolate, cpu.interpolate], ids=["reference", "cpu"])
def test_tables_are_constant_beyond_their_last_knot(interpolate):
    table, r = random(1, 5, 2, 9), torch.tensor([2.0, 2.3, 1e30], dtype=torch.float64, requires_grad=True)
    R = interpolate(r, table, 0.5, None)
    torch.testing.assert_close(R, table[0, -1, :1].expand(3, 9))
    (g,) = torch.autograd.grad(R.sum(), r)
    assert not g[1:].any()


def test_unknown_choices_of_operations_are_refused(monkeypatch):
    monkeypatch.setenv("MULTIACE_OPS", "cuda")
    irreps = Irreps.parse("3x0e")
    with pytest.raises(InputError, match="MULTIACE_OPS = 'cuda' in the environment is not one of"):
        ops.linear(random(1, 3), random(1, 9), None, irreps, irreps)
