"""The convolution on a GPU: Triton source made from the table of paths, as the C of ``codegen.py`` is.

Every program is straight-line code with the coefficients as literals, owns what it writes, and stores it once: those
of ∂/∂g and ∂/∂x the channels of a group of paths, or of an irrep, at one node, the others an edge, or a row of R.
Nothing is added atomically: the same bits at each run. Long derivatives are several kernels, one after the other.

A node's programs walk the edges that it receives, for x those that it sends. The latter are the reverses of the former,
so that no edge has to be sorted where the graph says which edge is the reverse of which.

With ``TRITON_INTERPRET=1`` Triton runs the same source on CPU tensors.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multiace.ops.codegen import Group, coupled_groups
from multiace.ops.compiler import cache_folder
from multiace.ops.paths import ConvolutionPaths

__all__ = ["Edges", "available", "convolution_source", "load_module", "run_convolution"]

LARGEST_BLOCK = 64  # channels of a program
LENGTH = 16_000  # characters of a kernel: from here on the time to compile one grows faster than its length
WARPS = 1  # of a program: a thread has two channels, for which it couples C and Y once

HEADER = '''"""{paths}"""
import triton
import triton.language as tl
'''
JIT = '@triton.jit(do_not_specialize=["add"])'

ARGUMENTS = "x, Y, R, g, out, senders, receivers, row_of_edge, edges_of_row, first, sent, first_sent, add"


@cache
def available() -> bool:
    """Whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


def _components(group: Group) -> list[int]:
    """The components of Y that a group reads."""
    return sorted({y for path in group.entries for entry in path for y, _ in entry.terms})


def _coupled(group: Group, p: int, M: int) -> list[tuple[int, str]]:
    """Pairs of m1 and the text of Σ_m2 C Y for one path and M."""
    return [
        (entry.m1, " + ".join(f"{value!r} * y{y}" for y, value in entry.terms))
        for entry in group.entries[p]
        if entry.M == M
    ]


def _block(paths: ConvolutionPaths) -> int:
    """Channels of a program: a power of two."""
    return min(LARGEST_BLOCK, 1 << (max(group.mul for group in paths.groups) - 1).bit_length())


class Part(NamedTuple):
    """A kernel: one of those that make a derivative."""

    lines: list[str]
    tasks: int  # programs of a node, an edge or a row
    adds: bool  # to what kernels before it have written


class Branch(NamedTuple):
    """Lines of a kernel for some channels."""

    lines: list[str]
    channels: int
    adds: bool = False


@cache
def _parts(paths: ConvolutionPaths) -> dict[str, list[Part]]:
    groups, block = coupled_groups(paths), _block(paths)
    return {
        "x": _derivative_x(groups, block),
        "Y": _derivative_Y(groups, block),
        "R": _derivative_R(groups, block),
        "g": _derivative_g(groups, block),
    }


def convolution_source(paths: ConvolutionPaths) -> str:
    """Return Python source of the kernels ``derivative_x_0``, ``derivative_x_1`` ..., and those of Y, R and g."""
    sizes = {
        "NX": paths.irreps_in.dim,
        "NY": (paths.l_max + 1) ** 2,
        "NR": paths.n_weights,
        "NG": paths.irreps_out.dim,
    }
    source = [HEADER.format(paths=paths)]
    for name, parts in _parts(paths).items():
        for number, part in enumerate(parts):
            text = "\n".join(_indented(part.lines))
            for size, value in sizes.items():
                text = text.replace(size, str(value))
            source.append(f"{JIT}\ndef derivative_{name}_{number}({ARGUMENTS}):\n{text}\n\n")
    return "\n".join(source)


