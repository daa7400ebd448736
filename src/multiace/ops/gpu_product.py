r"""The product basis on a GPU: Triton kernels that walk tables of monomials.

With the coefficients c of all elements made first (a matrix product, c = C W), the form is

.. math:: S(A; c, g) = \sum_{i, e, k} g_{i M_e k}\, c_{z_i e k} \prod_{\xi} A_{i f_{e\xi} k},

where entry e is a monomial and a component M of the message. With A + ε₁u₁ + ε₂u₂ + … in the place of A, whose ε square
to zero, each derivative is the coefficient of the product of all ε (``forms.py``); W and g stay as they are. So two
kernels do for each number of directions:

- ``by_node``: for one component of a result at each node, the sum over the table's rows of that component. For ∂S/∂g
  these are the entries of a message component, for ∂S/∂A each entry less one factor.
- ``by_element``: for one entry and element, the sum over the atoms of the element: ∂S/∂c.

A program owns a tile of what it writes: no atomics, the same bits at each run. Compilation takes as long for one
monomial as for a thousand. With ``TRITON_INTERPRET=1`` Triton runs the same source on CPU tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from multiace.ops.gpu import load_module
from multiace.ops.paths import ProductPaths

__all__ = ["nodes_by_element", "run_product"]

TILE = (4, 32)  # nodes and channels of a program
NODES = 16  # that by_element reads at once
WARPS = {"by_node": 1, "by_element": 4}

SOURCE = '''"""Products of {factors} factors along {directions} directions."""
import triton
import triton.language as tl


@triton.jit
def by_node({numbers}, c, g, out, species, first, rows, n_nodes, K, n_A, n_m, n_entries, n_out,
            GIVEN: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BN + tl.arange(0, BN)[:, None]
    k = tl.program_id(1) * BK + tl.arange(0, BK)[None, :]
    mask = (i < n_nodes) & (k < K)
    c_i = c + tl.load(species + i, mask=i < n_nodes, other=0) * n_entries * K + k
    g_i = g + i * n_m * K + k
    a = i * n_A * K + k
    component = tl.program_id(2)
    total = tl.zeros([BN, BK], out.dtype.element_ty)
    for row in range(tl.load(first + component), tl.load(first + component + 1)):
        at = rows + row * {width}
        {loads}
        {products}
        term = tl.load(c_i + tl.load(at) * K, mask=mask, other=0.0) * tl.load(at + 2) * {result}
        total += term * tl.load(g_i + tl.load(at + 1) * K, mask=mask, other=0.0) if GIVEN else term
    tl.store(out + i * n_out * K + component * K + k, total, mask=mask)


@triton.jit
def by_element({numbers}, c, g, out, atoms, first, rows, n_nodes, K, n_A, n_m, n_entries, n_out,
               GIVEN: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    at = rows + tl.program_id(0) * {width}
    k = tl.program_id(1) * BK + tl.arange(0, BK)[None, :]
    z = tl.program_id(2).to(tl.int64)
    total = tl.zeros([BN, BK], out.dtype.element_ty)
    end = tl.load(first + z + 1)
    for start in range(tl.load(first + z), end, BN):
        n = start + tl.arange(0, BN)[:, None]
        i = tl.load(atoms + n, mask=n < end, other=0)
        mask = (n < end) & (k < K)
        a = i * n_A * K + k
        {loads}
        {products}
        total += {result} * tl.load(g + i * n_m * K + tl.load(at + 1) * K + k, mask=mask, other=0.0)
    place = out + z * n_entries * K + tl.load(at) * K + k
    tl.store(place, tl.sum(total, axis=0)[None, :], mask=k < K)
'''


class Table(NamedTuple):
    """Rows (entry, M, multiplicity, factors ...) by the component of the result that they belong to."""

    first: Tensor  # row of each component, and their number
    rows: Tensor  # int64; the factor behind the last component of A is 1


class Tables(NamedTuple):
    """Of ∂S/∂A and ∂S/∂g, and C of the coefficients c = C W, (n_entries, n_paths)."""

    A: Table
    g: Table
    C: Tensor


@cache
def product_source(factors: int, directions: int) -> str:
    """Return Python source of both kernels.

    Args:
        factors: How many there are in each product.
        directions: How many of them are along a direction, no more than there are.
    """
    loads, lines = [], []
    product = {0: ""}  # coefficient of each set of ε, as bits; the text of a name
    for x in range(factors):
        loads.append(f"f{x} = tl.load(at + {3 + x}) * K")
        names = [f"a{x}", *(f"u{x}_{d}" for d in range(directions))]
        pointers = ["A", *(f"U{d}" for d in range(directions))]
        loads += [
            f"{name} = tl.load({pointer} + a + f{x}, mask=mask, other=0.0)"
            for name, pointer in zip(names, pointers, strict=True)
        ]
        longer = {}
        for subset in range(1 << directions):
            terms = [(product.get(subset), names[0])]
            terms += [
                (product.get(subset ^ 1 << d), names[1 + d]) for d in range(directions) if subset >> d & 1
            ]
            texts = [f"{p} * {name}" if p else name for p, name in terms if p is not None]
            if texts:
                lines.append(f"p{x}_{subset} = {' + '.join(texts)}")
                longer[subset] = f"p{x}_{subset}"
        product = longer
    return SOURCE.format(
        factors=factors,
        directions=directions,
        numbers=", ".join(["A", *(f"U{d}" for d in range(directions))]),
        width=3 + factors,
        loads="\n        ".join(loads),
        products="\n        ".join(lines),
        result=product[(1 << directions) - 1] or "1.0",
    )


@cache
@torch.inference_mode(False)  # what is kept must serve training too
def _tables(paths: ProductPaths, dtype: torch.dtype, device: torch.device) -> Tables:
    factors, monomial, component, entry, path, values = paths.polynomial
    n_in, n_out = (sum(irrep.dim for irrep in irreps) for irreps in (paths.irreps_in, paths.targets))
    of_entry = np.where(factors < 0, n_in, factors)[monomial]  # [n_entries, ν]
    entries = np.arange(len(monomial))
    C = np.zeros((len(monomial), sum(paths.n_paths.values())))
    C[entry, path] = values
    without = [
        (f, [e, component[e], np.sum(of_entry[e] == f), *np.delete(of_entry[e], list(of_entry[e]).index(f))])
        for e in entries
        for f in np.unique(of_entry[e])
        if f < n_in
    ]
    whole = np.column_stack([entries, component, np.ones_like(entries), of_entry])

    def table(keys: np.ndarray, rows: np.ndarray, size: int) -> Table:
        order = np.argsort(keys, kind="stable")
        first = np.searchsorted(keys[order], np.arange(size + 1))
        return Table(
            *(torch.tensor(array, dtype=torch.int64, device=device) for array in (first, rows[order]))
        )

    keys, rows = (np.array(part, dtype=np.int64) for part in zip(*without, strict=True))
    return Tables(
        table(keys, rows, n_in),
        table(component, whole, n_out),
        torch.tensor(C, dtype=dtype, device=device),
    )


def run_product(
    term: Sequence[Any], species: Tensor | None, paths: ProductPaths, slot: int, result: Tensor
) -> None:
    """Write a term of ∂S_k/∂a_slot into ``result``; nothing here waits for the device.

    Args:
        term: A, W, g, then directions of A, one list for each; what is in the place of the slot is not read.
        species: Which row of W a node takes; None takes the first for all.
        paths: The table.
        slot: Which derivative.
        result: Written to.
    """
    A, W, g, *directions = term
    n_nodes, n_in, K = A.shape
    tables = _tables(paths, A.dtype, A.device)
    factors = paths.correlation - (slot == 0)
    if not result.numel() or not n_nodes or len(directions) > factors:
        result.zero_()
        return
    z = torch.zeros(n_nodes, dtype=torch.int64, device=A.device) if species is None else species
    table, into, n_matrices = (tables.A if slot == 0 else tables.g), result, len(W if slot != 1 else result)
    c = into = result  # of two, the one that is not read
    if slot == 1:
        into = result.new_empty(n_matrices, len(tables.C), K)
        z, first = nodes_by_element(z, n_matrices)
        grid: tuple[int, ...] = (len(tables.C), _blocks(K, TILE[1]), n_matrices)
    else:
        c, first = tables.C @ W, table.first
        grid = (_blocks(n_nodes, TILE[0]), _blocks(K, TILE[1]), len(first) - 1)
    one, nought = (A.new_full((n_nodes, 1, K), value) for value in (1.0, 0.0))
    numbers = [torch.cat([A, one], dim=1), *(torch.cat([u, nought], dim=1) for (u,) in directions)]
    sizes = (n_nodes, K, n_in + 1, 0 if g is None else g.shape[1], len(tables.C), result.shape[1])
    name = "by_element" if slot == 1 else "by_node"
    _kernel(factors, len(directions), name)[grid](
        *numbers,
        *(c, result if g is None else g, into, z, first, table.rows, *sizes),
        GIVEN=slot == 0,
        BN=NODES if slot == 1 else TILE[0],
        BK=TILE[1],
        num_warps=WARPS[name],
        enable_fp_fusion=True,
    )
    if slot == 1:
        torch.matmul(tables.C.T, into, out=result)


@cache
def _kernel(factors: int, directions: int, name: str) -> Any:
    return getattr(load_module(product_source(factors, directions)), name)


def _blocks(n: int, size: int) -> int:
    return -(-n // size)


def nodes_by_element(species: Tensor, n_matrices: int) -> tuple[Tensor, Tensor]:
    """Nodes sorted by element, (n_nodes,), and the first of each element and the end, (n_matrices + 1,)."""
    ascending, nodes = torch.sort(species, stable=True)
    return nodes, torch.searchsorted(ascending, torch.arange(n_matrices + 1, device=species.device))
