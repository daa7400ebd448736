"""Compile the kernels for a GPU that is not there: ``python -m tests.ops.gpu_binaries``.

Not in Triton's interpreter, hence in a process of its own.
"""

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from multiace.basis.irreps import Irrep, Irreps
from multiace.ops import ConvolutionPaths, gpu, gpu_product

TARGET = GPUTarget("cuda", 90, 32)
REALS = {"x", "Y", "R", "g", "out", "A", "c", "U0", "U1", "U2"}
INDICES = {
    *("senders", "receivers", "row_of_edge", "edges_of_row", "first", "sent", "first_sent"),
    *("species", "atoms", "rows"),
}


def binary(kernel, real: str, constants: dict[str, int]) -> bytes:
    """Machine code of a kernel."""
    signature = {}
    for place in kernel.params:
        of_tensor = "*" + real if place.name in REALS else "*i64" if place.name in INDICES else "i32"
        signature[place.name] = "constexpr" if place.name in constants else of_tensor
    source = ASTSource(kernel, signature, constants)
    return compile(source, target=TARGET, options={"num_warps": 1, "enable_fp_fusion": True}).asm["cubin"]


def main() -> None:
    """Compile every kernel, in both types, and say how many there are."""
    paths = ConvolutionPaths(Irreps.parse("40x0e + 20x1o"), 1, (Irrep(0, 1), Irrep(1, -1)))
    convolution = gpu.load_module(gpu.convolution_source(paths))
    kernels = [(getattr(convolution, f"derivative_{name}_0"), {}) for name in "xYRg"]
    for factors, directions in ((0, 0), (3, 2)):
        product = gpu_product.load_module(gpu_product.product_source(factors, directions))
        tile = {"BN": 4, "BK": 32}
        kernels.append((product.by_node, tile | {"GIVEN": 1}))
        kernels += [(product.by_element, tile | {"GIVEN": 0})] if factors else []
    made = [binary(kernel, real, constants) for kernel, constants in kernels for real in ("fp32", "fp64")]
    print(len(list(filter(None, made))))


if __name__ == "__main__":
    main()