def _in_parts(first: list[str], branches: Sequence[Branch], block: int) -> list[Part]:
    """Join branches, each of which does a range of tasks; one that adds waits for those before it."""
    parts: list[Part] = []
    for branch in sorted(branches, key=lambda branch: branch.adds):
        if not parts or branch.adds or _length(parts[-1].lines + branch.lines) > LENGTH:
            parts.append(Part([*first, "task = tl.program_id(1)"], 0, branch.adds))
        lines, start, adds = parts[-1]
        end = start + -(-branch.channels // block)
        setup = [
            f"k = (task - {start}) * {block} + tl.arange(0, {block})",
            f"mask = k < {branch.channels}",
            f"zero = tl.zeros([{block}], out.dtype.element_ty)",
            "old = mask & (zero + add > 0)",
        ]
        condition = f"if (task >= {start}) & (task < {end}):"
        parts[-1] = Part([*lines, condition, *_indented([*setup, *branch.lines])], end, adds)
    return parts


def _chunks(code: Sequence[list[str]]) -> Iterator[list[int]]:
    """Numbers of what comes one after the other into a kernel."""
    chunk: list[int] = []
    for n in range(len(code)):
        if chunk and sum(_length(code[m]) for m in [*chunk, n]) > LENGTH:
            yield chunk
            chunk = []
        chunk.append(n)
    yield chunk


def _length(lines: Sequence[str]) -> int:
    return sum(map(len, lines))


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _load_Y(components: Sequence[int]) -> list[str]:
    return [f"y{y} = tl.load(Y + e * NY + {y})" for y in components]


def _load_x(group: Group) -> list[str]:
    K = group.paths.mul
    return [
        f"x{m1} = tl.load(x + j * NX + {group.x + m1 * K} + k, mask=mask, other=0.0)"
        for m1 in range(group.paths.irrep_in.dim)
    ]


def _load_R(group: Group) -> list[str]:
    start, K = group.paths.weights.start, group.paths.mul
    return [
        f"R{p} = tl.load(R + row * NR + {start + p * K} + k, mask=mask, other=0.0)"
        for p in range(len(group.entries))
    ]


def _load_g(group: Group, p: int, M: int) -> str:
    address = f"g + i * NG + {group.g + M * group.stride + p * group.paths.mul} + k"
    return f"g{p}_{M} = tl.load({address}, mask=mask, other=0.0)"


ROW = "row = tl.load(row_of_edge + e)"
SENT = ["j = tl.load(senders + e)", ROW]
RECEIVED = ["i = tl.load(receivers + e)", ROW]
ONE_EDGE = ["e = tl.program_id(0).to(tl.int64)", "i = tl.load(receivers + e)", *SENT]


def _store(address: str, value: str) -> list[str]:
    return [
        f"at = out + {address}",
        f"tl.store(at, {value} + tl.load(at, mask=old, other=0.0), mask=mask)",
    ]


def _derivative_g(groups: list[Group], block: int) -> list[Part]:
    """g_M = Σ_e R Σ_m1 c x: a program for each node and block of a group's channels."""
    first = [
        "i = tl.program_id(0).to(tl.int64)",
        "begin = tl.load(first + i)",
        "end = tl.load(first + i + 1)",
    ]
    branches = []
    for group in groups:
        places = [(p, M) for p in range(len(group.entries)) for M in range(group.paths.irrep_out.dim)]
        loop = [*SENT, *_load_Y(_components(group)), *_load_x(group), *_load_R(group)]
        for p, M in places:
            coupled = _coupled(group, p, M)
            if coupled:
                loop.append(f"a{p}_{M} += R{p} * ({' + '.join(f'({c}) * x{m1}' for m1, c in coupled)})")
        lines = [*(f"a{p}_{M} = zero" for p, M in places), "for e in range(begin, end):", *_indented(loop)]
        for p, M in places:
            lines += _store(f"i * NG + {group.g + M * group.stride + p * group.paths.mul} + k", f"a{p}_{M}")
        branches.append(Branch(lines, group.paths.mul))
    return _in_parts(first, branches, block)


def _derivative_x(groups: list[Group], block: int) -> list[Part]:
    """x_m1 = Σ_e Σ_M c R g_M over edges sent: a program for each node and block of an irrep's channels."""
    first = [
        "j = tl.program_id(0).to(tl.int64)",
        "begin = tl.load(first_sent + j)",
        "end = tl.load(first_sent + j + 1)",
    ]
    branches = []
    for irrep in dict.fromkeys(group.paths.irrep_in for group in groups):
        members = [group for group in groups if group.paths.irrep_in == irrep]
        code, mul = [_add_x(group) for group in members], members[0].paths.mul
        for chunk in _chunks(code):
            used = sorted({y for n in chunk for y in _components(members[n])})
            loop = [
                "e = tl.load(sent + s)",
                *RECEIVED,
                *_load_Y(used),
                *(line for n in chunk for line in code[n]),
            ]
            lines = [
                *(f"a{m1} = zero" for m1 in range(irrep.dim)),
                "for s in range(begin, end):",
                *_indented(loop),
            ]
            for m1 in range(irrep.dim):
                lines += _store(f"j * NX + {members[0].x + m1 * mul} + k", f"a{m1}")
            branches.append(Branch(lines, mul, adds=chunk[0] > 0))
    return _in_parts(first, branches, block)


def _add_x(group: Group) -> list[str]:
    lines = _load_R(group)
    for p in range(len(group.entries)):
        for M in range(group.paths.irrep_out.dim):
            coupled = _coupled(group, p, M)
            if coupled:
                lines += [_load_g(group, p, M), f"u = R{p} * g{p}_{M}"]
                lines += [f"a{m1} += ({c}) * u" for m1, c in coupled]
    return lines


def _derivative_R(groups: list[Group], block: int) -> list[Part]:
    """R = Σ_M g_M Σ_m1 c x over the edges of a row: a program for each row and block of a group's channels."""
    branches = []
    for group in groups:
        loop = [
            "e = tl.load(edges_of_row + 2 * row_number + s)",
            "live = (s == 0) | (tl.load(edges_of_row + 2 * row_number) != e)",
            "i = tl.load(receivers + e)",
            "j = tl.load(senders + e)",
            *_load_Y(_components(group)),
            *_load_x(group),
        ]
        for p in range(len(group.entries)):
            for M in range(group.paths.irrep_out.dim):
                coupled = _coupled(group, p, M)
                if coupled:
                    loop.append(_load_g(group, p, M))
                    total = " + ".join(f"({c}) * x{m1}" for m1, c in coupled)
                    loop.append(f"a{p} += tl.where(live, g{p}_{M} * ({total}), 0.0)")
        lines = [
            *(f"a{p} = zero" for p in range(len(group.entries))),
            "for s in range(0, 2):",
            *_indented(loop),
        ]
        for p in range(len(group.entries)):
            start = group.paths.weights.start + p * group.paths.mul
            lines += _store(f"row_number * NR + {start} + k", f"a{p}")
        branches.append(Branch(lines, group.paths.mul))
    return _in_parts(["row_number = tl.program_id(0).to(tl.int64)"], branches, block)


def _derivative_Y(groups: list[Group], block: int) -> list[Part]:
    """Y_m2 = Σ C Σ_k R g_M x_m1 of each edge: a program for each edge."""
    parts, code = [], [_add_Y(group, block) for group in groups]
    for chunk in _chunks(code):
        used = sorted({y for n in chunk for y in _components(groups[n])})
        lines = [
            *ONE_EDGE,
            f"zero = tl.zeros([{block}], out.dtype.element_ty)",
            *(f"a{y} = zero" for y in used),
            *(line for n in chunk for line in code[n]),
        ]
        for y in used:
            address = f"out + e * NY + {y}"
            lines.append(f"tl.store({address}, tl.sum(a{y}) + tl.load({address}))")  # which began as 0
        parts.append(Part(lines, 1, adds=True))
    return parts


def _add_Y(group: Group, block: int) -> list[str]:
    loop = [
        f"k = start + tl.arange(0, {block})",
        f"mask = k < {group.paths.mul}",
        *_load_x(group),
        *_load_R(group),
    ]
    for p, entries in enumerate(group.entries):
        for M in range(group.paths.irrep_out.dim):
            here = [entry for entry in entries if entry.M == M]
            if here:
                loop += [_load_g(group, p, M), f"u = R{p} * g{p}_{M}"]
            for entry in here:
                loop.append(f"v = u * x{entry.m1}")
                loop += [f"a{y} += {value!r} * v" for y, value in entry.terms]
    return [f"for start in range(0, {group.paths.mul}, {block}):", *_indented(loop)]


@cache
def load_module(source: str) -> ModuleType:
    """Python source as a module; Triton reads the source of kernels from a file."""
    path = cache_folder() / f"triton_{hashlib.sha256(source.encode()).hexdigest()[:24]}.py"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(source)
        Path(file.name).replace(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _kernels(paths: ConvolutionPaths, slot: int) -> list[tuple[Any, Part]]:
    module, name = load_module(convolution_source(paths)), "xYRg"[slot]
    return [
        (getattr(module, f"derivative_{name}_{number}"), part)
        for number, part in enumerate(_parts(paths)[name])
    ]


class Edges(NamedTuple):
    """What is the same for all terms; what may be None is made where a kernel reads it."""

    senders: Tensor
    receivers: Tensor
    rows: Tensor | None  # both edges of each row of R
    row_of_edge: Tensor | None
    first: Tensor | None  # edge that each node receives, and the number of edges
    reverse: Tensor | None  # of each edge


def run_convolution(
    terms: Sequence[Sequence[Tensor]], edges: Edges, paths: ConvolutionPaths, slot: int, result: Tensor
) -> None:
    """Write a sum of terms of ∂S_k/∂a_slot into ``result``; nothing here waits for the device.

    Args:
        terms: (x, Y, R, g) of each term; what is in the place of the slot is not read.
        edges: The edges.
        paths: The table.
        slot: Which derivative.
        result: Written to.
    """
    n_edges, n_nodes = len(edges.senders), terms[0][0 if slot else 3].shape[0]
    row_of_edge, rows = edges.row_of_edge, edges.rows
    if row_of_edge is None or rows is None:
        row_of_edge = torch.arange(n_edges, device=result.device)
        rows = row_of_edge[:, None].expand(-1, 2).contiguous()
    first = _first(edges.receivers, n_nodes) if edges.first is None else edges.first
    sent, first_sent = edges.reverse, first  # an edge that i sends is the reverse of one that i receives
    if sent is None and slot == 0:  # edges of another origin than a graph
        sent = torch.argsort(edges.senders, stable=True)
        first_sent = _first(edges.senders[sent], n_nodes)
    irreps_read = {group.irrep_in for group in paths.groups}
    if slot == 1 or (slot == 0 and len(irreps_read) < len(paths.irreps_in)):
        result.zero_()  # of what no path reads nothing is written
    rows_of_programs = (n_nodes, n_edges, len(rows), n_nodes)[slot]
    if not rows_of_programs:
        return
    indices = (edges.senders, edges.receivers, row_of_edge, rows, first, sent, first_sent)
    kernels = _kernels(paths, slot)
    for number, term in enumerate(terms):
        arguments = [result if place == slot else tensor for place, tensor in enumerate(term)]
        for kernel, part in kernels:
            add = int(number > 0 or part.adds)
            grid = (rows_of_programs, part.tasks)
            kernel[grid](*arguments, result, *indices, add, num_warps=WARPS, enable_fp_fusion=True)


def _first(ascending: Tensor, n_nodes: int) -> Tensor:
    """Where each node's part of a sorted list of nodes begins, and the end: (n_nodes + 1,)."""
    return torch.searchsorted(ascending, torch.arange(n_nodes + 1, device=ascending.device))
