"""The convolution, in each implementation, against its written definition and against e3nn."""

import e3nn.o3
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from multiace.basis.coupling import clebsch_gordan
from multiace.basis.irreps import Irrep, Irreps
from multiace.ops import ConvolutionPaths, reference
from tests.ops.operands import FEW, N_NODES, PATHS, arguments, every_path_table, not_in_interpreter


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
