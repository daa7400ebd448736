r"""C source of the convolution for one table of paths.

The convolution is one form, linear in each of four arguments,

.. math:: S(x, Y, R, g) = \sum_{e = (j \to i)} \sum_{\eta, k} \sum_{M} g_{i,\eta k M}\, R_{e,\eta k}
          \sum_{m_1} \Bigl( \sum_{m_2} C^{LM}_{l_1 m_1, l_2 m_2} Y_{e,m_2} \Bigr) x_{j,k,m_1},

and its four partial derivatives are the four kernels: ∂S/∂g is the convolution itself, the others make up its
backward pass. Since each is linear in the remaining arguments, the derivatives of the kernels are the same
four kernels again: nothing else is needed at any order.

The bracket (called ``c`` below: ``coupled``, only its entries that can be non-zero) is shared by all channels. It is
built for a block of edges at once, one edge in each lane of a vector, when a group of paths is due. Then the lanes
are channels: the sums over the edges of a node and over terms are innermost, so that they stay in registers. A term
is a set of the other three arguments: each kernel gives the sum over several, as derivatives of derivatives need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch

from multiace.basis.coupling import clebsch_gordan
from multiace.ops.paths import ConvolutionPaths, PathGroup

__all__ = ["convolution_source"]

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
#define NC {n_c} /* entries of c in the largest bundle */
#define LANES {lanes}

/* Arguments of one term; the one that is computed is not read. */
typedef struct {{ const real *x, *Y, *R, *g; }} term;

/* Edges, and rows of R: row p holds for the edges rows[p] (two), or for edge p alone where rows is NULL. */
typedef struct {{ /* eight bytes each */
  const int64_t *senders, *receivers, *row_of_edge, *rows;
  int64_t n_nodes, n_edges, n_rows, n_terms, threads;
  real *out;
  term terms[];
}} edges;

/* First edge of each node; receivers ascend. */
static int64_t *first_edges(const int64_t *receivers, int64_t n_edges, int64_t n_nodes) {{
  int64_t *first = malloc((n_nodes + 1) * sizeof *first), e = 0;
  for (int64_t i = 0; i < n_nodes; ++i) {{
    first[i] = e;
    while (e < n_edges && receivers[e] == i) ++e;
  }}
  first[n_nodes] = e;
  return first;
}}

static int64_t largest_degree(const int64_t *first, int64_t n_nodes) {{
  int64_t largest = 0;
  for (int64_t i = 0; i < n_nodes; ++i)
    if (first[i + 1] - first[i] > largest) largest = first[i + 1] - first[i];
  return largest;
}}

/* Rows of x, R and g that one edge and term meet, its c, whose entries are LANES apart, and the R that is soon met. */
typedef struct {{ const real *x, *R, *g, *c, *soon; }} place;

/* What a thread does at once: edge[0] .. edge[n - 1]. Y and c are those of LANES edges after another, one in each lane,
 * term by term; places are edge by edge, and the terms of an edge one after another. */
typedef struct {{ int64_t n, blocks, n_terms, *edge; lane *Y, *c; place *places; }} work;

static work make_work(int64_t most, int64_t n_terms) {{
  const int64_t blocks = (most + LANES - 1) / LANES, size = (blocks * n_terms + 1) * sizeof(lane);
  work w = {{0, blocks, n_terms, malloc((most + 1) * sizeof(int64_t)), aligned_alloc(sizeof(lane), size * NY),
            aligned_alloc(sizeof(lane), size * NC), malloc((most + 1) * n_terms * sizeof(place))}};
  return w;
}}

static void free_work(work w) {{ free(w.edge); free(w.Y); free(w.c); free(w.places); }}

static void gather(const edges *E, const work *w) {{
  const term *terms = E->terms;
  for (int64_t t = 0; t < w->n_terms; ++t)
    for (int64_t q = 0; q < w->blocks * LANES && q < (w->n + LANES - 1) / LANES * LANES; ++q) {{
      const int64_t block = t * w->blocks + q / LANES, lane = q % LANES, e = w->edge[q < w->n ? q : 0];
      const int64_t soon = e + w->n < E->n_edges ? e + w->n : e;
      real *Y = (real *)(w->Y + block * NY) + lane;
      for (int64_t y = 0; y < NY; ++y) Y[y * LANES] = terms[t].Y ? terms[t].Y[e * NY + y] : 0;
      if (q >= w->n) continue;
      place *p = w->places + q * w->n_terms + t;
      p->x = terms[t].x + E->senders[e] * NX;
      p->R = terms[t].R + (E->row_of_edge ? E->row_of_edge[e] : e) * NR;
      p->g = terms[t].g + E->receivers[e] * NG;
      p->c = (const real *)(w->c + block * NC) + lane;
      p->soon = terms[t].R + (E->row_of_edge ? E->row_of_edge[soon] : soon) * NR;
    }}
}}

#define EACH_BLOCK(couple)                                  \\
  for (int64_t t = 0; t < n_terms; ++t)                     \\
    for (int64_t b = 0; b * LANES < w.n; ++b)               \\
      couple(w.Y + (t * w.blocks + b) * NY, w.c + (t * w.blocks + b) * NC);
"""

