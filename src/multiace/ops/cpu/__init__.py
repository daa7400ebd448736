"""The expensive operations as forms with kernels, a file for each: compiled C on a CPU, the convolution and the product
basis also Triton on a GPU."""

from __future__ import annotations

from multiace.ops.cpu.convolution import CONVOLUTION, convolution, decode_paths, encode_paths
from multiace.ops.cpu.densities import FINNIS_SINCLAIR, finnis_sinclair
from multiace.ops.cpu.density import DENSITY, density, encode_blocks
from multiace.ops.cpu.gate import GATE, check_compiler, gate
from multiace.ops.cpu.harmonics import HARMONICS, spherical_harmonics
from multiace.ops.cpu.kernel import ACTIVATIONS
from multiace.ops.cpu.linear import LINEAR, encode_irreps, linear
from multiace.ops.cpu.monomials import MONOMIALS, polynomial
from multiace.ops.cpu.move import MOVE, call_add
from multiace.ops.cpu.norm import LAYER_NORM, layer_norm
from multiace.ops.cpu.perceptron import MLP, mlp
from multiace.ops.cpu.product import PRODUCT, encode_products, symmetric_product
from multiace.ops.cpu.radial import BESSEL, PIECEWISE, TABLE, bessel, interpolate, piecewise
from multiace.ops.cpu.rows import add_rows

__all__ = [
    "ACTIVATIONS",
    "BESSEL",
    "CONVOLUTION",
    "DENSITY",
    "FINNIS_SINCLAIR",
    "GATE",
    "HARMONICS",
    "LAYER_NORM",
    "LINEAR",
    "MLP",
    "MONOMIALS",
    "MOVE",
    "PIECEWISE",
    "PRODUCT",
    "TABLE",
    "add_rows",
    "bessel",
    "call_add",
    "check_compiler",
    "convolution",
    "decode_paths",
    "density",
    "encode_blocks",
    "encode_irreps",
    "encode_paths",
    "encode_products",
    "finnis_sinclair",
    "gate",
    "interpolate",
    "layer_norm",
    "linear",
    "mlp",
    "piecewise",
    "polynomial",
    "spherical_harmonics",
    "symmetric_product",
]
