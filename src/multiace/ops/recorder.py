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

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from multiace.ops import cpu
from multiace.ops.forms import MOST_DIRECTIONS, Form, wanted_gradients

__all__ = ["Symbol", "Unrecordable", "fused"]


class Unrecordable(TypeError):
    """A function does something with its arguments that cannot be written down."""


class Node:
    """A value: a leaf, a sum of nodes, or terms of a form.

    Attributes:
        form: None for leaves and sums.
        slot: s, or the number of a leaf.
        constants: Of the form; a :class:`Constant` stands for a tensor.
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


def leaf(number: int) -> Node:
    """Return the node of a tensor that is given."""
    return intern(None, number, (), ())


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


@lru_cache(maxsize=256)
def plan(
    outputs: tuple[Node, ...], history: tuple[tuple[Node, ...], ...]
) -> tuple[list[Node], list[tuple[Node, ...]]]:
    """Return the order of evaluation, and after each node those that nothing later of it needs.

    Args:
        outputs: The nodes wanted.
        history: The outputs of earlier evaluations, whose nodes are kept.
    """
    known: set[Node] = set()
    for earlier in history:
        known.update(evaluation_order(earlier, frozenset(known)))
    order = evaluation_order(outputs, frozenset(known))
    last: dict[Node, int] = {}
    for n, node in enumerate(order):
        last[node] = n
        for part in node.parts():
            if part.terms:
                last[part] = n
    spent: list[list[Node]] = [[] for _ in order]
    for node, n in last.items():
        if node not in outputs:
            spent[n].append(node)
    return order, [tuple(nodes) for nodes in spent]


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
        raise Unrecordable(f"{name} of what is recorded")

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Symbol:
        """Same values, the last dimension split into two."""
        if dim != 1 or self.ndim != 2 or len(sizes) != 2:
            raise Unrecordable("only columns are split")
        width = self.shape[1] // abs(sizes[0] * sizes[1])
        split = [width if size == -1 else size for size in sizes]
        return Symbol(self.recording, self.node, (self.shape[0], *split), self.dtype)

    def flatten(self, dim: int) -> Symbol:
        """Same values, all but the first dimension joined."""
        if dim != 1:
            raise Unrecordable("only columns are joined")
        columns = 1
        for size in self.shape[1:]:
            columns *= size
        return Symbol(self.recording, self.node, (self.shape[0], columns), self.dtype)

    def __add__(self, other: Any) -> Symbol:
        if not isinstance(other, Symbol) or other.shape != self.shape:
            raise Unrecordable("a sum with something else")
        return Symbol(self.recording, total([self.node, other.node]), self.shape, self.dtype)

    def __truediv__(self, other: Any) -> Symbol:
        if not isinstance(other, Tensor) or other.ndim or other.requires_grad:
            raise Unrecordable("a division by something that is not constant")
        return self._columns(0, self.shape[1], self.shape[1], 0, 1.0 / float(other))

    def __getitem__(self, index: Any) -> Symbol:
        rows, columns = index
        if rows != slice(None) or not isinstance(columns, slice):
            raise Unrecordable("an index that is no slice of columns")
        start, stop, step = columns.indices(self.shape[1])
        if step != 1:
            raise Unrecordable("an index with steps")
        return self if stop - start == self.shape[1] else self._columns(start, stop - start, stop - start, 0)

    def _columns(self, start: int, width: int, dim: int, to: int, scale: float = 1.0) -> Symbol:
        """Columns of this as columns, from ``to`` on, of a matrix of ``dim`` columns that is zero elsewhere."""
        if self.ndim != 2:
            raise Unrecordable("columns of what is no matrix")
        return self.recording.apply(cpu.MOVE, [self], (width, self.shape[1], dim, start, to, scale))

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Symbol:
        if function is not torch.cat or (kwargs or {}) != {"dim": 1}:
            raise Unrecordable(f"{function} of what is recorded")
        (parts,) = args
        if not all(isinstance(part, Symbol) for part in parts):
            raise Unrecordable("recorded and other parts side by side")
        widths = [part.shape[1] for part in parts]
        placed = [
            part._columns(0, width, sum(widths), sum(widths[:n]))
            for n, (part, width) in enumerate(zip(parts, widths, strict=True))
        ]
        return sum(placed[1:], placed[0])


class Recording:
    """What one call of a function does, and the values of its nodes."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []  # leaves, while the function is recorded
        self.values: list[Tensor] = []  # the same without their graphs, and cotangents
        self.constants: list[Tensor] = []
        self.numbers: dict[int, int] = {}
        self.places: dict[int, Constant] = {}
        self.buffers: dict[Node, Tensor] = {}
        self.history: tuple[tuple[Node, ...], ...] = ()

    def lift(self, tensor: Tensor) -> Symbol:
        """Return the symbol of a tensor."""
        number = self.numbers.get(id(tensor))
        if number is None:
            number = self.numbers[id(tensor)] = self.add(tensor)
            self.tensors.append(tensor)
        return Symbol(self, leaf(number), tensor.shape, tensor.dtype)

    def add(self, tensor: Tensor) -> int:
        """Take in the values of a leaf; return its number."""
        self.values.append(tensor.detach().contiguous())
        return len(self.values) - 1

    def apply(self, form: Form, arguments: Sequence[Any], constants: Sequence[Any]) -> Symbol:
        """Return the value of a form."""
        symbols = [a if isinstance(a, Symbol) else self.lift(a) for a in arguments]
        slot = form.number - 1
        shape = form.shape([*symbols, None], constants, slot)
        term = NodeTerm((*(symbol.node for symbol in symbols), None))
        kept = tuple(self._constant(value) for value in constants)
        return Symbol(self, intern(form, slot, kept, (term,)), shape, symbols[0].dtype)

    def _constant(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return tuple(value) if isinstance(value, list) else value
        place = self.places.get(id(value))
        if place is None:
            place = self.places[id(value)] = Constant(len(self.constants))
            self.constants.append(value.contiguous())
        return place

    def evaluate(self, outputs: tuple[Node, ...], keep: bool) -> list[Tensor]:
        """Compute nodes; ``keep`` what they are computed from, for derivatives to come."""
        order, spent = plan(outputs, self.history)
        buffers = self.buffers
        for node, done in zip(order, spent, strict=True):
            buffers[node] = self._compute(node)
            if not keep:
                for other in done:
                    buffers.pop(other, None)
        # Aliases: what is returned gets a graph, which holds this object.
        results = [(buffers[node] if node.terms else self.values[node.slot]).detach() for node in outputs]
        if keep:
            self.history = (*self.history, outputs)
        else:
            self.history = ()
            buffers.clear()
        return results

    def _value(self, node: Node | None) -> Tensor | None:
        if node is None:
            return None
        return self.buffers[node] if node.terms else self.values[node.slot]

    def _compute(self, node: Node) -> Tensor:
        form, slot = node.form, node.slot
        if form is None:
            parts = [self._value(part) for part in node.parts()]
            result = torch.empty_like(parts[0])
            cpu.add(parts, result)
            return result
        if any(len(directions) > MOST_DIRECTIONS for _, directions in node.terms):
            raise NotImplementedError(
                f"{form.name}: derivatives beyond the fourth; MULTIACE_OPS=reference in the environment has them."
            )
        constants = [self.constants[c.number] if type(c) is Constant else c for c in node.constants]
        terms = [
            [*map(self._value, arguments), *([*map(self._value, direction)] for direction in directions)]
            for arguments, directions in node.terms
        ]
        first = terms[0]
        like = next(value for value in first if value is not None)
        result = like.new_empty(form.shape(first[: form.number], constants, slot))
        form.run(terms if form.sums else first, constants, slot, result)
        return result


class _Values(torch.autograd.Function):
    """Nodes of a recording as one node of PyTorch's graph."""

    @staticmethod
    def forward(
        ctx: Any, recording: Recording, nodes: tuple[Node, ...], numbers: Sequence[int], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.recording, ctx.nodes, ctx.numbers = recording, nodes, numbers
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return tuple(recording.evaluate(nodes, keep=True))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        recording, tensors = ctx.recording, ctx.saved_tensors
        given = [(node, w) for node, w in zip(ctx.nodes, cotangents, strict=True) if w is not None]
        numbers = [recording.add(w) for _, w in given]
        outputs = tuple((node, leaf(n)) for (node, _), n in zip(given, numbers, strict=True))
        places = [place for place, needed in enumerate(wanted_gradients(ctx, tensors, 3)) if needed]
        nodes = gradients(outputs, tuple(leaf(ctx.numbers[place]) for place in places))
        different = tuple(dict.fromkeys(node for node in nodes if node is not None))
        cotangents = [w for _, w in given]
        values = _values(recording, different, [*ctx.numbers, *numbers], [*tensors, *cotangents])
        of_node = dict(zip(different, values, strict=True))
        results: list[Tensor | None] = [None] * len(tensors)
        for place, node in zip(places, nodes, strict=True):
            results[place] = None if node is None else of_node[node].view(tensors[place].shape)
        return (None, None, None, *results)


def _values(
    recording: Recording, nodes: tuple[Node, ...], numbers: Sequence[int], tensors: Sequence[Tensor]
) -> Sequence[Tensor]:
    if torch.is_grad_enabled():
        return _Values.apply(recording, nodes, numbers, *tensors)
    return recording.evaluate(nodes, keep=False)


def fused(function: Callable[..., Symbol], *tensors: Tensor) -> Tensor:
    """Return ``function(*tensors)``, computed as one operation.

    Args:
        function: Makes one symbol of symbols, with the operations that :class:`Symbol` takes. Other tensors in it are
            differentiated too.
        tensors: Its arguments, on the CPU, float32 or all float64.

    Raises:
        Unrecordable: If the function does anything else with its arguments.
    """
    recording = Recording()
    result = function(*map(recording.lift, tensors))
    given, recording.tensors = recording.tensors, []
    recording.numbers, recording.places = {}, {}
    (value,) = _values(recording, (result.node,), range(len(given)), given)
    return value.view(result.shape)
