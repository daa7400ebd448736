/* Derivatives of every function of linear ACE, as rows of a design matrix:
 *
 *   rows[c, place_ik] += share_iz sum_v G_fv(A_i) D_i,vk   for the column c of function f and set z,
 *
 * where G_fv = dB_f / dA_v and D_i has, for each component v, A_v itself (a homogeneous B of order n is 1/n sum G A),
 * the virial and -dA_v/dr of each atom that i sees. LANES atoms go together: G is made for all of them, some functions
 * at a time, and is multiplied by the D of each while it lies in the cache. A column belongs to one thread. */

typedef struct { /* eight bytes each */
  const real *A, *slopes, *a, *share, *vectors; /* of nodes; of edges (phi, 3); (dims); of nodes (sets); of edges */
  real *out;                                    /* (columns, n_rows): energies, virials and forces of the batch */
  const int64_t *first, *local, *centre, *first_seen, *seen, *graph; /* edges and the atoms seen of each node */
  int64_t n_nodes, n_graphs, n_rows, width, n_phi, n_dims, n_sets, n_functions, n_chunks, threads;
  const int64_t *function, *monomial, *entry, *term, *column; /* first of each chunk, function, entry; (sets, functions) */
  const int32_t *factors, *component, *index;                 /* of monomials, entries, terms */
  const real *value, *inverse_order;                          /* of terms, functions */
} design;

#define AROUND 7 /* columns of D for the energy and the virial; those of atoms follow */

/* D of node i, rows of s->width columns */
static void differentiate(const design *s, int64_t i, real *D) {
  const int64_t n_components = s->n_phi * s->n_dims, width = s->width;
  memset(D, 0, n_components * width * sizeof *D);
  for (int64_t v = 0; v < n_components; ++v) D[v * width] = s->A[i * n_components + v];
  for (int64_t e = s->first[i]; e < s->first[i + 1]; ++e) {
    const real *r = s->vectors + 3 * e;
    const int64_t there = AROUND + 3 * s->local[e], here = AROUND + 3 * s->centre[i];
    for (int64_t d = 0; d < s->n_dims; ++d) {
      const real a = s->a[e * s->n_dims + d];
      if (a == 0) continue;
      for (int64_t n = 0; n < s->n_phi; ++n) {
        const real *g = s->slopes + (e * s->n_phi + n) * 3;
        real *to = D + (n * s->n_dims + d) * width;
        const real x = a * g[0], y = a * g[1], z = a * g[2];
        to[there] += x, to[there + 1] += y, to[there + 2] += z;
        to[here] -= x, to[here + 1] -= y, to[here + 2] -= z;
        to[1] += r[0] * x, to[2] += r[1] * y, to[3] += r[2] * z;
        to[4] += (r[1] * z + r[2] * y) / 2, to[5] += (r[0] * z + r[2] * x) / 2, to[6] += (r[0] * y + r[1] * x) / 2;
      }
    }
  }
}

/* G of the functions of a chunk; V: components, then 1, of LANES nodes */
static void gradients(const design *s, int64_t chunk, const vec *V, vec *others, vec *G) {
  for (int64_t m = s->monomial[chunk]; m < s->monomial[chunk + 1]; ++m, others += ORDER) {
    const int32_t *f = s->factors + m * ORDER;
    vec before = (vec){0} + 1, after = before;
    UNROLL for (int x = 0; x < ORDER; ++x) others[x] = before, before *= V[f[x]];
    UNROLL for (int x = ORDER - 1; x > 0; --x) after *= V[f[x]], others[x - 1] *= after;
  }
  others -= (s->monomial[chunk + 1] - s->monomial[chunk]) * ORDER;
  const int64_t last = s->entry[s->function[chunk + 1]];
  for (int64_t e = s->entry[s->function[chunk]]; e < last; ++e) {
    vec sum = {0};
    for (int64_t t = s->term[e]; t < s->term[e + 1]; ++t) sum += s->value[t] * others[s->index[t]];
    *G++ = sum;
  }
}

