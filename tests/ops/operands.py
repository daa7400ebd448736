"""Operands of the operations, small and irregular."""

import os
from itertools import pairwise

import pytest
import torch

from multiace.basis.irreps import Irrep, Irreps
from multiace.basis.radial import RadialEmbedding
from multiace.ops import ConvolutionPaths, ProductPaths


def not_in_interpreter():
    if os.environ.get("MULTIACE_OPS") == "triton":
        pytest.skip(
            "minutes in the interpreter; three derivatives of smaller tables are those of the definition"
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


SIZES = {"one matrix": [3, 5], "two": [4, 9, 6], "wide": [8, 64, 64, 64, 100], "narrow": [1, 1, 1]}
every_size = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


def mlp_operands(sizes, n_rows=7):
    n_weights = sum(n * m for n, m in pairwise(sizes))
    return random(n_rows, sizes[0], seed=1), random(1, n_weights, seed=2)


GATES = {
    "natural": "5x0e + 9x1o + 2x2e",
    "all": "2x1e + 3x0e + 11x0o + 2x1o",
    "wide": "17x0e + 33x1o + 8x0o",
    "scalars": "8x0e",
}
every_gated = pytest.mark.parametrize("irreps", [Irreps.parse(text) for text in GATES.values()], ids=GATES)


def plain_bessel(lengths, num_radial, cutoff, power):
    return RadialEmbedding("bessel", num_radial, cutoff, envelope_power=power)(lengths)
