"""Linear maps by element, in each implementation, against their definition."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from multiace.basis.irreps import Irreps
from multiace.ops import cpu, gpu_linear, reference
from tests.ops.operands import MAPS, every_map, linear_operands, random


def on_gpu(largest, narrow):
    """What a GPU runs, in one of its ways whatever the sizes."""

    def linear(*operands):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gpu_linear, "LARGEST", largest)
            patch.setattr(gpu_linear, "NARROW", narrow)
            return gpu_linear.linear(*operands)

    return linear


in_tiles = on_gpu(-1, 0)
every_linear = pytest.mark.parametrize(
    "linear",
    [reference.linear, cpu.linear, gpu_linear.linear, on_gpu(2**24, 0), in_tiles, on_gpu(-1, 2**24)],
    ids=["reference", "cpu", "gpu", "one by one", "tiles", "among zeros"],
)


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
