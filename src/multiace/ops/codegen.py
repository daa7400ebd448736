r"""C source of the convolution for one table of paths.

The convolution is one form, linear in each of four arguments,

.. math:: S(x, Y, R, g) = \sum_{e = (j \to i)} \sum_{\eta, k} \sum_{M} g_{i,\eta k M}\, R_{e,\eta k}
          \sum_{m_1} \Bigl( \sum_{m_2} C^{LM}_{l_1 m_1, l_2 m_2} Y_{e,m_2} \Bigr) x_{j,k,m_1},

and its four partial derivatives are the four kernels: ∂S/∂g is the convolution itself, the others make up its
backward pass. Since each is linear in the remaining arguments, the derivatives of the kernels are the same
four kernels again: nothing else is needed at any order.

The bracket (called ``c`` below: ``coupled``, only its entries that can be non-zero) is built once per edge,
for all channels. Then the loops run over nodes, groups of paths and blocks of channels, with the sums over
edges of a node and over terms innermost, so that sums stay in registers. A term is a set of the other three
arguments: each kernel gives the sum over several, as derivatives of derivatives need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from multiace.basis.coupling import clebsch_gordan
from multiace.ops.paths import ConvolutionPaths, PathGroup

__all__ = ["convolution_source"]

VECTOR_BYTES = 32
"""Bytes of one vector; the compiler splits or joins them as the machine asks."""

HEADER = """\
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <omp.h>
typedef {real} real;
{vectors}
#define NX {n_x}
#define NY {n_Y}
#define NR {n_R}
#define NG {n_g}
#define NC {n_c}

/* Arguments of one term; the one that is computed is not read. */
typedef struct {{ const real *x, *Y, *R, *g; }} term;

/* Edges, and rows of R: row p holds for the edges rows[p] (two), or for edge p alone where rows is NULL. */
typedef struct {{
  const int64_t *senders, *receivers, *row_of_edge, *rows;
  int64_t n_nodes, n_edges, n_rows, n_terms, threads;
}} edges;

static inline int64_t row_of(const edges *E, int64_t e) {{ return E->row_of_edge ? E->row_of_edge[e] : e; }}

/* First edge of each node; receivers ascend. */
static int64_t *rows(const int64_t *receivers, int64_t n_edges, int64_t n_nodes) {{
  int64_t *row = malloc((n_nodes + 1) * sizeof *row), e = 0;
  for (int64_t i = 0; i < n_nodes; ++i) {{
    row[i] = e;
    while (e < n_edges && receivers[e] == i) ++e;
  }}
  row[n_nodes] = e;
  return row;
}}

