r"""What a network computes, as a graph of nodes that are differentiated into nodes.

A node is a sum of terms

.. math:: \frac{\partial}{\partial a_s} \frac{\partial^m}{\partial\epsilon_1 \cdots \partial\epsilon_m}
          S\Bigl(a + \sum_i \epsilon_i u_i\Bigr) \Big|_{\epsilon = 0}

of a form S (see ``forms.py``) whose arguments a and directions u are other nodes. With a cotangent w, the derivative of
such a term is a term again:

- with respect to an argument: s moves there, and w takes the place of a_s; where S is not linear in a_s, w is one
  more direction along a_s instead;
- with respect to a part of a direction: the same, without that direction.

Equal nodes are one object, so that what an earlier pass has computed is found again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakValueDictionary

from torch import Tensor

from multiace.ops.forms import Form

__all__ = ["Constant", "Node", "Term", "evaluation_order", "gradients", "intern", "leaf", "total"]


class Node:
    """A value: a leaf, a sum of nodes, or terms of a form.

    Attributes:
        form: None for leaves and sums.
        slot: s, or the number of a leaf.
        constants: Of the form; a :class:`Constant` stands for a tensor. Of a leaf the shape of a row.
        terms: Of the form, or one term with all nodes of a sum.
    """

    __slots__ = ("__weakref__", "constants", "form", "slot", "terms")

    def __init__(self, form: Form | None, slot: int, constants: tuple, terms: tuple[Term, ...]) -> None:
        self.form, self.slot, self.constants, self.terms = form, slot, constants, terms

    def parts(self) -> Iterator[Node]:
        """The nodes that this one is computed from."""
        for arguments, directions in self.terms:
            yield from (node for node in arguments if node is not None)
            for direction in directions:
                yield from (node for node in direction if node is not None)


class Term(NamedTuple):
    """Arguments of a form, None in the place that is differentiated where S is linear there; directions of the
    nonlinear ones, None where an argument does not move."""

    arguments: tuple[Node | None, ...]
    directions: tuple[tuple[Node | None, ...], ...] = ()


class Constant(NamedTuple):
    """Stands for a tensor among the constants of a node."""

    number: int


INTERNED: WeakValueDictionary[tuple, Node] = WeakValueDictionary()


def intern(form: Form | None, slot: int, constants: tuple, terms: tuple[Term, ...]) -> Node:
    """Return the node, the same object for the same content."""
    key = (form, slot, constants, terms)
    node = INTERNED.get(key)
    if node is None:
        node = INTERNED[key] = Node(form, slot, constants, terms)
    return node


def leaf(number: int, tensor: Tensor) -> Node:
    """Return the node of a tensor that is given."""
    return intern(None, number, tuple(tensor.shape[1:]), ())


def total(nodes: Sequence[Node]) -> Node:
    """Return the sum of nodes; terms of one form that its kernel sums are joined."""
    parts: list[Node] = []
    places: dict[tuple, int] = {}
    for node in nodes:
        kind = (node.form, node.slot, node.constants)
        if node.form is not None and node.form.sums and kind in places:
            first = parts[places[kind]]
            parts[places[kind]] = intern(*kind, (*first.terms, *node.terms))
        else:
            places[kind] = len(parts)
            parts.append(node)
    return parts[0] if len(parts) == 1 else intern(None, -1, (), (Term(tuple(parts)),))


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
                yield argument, intern(form, p, node.constants, (Term(rest, along),))
        for d, direction in enumerate(directions):
            others = (*along[:d], *along[d + 1 :])
            for p, argument in enumerate(direction):
                if argument is not None:
                    yield argument, intern(form, p, node.constants, (Term(moved, others),))


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
