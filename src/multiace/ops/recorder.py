r"""Many operations as one: recorded, differentiated and evaluated without PyTorch in between.

A training step of a small model is hundreds of operations of some microseconds, and PyTorch spends more on each. Here
the operations of a function are written down once as nodes of a graph, each a sum of terms

.. math:: \frac{\partial}{\partial a_s} \frac{\partial^m}{\partial\epsilon_1 \cdots \partial\epsilon_m}
          S\Bigl(a + \sum_i \epsilon_i u_i\Bigr) \Big|_{\epsilon = 0}

of a form S (see ``forms.py``) whose arguments a and directions u are other nodes. Derivatives of nodes are nodes again,
with a cotangent w:

- with respect to an argument in which S is linear or not: s moves there; w takes the place of a_s, or where S is not
  linear in a_s, w is one more direction along a_s;
- with respect to a direction: the same, without that direction.

Equal nodes are one object, so that what an earlier pass has computed is found again, and what follows from a
recording (its derivatives, the order of evaluation) is found out once. The whole is one node of PyTorch's graph.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, nn

from multiace.ops import cpu
from multiace.ops.forms import MOST_DIRECTIONS, Form, wanted_gradients

__all__ = ["Fused", "Symbol", "UnrecordableError"]


class UnrecordableError(TypeError):
    """A function does something with its arguments that cannot be written down."""


class Node:
    """A value: a leaf, a sum of nodes, or terms of a form.

    Attributes:
        form: None for leaves and sums.
        slot: s, or the number of a leaf.
        constants: Of the form; a :class:`Constant` stands for a tensor. Of a leaf the shape of a row.
        terms: Of the form, or one term with all nodes of a sum.
    """

    __slots__ = ("__weakref__", "constants", "form", "slot", "terms")

    def __init__(self, form: Form | None, slot: int, constants: tuple, terms: tuple[NodeTerm, ...]) -> None:
        self.form, self.slot, self.constants, self.terms = form, slot, constants, terms

    def parts(self) -> Iterator[Node]:
        """The nodes that this one is computed from."""
        for arguments, directions in self.terms:
            yield from (node for node in arguments if node is not None)
            for direction in directions:
                yield from (node for node in direction if node is not None)


class NodeTerm(NamedTuple):
    """Arguments of a form, None in the place that is differentiated where S is linear there; directions of the
    nonlinear ones, None where an argument does not move."""

    arguments: tuple[Node | None, ...]
    directions: tuple[tuple[Node | None, ...], ...] = ()


class Constant(NamedTuple):
    """Stands for a tensor among the constants of a node."""

    number: int


INTERNED: WeakValueDictionary[tuple, Node] = WeakValueDictionary()


def intern(form: Form | None, slot: int, constants: tuple, terms: tuple[NodeTerm, ...]) -> Node:
    """Return the node, the same object for the same content."""
    key = (form, slot, constants, terms)
    node = INTERNED.get(key)
    if node is None:
        node = INTERNED[key] = Node(*key)
    return node


def leaf(number: int, tensor: Tensor) -> Node:
    """Return the node of a tensor that is given."""
    return intern(None, number, tuple(tensor.shape[1:]), ())


def total(nodes: Sequence[Node]) -> Node:
    """Return the sum of nodes; terms of one form that its kernel sums are joined."""
    joined: dict[tuple, list[Node]] = {}
    for node in nodes:
        kind = (node.form, node.slot, node.constants) if node.form and node.form.sums else (node,)
        joined.setdefault(kind, []).append(node)
    parts = [
        same[0] if len(same) == 1 else intern(*kind, tuple(term for node in same for term in node.terms))
        for kind, same in joined.items()
    ]
    return parts[0] if len(parts) == 1 else intern(None, -1, (), (NodeTerm(tuple(parts)),))


# ---------------------------------------------------------------------------- derivatives


def contributions(node: Node, w: Node) -> Iterator[tuple[Node, Node]]:
    """Each part of a node with what it adds to the gradient of <w, node> with respect to it."""
    form = node.form
    if form is None:
        for part in node.parts():
            yield part, w
        return
    s, q = node.slot, form.nonlinear
    for arguments, directions in node.terms:
        if s < q:
            moved, along = arguments, (*directions, tuple(w if p == s else None for p in range(q)))
        else:
            moved, along = tuple(w if p == s else a for p, a in enumerate(arguments)), directions
        for p, argument in enumerate(arguments):
            if argument is not None:
                rest = tuple(None if n == p and p >= q else a for n, a in enumerate(moved))
                yield argument, intern(form, p, node.constants, (NodeTerm(rest, along),))
        for d, direction in enumerate(directions):
            others = (*along[:d], *along[d + 1 :])
            for p, argument in enumerate(direction):
                if argument is not None:
                    yield argument, intern(form, p, node.constants, (NodeTerm(moved, others),))


@lru_cache(maxsize=256)
def gradients(outputs: tuple[tuple[Node, Node], ...], wanted: tuple[Node, ...]) -> tuple[Node | None, ...]:
    """Return the gradient of Σ <w, node> with respect to some leaves; None where it is zero.

    Args:
        outputs: Pairs of a node and its cotangent w.
        wanted: The leaves.
    """
    order = evaluation_order(tuple(node for node, _ in outputs), frozenset())
    needed = set(wanted)
    for node in order:
        if any(part in needed for part in node.parts()):
            needed.add(node)
    cotangents: dict[Node, list[Node]] = {}
    for node, w in outputs:
        cotangents.setdefault(node, []).append(w)
    for node in reversed(order):
        if node in needed and node in cotangents:
            w = total(cotangents[node])
            for part, gradient in contributions(node, w):
                if part in needed:
                    cotangents.setdefault(part, []).append(gradient)
    return tuple(total(cotangents[node]) if node in cotangents else None for node in wanted)


def evaluation_order(outputs: Sequence[Node], known: frozenset[Node]) -> list[Node]:
    """Return the nodes to compute, parts first; leaves and known nodes are left out."""
    order: list[Node] = []
    seen = set(known)

    def visit(node: Node) -> None:
        stack = [(node, node.parts())]
        seen.add(node)
        while stack:
            current, parts = stack[-1]
            for part in parts:
                if part not in seen and part.terms:
                    seen.add(part)
                    stack.append((part, part.parts()))
                    break
            else:
                order.append(current)
                stack.pop()

    for output in outputs:
        if output not in seen and output.terms:
            visit(output)
    return order


# ---------------------------------------------------------------------------- programs


class Rows(NamedTuple):
    """Stands for the number of rows of a leaf, or of a constant."""

    source: int


class Address(NamedTuple):
    """Stands for the address of a leaf, a constant or a buffer."""

    source: int


class Place:
    """Stands for a tensor whose address and number of rows are not known yet."""

    is_cuda = False

    def __init__(self, source: int, shape: Sequence[Any], dtype: torch.dtype) -> None:
        self.source, self.shape, self.dtype = source, tuple(shape), dtype

    def data_ptr(self) -> Any:
        """Where it lies."""
        return Address(self.source)


class Shapes(NamedTuple):
    """What a program depends on beside its nodes: the number of leaves, the type of all values, and type and shape of
    a row of each constant."""

    n_leaves: int
    dtype: torch.dtype
    constants: tuple[tuple[torch.dtype, torch.Size], ...]
    threads: int


class Program:
    """Kernels one after another that compute some nodes.

    The words of all kernels lie in one array, made once; what changes with the tensors, addresses and numbers of
    rows, is filled in for each run.

    Attributes:
        outputs: The nodes computed, without leaves.
        kept: Nodes whose buffers are not used again.
        outside: Nodes that are not computed here, with buffers of earlier programs.
    """

    def __init__(self, outputs: Sequence[Node], known: frozenset[Node], shapes: Shapes, keep: bool) -> None:
        self.shapes = shapes
        order = evaluation_order(outputs, known)
        self.outputs = [node for node in dict.fromkeys(outputs) if node in set(order)]
        self.kept = [node for node in order if node not in set(outputs)] if keep else []
        self.outside: list[Node] = []
        self.places: dict[Node | None, Place | None] = {None: None}
        self.computed = set(order)
        self.first_buffer = shapes.n_leaves + len(shapes.constants)
        constants = [
            Place(shapes.n_leaves + n, (Rows(shapes.n_leaves + n), *row), dtype)
            for n, (dtype, row) in enumerate(shapes.constants)
        ]
        self.sizes: list[tuple[Any, int]] = []  # of each buffer: rows and values in a row
        buffer_of: dict[Node, int] = {}
        free: dict[tuple[Any, int], list[int]] = {}
        last = {part: n for n, node in enumerate(order) for part in node.parts() if part in self.computed}
        calls: list[tuple[Callable[[Any], None], list[Any]]] = []
        for n, node in enumerate(order):
            shape = self._shape(node, constants)
            size = (shape[0], math.prod(shape[1:]))
            spare = free.get(size)
            if spare and not keep and node not in self.outputs:
                buffer = spare.pop()
            else:
                buffer = len(self.sizes)
                self.sizes.append(size)
            buffer_of[node] = buffer
            self.places[node] = Place(self.first_buffer + buffer, shape, shapes.dtype)
            calls.append(self._call(node, constants))
            for part in dict.fromkeys(node.parts()):
                if last.get(part) == n and part not in self.outputs:
                    free.setdefault(self.sizes[buffer_of[part]], []).append(buffer_of[part])
        self.of_outputs = [buffer_of[node] for node in self.outputs]
        self.of_kept = [buffer_of[node] for node in self.kept]
        self.output_shapes = [self.places[node].shape for node in self.outputs]
        self.n_sources = self.first_buffer + len(self.sizes) + len(self.outside)
        self._lay_out(calls)

    def _place(self, node: Node | None, constants: Sequence[Place]) -> Place | None:
        if node in self.places:
            return self.places[node]
        shapes = self.shapes
        if not node.terms:
            place = Place(node.slot, (Rows(node.slot), *node.constants), shapes.dtype)
        else:  # negative until the number of buffers is known
            self.outside.append(node)
            place = Place(-len(self.outside), self._shape(node, constants), shapes.dtype)
        self.places[node] = place
        return place

    def _shape(self, node: Node, constants: Sequence[Place]) -> Sequence[Any]:
        arguments = [self._place(part, constants) for part in node.terms[0].arguments]
        if node.form is None:
            return arguments[0].shape
        return node.form.shape(arguments, _filled(node.constants, constants), node.slot)

    def _call(self, node: Node, constants: Sequence[Place]) -> tuple[Callable[[Any], None], list[Any]]:
        result = self.places[node]
        terms = [
            [
                *(self._place(part, constants) for part in arguments),
                *([self._place(part, constants) for part in direction] for direction in directions),
            ]
            for arguments, directions in node.terms
        ]
        if node.form is None:
            return cpu.call_add(terms[0], result)
        if any(len(directions) > MOST_DIRECTIONS for _, directions in node.terms):
            raise NotImplementedError(
                f"{node.form.name}: derivatives beyond the fourth; MULTIACE_OPS=reference in the environment has them."
            )
        given = terms if node.form.sums else terms[0]
        return node.form.call(given, _filled(node.constants, constants), node.slot, result)

    def _lay_out(self, calls: Sequence[tuple[Callable[[Any], None], list[Any]]]) -> None:
        """Put the words of all kernels into one array, and note which of them are filled in."""
        words: list[Any] = []
        self.kernels: list[tuple[Callable[[Any], None], int]] = []
        for kernel, of_call in calls:
            self.kernels.append((kernel, 8 * len(words)))
            words += of_call
        first_outside = self.first_buffer + len(self.sizes)

        def filled(kind: type) -> tuple[np.ndarray, np.ndarray]:
            found = [(n, word.source) for n, word in enumerate(words) if type(word) is kind]
            positions, sources = np.array(found, dtype=np.int64).reshape(-1, 2).T
            return positions, np.where(sources < 0, first_outside - 1 - sources, sources)

        self.addresses, self.rows = filled(Address), filled(Rows)
        self.words = np.array(
            [0 if type(word) in (Address, Rows) else word for word in words], dtype=np.int64
        )
        itemsize = self.shapes.dtype.itemsize
        rows, width = zip(*self.sizes, strict=True) if self.sizes else ((), ())
        self.of_rows = np.array([word.source if type(word) is Rows else -1 for word in rows], dtype=np.int64)
        self.fixed_rows = np.array([0 if type(word) is Rows else word for word in rows], dtype=np.int64)
        self.row_bytes = np.array(width, dtype=np.int64) * itemsize

    def run(
        self, tensors: Sequence[Tensor], outside: dict[Node, int]
    ) -> tuple[list[Tensor], Tensor, dict[Node, int]]:
        """Compute the outputs.

        Args:
            tensors: Leaves, then constants, contiguous.
            outside: Address of each node that an earlier program has kept.

        Returns:
            The outputs, the memory of all else, and the addresses of the kept nodes in it.
        """
        rows = np.array([tensor.shape[0] if tensor.ndim else 1 for tensor in tensors], dtype=np.int64)
        n_rows = np.where(self.of_rows < 0, self.fixed_rows, rows[self.of_rows])
        sizes = (n_rows * self.row_bytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        sizes[self.of_outputs] = 0
        ends = np.cumsum(sizes)
        memory = torch.empty(int(ends[-1]) if len(ends) else 0, dtype=torch.uint8)
        outputs = [
            torch.empty((int(n_rows[buffer]), *shape[1:]), dtype=self.shapes.dtype)
            for buffer, shape in zip(self.of_outputs, self.output_shapes, strict=True)
        ]
        buffers = ends - sizes + memory.data_ptr()
        buffers[self.of_outputs] = [output.data_ptr() for output in outputs]
        addresses = np.concatenate(
            [
                np.array([tensor.data_ptr() for tensor in tensors], dtype=np.int64),
                buffers,
                np.array([outside[node] for node in self.outside], dtype=np.int64),
            ]
        )
        words = self.words.copy()
        words[self.addresses[0]] = addresses[self.addresses[1]]
        words[self.rows[0]] = rows[self.rows[1]]
        start = words.ctypes.data
        for kernel, offset in self.kernels:
            kernel(start + offset)
        return outputs, memory, dict(zip(self.kept, buffers[self.of_kept].tolist(), strict=True))


ALIGNMENT = 64  # bytes


def _filled(constants: Sequence[Any], places: Sequence[Place]) -> list[Any]:
    return [places[value.number] if type(value) is Constant else value for value in constants]


@lru_cache(maxsize=256)
def program(
    outputs: tuple[Node, ...], history: tuple[tuple[Node, ...], ...], shapes: Shapes, keep: bool
) -> Program:
    """Return the program that computes some nodes.

    Args:
        outputs: The nodes wanted.
        history: The outputs of earlier programs, which kept all nodes.
        shapes: What else the program depends on.
        keep: Whether every node has a buffer of its own, for derivatives to come.
    """
    known: set[Node] = set()
    for earlier in history:
        known.update(evaluation_order(earlier, frozenset(known)))
    return Program(outputs, frozenset(known), shapes, keep)


# ---------------------------------------------------------------------------- recording


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
        columns = 1
        for size in self.shape[1:]:
            columns *= size
        return Symbol(self.recording, self.node, (self.shape[0], columns), self.dtype)

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
    """What one call of a function does, and the values of its nodes."""

    def __init__(self, leaves: Sequence[Tensor] = (), constants: Sequence[Tensor] = ()) -> None:
        self.leaves: list[Tensor] = []  # while the function is recorded
        self.values: list[Tensor] = []  # the same without their graphs, and cotangents
        self.constants = [constant.contiguous() for constant in constants]
        self.divisors: list[Tensor] = []
        self.numbers: dict[int, int] = {}
        self.places: dict[int, Constant] = {}
        self.memory: list[Tensor] = []
        self.addresses: dict[Node, int] = {}
        self.outputs: dict[Node, Tensor] = {}
        self.history: tuple[tuple[Node, ...], ...] = ()
        self.pending = 0  # nodes of PyTorch's graph whose backward pass is to come
        for tensor in leaves:
            self.add(tensor)

    def lift(self, tensor: Tensor) -> Symbol:
        """Return the symbol of a tensor."""
        number = self.numbers.get(id(tensor))
        if number is None:
            number = self.numbers[id(tensor)] = self.add(tensor)
            self.leaves.append(tensor)
        return Symbol(self, leaf(number, tensor), tensor.shape, tensor.dtype)

    def add(self, tensor: Tensor) -> int:
        """Take in a leaf; return its number."""
        self.values.append(tensor if tensor.is_contiguous() else tensor.detach().contiguous())
        return len(self.values) - 1

    def apply(self, form: Form, arguments: Sequence[Any], constants: Sequence[Any]) -> Symbol:
        """Return the value of a form."""
        symbols = [a if isinstance(a, Symbol) else self.lift(a) for a in arguments]
        slot = form.number - 1
        shape = form.shape([*symbols, None], constants, slot)
        term = NodeTerm((*(symbol.node for symbol in symbols), None))
        kept = tuple(self.constant(value) for value in constants)
        return Symbol(self, intern(form, slot, kept, (term,)), shape, symbols[0].dtype)

    def constant(self, value: Any) -> Any:
        """Take in a constant of a form."""
        if not isinstance(value, Tensor):
            return tuple(value) if isinstance(value, list) else value
        place = self.places.get(id(value))
        if place is None:
            place = self.places[id(value)] = Constant(len(self.constants))
            self.constants.append(value)
        return place

    def recorded(
        self,
        node: Node,
        n_leaves: int,
        n_constants: int,
        module: nn.Module | None,
        persistent: Sequence[Tensor],
    ) -> Recorded:
        """Return what is recorded, with where the tensors come from that were not given."""
        owners: dict[int, Callable[[], Tensor]] = {id(tensor): (lambda t=tensor: t) for tensor in persistent}
        for part in module.modules() if module is not None else ():
            for named in (part._parameters, part._buffers):
                owners |= {id(tensor): partial(named.__getitem__, name) for name, tensor in named.items()}
        leaves, constants = self.leaves[n_leaves:], self.constants[n_constants:]
        lasting = all(id(tensor) in owners for tensor in (*leaves, *constants, *self.divisors))

        def look_ups(tensors: Sequence[Tensor]) -> list[Callable[[], Tensor]]:
            return [owners.get(id(tensor), lambda t=tensor: t) for tensor in tensors]

        divisors = [(f, t, t._version) for f, t in zip(look_ups(self.divisors), self.divisors, strict=True)]
        return Recorded(node, look_ups(leaves), look_ups(constants), divisors, persistent, lasting)

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


class Fused:
    """Calls functions of tensors as one operation, and remembers the last one it has recorded.

    What is recorded is used again where the function depends on its arguments, on parameters and buffers of the module
    and on the persistent tensors alone; they are looked up for each call. Otherwise it is recorded for each call.

    Args:
        module: Whose parameters and buffers the functions use.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = weakref.ref(module)
        self.recorded: Recorded | None = None

    def __deepcopy__(self, memo: dict) -> Fused:
        return Fused(memo.get(id(self.module()), self.module()))

    def __call__(
        self,
        function: Callable[..., Symbol],
        tensors: Sequence[Tensor],
        constants: Sequence[Tensor],
        persistent: Sequence[Tensor] = (),
    ) -> Tensor:
        """Return ``function(*tensors)``.

        Args:
            function: Makes one symbol of symbols, with the operations that :class:`Symbol` takes. Other tensors in it
                are differentiated too.
            tensors: Its arguments, on the CPU, all float32 or all float64.
            constants: Tensors that the function uses, other ones in each call, that are not differentiated.
            persistent: The same, but the same ones in each call as long as the recording is to be used again.

        Raises:
            UnrecordableErrorError: If the function does anything else with its arguments.
        """
        recorded = self.recorded
        if recorded is None or not recorded.holds(persistent):
            recording = Recording()
            symbols = [*map(recording.lift, tensors)]
            for constant in constants:
                recording.constant(constant)
            node = function(*symbols).node
            recorded = recording.recorded(node, len(tensors), len(constants), self.module(), persistent)
            self.recorded = recorded if recorded.holds(persistent) else None
        leaves = [*tensors, *(look_up() for look_up in recorded.leaves)]
        recording = Recording(leaves, [*constants, *(look_up() for look_up in recorded.constants)])
        (value,) = _values(recording, (recorded.node,), range(len(leaves)), leaves)
        return value


class Recorded(NamedTuple):
    """A recording to be used again: its result, and how to find the tensors beside the arguments."""

    node: Node
    leaves: list[Callable[[], Tensor]]
    constants: list[Callable[[], Tensor]]
    divisors: list[tuple[Callable[[], Tensor], Tensor, int]]  # whose values went into it, with their versions
    persistent: Sequence[Tensor]
    lasting: bool

    def holds(self, persistent: Sequence[Tensor]) -> bool:
        """Whether it is still what would be recorded."""
        return (
            self.lasting
            and len(persistent) == len(self.persistent)
            and all(a is b for a, b in zip(persistent, self.persistent, strict=True))
            and all(
                look_up() is tensor and tensor._version == version
                for look_up, tensor, version in self.divisors
            )
        )