REGISTERS = {32: 16, 64: 32}
"""Vector registers of a processor, by the bytes of each."""


class Entry(NamedTuple):
    """One entry (M, m1) of the coupled matrix of a path that can be non-zero."""

    M: int
    m1: int
    terms: list[tuple[int, float]]  # (component of Y, coefficient)
    position: int  # in c of the group


class Group(NamedTuple):
    """A group of paths with all its offsets."""

    paths: PathGroup
    width: int  # channels per vector
    x: int  # offset of the block in x
    g: int  # offset of the first channel in g
    stride: int  # channels of g's block: distance from M to M + 1
    entries: list[list[Entry]]  # of each path

    @property
    def size(self) -> int:
        """Number of entries."""
        return sum(map(len, self.entries))


def vector_bytes() -> int:
    """Bytes of a vector of this processor; any number is correct, since the compiler splits or joins vectors."""
    return 64 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 32


@cache
def coupled_groups(paths: ConvolutionPaths, lanes: int = 8) -> list[Group]:
    """Groups of paths with their offsets and their coefficients other than zero."""
    groups = []
    x_slices, g_slices = paths.irreps_in.slices(), paths.irreps_out.slices()
    used = dict.fromkeys(paths.irreps_out.irreps, 0)
    for group in paths.groups:
        width, index = lanes, 0
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


class Place(NamedTuple):
    """One path in a bundle: where its weights and results begin in rows of R and g, and its entries."""

    l2: int
    R: int
    g: int
    stride: int  # from M to M + 1
    rows: list[tuple[int, list[Entry]]]
    dim: int  # 2L + 1


class Bundle(NamedTuple):
    """Paths from one irrep of h that one loop takes together, some vectors of channels at a time."""

    width: int  # channels per vector
    vectors: int
    mul: int
    x: int
    dim: int  # 2 l1 + 1
    places: list[Place]

    @property
    def entries(self) -> list[Entry]:
        """The entries of all paths, in the order of c."""
        return [entry for place in self.places for _, entries in place.rows for entry in entries]

    @property
    def step(self) -> int:
        """Channels of a turn."""
        return self.width * self.vectors


def bundles(groups: Sequence[Group], registers: int | None) -> list[Bundle]:
    """Join the paths of each irrep of h, as long as their sums and x fit into so many registers (None: all)."""
    joined: list[Bundle] = []
    for group in groups:
        irrep_in, dim = group.paths.irrep_in, group.paths.irrep_out.dim
        vectors = 2 if group.paths.mul % (2 * group.width) == 0 else 1
        for p, entries in enumerate(group.entries):
            sums = sum(place.dim for place in joined[-1].places) if joined else 0
            full = registers is not None and vectors * (sums + dim + irrep_in.dim + 2) + 1 > registers
            if not joined or joined[-1].x != group.x or full:
                joined.append(Bundle(group.width, vectors, group.paths.mul, group.x, irrep_in.dim, []))
            bundle = joined[-1]
            first = len(bundle.entries)
            entries = [entry._replace(position=first + n) for n, entry in enumerate(entries)]
            rows = [(M, [entry for entry in entries if entry.M == M]) for M in range(dim)]
            R, g = (start + p * group.paths.mul for start in (group.paths.weights.start, group.g))
            bundle.places.append(
                Place(group.paths.l2s[p], R, g, group.stride, [(M, here) for M, here in rows if here], dim)
            )
    return joined


