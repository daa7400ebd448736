"""Kernels one after another that compute nodes, without PyTorch in between.

A kernel takes the address of its words: addresses and sizes, eight bytes each. The words of all kernels of a program
lie in one array, which is found out once, by letting the forms write their words for stand-ins of tensors; what changes
from run to run, addresses and numbers of rows, is filled in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from multiace.ops import cpu
from multiace.ops.forms import MOST_DIRECTIONS, Call
from multiace.ops.nodes import Constant, Node, evaluation_order

__all__ = ["Program", "Shapes", "program"]

ALIGNMENT, WORD = 64, 8  # bytes
LARGEST_SPARE = 1 << 24  # bytes that a program holds from run to run


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
    """Kernels that compute some nodes.

    Args:
        outputs: The nodes wanted.
        known: Nodes that an earlier program has kept.
        shapes: What else the program depends on.
        keep: Whether every node has a buffer of its own, for derivatives to come.

    Attributes:
        outputs: Those of the nodes wanted that are computed here.
        kept: The other nodes that are kept.
        outside: Known nodes that are read.
    """

    def __init__(self, outputs: Sequence[Node], known: frozenset[Node], shapes: Shapes, keep: bool) -> None:
        order = soonest_order(outputs, known)
        computed, wanted = set(order), set(outputs)
        self.shapes = shapes
        self.outputs = [node for node in dict.fromkeys(outputs) if node in computed]
        self.kept = [node for node in order if node not in wanted] if keep else []
        self.outside: list[Node] = []
        self.places: dict[Node, Place] = {}
        self.constants = [
            Place(shapes.n_leaves + n, (Rows(shapes.n_leaves + n), *row), dtype)
            for n, (dtype, row) in enumerate(shapes.constants)
        ]
        self.first_buffer = shapes.n_leaves + len(shapes.constants)
        self.buffers: list[tuple[Any, int]] = []  # rows, and values in a row
        buffer_of: dict[Node, int] = {}
        free: dict[Any, list[int]] = {}  # buffers by their rows
        last = {part: n for n, node in enumerate(order) for part in node.parts()}
        calls = []
        for n, node in enumerate(order):
            shape = self._shape(node)
            rows, width = shape[0], math.prod(shape[1:])
            fitting = [b for b in free.get(rows, ()) if self.buffers[b][1] >= width]
            if fitting and not keep and node not in wanted:
                buffer_of[node] = min(fitting, key=lambda b: self.buffers[b][1])
                free[rows].remove(buffer_of[node])
            else:
                buffer_of[node] = len(self.buffers)
                self.buffers.append((rows, width))
            self.places[node] = Place(self.first_buffer + buffer_of[node], shape, shapes.dtype)
            calls.append(self._call(node))
            for part in dict.fromkeys(node.parts()):
                if last[part] == n and part in computed and part not in wanted:
                    free.setdefault(self.buffers[buffer_of[part]][0], []).append(buffer_of[part])
        self.of_outputs = [buffer_of[node] for node in self.outputs]
        self.of_kept = [buffer_of[node] for node in self.kept]
        self._lay_out(calls)
        self.spare: list[Tensor] = []  # memory of the last run, if nothing of it was kept

    def _place(self, node: Node) -> Place:
        if node not in self.places:
            if node.terms:  # negative, since the number of buffers is not known yet
                self.outside.append(node)
                self.places[node] = Place(-len(self.outside), self._shape(node), self.shapes.dtype)
            else:
                self.places[node] = Place(node.slot, (Rows(node.slot), *node.constants), self.shapes.dtype)
        return self.places[node]

    def _stand_ins(self, nodes: Sequence[Node | None]) -> list[Any]:
        return [None if node is None else self._place(node) for node in nodes]

    def _filled(self, constants: Sequence[Any]) -> list[Any]:
        return [self.constants[c.number] if type(c) is Constant else c for c in constants]

    def _shape(self, node: Node) -> Sequence[Any]:
        arguments = self._stand_ins(node.terms[0].arguments)
        if node.form is None:
            return arguments[0].shape
        return node.form.shape(arguments, self._filled(node.constants), node.slot)

    def _call(self, node: Node) -> Call:
        result: Any = self.places[node]
        terms = [
            [*self._stand_ins(arguments), *map(self._stand_ins, directions)]
            for arguments, directions in node.terms
        ]
        if node.form is None:
            return cpu.call_add(terms[0], result)
        if any(len(directions) > MOST_DIRECTIONS for _, directions in node.terms):
            raise NotImplementedError(
                f"{node.form.name}: derivatives beyond the fourth; MULTIACE_OPS=reference in the environment has them."
            )
        given = terms if node.form.sums else terms[0]
        return node.form.call(given, self._filled(node.constants), node.slot, result)

    def _lay_out(self, calls: Sequence[Call]) -> None:
        """Put the words of all kernels into one array, and note which of them are filled in."""
        words: list[Any] = []
        self.kernels: list[tuple[Callable[[Any], None], int]] = []  # with the offset of its words
        for kernel, of_kernel in calls:
            self.kernels.append((kernel, len(words) * WORD))
            words += of_kernel
        first_outside = self.first_buffer + len(self.buffers)

        def filled_in(kind: type[Address] | type[Rows]) -> tuple[np.ndarray, np.ndarray]:
            found = [(n, word.source) for n, word in enumerate(words) if isinstance(word, kind)]
            positions, sources = np.array(found, dtype=np.int64).reshape(-1, 2).T
            return positions, np.where(sources < 0, first_outside - 1 - sources, sources)

        self.addresses, self.rows = filled_in(Address), filled_in(Rows)
        self.words = np.array(
            [0 if type(word) in (Address, Rows) else word for word in words], dtype=np.int64
        )
        rows = [rows for rows, _ in self.buffers]
        self.rows_of = np.array([n.source if type(n) is Rows else -1 for n in rows], dtype=np.int64)
        self.fixed_rows = np.array([0 if type(n) is Rows else n for n in rows], dtype=np.int64)
        self.row_bytes = np.array([width for _, width in self.buffers], dtype=np.int64)
        self.row_bytes *= self.shapes.dtype.itemsize

    def run(
        self, tensors: Sequence[Tensor], outside: dict[Node, int]
    ) -> tuple[list[Tensor], Tensor, dict[Node, int]]:
        """Compute the outputs.

        Args:
            tensors: Leaves, then constants, contiguous.
            outside: Addresses of nodes that earlier programs have kept.

        Returns:
            The outputs, the memory of all other nodes, and the addresses of the kept ones in it.
        """
        rows = np.array([tensor.shape[0] if tensor.ndim else 1 for tensor in tensors], dtype=np.int64)
        n_rows = np.where(self.rows_of < 0, self.fixed_rows, rows[self.rows_of])
        outputs = [
            torch.empty((int(n_rows[buffer]), *self.places[node].shape[1:]), dtype=self.shapes.dtype)
            for node, buffer in zip(self.outputs, self.of_outputs, strict=True)
        ]
        sizes = -(n_rows * self.row_bytes // -ALIGNMENT) * ALIGNMENT
        sizes[self.of_outputs] = 0
        ends = np.cumsum(sizes)
        memory = self._memory(int(ends[-1]) if len(ends) else 0)
        buffers = memory.data_ptr() + ends - sizes
        buffers[self.of_outputs] = [output.data_ptr() for output in outputs]
        addresses = [tensor.data_ptr() for tensor in tensors]
        sources = np.array([*addresses, *buffers, *(outside[node] for node in self.outside)], dtype=np.int64)
        words = self.words.copy()
        words[self.addresses[0]] = sources[self.addresses[1]]
        words[self.rows[0]] = rows[self.rows[1]]
        start = words.ctypes.data
        for kernel, offset in self.kernels:
            kernel(start + offset)
        if not self.kept and memory.numel() <= LARGEST_SPARE:
            self.spare[:] = [memory]
        return outputs, memory, dict(zip(self.kept, buffers[self.of_kept].tolist(), strict=True))

    def _memory(self, size: int) -> Tensor:
        """So many bytes or more: what the last run had, or new pages of the system, which cost time."""
        try:
            memory = self.spare.pop()  # no other thread has it then
        except IndexError:
            return torch.empty(size, dtype=torch.uint8)
        return memory if memory.numel() >= size else torch.empty(size, dtype=torch.uint8)


def soonest_order(outputs: Sequence[Node], known: frozenset[Node]) -> list[Node]:
    """Return the nodes to compute, those first that lead to the nearest outputs, so that values are soon used up."""
    depths: dict[Node, int] = {}
    for node in evaluation_order(outputs, known):
        depths[node] = 1 + max((depths.get(part, 0) for part in node.parts()), default=0)
    return evaluation_order(sorted(outputs, key=lambda node: depths.get(node, 0)), known)


@lru_cache(maxsize=256)
def program(
    outputs: tuple[Node, ...], history: tuple[tuple[Node, ...], ...], shapes: Shapes, keep: bool
) -> Program:
    """Return the program that computes some nodes; ``history``: the outputs of earlier ones, which kept all nodes."""
    known: set[Node] = set()
    for earlier in history:
        known.update(evaluation_order(earlier, frozenset(known)))
    return Program(outputs, frozenset(known), shapes, keep)
