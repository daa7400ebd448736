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
from torch import Tensor

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
        arguments[ctx.wrt] = cotangent
        gradients = [
            self.operator(*arguments, *constants, b) if b != ctx.wrt and ctx.needs_input_grad[b] else None
            for b in range(self.number)
        ]
        return (*gradients, *(None for _ in constants), None)