def convolution_source(paths: ConvolutionPaths, real: str) -> str:
    """Return C source with functions ``derivative_g``, ``_x``, ``_R`` and ``_Y``.

    Args:
        paths: The table.
        real: ``float`` or ``double``.
    """
    lanes = vector_bytes() // (4 if real == "float" else 8)
    groups = coupled_groups(paths, lanes)
    few, whole = bundles(groups, REGISTERS[vector_bytes()]), bundles(groups, None)
    vector = "typedef {real} {name} __attribute__((vector_size({width} * sizeof(real)), aligned({aligned})));"
    integer = "int32_t" if real == "float" else "int64_t"
    widths = sorted({group.width for group in groups})
    header = HEADER.format(
        real=real,
        vectors="\n".join(
            [
                vector.format(real="real", name="lane", width=lanes, aligned=f"{lanes} * sizeof(real)"),
                *(
                    vector.format(real=kind, name=f"{letter}{w}", width=w, aligned="sizeof(real)")
                    for w in widths
                    if w > 1
                    for kind, letter in (("real", "v"), (integer, "i"))
                ),
                *(["typedef real v1;"] if 1 in widths else []),
                *map(_sum, widths),
            ]
        ),
        n_x=paths.irreps_in.dim,
        n_Y=(paths.l_max + 1) ** 2,
        n_R=paths.n_weights,
        n_g=paths.irreps_out.dim,
        n_c=max(len(bundle.entries) for bundle in whole),
        lanes=lanes,
    )
    return "\n".join(
        [
            header,
            *(_couple(f"few_{n}", bundle) for n, bundle in enumerate(few)),
            *(_couple(f"whole_{n}", bundle) for n, bundle in enumerate(whole)),
            _derivative_g(few),
            _derivative_x(whole),
            _derivative_R(few),
            _derivative_Y(whole),
        ]
    )


def _couple(name: str, bundle: Bundle) -> str:
    """c = Σ_m2 C Y of a bundle, for LANES edges."""
    lines = [f"static void {name}(const lane *restrict Y, lane *restrict c) {{"]
    for entry in bundle.entries:
        total = " + ".join(f"(real){value!r} * Y[{y}]" for y, value in entry.terms)
        lines.append(f"  c[{entry.position}] = {total};")
    return "\n".join([*lines, "}", ""])


def _kernel(name: str, before: Sequence[str], loop: str, body: Sequence[str], most: str) -> str:
    """A kernel: ``body`` in a loop that the threads share; ``most`` edges are worked on at once."""
    return "\n".join(
        [
            f"void derivative_{name}(const edges *E) {{",
            f"  real *restrict {name} = E->out;",
            "  const int64_t n_terms = E->n_terms, *senders = E->senders, *receivers = E->receivers;",
            "  int64_t *first = first_edges(receivers, E->n_edges, E->n_nodes);",
            "  (void)senders;",
            "#pragma omp parallel num_threads((int)E->threads) if (E->threads > 1)",
            "  {",
            f"    work w = make_work({most}, n_terms);",
            *before,
            loop,
            *body,
            "    }",
            "    free_work(w);",
            "  }",
            "  free(first);",
            "}",
            "",
        ]
    )


NODES = """\
#pragma omp for schedule(static)
    for (int64_t i = 0; i < E->n_nodes; ++i) {"""
ALL_EDGES = """\
      w.n = first[i + 1] - first[i];
      if (!w.n) continue;
      for (int64_t q = 0; q < w.n; ++q) w.edge[q] = first[i] + q;
      gather(E, &w);"""
DEGREE = "largest_degree(first, E->n_nodes)"


def _load(width: int, address: str) -> str:
    return f"*(const v{width} *)({address})"


def _define(bundle: Bundle, name: str, value: str) -> list[str]:
    """Vectors name_0, name_1 ...; an @ in the value stands for the number, $ for the vector's first channel."""
    return [
        f"const v{bundle.width} {name}_{v} = {value.replace('@', str(v)).replace('$', str(v * bundle.width))};"
        for v in range(bundle.vectors)
    ]


def _each(bundle: Bundle, statement: str) -> list[str]:
    """A statement for each vector."""
    return [statement.replace("@", str(v)).replace("$", str(v * bundle.width)) for v in range(bundle.vectors)]


def _zeros(bundle: Bundle, names: Sequence[str]) -> list[str]:
    return [f"v{bundle.width} {name}_{v} = {{0}};" for name in names for v in range(bundle.vectors)]


def _store(bundle: Bundle, address: str, name: str, operator: str = "=") -> list[str]:
    return _each(bundle, f"*(v{bundle.width} *)({address} + $) {operator} {name}_@;")


def _loads_x(bundle: Bundle) -> list[str]:
    lines = ["const real *ce = at->c, *xe = at->x + k;"]
    for m1 in range(bundle.dim):
        lines += _define(bundle, f"x{m1}", _load(bundle.width, f"xe + {bundle.x + m1 * bundle.mul} + $"))
    return lines


