r"""Operators from multilinear forms, differentiable to any order with the same few kernels.

The heavy operations of a layer are derivatives of a scalar form S(a_1, ..., a_n) that is linear in each
argument. One operator computes ∂S/∂a_w for a given w, which is a function of the other arguments and linear in
each. The derivative of <c, ∂S/∂a_w> with respect to another argument a_b is then

.. math:: \frac{\partial}{\partial a_b} \Bigl\langle c, \frac{\partial S}{\partial a_w} \Bigr\rangle
          = \frac{\partial S}{\partial a_b}\Big|_{a_w = c}:

the same operator, with the cotangent c in the place of a_w.

A form may be a polynomial in its first argument A. Its derivatives with respect to A are forms again, with the
directions u_1, u_2, ... as further arguments in which they are linear:

.. math:: S_n(A, \dots, u_1 \dots u_n) = \frac{\partial^n}{\partial\epsilon_1 \cdots \partial\epsilon_n}
          S\Bigl(A + \sum_i \epsilon_i u_i, \dots\Bigr), \qquad
          \frac{\partial S_n}{\partial A} = \frac{\partial S_{n+1}}{\partial u_{n+1}}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["MultilinearForm"]

LIBRARY = torch.library.Library("multiace", "FRAGMENT")
KEPT = object()  # stands for a tensor among the constants


class MultilinearForm:
    """The operator ``torch.ops.multiace.NAME([a_1, ..., a_n], *constants, wrt) -> ∂S/∂a_wrt``.

    The argument that ``wrt`` numbers is not read: only its number of rows may matter to ``shape``.

    Args:
        name: Of the operator.
        constants: Schema of what is not differentiated, such as ``Tensor senders, str paths``.
        shape: From (arguments, constants, wrt) to the shape of the derivative.
        run: Writes the derivative: called with (arguments, constants, wrt), where argument ``wrt`` is the
            tensor to fill; all tensors are contiguous and on the CPU.
        polynomial: Whether S is a polynomial in the first argument; directions follow the other arguments.
    """

    def __init__(
        self,
        name: str,
        constants: str,
        shape: Callable[[Sequence[Tensor], Sequence[Any], int], Sequence[int]],
        run: Callable[[Sequence[Tensor], Sequence[Any], int], None],
        polynomial: bool = False,
    ) -> None:
        self.shape, self.run, self.polynomial = shape, run, polynomial
        LIBRARY.define(f"{name}(Tensor[] arguments, {constants}, int wrt) -> Tensor")
        LIBRARY.impl(name, self._run, "CPU")
        torch.library.register_fake(f"multiace::{name}", self._empty, lib=LIBRARY)
        torch.library.register_autograd(
            f"multiace::{name}", self._backward, setup_context=self._setup, lib=LIBRARY
        )
        self.operator = getattr(torch.ops.multiace, name).default

    def __call__(self, arguments: Sequence[Tensor], constants: Sequence[Any], wrt: int) -> Tensor:
        """Return ∂S/∂a_wrt: through the operator where PyTorch traces, else directly, which costs a fifth."""
        if torch.compiler.is_compiling() or any(type(a) not in (Tensor, nn.Parameter) for a in arguments):
            return self.operator(list(arguments), *constants, wrt)
        if not torch.is_grad_enabled():
            return self._run(arguments, *constants, wrt)
        return _Derivative.apply(self, constants, wrt, *arguments)

    def _empty(self, arguments: Sequence[Tensor], *constants_wrt: Any) -> Tensor:
        *constants, wrt = constants_wrt
        return arguments[wrt - 1].new_empty(self.shape(arguments, constants, wrt))

    def _run(self, arguments: Sequence[Tensor], *constants_wrt: Any) -> Tensor:
        *constants, wrt = constants_wrt
        result = self._empty(arguments, *constants, wrt)
        read = [argument.contiguous() for argument in arguments]
        read[wrt] = result
        self.run(read, constants, wrt)
        return result

    def _setup(self, ctx: Any, inputs: Sequence[Any], output: Tensor) -> None:
        arguments, *constants, ctx.wrt = inputs
        ctx.number = len(arguments)
        ctx.constants = [KEPT if isinstance(value, Tensor) else value for value in constants]
        ctx.save_for_backward(*arguments, *(value for value in constants if isinstance(value, Tensor)))

    def _backward(self, ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:
        arguments = list(ctx.saved_tensors[: ctx.number])
        kept = iter(ctx.saved_tensors[ctx.number :])
        constants = [next(kept) if value is KEPT else value for value in ctx.constants]
        gradients = self.gradients(arguments, constants, ctx.wrt, cotangent, lambda b: True)
        return (gradients, *(None for _ in constants), None)

    def gradients(
        self,
        arguments: list[Tensor],
        constants: Sequence[Any],
        wrt: int,
        cotangent: Tensor,
        wanted: Callable[[int], bool],
    ) -> list[Tensor | None]:
        """Return ∂<c, ∂S/∂a_wrt>/∂a_b for all b that are wanted."""
        arguments[wrt] = cotangent

        def gradient(b: int) -> Tensor:
            if b == 0 and self.polynomial:  # along one more direction, of the shape of A
                return self([*arguments, arguments[0]], constants, len(arguments))
            return self(arguments, constants, b)

        return [gradient(b) if b != wrt and wanted(b) else None for b in range(len(arguments))]


class _Derivative(torch.autograd.Function):
    """The operator of a form without the dispatcher."""

    @staticmethod
    def forward(
        ctx: Any, form: MultilinearForm, constants: Sequence[Any], wrt: int, *arguments: Tensor
    ) -> Tensor:
        ctx.form, ctx.constants, ctx.wrt = form, constants, wrt
        ctx.save_for_backward(*arguments)
        return form._run(arguments, *constants, wrt)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        arguments = list(ctx.saved_tensors)
        gradients = ctx.form.gradients(
            arguments, ctx.constants, ctx.wrt, cotangent, lambda b: _is_wanted(ctx, 3 + b, b)
        )
        return (None, None, None, *gradients)


def _is_wanted(ctx: Any, number: int, edge: int) -> bool:
    """Whether the backward pass under way uses the gradient of this input, whose node is the given edge.

    ``needs_input_grad`` says only that some backward pass would: forces need no gradient of the weights, and
    the weights none of Y. PyTorch tells which nodes it is going to run, except for leaves.
    """
    if not ctx.needs_input_grad[number]:
        return False
    node = ctx.next_functions[edge][0]
    try:
        return node is not None and torch._C._will_engine_execute_node(node)
    except (AttributeError, RuntimeError):
        return True
