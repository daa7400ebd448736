r"""Operators from multilinear forms, differentiable to any order with the same few kernels.

The heavy operations of a layer are derivatives of a scalar form S(a_1, ..., a_n) that is linear in each
argument. One operator computes ∂S/∂a_w for a given w, which is a function of the other arguments and linear in
each. The derivative of <c, ∂S/∂a_w> with respect to another argument a_b is then

.. math:: \frac{\partial}{\partial a_b} \Bigl\langle c, \frac{\partial S}{\partial a_w} \Bigr\rangle
          = \frac{\partial S}{\partial a_b}\Big|_{a_w = c}:

the same operator, with the cotangent c in the place of a_w.
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
    """The operator ``torch.ops.multiace.NAME(a_1, ..., a_n, *constants, wrt) -> ∂S/∂a_wrt``.

    Args:
        name: Of the operator.
        arguments: Names of a_1 ... a_n; the one that ``wrt`` numbers is not read: only its number of rows may
            matter to ``shape``.
        constants: Schema of what is not differentiated, such as ``Tensor senders, str paths``.
        shape: From (arguments, constants, wrt) to the shape of the derivative.
        run: Writes the derivative: called with (arguments, constants, wrt), where argument ``wrt`` is the
            tensor to fill; all tensors are contiguous and on the CPU.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        constants: str,
        shape: Callable[[Sequence[Tensor], Sequence[Any], int], Sequence[int]],
        run: Callable[[Sequence[Tensor], Sequence[Any], int], None],
    ) -> None:
        self.number = len(arguments)
        self.shape, self.run = shape, run
        tensors = ", ".join(f"Tensor {argument}" for argument in arguments)
        LIBRARY.define(f"{name}({tensors}, {constants}, int wrt) -> Tensor")
        LIBRARY.impl(name, self._run, "CPU")
        torch.library.register_fake(f"multiace::{name}", self._empty, lib=LIBRARY)
        torch.library.register_autograd(
            f"multiace::{name}", self._backward, setup_context=self._setup, lib=LIBRARY
        )
        self.operator = getattr(torch.ops.multiace, name).default

    def __call__(self, arguments: Sequence[Tensor], constants: Sequence[Any], wrt: int) -> Tensor:
        """Return ∂S/∂a_wrt: through the operator where PyTorch traces, else directly, which costs a fifth."""
        if torch.compiler.is_compiling() or any(type(a) not in (Tensor, nn.Parameter) for a in arguments):
            return self.operator(*arguments, *constants, wrt)
        return _Derivative.apply(self, constants, wrt, *arguments)

    def _empty(self, *inputs: Any) -> Tensor:
        arguments, constants, wrt = inputs[: self.number], inputs[self.number : -1], inputs[-1]
        return arguments[wrt - 1].new_empty(self.shape(arguments, constants, wrt))

    def _run(self, *inputs: Any) -> Tensor:
        result = self._empty(*inputs)
        arguments = [argument.contiguous() for argument in inputs[: self.number]]
        arguments[inputs[-1]] = result
        self.run(arguments, inputs[self.number : -1], inputs[-1])
        return result

    def _setup(self, ctx: Any, inputs: Sequence[Any], output: Tensor) -> None:
        ctx.wrt, constants = inputs[-1], inputs[self.number : -1]
        ctx.constants = [KEPT if isinstance(value, Tensor) else value for value in constants]
        ctx.save_for_backward(*(value for value in inputs if isinstance(value, Tensor)))

    def _backward(self, ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        arguments = list(ctx.saved_tensors[: self.number])
        kept = iter(ctx.saved_tensors[self.number :])
        constants = [next(kept) if value is KEPT else value for value in ctx.constants]
        gradients = self.gradients(ctx, arguments, constants, ctx.wrt, cotangent, first=0)
        return (*gradients, *(None for _ in constants), None)

    def gradients(
        self,
        ctx: Any,
        arguments: list[Tensor],
        constants: Sequence[Any],
        wrt: int,
        cotangent: Tensor,
        first: int,
    ) -> list[Tensor | None]:
        """Return ∂<c, ∂S/∂a_wrt>/∂a_b for all b that are wanted; a_0 is input number ``first`` of the node."""
        arguments[wrt] = cotangent
        return [
            self(arguments, constants, b) if b != wrt and _is_wanted(ctx, first + b, b) else None
            for b in range(self.number)
        ]


class _Derivative(torch.autograd.Function):
    """The operator of a form without the dispatcher."""

    @staticmethod
    def forward(
        ctx: Any, form: MultilinearForm, constants: Sequence[Any], wrt: int, *arguments: Tensor
    ) -> Tensor:
        ctx.form, ctx.constants, ctx.wrt = form, constants, wrt
        ctx.save_for_backward(*arguments)
        return form._run(*arguments, *constants, wrt)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        arguments = list(ctx.saved_tensors)
        gradients = ctx.form.gradients(ctx, arguments, ctx.constants, ctx.wrt, cotangent, first=3)
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