def _loads_R(bundle: Bundle, p: int, place: Place) -> list[str]:
    """R of a path; that of the next node's edges comes from far away, and is asked for."""
    return [
        *_define(bundle, f"R{p}", _load(bundle.width, f"Re + {place.R} + $")),
        *_each(bundle, f"__builtin_prefetch(soon + {place.R} + $, 0, 2);"),
    ]


def _total(bundle: Bundle, entries: list[Entry]) -> list[str]:
    """The vectors total = Σ_m1 c x for one M."""
    lines = [f"v{bundle.width} {', '.join(f'total_{v}' for v in range(bundle.vectors))};"]
    for n, entry in enumerate(entries):
        operator = "+=" if n else "="
        product = _each(bundle, f"total_@ {operator} c * x{entry.m1}_@;")
        lines.append(f"{{ const real c = ce[{entry.position} * LANES]; {' '.join(product)} }}")
    return lines


def _derivative_g(some: list[Bundle]) -> str:
    """The convolution: g_M = Σ_e R Σ_m1 c x."""
    body = [
        ALL_EDGES.replace(
            "if (!w.n) continue;", "if (!w.n) { memset(g + i * NG, 0, NG * sizeof *g); continue; }"
        )
    ]
    for number, bundle in enumerate(some):
        sums = {
            f"g{p}_{M}": place.g + M * place.stride
            for p, place in enumerate(bundle.places)
            for M in range(place.dim)
        }
        body += [
            f"EACH_BLOCK(few_{number})",
            f"for (int64_t k = 0; k < {bundle.mul}; k += {bundle.step}) {{",
            *_zeros(bundle, list(sums)),
            "for (const place *at = w.places; at < w.places + w.n * n_terms; ++at) {",
            *_loads_x(bundle),
            "const real *Re = at->R + k, *soon = at->soon + k;",
        ]
        for p, place in enumerate(bundle.places):
            body += _loads_R(bundle, p, place)
            for M, entries in place.rows:
                body += [
                    "{",
                    *_total(bundle, entries),
                    *_each(bundle, f"g{p}_{M}_@ += R{p}_@ * total_@;"),
                    "}",
                ]
        body += ["}", "real *gi = g + i * NG + k;"]
        for name, start in sums.items():
            body += _store(bundle, f"gi + {start}", name)
        body.append("}")
    return _kernel("g", [], NODES, body, DEGREE)


def _derivative_R(some: list[Bundle]) -> str:
    """R = Σ_M g_M Σ_m1 c x, summed over the edges of each row; as many rows together as fill a vector with edges."""
    body = [
        "const int64_t last = from + together < E->n_rows ? from + together : E->n_rows;",
        "w.n = (last - from) * each;",
        "for (int64_t q = 0; q < w.n; ++q) w.edge[q] = E->rows ? E->rows[from * 2 + q] : from + q;",
        "gather(E, &w);",
    ]
    for number, bundle in enumerate(some):
        body += [
            f"EACH_BLOCK(few_{number})",
            f"for (int64_t k = 0; k < {bundle.mul}; k += {bundle.step}) {{",
            "const place *at = w.places;",
            "for (int64_t row = from; row < last; ++row) {",
            *_zeros(bundle, [f"R{p}" for p in range(len(bundle.places))]),
            "for (const place *end = at + each * n_terms; at < end; ++at) {",
            *_loads_x(bundle),
            "const real *gi = at->g + k;",
        ]
        for p, place in enumerate(bundle.places):
            for M, entries in place.rows:
                loaded = _load(bundle.width, f"gi + {place.g + M * place.stride} + $")
                body += ["{", *_total(bundle, entries), *_each(bundle, f"R{p}_@ += {loaded} * total_@;"), "}"]
        body += ["}", "real *Re = R + row * NR + k;"]
        for p, place in enumerate(bundle.places):
            body += _store(bundle, f"Re + {place.R}", f"R{p}")
        body.append("} }")
    before = "    const int64_t each = E->rows ? 2 : 1, together = LANES / each > 0 ? LANES / each : 1;"
    loop = """\
#pragma omp for schedule(static)
    for (int64_t from = 0; from < E->n_rows; from += together) {"""
    return _kernel("R", [before], loop, body, "2 * LANES")


