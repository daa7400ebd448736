"""What runs on a GPU, as far as a CPU can tell."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ase import Atoms

from multiace import ops
from multiace.basis.irreps import Irrep, Irreps
from multiace.graph.neighbors import build_graph
from multiace.ops import ConvolutionPaths, ProductPaths, gpu, gpu_linear, gpu_product
from tests.capture import recorded
from tests.ops.operands import arguments, every_path_table
from tests.potentials import small_potential

ROOT = Path(__file__).parents[2]
IRREPS = Irreps.parse("3x0e + 2x1o")
SPECIES = torch.tensor([1, 0, 1, 1])


@pytest.fixture
def no_kernels(monkeypatch):
    """The host's part alone: what would be launched is counted."""
    launched = []

    class Kernel:
        def __getitem__(self, grid):
            return lambda *arguments, **constants: launched.append(grid)

    monkeypatch.setattr(gpu, "_kernels", lambda *_: [(Kernel(), gpu.Part([], 1, adds=False))])
    monkeypatch.setattr(gpu_product, "_kernel", lambda *_: Kernel())
    return launched


@pytest.mark.parametrize("slot", [0, 1, 2, 3])
@pytest.mark.parametrize("reverse", [None, torch.tensor([1, 0, 3, 2])], ids=["sorted here", "of a graph"])
def test_launching_a_convolution_waits_for_nothing(slot, reverse, no_kernels):
    paths = ConvolutionPaths(IRREPS, 1, (Irrep(0, 1), Irrep(1, -1)))
    edges = gpu.Edges(torch.tensor([1, 0, 2, 1]), torch.tensor([0, 1, 1, 2]), None, None, None, reverse)
    rows = (4, 4, 4, 4)
    widths = (IRREPS.dim, 4, paths.n_weights, paths.irreps_out.dim)
    term = [torch.ones(*size) for size in zip(rows, widths, strict=True)]
    recorded(lambda: gpu.run_convolution([term], edges, paths, slot, term[slot]) or ())
    assert len(no_kernels) == 1


@every_path_table
def test_long_convolutions_are_made_of_several_kernels(paths, monkeypatch):
    """Each as short as can be, here: the same numbers."""
    pytest.importorskip("triton")
    whole = {name: len(parts) for name, parts in gpu._parts(paths).items()}
    h, Y, R, *rest = arguments(paths)
    results = []
    for length in (gpu.LENGTH, 1):
        monkeypatch.setattr(gpu, "LENGTH", length)
        monkeypatch.setenv("MULTIACE_OPS", "triton")
        gpu._parts.cache_clear()
        gpu._kernels.cache_clear()
        operands = [x.clone().requires_grad_() for x in (h, Y, R)]
        A = ops.convolution(*operands, *rest)
        results.append((A, *torch.autograd.grad(A.square().sum(), operands)))
    split = {name: len(parts) for name, parts in gpu._parts(paths).items()}
    gpu._parts.cache_clear()
    gpu._kernels.cache_clear()
    assert all(split[name] == len(paths.groups) >= whole[name] for name in "xYRg")
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_launching_a_product_waits_for_nothing(slot, no_kernels):
    paths = ProductPaths((Irrep(0, 1), Irrep(1, -1)), (Irrep(0, 1),), 2)
    term = [torch.ones(4, 4, 8), torch.ones(2, sum(paths.n_paths.values()), 8), torch.ones(4, 1, 8)]
    directions = [[torch.ones(4, 4, 8)]]
    gpu_product._tables(paths, torch.float32, torch.device("cpu"))  # made once
    recorded(lambda: gpu_product.run_product([*term, *directions], SPECIES, paths, slot, term[slot]) or ())
    assert len(no_kernels) == 1


@pytest.mark.parametrize(
    ("largest", "narrow"),
    [(-1, 0), (gpu_linear.LARGEST, 0), (-1, gpu_linear.NARROW)],
    ids=["in tiles", "one by one", "among zeros"],
)
def test_maps_by_element_wait_for_nothing(largest, narrow, monkeypatch):
    monkeypatch.setattr(gpu_linear, "LARGEST", largest)
    monkeypatch.setattr(gpu_linear, "NARROW", narrow)
    x, W = torch.ones(4, IRREPS.dim, requires_grad=True), torch.ones(2, 13, requires_grad=True)

    def gradients():
        y = gpu_linear.linear(x, W, SPECIES, IRREPS, IRREPS).square().sum()
        first = torch.autograd.grad(y, (x, W), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), (x, W))

    torch.testing.assert_close(recorded(gradients)(), gradients())


@pytest.mark.parametrize(
    "options",
    [{}, {"radial_norm": "layer", "feature_norm": "layer"}, {"radial_species": "pair"}],
    ids=["plain", "normalised", "pair"],
)
def test_a_model_on_the_path_of_a_gpu_is_its_definition(monkeypatch, options):
    """Energy, forces, and the gradient of a loss on forces by every parameter, in Triton's interpreter."""
    pytest.importorskip("triton")
    potential = small_potential(
        hidden_irreps="2x0e + 2x1o",
        correlation=2,
        product_elements=True,
        self_connection="residual",
        **options,
    )
    water = Atoms("OHH", [[0.0, 0.0, 0.1], [0.0, 0.8, -0.5], [0.1, -0.7, -0.5]])
    graph, results = build_graph(water, potential.elements, potential.cutoff), []
    for choice in ("triton", "reference"):
        monkeypatch.setenv("MULTIACE_OPS", choice)
        prediction = potential(graph, create_graph=True)
        loss = prediction.forces.square().sum()
        gradient = torch.autograd.grad(loss, list(potential.parameters()), materialize_grads=True)
        results.append((prediction.energy, prediction.forces, *gradient))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_kernels_compile_for_a_gpu(tmp_path):
    """To machine code, which nothing here can run."""
    pytest.importorskip("triton")
    variables = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.ops.gpu_binaries"]
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == 2 * (4 + 3)
