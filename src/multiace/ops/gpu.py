"""The convolution on a GPU: Triton source made from the table of paths, as the C of ``codegen.py`` is.

Every program is straight-line code with the coefficients as literals, owns what it writes, and stores it once: those
of ``derivative_g`` and ``derivative_x`` the channels of a group of paths, or of an irrep, at one node, the others an
edge, or a row of R. Nothing is added atomically: the same bits at each run.

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
WARPS = 1  # of a program: a thread has two channels, for which it couples C and Y once

HEADER = '''"""{paths}"""
import triton
import triton.language as tl
'''

ARGUMENTS = "x, Y, R, g, out, senders, receivers, row_of_edge, edges_of_row, first, sent, first_sent"


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


def convolution_source(paths: ConvolutionPaths) -> str:
    """Return Python source of the kernels ``derivative_g``, ``_x``, ``_R`` and ``_Y``."""
    groups, block = coupled_groups(paths), _block(paths)
    sizes = {
        "NX": paths.irreps_in.dim,
        "NY": (paths.l_max + 1) ** 2,
        "NR": paths.n_weights,
        "NG": paths.irreps_out.dim,
    }
    kernels = [
        ("g", _derivative_g(groups, block)),
        ("x", _derivative_x(groups, block)),
        ("R", _derivative_R(groups, block)),
        ("Y", _derivative_Y(groups, block)),
    ]
    lines = [HEADER.format(paths=paths)]
    for name, body in kernels:
        text = "\n".join(f"    {line}" for line in body)
        for size, value in sizes.items():
            text = text.replace(size, str(value))
        lines.append(f"@triton.jit\ndef derivative_{name}({ARGUMENTS}, ADD: tl.constexpr):\n{text}\n\n")
    return "\n".join(lines)


def _tasks(sizes: Sequence[int], block: int) -> list[tuple[int, int]]:
    """First and last program of each, given channels."""
    bounds, start = [], 0
    for size in sizes:
        bounds.append((start, start := start + -(-size // block)))
    return bounds


def _each_task(sizes: Sequence[int], block: int) -> Iterator[tuple[int, str, list[str]]]:
    """Number, condition and first lines of the branch of each, given channels."""
    for n, (size, (first, last)) in enumerate(zip(sizes, _tasks(sizes, block), strict=True)):
        setup = [
            f"k = (task - {first}) * {block} + tl.arange(0, {block})",
            f"mask = k < {size}",
            f"zero = tl.zeros([{block}], out.dtype.element_ty)",
        ]
        yield n, f"if (task >= {first}) & (task < {last}):", setup


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
        f"tl.store(at, {value} + (tl.load(at, mask=mask, other=0.0) if ADD else zero), mask=mask)",
    ]


def _derivative_g(groups: list[Group], block: int) -> list[str]:
    """g_M = Σ_e R Σ_m1 c x: a program for each node and block of a group's channels."""
    body = [
        "i = tl.program_id(0).to(tl.int64)",
        "task = tl.program_id(1)",
        "begin = tl.load(first + i)",
        "end = tl.load(first + i + 1)",
    ]
    for n, condition, setup in _each_task([group.paths.mul for group in groups], block):
        group = groups[n]
        places = [(p, M) for p in range(len(group.entries)) for M in range(group.paths.irrep_out.dim)]
        loop = [*SENT, *_load_Y(_components(group)), *_load_x(group), *_load_R(group)]
        for p, M in places:
            coupled = _coupled(group, p, M)
            if coupled:
                loop.append(f"a{p}_{M} += R{p} * ({' + '.join(f'({c}) * x{m1}' for m1, c in coupled)})")
        branch = [
            *setup,
            *(f"a{p}_{M} = zero" for p, M in places),
            "for e in range(begin, end):",
            *_indented(loop),
        ]
        for p, M in places:
            branch += _store(f"i * NG + {group.g + M * group.stride + p * group.paths.mul} + k", f"a{p}_{M}")
        body += [condition, *_indented(branch)]
    return body