def _derivative_x(whole: list[Bundle]) -> str:
    """x_m1 = Σ_M c R g_M, summed at the sender of each edge: a thread does the edges that its own senders send."""
    body = [
        "w.n = 0;",
        "for (int64_t e = first[i]; e < first[i + 1]; ++e)",
        "  if (senders[e] >= own && senders[e] < end) w.edge[w.n++] = e;",
        "if (!w.n) continue;",
        "gather(E, &w);",
    ]
    for number, bundle in enumerate(whole):
        names = [f"x{m1}" for m1 in range(bundle.dim)]
        body += [
            f"EACH_BLOCK(whole_{number})",
            f"for (int64_t k = 0; k < {bundle.mul}; k += {bundle.step}) {{",
            "const place *at = w.places;",
            "for (int64_t q = 0; q < w.n; ++q) {",
            *_zeros(bundle, names),
            "for (const place *end = at + n_terms; at < end; ++at) {",
            "const real *ce = at->c, *Re = at->R + k, *gi = at->g + k, *soon = at->soon + k;",
        ]
        for p, place in enumerate(bundle.places):
            body += _loads_R(bundle, p, place)
            for M, entries in place.rows:
                loaded = _load(bundle.width, f"gi + {place.g + M * place.stride} + $")
                body += ["{", *_define(bundle, "u", f"R{p}_@ * {loaded}")]
                for entry in entries:
                    products = " ".join(_each(bundle, f"x{entry.m1}_@ += c * u_@;"))
                    body.append(f"{{ const real c = ce[{entry.position} * LANES]; {products} }}")
                body.append("}")
        body += ["}", "real *xe = x + senders[w.edge[q]] * NX + k;"]
        for m1, name in enumerate(names):
            body += _store(bundle, f"xe + {bundle.x + m1 * bundle.mul}", name, "+=")
        body.append("} }")
    before = """\
    const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    const int64_t own = E->n_nodes * thread / threads, end = E->n_nodes * (thread + 1) / threads;
    memset(x + own * NX, 0, (end - own) * NX * sizeof *x);"""
    loop = "    for (int64_t i = 0; i < E->n_nodes; ++i) {"
    return _kernel("x", [before], loop, body, DEGREE)


def _derivative_Y(whole: list[Bundle]) -> str:
    """Y_m2 = Σ C Σ_k R g_M x_m1 of each edge: the sums over channels are kept as vectors up to the end."""
    body = [ALL_EDGES, "for (int64_t q = 0; q < w.n; ++q) {", "real *Ye = Y + w.edge[q] * NY;"]
    body.append("memset(Ye, 0, NY * sizeof *Ye);")
    kinds = {
        (bundle.width, place.l2): None for bundle in whole for place in bundle.places if place.rows
    }  # in their order
    for w, l2 in kinds:
        ys = range(l2 * l2, (l2 + 1) ** 2)
        body.append(f"{{ v{w} {', '.join(f'y{y} = {{0}}' for y in ys)};")
        body.append("for (const place *at = w.places + q * n_terms, *end = at + n_terms; at < end; ++at) {")
        for bundle in whole:
            for place in bundle.places:
                if (bundle.width, place.l2) == (w, l2):
                    for M, entries in place.rows:
                        body += _sums_over_channels(bundle, place, M, entries)
        body.append("}")
        body += [f"Ye[{y}] += sum_{w}(y{y});" for y in ys]
        body.append("}")
    body.append("}")
    return _kernel("Y", [], NODES, body, DEGREE)


def _sums_over_channels(bundle: Bundle, place: Place, M: int, entries: list[Entry]) -> list[str]:
    """y_m2 += Σ_m1 C Σ_k R g_M x_m1 for one path and M."""
    w, K = bundle.width, bundle.mul
    product = (
        f"{_load(w, f'at->R + {place.R} + k')} * {_load(w, f'at->g + {place.g + M * place.stride} + k')}"
    )
    lines = [
        f"{{ v{w} {', '.join(f'q{entry.m1} = {{0}}' for entry in entries)};",
        f"for (int64_t k = 0; k < {K}; k += {w}) {{",
        f"const v{w} u = {product};",
        *(f"q{entry.m1} += u * {_load(w, f'at->x + {bundle.x + entry.m1 * K} + k')};" for entry in entries),
        "}",
    ]
    by_y: dict[int, list[str]] = {}
    for entry in entries:
        for y, value in entry.terms:
            by_y.setdefault(y, []).append(f"(real){value!r} * q{entry.m1}")
    return [*lines, *(f"y{y} += {' + '.join(terms)};" for y, terms in by_y.items()), "}"]


def _sum(width: int) -> str:
    """The sum of the lanes of a vector."""
    lines = [f"static inline real sum_{width}(v{width} v) {{"]
    if width == 1:
        return "\n".join([*lines, "  return v;", "}", ""])
    half = width // 2
    while half:
        turned = ", ".join(str((lane + half) % width) for lane in range(width))
        lines.append(f"  v += __builtin_shuffle(v, (i{width}){{{turned}}});")
        half //= 2
    return "\n".join([*lines, "  return v[0];", "}", ""])