/* sums = sum over entries of g D, `vectors` vectors of columns */
INLINE void contract(const real *g, const int32_t *component, int64_t n, const real *D, int64_t width, real *sums,
                     int vectors) {
  vec total[VECTORS] = {{0}};
  for (int64_t e = 0; e < n; ++e) {
    const real *from = D + component[e] * width;
    UNROLL for (int v = 0; v < vectors; ++v) total[v] += g[e * LANES] * LOAD(from + v * LANES);
  }
  UNROLL for (int v = 0; v < vectors; ++v) STORE(sums + v * LANES) = total[v];
}

/* Rows of node i for the functions of a chunk; G: its lane */
static void add_node(const design *s, int64_t i, int64_t chunk, const real *G, const real *D, real *sums) {
  const int64_t start = s->entry[s->function[chunk]], n_seen = s->first_seen[i + 1] - s->first_seen[i];
  const int64_t *seen = s->seen + s->first_seen[i], graph = s->graph[i], used = AROUND + 3 * n_seen;
  for (int64_t f = s->function[chunk]; f < s->function[chunk + 1]; ++f) {
    const int64_t e = s->entry[f], n = s->entry[f + 1] - e;
    const real *g = G + (e - start) * LANES;
    const int32_t *component = s->component + e;
    int64_t c = 0;
    for (; c + COLUMNS <= s->width && c < used; c += COLUMNS) contract(g, component, n, D + c, s->width, sums + c, VECTORS);
    for (; c < used; c += LANES) contract(g, component, n, D + c, s->width, sums + c, 1);
    sums[0] *= s->inverse_order[f];
    for (int64_t z = 0; z < s->n_sets; ++z) {
      const real share = s->share[i * s->n_sets + z];
      const int64_t column = s->column[z * s->n_functions + f];
      if (share == 0 || column < 0) continue;
      real *to = s->out + column * s->n_rows, *virial = to + s->n_graphs + 6 * graph, *forces = to + 7 * s->n_graphs;
      to[graph] += share * sums[0];
      for (int k = 0; k < 6; ++k) virial[k] += share * sums[1 + k];
      for (int64_t j = 0; j < n_seen; ++j)
        for (int x = 0; x < 3; ++x) forces[3 * seen[j] + x] += share * sums[AROUND + 3 * j + x];
    }
  }
}

void add_rows(const design *s) {
  const int64_t n_components = s->n_phi * s->n_dims, size = n_components * s->width;
  int64_t monomials = 0, entries = 0;
  for (int64_t chunk = 0; chunk < s->n_chunks; ++chunk) {
    const int64_t m = s->monomial[chunk + 1] - s->monomial[chunk];
    const int64_t e = s->entry[s->function[chunk + 1]] - s->entry[s->function[chunk]];
    if (m > monomials) monomials = m;
    if (e > entries) entries = e;
  }
  real *D = reals(LANES * size);
  vec *V = (vec *)reals((n_components + 1) * LANES);
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    vec *others = (vec *)reals(monomials * ORDER * LANES), *G = (vec *)reals(entries * LANES);
    real *sums = reals(s->width);
    for (int64_t at = 0; at < s->n_nodes; at += LANES) {
      const int64_t n = s->n_nodes - at < LANES ? s->n_nodes - at : LANES;
#pragma omp for schedule(dynamic)
      for (int64_t lane = 0; lane < LANES; ++lane) {
        real *to = (real *)V + lane;
        for (int64_t v = 0; v < n_components; ++v) to[v * LANES] = lane < n ? s->A[(at + lane) * n_components + v] : 0;
        to[n_components * LANES] = 1;
        if (lane < n) differentiate(s, at + lane, D + lane * size);
      }
#pragma omp for schedule(dynamic)
      for (int64_t chunk = 0; chunk < s->n_chunks; ++chunk) {
        gradients(s, chunk, V, others, G);
        for (int64_t lane = 0; lane < n; ++lane)
          add_node(s, at + lane, chunk, (const real *)G + lane, D + lane * size, sums);
      }
    }
    free(others);
    free(G);
    free(sums);
  }
  free(D);
  free(V);
}
