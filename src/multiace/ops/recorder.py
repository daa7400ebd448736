"""Many operations as one: a function of tensors is recorded, and runs as a program, forwards and backwards.

A training step of a small model is hundreds of operations of some microseconds each, and PyTorch spends more than that
on each. Here a function is called once with symbols in place of tensors, which write down what it does as nodes; what
follows from them, derivatives and programs, is found out once too. The whole is one node of PyTorch's graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from multiace.ops import cpu
from multiace.ops.forms import Form, wanted_gradients
from multiace.ops.nodes import Constant, Node, Term, gradients, intern, leaf, total
from multiace.ops.program import Shapes, program

__all__ = ["Computation", "Recorder", "Symbol", "UnrecordableError"]


class UnrecordableError(Exception):
    """A function does something with its arguments that cannot be written down."""


class Symbol:
    """Stands for a tensor while a function is recorded; has a shape and takes the operations of this package, sums,
    columns ``x[:, a:b]``, division by a constant and ``torch.cat`` of columns."""

    is_cpu, is_cuda, requires_grad = True, False, False

    def __init__(self, recording: Recording, node: Node, shape: Sequence[int], dtype: torch.dtype) -> None:
        self.recording, self.node, self.shape, self.dtype = recording, node, tuple(shape), dtype

    def record(self, form: Form, arguments: Sequence[Any], constants: Sequence[Any]) -> Symbol:
        """Return the value of a form; called by it."""
        return self.recording.apply(form, arguments, constants)

    def __getattr__(self, name: str) -> Any:
        raise UnrecordableError(f"{name} of what is recorded")

    def _refuse(self, *others: Any) -> Any:
        raise UnrecordableError("arithmetic with what is recorded")

    __mul__ = __rmul__ = __sub__ = __rsub__ = __radd__ = __rtruediv__ = __matmul__ = __rmatmul__ = _refuse
    __neg__ = __pow__ = _refuse

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def to(self, dtype: torch.dtype) -> Symbol:
        """Return this, which has the type."""
        if dtype is not self.dtype:
            raise UnrecordableError("another type")
        return self

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Symbol:
        """Same values, the last dimension split into two."""
        if dim != 1 or self.ndim != 2 or len(sizes) != 2:
            raise UnrecordableError("only columns are split")
        width = self.shape[1] // abs(sizes[0] * sizes[1])
        split = [width if size == -1 else size for size in sizes]
        return Symbol(self.recording, self.node, (self.shape[0], *split), self.dtype)

    def flatten(self, dim: int) -> Symbol:
        """Same values, all but the first dimension joined."""
        if dim != 1:
            raise UnrecordableError("only columns are joined")
        return Symbol(self.recording, self.node, (self.shape[0], math.prod(self.shape[1:])), self.dtype)

    def __add__(self, other: Any) -> Symbol:
        if not isinstance(other, Symbol) or other.shape != self.shape:
            raise UnrecordableError("a sum with something else")
        return Symbol(self.recording, total([self.node, other.node]), self.shape, self.dtype)

    def __truediv__(self, other: Any) -> Symbol:
        if not isinstance(other, Tensor) or other.ndim or other.requires_grad:
            raise UnrecordableError("a division by something that is not constant")
        self.recording.divisors.append(other)
        return self._columns(0, self.shape[1], self.shape[1], 0, 1.0 / float(other))

    def __getitem__(self, index: Any) -> Symbol:
        rows, columns = index
        if rows != slice(None) or not isinstance(columns, slice):
            raise UnrecordableError("an index that is no slice of columns")
        start, stop, step = columns.indices(self.shape[1])
        if step != 1:
            raise UnrecordableError("an index with steps")
        return self if stop - start == self.shape[1] else self._columns(start, stop - start, stop - start, 0)

    def _columns(self, start: int, width: int, dim: int, to: int, scale: float = 1.0) -> Symbol:
        """Columns of this as columns, from ``to`` on, of a matrix of ``dim`` columns that is zero elsewhere."""
        if self.ndim != 2:
            raise UnrecordableError("columns of what is no matrix")
        return self.recording.apply(cpu.MOVE, [self], (width, self.shape[1], dim, start, to, scale))

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Symbol:
        if function is not torch.cat or (kwargs or {}) != {"dim": 1}:
            raise UnrecordableError(f"{function} of what is recorded")
        (parts,) = args
        if not all(isinstance(part, Symbol) for part in parts):
            raise UnrecordableError("recorded and other parts side by side")
        widths = [part.shape[1] for part in parts]
        placed = [
            part._columns(0, width, sum(widths), sum(widths[:n]))
            for n, (part, width) in enumerate(zip(parts, widths, strict=True))
        ]
        return sum(placed[1:], placed[0])


class Recording:
    """What one call of a function does, and the values of its nodes.

    Args:
        leaves: The arguments of the function, or all leaves.
        constants: Likewise; they are not differentiated.
    """

    def __init__(self, leaves: Sequence[Tensor], constants: Sequence[Tensor]) -> None:
        self.leaves, self.constants = list(leaves), [constant.contiguous() for constant in constants]
        self.values = [values_of(tensor) for tensor in leaves]  # of leaves and, later, cotangents
        self.leaf_numbers = {id(tensor): number for number, tensor in enumerate(leaves)}
        self.constant_numbers = {id(tensor): number for number, tensor in enumerate(constants)}
        self.divisors: list[Tensor] = []
        self.memory: list[Tensor] = []
        self.addresses: dict[Node, int] = {}  # of nodes in the memory
        self.outputs: dict[Node, Tensor] = {}
        self.history: tuple[tuple[Node, ...], ...] = ()
        self.pending = 0  # nodes of PyTorch's graph whose backward pass is to come

    def lift(self, tensor: Tensor) -> Symbol:
        """Return the symbol of a tensor, a new leaf if it is not one yet."""
        if id(tensor) not in self.leaf_numbers:
            self.leaf_numbers[id(tensor)] = self.add(tensor)
            self.leaves.append(tensor)
        return Symbol(self, leaf(self.leaf_numbers[id(tensor)], tensor), tensor.shape, tensor.dtype)

    def add(self, tensor: Tensor) -> int:
        """Take in the values of a tensor as those of a leaf; return its number."""
        self.values.append(values_of(tensor))
        return len(self.values) - 1

    def apply(self, form: Form, arguments: Sequence[Any], constants: Sequence[Any]) -> Symbol:
        """Return the value of a form."""
        symbols = [a if isinstance(a, Symbol) else self.lift(a) for a in arguments]
        slot = form.number - 1
        stand_ins: list[Any] = [*symbols, None]
        shape = form.shape(stand_ins, constants, slot)
        term = Term((*(symbol.node for symbol in symbols), None))
        kept = tuple(self.constant(value) for value in constants)
        return Symbol(self, intern(form, slot, kept, (term,)), shape, symbols[0].dtype)

    def constant(self, value: Any) -> Any:
        """Take in a constant of a form."""
        if not isinstance(value, Tensor):
            return tuple(value) if isinstance(value, list) else value
        if id(value) not in self.constant_numbers:
            self.constant_numbers[id(value)] = len(self.constants)
            self.constants.append(value)
        return Constant(self.constant_numbers[id(value)])

    def evaluate(self, outputs: tuple[Node, ...], keep: bool) -> list[Tensor]:
        """Compute nodes; ``keep`` what they are computed from, for derivatives to come."""
        shapes = Shapes(
            len(self.values),
            self.values[0].dtype,
            tuple((tensor.dtype, tensor.shape[1:]) for tensor in self.constants),
            torch.get_num_threads(),
        )
        plan = program(outputs, self.history, shapes, keep)
        results, memory, addresses = plan.run([*self.values, *self.constants], self.addresses)
        of_node = dict(zip(plan.outputs, results, strict=True))
        if keep:
            self.history = (*self.history, outputs)
            self.memory += [memory, *results]
            self.addresses.update(addresses)
            self.addresses.update((node, result.data_ptr()) for node, result in of_node.items())
            self.outputs.update(of_node)
        found = [
            of_node[node] if node in of_node else self.outputs[node] if node.terms else self.values[node.slot]
            for node in outputs
        ]
        if not keep:
            if not self.pending:
                self.history, self.memory, self.addresses, self.outputs = (), [], {}, {}
            return found
        return [value.detach() for value in found]  # what is returned gets a graph, which holds this object


def values_of(tensor: Tensor) -> Tensor:
    """Return the values of a tensor, contiguous."""
    return tensor if tensor.is_contiguous() else tensor.detach().contiguous()


class _Values(torch.autograd.Function):
    """Nodes of a recording as one node of PyTorch's graph.

    Inputs are leaves, then the outputs of ``parent``, the node in whose backward pass this one was made: in the last
    backward pass this node leaves the gradients of leaves that both have to the parent, which comes later, and finds
    those of its own cotangents and of these at once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        recording: Recording,
        nodes: tuple[Node, ...],
        numbers: Sequence[int],
        parent: Any,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.recording, ctx.nodes, ctx.numbers, ctx.parent = recording, nodes, numbers, parent
        ctx.deferred = []
        ctx.set_materialize_grads(False)
        recording.pending += 1
        outputs = tuple(recording.evaluate(nodes, keep=True))
        ctx.save_for_backward(*tensors[: len(numbers)], *outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        recording, numbers, parent = ctx.recording, ctx.numbers, ctx.parent
        leaves, outputs = ctx.saved_tensors[: len(numbers)], ctx.saved_tensors[len(numbers) :]
        above = () if parent is None else parent.nodes
        wanted = wanted_gradients(ctx, [*leaves, *above], 4)
        given = [(node, w) for node, w in zip(ctx.nodes, cotangents, strict=True) if w is not None]
        more = [recording.add(w.detach()) for _, w in given]  # its graph may lead back to this object
        pairs = [*ctx.deferred, *((node, leaf(n, w)) for (node, w), n in zip(given, more, strict=True))]
        ctx.deferred = []
        defers = not torch.is_grad_enabled() and any(wanted[len(numbers) :])
        if not torch.is_grad_enabled():
            recording.pending = max(recording.pending - 1, 0)  # a graph that is kept is computed again
        shared = set(parent.numbers) if defers else ()
        places = [n for n, number in enumerate(numbers) if wanted[n] and number not in shared]
        nodes = gradients(tuple(pairs), tuple(leaf(numbers[place], leaves[place]) for place in places))
        different = tuple(dict.fromkeys(node for node in nodes if node is not None))
        values = _values(
            recording, different, [*numbers, *more], [*leaves, *(w for _, w in given)], ctx, outputs
        )
        of_node = dict(zip(different, values, strict=True))
        results: list[Tensor | None] = [None] * (len(numbers) + len(above))
        for place, node in zip(places, nodes, strict=True):
            if node is not None:
                value, shape = of_node[node], leaves[place].shape
                results[place] = value if value.shape == shape else value.view(shape)
        if defers:
            parent.deferred += pairs
            first = wanted.index(True, len(numbers))
            results[first] = torch.zeros_like(recording.outputs[above[first - len(numbers)]])
        return (None, None, None, None, *results)


def _values(
    recording: Recording,
    nodes: tuple[Node, ...],
    numbers: Sequence[int],
    leaves: Sequence[Tensor],
    parent: Any = None,
    above: Sequence[Tensor] = (),
) -> Sequence[Tensor]:
    if torch.is_grad_enabled():
        return _Values.apply(recording, nodes, numbers, parent, *leaves, *above)
    return recording.evaluate(nodes, keep=False)


class Computation(NamedTuple):
    """A function of tensors with its arguments.

    Attributes:
        function: Makes one tensor of tensors; to be recorded, with the operations that :class:`Symbol` takes. Other
            tensors in it are differentiated too.
        tensors: Its arguments, on the CPU all float32 or all float64.
        constants: Tensors that the function uses, other ones in each call, that are not differentiated.
        persistent: The same, but the same ones in each call as long as a recording is to be used again.
    """

    function: Callable[..., Any]
    tensors: Sequence[Tensor]
    constants: Sequence[Tensor]
    persistent: Sequence[Tensor] = ()


class Recorded(NamedTuple):
    """A recording to be used again: its result, and how to find the tensors that are not given."""

    node: Node
    rows: Rows
    leaves: list[LookUp]
    constants: list[LookUp]
    divisors: list[tuple[LookUp, Tensor, int]]  # whose values went into it, with their versions
    persistent: Sequence[Tensor]
    lasting: bool

    def holds(self, computation: Computation) -> bool:
        """Whether the same would be recorded now."""
        persistent = computation.persistent
        return (
            self.lasting
            and self.rows == rows_of(computation.tensors)
            and len(persistent) == len(self.persistent)
            and all(a is b for a, b in zip(persistent, self.persistent, strict=True))
            and all(look_up() is d and d._version == version for look_up, d, version in self.divisors)
        )


class Recorder:
    """Calls functions of tensors as one operation, and remembers the last one it has recorded.

    What is recorded is used again where the function depends on its arguments, on parameters and buffers of the module
    and on the persistent tensors alone; they are looked up for each call. Otherwise it is recorded for each call.

    Args:
        module: Whose parameters and buffers the functions use.

    Attributes:
        succeeds: False once something could not be recorded.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.succeeds = True
        self.recorded: Recorded | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"recorded": None}

    def __call__(self, computation: Computation) -> Tensor:
        """Return the result of a computation, differentiable.

        Raises:
            UnrecordableError: If its function does anything with its arguments that :class:`Symbol` does not take.
        """
        recorded, recording = self._recording(computation)
        leaves = recording.leaves
        (value,) = _values(recording, (recorded.node,), range(len(leaves)), leaves)
        return value

    def value_and_gradients(
        self, computation: Computation, cotangents: Sequence[Tensor], wanted: Sequence[int]
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Return the result of a computation, and gradients of <cotangent, result>; one program, without a graph.

        Args:
            computation: As in :meth:`__call__`.
            cotangents: One or several, each of the shape of the result.
            wanted: Numbers of the arguments whose gradients are returned for each cotangent.
        """
        recorded, recording = self._recording(computation)
        tensors = computation.tensors
        leaves = tuple(leaf(n, tensors[n]) for n in wanted)
        pairs = [(recorded.node, leaf(recording.add(w), w)) for w in cotangents]
        nodes = [gradients((pair,), leaves) for pair in pairs]
        every = [recorded.node, *(node for of_one in nodes for node in of_one)]
        present = dict.fromkeys(node for node in every if node is not None)
        values = dict(zip(present, recording.evaluate(tuple(present), keep=False), strict=True))

        def gradient(node: Node | None, like: Tensor) -> Tensor:
            return torch.zeros_like(like) if node is None else values[node].view(like.shape)

        found = [
            [gradient(node, tensors[n]) for n, node in zip(wanted, of_one, strict=True)] for of_one in nodes
        ]
        return values[recorded.node], found

    def _recording(self, computation: Computation) -> tuple[Recorded, Recording]:
        """What a computation does, recorded now or before, and a recording to evaluate it."""
        recorded = self.recorded
        if recorded is None or not recorded.holds(computation):
            recorded = self._record(computation)
            self.recorded = recorded if recorded.lasting else None
        leaves = [*computation.tensors, *(look_up() for look_up in recorded.leaves)]
        constants = [*computation.constants, *(look_up() for look_up in recorded.constants)]
        return recorded, Recording(leaves, constants)

    def _record(self, computation: Computation) -> Recorded:
        function, tensors, constants, persistent = computation
        recording = Recording(tensors, constants)
        node = function(*map(recording.lift, tensors)).node
        leaves, others = recording.leaves[len(tensors) :], recording.constants[len(constants) :]
        owners: dict[int, LookUp] = {id(tensor): partial(_itself, tensor) for tensor in persistent}
        for part in self.module.modules():
            for named in (part._parameters, part._buffers):
                owners |= {id(tensor): partial(named.__getitem__, name) for name, tensor in named.items()}
        lasting = all(id(tensor) in owners for tensor in (*leaves, *others, *recording.divisors))
        look_ups, constant_look_ups, divisor_look_ups = (
            [owners.get(id(tensor), partial(_itself, tensor)) for tensor in found]
            for found in (leaves, others, recording.divisors)
        )
        divisors = [(f, d, d._version) for f, d in zip(divisor_look_ups, recording.divisors, strict=True)]
        return Recorded(node, rows_of(tensors), look_ups, constant_look_ups, divisors, persistent, lasting)


LookUp = Callable[[], Any]
Rows = list[torch.Size]


def rows_of(tensors: Sequence[Tensor]) -> Rows:
    """Shape of a row of each tensor."""
    return [tensor.shape[1:] for tensor in tensors]


def _itself(tensor: Tensor) -> Tensor:
    return tensor
