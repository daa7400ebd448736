r"""Operators from forms, differentiable to any order with the same few kernels.

The heavy operations of a layer are derivatives of a scalar form S(a_1, ..., a_n) that is smooth in its first q
arguments and linear in each of the others, of which the last is one: the value of the operation is ∂S/∂a_n. With
directions u_1 ... u_k, each a tuple like a,

.. math:: S_k(a; u_1 \dots u_k) = \frac{\partial^k}{\partial\epsilon_1 \cdots \partial\epsilon_k}
          S\Bigl(a + \sum_i \epsilon_i u_i\Bigr) \Big|_{\epsilon = 0},

the one function needed is the gradient of S_k with respect to a. Its own derivative, with a cotangent w, is
the same function again:

.. math:: \frac{\partial}{\partial a} \Bigl\langle w, \frac{\partial S_k}{\partial a} \Bigr\rangle
          = \frac{\partial S_{k+1}(a; u_1 \dots u_k, w)}{\partial a}, \qquad
          \frac{\partial}{\partial u_i} \Bigl\langle w, \frac{\partial S_k}{\partial a} \Bigr\rangle
          = \frac{\partial S_k(a; \dots u_{i-1}, w, u_{i+1} \dots)}{\partial a}.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from multiace.ops.choice import choice

__all__ = ["Form", "Term"]

LIBRARY = torch.library.Library("multiace", "FRAGMENT")
KEPT = object()  # stands for a tensor among the constants
ABSENT_NDIM = 5
REALS = (torch.float32, torch.float64)
MOST_DIRECTIONS = 3  # of a nonlinear argument: nilpotent.h has no more

Arguments = list[Tensor | None]
"""One tensor for each argument of S; None where it is absent: not read, or a direction's zero."""

Term = list[Any]
"""One term of a ∂S_k/∂a_slot: the argument in each place, then directions of the q nonlinear ones, each a list."""

Shape = Callable[[Sequence[Tensor | None], Sequence[Any], int], Sequence[int]]
Run = Callable[[Any, Sequence[Any], int, Tensor], None]
Call = tuple[Callable[[Any], None], list[int]]
"""A kernel, and the words of eight bytes whose address it is given: addresses and sizes."""


