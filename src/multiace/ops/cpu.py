"""The expensive operations on a CPU: generated C behind torch.library, the numbers of ``reference.py``."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from multiace.basis.irreps import Irrep, Irreps
from multiace.ops.codegen import convolution_source
from multiace.ops.compiler import compile_c
from multiace.ops.paths import ConvolutionPaths

__all__ = ["check_compiler", "convolution", "element_linear"]

ARGUMENTS = ("x", "Y", "R", "g")
"""Arguments of the form S, in the order of the kernels."""


def convolution(
    h: Tensor, Y: Tensor, R: Tensor, senders: Tensor, receivers: Tensor, paths: ConvolutionPaths
) -> Tensor:
    """Same as :func:`multiace.ops.reference.convolution`."""
    return torch.ops.multiace.convolution_derivative(
        h, Y, R, h.new_empty(h.shape[0], 0), senders, receivers, encode(paths), 3
    )


def element_linear(x: Tensor, W: Tensor, species: Tensor) -> Tensor:
    """Same as :func:`multiace.ops.reference.element_linear`: one matrix product for all atoms of an element."""
    order = species.argsort(stable=True)
    counts = torch.bincount(species, minlength=W.shape[0]).tolist()
    parts = x.index_select(0, order).split(counts)
    y = torch.cat([part @ W_z for part, W_z in zip(parts, W.unbind(0), strict=True)])
    return y.index_select(0, order.argsort())


def check_compiler() -> None:
    """Compile and load a trivial function, with the OpenMP runtime that the kernels use.

    Raises:
        CompilerError: If that is not possible.
    """
    compile_c("#include <omp.h>\nint threads(void) { return omp_get_max_threads(); }\n").threads()


def encode(paths: ConvolutionPaths) -> str:
    """Write a table as text, since an operator's arguments are tensors, numbers and strings."""
    return f"{paths.irreps_in}|{paths.l_max}|{' '.join(map(str, paths.targets))}"


@cache
def decode(text: str) -> ConvolutionPaths:
    """Read what :func:`encode` wrote."""
    irreps, l_max, targets = text.split("|")
    return ConvolutionPaths(Irreps.parse(irreps), int(l_max), tuple(map(Irrep.parse, targets.split())))


def _shape(tensors: list[Tensor], senders: Tensor, paths: ConvolutionPaths, wrt: int) -> tuple[int, int]:
    """Shape of the derivative with respect to argument number ``wrt``."""
    n_nodes = tensors[0 if wrt == 3 else 3].shape[0]
    return (
        (n_nodes, paths.irreps_in.dim),
        (senders.shape[0], (paths.l_max + 1) ** 2),
        (senders.shape[0], paths.n_weights),
        (n_nodes, paths.irreps_out.dim),
    )[wrt]


@cache
def _kernel(text: str, dtype: torch.dtype, wrt: int) -> Callable[..., None]:
    library = compile_c(convolution_source(decode(text), "float" if dtype == torch.float32 else "double"))
    function = getattr(library, f"derivative_{ARGUMENTS[wrt]}")
    function.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_int64] * 2 + [ctypes.c_int]
    function.restype = None
    return function


def _run(
    x: Tensor, Y: Tensor, R: Tensor, g: Tensor, senders: Tensor, receivers: Tensor, paths: str, wrt: int
) -> Tensor:
    tensors = [x, Y, R, g]
    n_nodes = g.shape[0] if wrt == 0 else x.shape[0]
    result = tensors[wrt - 1].new_empty(_shape(tensors, senders, decode(paths), wrt))
    tensors[wrt] = result
    tensors = [tensor.contiguous() for tensor in tensors]
    _kernel(paths, result.dtype, wrt)(
        *(tensor.data_ptr() for tensor in (*tensors, senders.contiguous(), receivers.contiguous())),
        n_nodes,
        senders.shape[0],
        torch.get_num_threads(),
    )
    return result


def _setup(ctx, inputs, output) -> None:
    *tensors, paths, wrt = inputs
    ctx.paths, ctx.wrt = paths, wrt
    ctx.save_for_backward(*tensors)


def _backward(ctx, cotangent: Tensor):
    r"""Since S is linear in each argument, ∂/∂b <c, ∂S/∂a> = ∂S/∂b with c in the place of a."""
    *tensors, senders, receivers = ctx.saved_tensors
    arguments = list(tensors)
    arguments[ctx.wrt] = cotangent
    gradients: list[Tensor | None] = []
    for b in range(4):
        if b == ctx.wrt or not ctx.needs_input_grad[b]:
            gradients.append(None)
        else:
            gradients.append(
                torch.ops.multiace.convolution_derivative(*arguments, senders, receivers, ctx.paths, b)
            )
    return (*gradients, None, None, None, None)


def _fake(x, Y, R, g, senders, receivers, paths, wrt) -> Tensor:
    tensors = [x, Y, R, g]
    return tensors[wrt - 1].new_empty(_shape(tensors, senders, decode(paths), wrt))


_library = torch.library.Library("multiace", "FRAGMENT")
_library.define(
    "convolution_derivative(Tensor x, Tensor Y, Tensor R, Tensor g, Tensor senders, Tensor receivers, "
    "str paths, int wrt) -> Tensor"
)
_library.impl("convolution_derivative", _run, "CPU")
torch.library.register_fake("multiace::convolution_derivative", _fake, lib=_library)
torch.library.register_autograd(
    "multiace::convolution_derivative", _backward, setup_context=_setup, lib=_library
)