static int64_t largest_degree(const int64_t *row, int64_t n_nodes) {{
  int64_t largest = 0;
  for (int64_t i = 0; i < n_nodes; ++i)
    if (row[i + 1] - row[i] > largest) largest = row[i + 1] - row[i];
  return largest;
}}
"""


class Entry(NamedTuple):
    """One entry (M, m1) of the coupled matrix of a path that can be non-zero."""

    M: int
    m1: int
    terms: list[tuple[int, float]]  # (component of Y, coefficient)
    position: int  # in c


class Group(NamedTuple):
    """A group of paths with all its offsets."""

    paths: PathGroup
    width: int  # channels per vector
    x: int  # offset of the block in x
    g: int  # offset of the first channel in g
    stride: int  # channels of g's block: distance from M to M + 1
    entries: list[list[Entry]]  # of each path


def coupled_groups(paths: ConvolutionPaths, real_bytes: int = 4) -> list[Group]:
    """Groups of paths with their offsets and their coefficients other than zero."""
    groups, index = [], 0
    x_slices, g_slices = paths.irreps_in.slices(), paths.irreps_out.slices()
    used = dict.fromkeys(paths.irreps_out.irreps, 0)
    for group in paths.groups:
        width = VECTOR_BYTES // real_bytes
        while group.mul % width:
            width //= 2
        entries = []
        for l2 in group.l2s:
            C = clebsch_gordan(group.irrep_in.l, l2, group.irrep_out.l)
            of_path = []
            for M in range(C.shape[2]):
                for m1 in range(C.shape[0]):
                    terms = [(l2 * l2 + m2, float(C[m1, m2, M])) for m2 in range(C.shape[1])]
                    terms = [(y, value) for y, value in terms if value != 0.0]
                    if terms:
                        of_path.append(Entry(M, m1, terms, index))
                        index += 1
            entries.append(of_path)
        groups.append(
            Group(
                group,
                width,
                x_slices[group.irrep_in].start,
                g_slices[group.irrep_out].start + used[group.irrep_out],
                paths.irreps_out.mul(group.irrep_out),
                entries,
            )
        )
        used[group.irrep_out] += group.mul * len(group.l2s)
    return groups


def convolution_source(paths: ConvolutionPaths, real: str) -> str:
    """Return C source with functions ``derivative_g``, ``_x``, ``_R`` and ``_Y``.

    Args:
        paths: The table.
        real: ``float`` or ``double``.
    """
    groups = coupled_groups(paths, 4 if real == "float" else 8)
    widths = sorted({group.width for group in groups})
    header = HEADER.format(
        real=real,
        vectors="\n".join(
            f"typedef real v{w} __attribute__((vector_size({w} * sizeof(real)), aligned(sizeof(real))));"
            if w > 1
            else "typedef real v1;"
            for w in widths
        ),
        n_x=paths.irreps_in.dim,
        n_Y=(paths.l_max + 1) ** 2,
        n_R=paths.n_weights,
        n_g=paths.irreps_out.dim,
        n_c=sum(len(path) for group in groups for path in group.entries),
    )
    return "\n".join(
        [
            header,
            _coupled(groups),
            _derivative_g(groups),
            _derivative_x(groups),
            _derivative_R(groups),
            _derivative_Y(groups),
        ]
    )


def _coupled(groups: list[Group]) -> str:
    """c = Σ_m2 C Y of one edge."""
    lines = ["static inline void coupled(const real *restrict Y, real *restrict c) {"]
    for entry in (entry for group in groups for path in group.entries for entry in path):
        total = " + ".join(f"(real){value!r} * Y[{y}]" for y, value in entry.terms)
        lines.append(f"  c[{entry.position}] = {total};")
    return "\n".join([*lines, "}", ""])


def _kernel(name: str, loop: str, setup: list[str], body: list[str]) -> str:
    """A kernel: ``body`` for each i of a parallel loop."""
    return "\n".join(
        [
            f"void derivative_{name}(const term *terms, real *restrict {name}, const edges *E) {{",
            "  const int64_t n_terms = E->n_terms, *senders = E->senders;",
            "  const int threads = (int)E->threads;",
            "  int64_t *row = rows(E->receivers, E->n_edges, E->n_nodes), degree = largest_degree(row, E->n_nodes);",
            "  (void)degree; (void)senders;",
            *setup,
            "#pragma omp parallel num_threads(threads) if (threads > 1)",
            "  {",
            "    BEFORE",
            "#pragma omp for schedule(static)",
            f"    for (int64_t i = 0; i < {loop}; ++i) {{",
            *body,
            "    }",
            "    AFTER",
            "  }",
            "  free(row);",
            "}",
            "",
        ]
    )


ALLOCATE = "real *c = malloc((degree + 1) * n_terms * NC * sizeof *c);"
NODE_EDGES = [
    "      const int64_t a = row[i], b = row[i + 1];",
    "      for (int64_t t = 0; t < n_terms; ++t) {  /* a Y that an earlier term has is not coupled again */",
    "        int64_t s = 0;",
    "        while (terms[s].Y != terms[t].Y) ++s;",
    "        for (int64_t e = a; e < b; ++e) {",
    "          real *ce = c + (t * degree + e - a) * NC;",
    "          if (s == t) coupled(terms[t].Y + e * NY, ce);",
    "          else memcpy(ce, c + (s * degree + e - a) * NC, NC * sizeof *ce);",
    "        }",
    "      }",
]
EACH_TERM = "for (int64_t t = 0; t < n_terms; ++t)"


def _load(width: int, address: str) -> str:
    return f"*(const v{width} *)({address})"


def _store(width: int, address: str, value: str, operator: str = "=") -> str:
    return f"*(v{width} *)({address}) {operator} {value};"


def _zeros(width: int, names: list[str]) -> str:
    return f"v{width} {', '.join(f'{name} = {{0}}' for name in names)};"


def _each_path(group: Group) -> Iterator[tuple[int, list[tuple[int, list[Entry]]]]]:
    """Paths of a group, each with its entries by M."""
    for p, entries in enumerate(group.entries):
        by_M = [(M, [entry for entry in entries if entry.M == M]) for M in range(group.paths.irrep_out.dim)]
        yield p, by_M


def _derivative_g(groups: list[Group]) -> str:
    """The convolution: g_M = Σ_e R Σ_m1 c x."""
    body = [*NODE_EDGES]
    for group in groups:
        w, K = group.width, group.paths.mul
        D1, D3, P = group.paths.irrep_in.dim, group.paths.irrep_out.dim, len(group.entries)
        body.append(f"      for (int k = 0; k < {K}; k += {w}) {{")
        body.append(f"        {_zeros(w, [f'g{p}_{M}' for p in range(P) for M in range(D3)])}")
        body.append(f"        {EACH_TERM} for (int64_t e = a; e < b; ++e) {{")
        body.append(
            f"          const real *ce = c + (t * degree + e - a) * NC, "
            f"*xe = terms[t].x + senders[e] * NX + {group.x} + k, "
            f"*Re = terms[t].R + row_of(E, e) * NR + {group.paths.weights.start} + k;"
        )
        for m1 in range(D1):
            body.append(f"          const v{w} x{m1} = {_load(w, f'xe + {m1 * K}')};")
        for p, by_M in _each_path(group):
            body.append(f"          const v{w} R{p} = {_load(w, f'Re + {p * K}')};")
            for M, entries in by_M:
                if entries:
                    total = " + ".join(f"ce[{entry.position}] * x{entry.m1}" for entry in entries)
                    body.append(f"          g{p}_{M} += R{p} * ({total});")
        body.append("        }")
        for p in range(P):
            for M in range(D3):
                address = f"g + i * NG + {group.g + M * group.stride + p * K} + k"
                body.append(f"        {_store(w, address, f'g{p}_{M}')}")
        body.append("      }")
    kernel = _kernel("g", "E->n_nodes", [], body)
    return kernel.replace("BEFORE", ALLOCATE).replace("AFTER", "free(c);")


def _derivative_R(groups: list[Group]) -> str:
    """R = Σ_M g_M Σ_m1 c x, summed over the edges of each row."""
    body = [
        "      const int64_t n = E->rows ? 2 : 1, *of_row = E->rows ? E->rows + 2 * i : &i;",
        f"      {EACH_TERM} for (int64_t s = 0; s < n; ++s)",
        "        coupled(terms[t].Y + of_row[s] * NY, c + (t * 2 + s) * NC);",
    ]
    for group in groups:
        w, K = group.width, group.paths.mul
        body.append(f"      for (int k = 0; k < {K}; k += {w}) {{")
        body.append(f"        {_zeros(w, [f'R{p}' for p in range(len(group.entries))])}")
        body.append(f"        {EACH_TERM} for (int64_t s = 0; s < n; ++s) {{")
        body.append(
            f"          const real *ce = c + (t * 2 + s) * NC, "
            f"*xe = terms[t].x + senders[of_row[s]] * NX + {group.x} + k, "
            f"*gi = terms[t].g + E->receivers[of_row[s]] * NG + {group.g} + k;"
        )
        for m1 in range(group.paths.irrep_in.dim):
            body.append(f"          const v{w} x{m1} = {_load(w, f'xe + {m1 * K}')};")
        for p, by_M in _each_path(group):
            for M, entries in by_M:
                if entries:
                    total = " + ".join(f"ce[{entry.position}] * x{entry.m1}" for entry in entries)
                    loaded = _load(w, f"gi + {M * group.stride + p * K}")
                    body.append(f"          R{p} += {loaded} * ({total});")
        body.append("        }")
        for p in range(len(group.entries)):
            address = f"R + i * NR + {group.paths.weights.start + p * K} + k"
            body.append(f"        {_store(w, address, f'R{p}')}")
        body.append("      }")
    kernel = _kernel("R", "E->n_rows", [], body)
    allocate = "real *c = malloc(2 * (n_terms + 1) * NC * sizeof *c);"
    return kernel.replace("BEFORE", allocate).replace("AFTER", "free(c);")


def _derivative_x(groups: list[Group]) -> str:
    """x_m1 = Σ_M c R g_M, summed at the sender of each edge: every thread has sums of its own."""
    body = [*NODE_EDGES]
    for group in groups:
        w, K = group.width, group.paths.mul
        D1 = group.paths.irrep_in.dim
        body.append(f"      for (int k = 0; k < {K}; k += {w})")
        body.append(f"        {EACH_TERM} for (int64_t e = a; e < b; ++e) {{")
        body.append(f"          {_zeros(w, [f'x{m1}' for m1 in range(D1)])}")
        body.append(
            f"          const real *ce = c + (t * degree + e - a) * NC, "
            f"*Re = terms[t].R + row_of(E, e) * NR + {group.paths.weights.start} + k, "
            f"*gi = terms[t].g + i * NG + {group.g} + k;"
        )
        for p, by_M in _each_path(group):
            body.append(f"          const v{w} R{p} = {_load(w, f'Re + {p * K}')};")
            for M, entries in by_M:
                if entries:
                    loaded = _load(w, f"gi + {M * group.stride + p * K}")
                    body.append(f"          const v{w} u{p}_{M} = R{p} * {loaded};")
                    body.extend(
                        f"          x{entry.m1} += ce[{entry.position}] * u{p}_{M};" for entry in entries
                    )
        body.append(f"          real *xe = mine + senders[e] * NX + {group.x} + k;")
        body.extend(f"          {_store(w, f'xe + {m1 * K}', f'x{m1}', '+=')}" for m1 in range(D1))
        body.append("        }")
    setup = [
        "  const int64_t n_x = E->n_nodes * NX;",
        "  memset(x, 0, n_x * sizeof *x);",
        "  real *others = threads > 1 ? calloc((threads - 1) * n_x, sizeof *others) : NULL;",
    ]
    before = f"""{ALLOCATE}
    const int thread = omp_get_thread_num();
    real *mine = thread ? others + (thread - 1) * n_x : x;"""
    after = """free(c);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < E->n_nodes; ++n)
      for (int t = 1; t < threads; ++t)
        for (int q = 0; q < NX; ++q) x[n * NX + q] += others[(t - 1) * n_x + n * NX + q];"""
    kernel = _kernel("x", "E->n_nodes", setup, body)
    kernel = kernel.replace("BEFORE", before).replace("AFTER", after)
    return kernel.replace("  free(row);\n", "  free(others);\n  free(row);\n")


def _derivative_Y(groups: list[Group]) -> str:
    """Y_m2 = Σ C Σ_k R g_M x_m1 of each edge: the sums over channels are kept as vectors up to the end."""
    n_Y = 1 + max(y for group in groups for path in group.entries for entry in path for y, _ in entry.terms)
    body = [
        "      for (int64_t e = row[i]; e < row[i + 1]; ++e) {",
        "        real *Ye = Y + e * NY;",
        "        memset(Ye, 0, NY * sizeof *Ye);",
    ]
    for w in sorted({group.width for group in groups}):
        zero = "{{0}}" if w > 1 else "{0}"
        body.append(f"        {{ v{w} y[{n_Y}] = {zero}; {EACH_TERM} {{")
        for group in (group for group in groups if group.width == w):
            K = group.paths.mul
            body.append(
                f"        {{ const real *xe = terms[t].x + senders[e] * NX + {group.x}, "
                f"*Re = terms[t].R + row_of(E, e) * NR + {group.paths.weights.start}, "
                f"*gi = terms[t].g + i * NG + {group.g};"
            )
            for p, by_M in _each_path(group):
                for M, entries in by_M:
                    if not entries:
                        continue
                    body.append(f"          {{ {_zeros(w, [f'q{entry.m1}' for entry in entries])}")
                    body.append(f"            for (int k = 0; k < {K}; k += {w}) {{")
                    product = f"{_load(w, f'Re + {p * K} + k')} * {_load(w, f'gi + {M * group.stride + p * K} + k')}"
                    body.append(f"              const v{w} u = {product};")
                    body.extend(
                        f"              q{entry.m1} += u * {_load(w, f'xe + {entry.m1 * K} + k')};"
                        for entry in entries
                    )
                    body.append("            }")
                    by_y: dict[int, list[str]] = {}
                    for entry in entries:
                        for y, value in entry.terms:
                            by_y.setdefault(y, []).append(f"(real){value!r} * q{entry.m1}")
                    body.extend(f"            y[{y}] += {' + '.join(terms)};" for y, terms in by_y.items())
                    body.append("          }")
            body.append("        }")
        sum_up = " + ".join(f"y[n][{lane}]" for lane in range(w)) if w > 1 else "y[n]"
        body.append(f"        }}\n        for (int n = 0; n < {n_Y}; ++n) Ye[n] += {sum_up};\n        }}")
    body.append("      }")
    return _kernel("Y", "E->n_nodes", [], body).replace("    BEFORE\n", "").replace("    AFTER\n", "")