class Form:
    """A form S and the gradients of its S_k.

    The operator ``torch.ops.multiace.NAME(tensors, *constants, slot)`` gives ∂S_k/∂a_slot; ``tensors`` are a, then
    each direction, where an empty tensor of five dimensions is absent. It is for PyTorch's tracers. Without one,
    gradients with respect to all arguments that are wanted are one node of the graph.

    Args:
        name: Of the operator.
        number: n, how many arguments S has.
        constants: Schema of what is not differentiated, such as ``Tensor senders, str paths``.
        shape: From (a, constants, slot) to the shape of a_slot, which may be absent.
        call: From (term, constants, slot, result) to the kernel that writes a term of ∂S_k/∂a_slot into the result,
            and its words. All tensors are contiguous and on the CPU.
        sums: Whether ``call`` takes a list of terms, one or more, instead of one term, and the kernel writes their sum.
        nonlinear: q, how many arguments come first in which S is not linear; three directions at most.
        on_gpu: Does the same on a GPU.
    """

    def __init__(
        self,
        name: str,
        number: int,
        constants: str,
        shape: Shape,
        call: Callable[..., Call],
        sums: bool = False,
        nonlinear: int = 0,
        on_gpu: Run | None = None,
    ) -> None:
        self.name, self.number, self.shape, self.call, self.on_gpu = name, number, shape, call, on_gpu
        self.sums, self.nonlinear = sums, nonlinear
        LIBRARY.define(f"{name}(Tensor[] tensors, {constants}, int slot) -> Tensor")
        for device in ("CPU", "CUDA") if on_gpu else ("CPU",):
            LIBRARY.impl(name, self._run_operator, device)
        torch.library.register_fake(f"multiace::{name}", self._empty, lib=LIBRARY)
        torch.library.register_autograd(
            f"multiace::{name}", self._backward, setup_context=self._setup, lib=LIBRARY
        )
        self.operator = getattr(torch.ops.multiace, name).default

    def __call__(self, arguments: Sequence[Tensor], constants: Sequence[Any]) -> Tensor:
        """Return ∂S/∂a_n at a_1 ... a_(n-1).

        Raises:
            TypeError: If the arguments have not one type, float32 or float64.
            ValueError: If an argument has another shape than the rest asks for.
        """
        last = self.number - 1
        for argument in arguments:
            if (record := getattr(argument, "record", None)) is not None:
                return record(self, arguments, constants)
        if traced(arguments):
            return self.operator([*arguments, _absent(arguments[0])], *constants, last)
        self._check(arguments, constants)
        return self.gradients([*arguments, None], constants, [last])[0]

    def _check(self, arguments: Sequence[Tensor], constants: Sequence[Any]) -> None:
        """Refuse what a kernel would read as something else."""
        dtype = arguments[0].dtype
        if dtype not in REALS or any(argument.dtype is not dtype for argument in arguments):
            raise TypeError(
                f"{self.name}: the arguments are {', '.join(str(argument.dtype) for argument in arguments)}; all must "
                "be float32, or all float64 (MULTIACE_OPS=reference in the environment selects operations that take "
                "other types)."
            )
        for slot, argument in enumerate(arguments):
            wanted = self.shape([*arguments, None], constants, slot)
            if tuple(argument.shape) != tuple(wanted):
                raise ValueError(
                    f"{self.name}: argument {slot} has shape {tuple(argument.shape)}, not {wanted}."
                )
        for constant in constants:
            indices = isinstance(constant, Tensor) and not constant.is_floating_point()
            if indices and constant.dtype != torch.int64:
                raise TypeError(f"{self.name}: indices are {constant.dtype}; they must be int64.")

    def gradients(
        self, tensors: Sequence[Tensor | None], constants: Sequence[Any], slots: Sequence[int]
    ) -> tuple[Tensor, ...]:
        """Return ∂S_k/∂a_slot of every slot; ``tensors`` are a, then each direction."""
        if torch.is_grad_enabled():
            return _Gradients.apply(self, constants, slots, *tensors)
        return self.compute(tensors, constants, slots)

    def compute(
        self, tensors: Sequence[Tensor | None], constants: Sequence[Any], slots: Sequence[int]
    ) -> tuple[Tensor, ...]:
        """Same as :meth:`gradients`, not differentiable."""
        like = next(tensor for tensor in tensors if tensor is not None)
        read = [None if tensor is None else tensor.contiguous() for tensor in tensors]
        constants = [value.contiguous() if isinstance(value, Tensor) else value for value in constants]
        results = []
        for slot in slots:
            result = like.new_empty(self.shape(tensors[: self.number], constants, slot))
            terms = self.terms(read, slot)
            if not terms:
                result.zero_()
            elif self.sums:
                self.run(terms, constants, slot, result)
            else:
                self.run(terms[0], constants, slot, result)
                for term in terms[1:]:
                    more = torch.empty_like(result)
                    self.run(term, constants, slot, more)
                    result += more
            results.append(result)
        return tuple(results)

    def run(self, given: Any, constants: Sequence[Any], slot: int, result: Tensor) -> None:
        """Write a term of ∂S_k/∂a_slot, or where ``sums`` a sum of terms, into the result."""
        if self.on_gpu and (result.is_cuda or choice() == "triton"):
            self.on_gpu(given, constants, slot, result)
            return
        kernel, words = self.call(given, constants, slot, result)
        kernel((ctypes.c_int64 * len(words))(*words))

    def terms(self, tensors: Sequence[Tensor | None], slot: int) -> list[Term]:
        """Terms of ∂S_k/∂a_slot; ``tensors`` are a, then each direction."""
        given = tuple(tensor is not None for tensor in tensors)
        plan = _plan(self.number, self.nonlinear, given, slot)
        if any(len(directions) > MOST_DIRECTIONS for _, directions in plan):
            raise NotImplementedError(
                f"{self.name}: derivatives beyond the fourth; MULTIACE_OPS=reference in the environment has them."
            )
        return [
            [*(tensors[number] for number in places), *(tensors[n : n + self.nonlinear] for n in directions)]
            for places, directions in plan
        ]

    def _cut(self, tensors: Sequence[Tensor]) -> list[Tensor | None]:
        return [None if tensor.ndim == ABSENT_NDIM else tensor for tensor in tensors]

    def _run_operator(self, tensors: Sequence[Tensor], *rest: Any) -> Tensor:
        *constants, slot = rest
        return self.compute(self._cut(tensors), constants, [slot])[0]

    def _empty(self, tensors: Sequence[Tensor], *rest: Any) -> Tensor:
        *constants, slot = rest
        return tensors[0].new_empty(self.shape(self._cut(tensors[: self.number]), constants, slot))

    def _setup(self, ctx: Any, inputs: Sequence[Any], output: Tensor) -> None:
        tensors, *constants, ctx.slot = inputs
        ctx.number = len(tensors)
        ctx.constants = [KEPT if isinstance(value, Tensor) else value for value in constants]
        ctx.save_for_backward(*tensors, *(value for value in constants if isinstance(value, Tensor)))

    def _backward(self, ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:
        tensors = list(ctx.saved_tensors[: ctx.number])
        kept = iter(ctx.saved_tensors[ctx.number :])
        constants = [next(kept) if value is KEPT else value for value in ctx.constants]
        direction = [_absent(cotangent) for _ in range(self.number)]
        direction[ctx.slot] = cotangent
        gradients: list[Tensor | None] = []
        for number, tensor in enumerate(tensors):
            along, slot = divmod(number, self.number)
            own = along == 0 and slot == ctx.slot and slot >= self.nonlinear
            if tensor.ndim == ABSENT_NDIM or own:
                gradients.append(None)
            else:
                gradients.append(self.operator(_derived(tensors, direction, along), *constants, slot))
        return (gradients, *(None for _ in constants), None)


def traced(tensors: Sequence[Tensor]) -> bool:
    """Whether one of PyTorch's tracers is at work, which must see operators."""
    return (
        torch.compiler.is_compiling()
        or any(type(tensor) not in (Tensor, nn.Parameter) for tensor in tensors)
        or torch._C._len_torch_dispatch_stack() > 0
    )


@cache
def _plan(n: int, nonlinear: int, given: tuple[bool, ...], slot: int) -> list[tuple[list[int], list[int]]]:
    """Terms of ∂S_k/∂a_slot, where ``given`` says which tensors there are.

    Each direction takes the place of one argument, two never the same. The nonlinear arguments stay, and
    any number of directions are listed behind all arguments instead.

    Returns:
        For each term the number of the tensor in each place, and of the first one of each direction listed.
    """
    first = range(n, len(given), n)
    choices = [
        [0] * any(given[d : d + nonlinear])  # stands for all nonlinear places
        + [place for place in range(nonlinear, n) if given[d + place] and place != slot]
        for d in first
    ]
    terms = []
    for chosen in product(*choices):
        linear = [place for place in chosen if place >= nonlinear]
        places = list(range(n))
        for place, d in zip(chosen, first, strict=True):
            if place >= nonlinear:
                places[place] = d + place
        whole = all(given[number] for place, number in enumerate(places) if place != slot)
        if whole and len(set(linear)) == len(linear):
            terms.append((places, [d for place, d in zip(chosen, first, strict=True) if place < nonlinear]))
    return terms


def _absent(like: Tensor) -> Tensor:
    """Stands for None in the lists of an operator."""
    return like.new_empty((0,) * ABSENT_NDIM)


def _derived(tensors: Sequence[Any], direction: Sequence[Any], along: int) -> list[Any]:
    """Tensors of the derivative with respect to a (``along`` = 0), or to direction number ``along``."""
    n = len(direction)
    if along == 0:
        return [*tensors, *direction]
    return [*tensors[: n * along], *direction, *tensors[n * (along + 1) :]]


class _Gradients(torch.autograd.Function):
    """∂S_k/∂a_slot for several slots as one node."""

    @staticmethod
    def forward(
        ctx: Any, form: Form, constants: Sequence[Any], slots: Sequence[int], *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        ctx.form, ctx.constants, ctx.slots = form, constants, slots
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return form.compute(tensors, constants, slots)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        form, tensors, n = ctx.form, ctx.saved_tensors, ctx.form.number
        direction: Arguments = [None] * n
        for slot, cotangent in zip(ctx.slots, cotangents, strict=True):
            direction[slot] = cotangent
        wanted = wanted_gradients(ctx, tensors, 3)
        gradients: list[Tensor | None] = [None] * len(tensors)
        for along in range(len(tensors) // n):
            derived = _derived(tensors, direction, along)
            given = tuple(tensor is not None for tensor in derived)
            slots = [
                slot
                for slot in range(n)
                if wanted[n * along + slot] and _plan(n, form.nonlinear, given, slot)
            ]
            if slots:
                results = form.gradients(derived, ctx.constants, slots)
                for slot, result in zip(slots, results, strict=True):
                    gradients[n * along + slot] = result
        return (None, None, None, *gradients)


def wanted_gradients(ctx: Any, tensors: Sequence[Tensor | None], first: int) -> list[bool]:
    """Whether the backward pass under way uses the gradient of each tensor; they are the arguments from ``first`` on.

    ``needs_input_grad`` says only that some backward pass would: forces need no gradient of the weights, and
    the weights none of Y. PyTorch tells which nodes it is going to run; about a leaf whose gradient it returns it
    raises an error, which takes as long as a small kernel. So after the first such leaf all are taken to be wanted.
    """
    nodes = iter(ctx.next_functions)
    wanted, leaves_are = [], False
    for tensor, needed in zip(tensors, ctx.needs_input_grad[first:], strict=True):
        node = next(nodes)[0] if tensor is not None else None
        if not needed or node is None:
            wanted.append(False)
        elif leaves_are and type(node).__name__ == "AccumulateGrad":
            wanted.append(True)
        else:
            try:
                wanted.append(torch._C._will_engine_execute_node(node))
            except (AttributeError, RuntimeError):
                wanted.append(True)
                leaves_are = type(node).__name__ == "AccumulateGrad"
    return wanted