def _derivative_x(groups: list[Group], block: int) -> list[str]:
    """x_m1 = Σ_e Σ_M c R g_M over edges sent: a program for each node and block of an irrep's channels."""
    irreps = list(dict.fromkeys(group.paths.irrep_in for group in groups))
    of_irrep = [[group for group in groups if group.paths.irrep_in == irrep] for irrep in irreps]
    body = [
        "j = tl.program_id(0).to(tl.int64)",
        "task = tl.program_id(1)",
        "begin = tl.load(first_sent + j)",
        "end = tl.load(first_sent + j + 1)",
    ]
    for n, condition, setup in _each_task([members[0].paths.mul for members in of_irrep], block):
        members = of_irrep[n]
        used = sorted({y for group in members for y in _components(group)})
        dim, K = members[0].paths.irrep_in.dim, members[0].paths.mul
        loop = ["e = tl.load(sent + s)", *RECEIVED, *_load_Y(used)]
        for group in members:
            loop += _load_R(group)
            for p in range(len(group.entries)):
                for M in range(group.paths.irrep_out.dim):
                    coupled = _coupled(group, p, M)
                    if coupled:
                        loop += [_load_g(group, p, M), f"u = R{p} * g{p}_{M}"]
                        loop += [f"a{m1} += ({c}) * u" for m1, c in coupled]
        branch = [
            *setup,
            *(f"a{m1} = zero" for m1 in range(dim)),
            "for s in range(begin, end):",
            *_indented(loop),
        ]
        for m1 in range(dim):
            branch += _store(f"j * NX + {members[0].x + m1 * K} + k", f"a{m1}")
        body += [condition, *_indented(branch)]
    return body


def _derivative_R(groups: list[Group], block: int) -> list[str]:
    """R = Σ_M g_M Σ_m1 c x over the edges of a row: a program for each row and block of a group's channels."""
    body = ["row_number = tl.program_id(0).to(tl.int64)", "task = tl.program_id(1)"]
    for n, condition, setup in _each_task([group.paths.mul for group in groups], block):
        group = groups[n]
        loop = [
            "e = tl.load(edges_of_row + 2 * row_number + s)",
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
        second = "live = (s == 0) | (tl.load(edges_of_row + 2 * row_number) != e)"
        loop.insert(1, second)
        branch = [
            *setup,
            *(f"a{p} = zero" for p in range(len(group.entries))),
            "for s in range(0, 2):",
            *_indented(loop),
        ]
        for p in range(len(group.entries)):
            start = group.paths.weights.start + p * group.paths.mul
            branch += _store(f"row_number * NR + {start} + k", f"a{p}")
        body += [condition, *_indented(branch)]
    return body


def _derivative_Y(groups: list[Group], block: int) -> list[str]:
    """Y_m2 = Σ C Σ_k R g_M x_m1 of each edge: a program for each edge."""
    used = sorted({y for group in groups for y in _components(group)})
    body = [*ONE_EDGE, f"zero = tl.zeros([{block}], out.dtype.element_ty)", *(f"a{y} = zero" for y in used)]
    for group in groups:
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
        body += [f"for start in range(0, {group.paths.mul}, {block}):", *_indented(loop)]
    for y in used:
        address = f"out + e * NY + {y}"
        body.append(f"tl.store({address}, tl.sum(a{y}) + (tl.load({address}) if ADD else 0.0))")
    return body


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
def _kernel(paths: ConvolutionPaths, slot: int) -> Any:
    return getattr(load_module(convolution_source(paths)), f"derivative_{'xYRg'[slot]}")


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
    groups, block = paths.groups, _block(paths)
    irreps = {group.irrep_in: group.mul for group in groups}
    if slot == 1 or (slot == 0 and len(irreps) < len(paths.irreps_in)):
        result.zero_()  # of what no path reads nothing is written
    tasks = [
        _tasks(sizes, block)[-1][1] for sizes in (list(irreps.values()), [group.mul for group in groups])
    ]
    grid = [(n_nodes, tasks[0]), (n_edges, 1), (len(rows), tasks[1]), (n_nodes, tasks[1])][slot]
    if not grid[0]:
        return
    indices = (edges.senders, edges.receivers, row_of_edge, rows, first, sent, first_sent)
    kernel = _kernel(paths, slot)
    for number, term in enumerate(terms):
        arguments = (result if place == slot else tensor for place, tensor in enumerate(term))
        kernel[grid](*arguments, result, *indices, ADD=number > 0, num_warps=WARPS, enable_fp_fusion=True)


def _first(ascending: Tensor, n_nodes: int) -> Tensor:
    """Where each node's part of a sorted list of nodes begins, and the end: (n_nodes + 1,)."""
    return torch.searchsorted(ascending, torch.arange(n_nodes + 1, device=ascending.device))
