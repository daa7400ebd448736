/* The product basis: derivatives of
 *
 *   S(A; W, g) = sum over nodes i, entries e, channels k of  g[i,M_e,k] c[z_i,e,k] prod_f A[i,f,k],
 *   c[z,e,k]   = sum over paths p of  C[e,p] W[z,p,k],
 *
 * where entry e is a monomial (factors f) and a component M_e of the message. S is linear in W and g and a
 * polynomial in A: its directional derivative along u_1 ... u_n is found with numbers A + eps_1 u_1 + ... whose
 * eps square to zero, and is the coefficient of the product of all eps. DIRECTIONS, the n that is given, is a
 * constant of the compilation, `real` is float or double, ORDER the largest degree of a monomial.
 *
 * A tile is LANES channels of a group of nodes of one element, so that several products go on at once, and a
 * coefficient is read once for all. Where channels or nodes are missing there are zeros. */

#define SETS (1 << DIRECTIONS)
#define FULL (SETS - 1)
#define BLOCK 64 /* monomials that one task sums over all nodes */
#define GROUP 4  /* nodes */
#define EACH_NODE UNROLL for (int g = 0; g < GROUP; ++g)
typedef struct { vec of[GROUP]; } tile;

typedef struct { /* eight bytes each */
  const real *A[DIRECTIONS + 1], *W, *g; /* A, u_1 ... u_n: (n_nodes, n_A, channels) */
  real *out;
  const int64_t *species;
  int64_t n_nodes, n_matrices, channels, n_A, n_m, n_entries, n_paths, threads;
  int64_t first[ORDER + 1]; /* monomials of degree d are first[d - 1] .. first[d] */
  const int32_t *factors, *entries, *component, *term, *path; /* entries: first one of each monomial; term: of e */
  const double *values;
} table;

static vec *vectors(int64_t n) { return (vec *)reals((n > 0 ? n : 1) * LANES); }
static tile *tiles(int64_t n) { return (tile *)vectors(n * GROUP); }

/* Nodes of one element */
typedef struct { int64_t z, n; const int64_t *nodes; } group;

static group *make_groups(const table *t, order o, int64_t *n_groups) {
  group *groups = malloc((t->n_nodes / GROUP + t->n_matrices + 1) * sizeof *groups);
  *n_groups = 0;
  for (int64_t z = 0; z < t->n_matrices; ++z)
    for (int64_t from = o.first[z]; from < o.first[z + 1]; from += GROUP) {
      const int64_t n = o.first[z + 1] - from < GROUP ? o.first[z + 1] - from : GROUP;
      groups[(*n_groups)++] = (group){z, n, o.nodes + from};
    }
  return groups;
}

static inline int64_t width_of(const table *t, int64_t chunk) {
  return t->channels - chunk * LANES < LANES ? t->channels - chunk * LANES : LANES;
}

/* Row r of a chunk of a matrix */
static inline vec load(const real *from, int64_t r, const table *t, int64_t chunk) {
  const real *at = from + r * t->channels + chunk * LANES;
  if (width_of(t, chunk) == LANES) return LOAD(at);
  vec v = {0};
  memcpy(&v, at, width_of(t, chunk) * sizeof(real));
  return v;
}

static inline void store(vec v, int64_t r, const table *t, int64_t chunk, real *to) {
  memcpy(to + r * t->channels + chunk * LANES, &v, width_of(t, chunk) * sizeof(real));
}

/* `rows` rows of each node; `apart` tiles from one to the next */
static void load_tiles(const real *from, int64_t rows, const table *t, int64_t chunk, group at, tile *to, int64_t apart) {
  for (int64_t g = 0; g < GROUP; ++g)
    for (int64_t r = 0; r < rows; ++r)
      to[r * apart].of[g] = g < at.n ? load(from + at.nodes[g] * rows * t->channels, r, t, chunk) : (vec){0};
}

static void store_tiles(const tile *from, int64_t rows, const table *t, int64_t chunk, group at, real *to) {
  for (int64_t g = 0; g < at.n; ++g)
    for (int64_t r = 0; r < rows; ++r) store(from[r].of[g], r, t, chunk, to + at.nodes[g] * rows * t->channels);
}

/* A and its directions; the parts of a number lie one after another. */
static void load_numbers(const table *t, int64_t chunk, group at, tile *a) {
  for (int n = 0; n <= DIRECTIONS; ++n) load_tiles(t->A[n], t->n_A, t, chunk, at, a + n, DIRECTIONS + 1);
}

/* p times a number */
INLINE void multiply_by(tile *p, const tile *number) {
  UNROLL for (int s = FULL; s >= 0; --s) EACH_NODE {
    vec r = p[s].of[g] * number[0].of[g];
    for (int i = 0; i < DIRECTIONS; ++i)
      if (s >> i & 1) r += p[s ^ (1 << i)].of[g] * number[1 + i].of[g];
    p[s].of[g] = r;
  }
}

/* p = a number times the components f[0] .. f[count - 1] other than `without` */
INLINE void product(tile *p, const tile *number, const tile *a, const int32_t *f, int count, int without) {
  UNROLL for (int s = 0; s < SETS; ++s) EACH_NODE p[s].of[g] = (vec){0};
  EACH_NODE p[0].of[g] = number[0].of[g];
  for (int i = 0; i < DIRECTIONS; ++i) EACH_NODE p[1 << i].of[g] = number[1 + i].of[g];
  UNROLL for (int x = 0; x < count; ++x)
    if (x != without) multiply_by(p, a + f[x] * (DIRECTIONS + 1));
}

/* p = the product of the first `degree` - 1 factors */
INLINE void product_before(tile *p, const tile *a, const int32_t *f, int degree) {
  if (degree > 1) product(p, a + f[0] * (DIRECTIONS + 1), a, f + 1, degree - 2, -1);
  else {
    UNROLL for (int s = 0; s < SETS; ++s) EACH_NODE p[s].of[g] = (vec){0} + (real)!s;
  }
}

/* Coefficient of all eps in p times a number */
INLINE tile full_part(const tile *p, const tile *number) {
  tile r;
  EACH_NODE r.of[g] = p[FULL].of[g] * number[0].of[g];
  for (int i = 0; i < DIRECTIONS; ++i) EACH_NODE r.of[g] += p[FULL ^ (1 << i)].of[g] * number[1 + i].of[g];
  return r;
}

/* c[z][chunk][e] */
static vec *coefficients(const table *t, int64_t chunks) {
  vec *c = vectors(t->n_matrices * chunks * t->n_entries);
  vec *w = vectors(t->n_matrices * chunks * t->n_paths);
#pragma omp parallel for collapse(2) num_threads(t->threads) if (t->threads > 1)
  for (int64_t z = 0; z < t->n_matrices; ++z)
    for (int64_t q = 0; q < chunks; ++q) {
      vec *mine = c + (z * chunks + q) * t->n_entries, *wq = w + (z * chunks + q) * t->n_paths;
      for (int64_t p = 0; p < t->n_paths; ++p) wq[p] = load(t->W + z * t->n_paths * t->channels, p, t, q);
      for (int64_t e = 0; e < t->n_entries; ++e) {
        vec sum = {0};
        for (int64_t n = t->term[e]; n < t->term[e + 1]; ++n) sum += (real)t->values[n] * wq[t->path[n]];
        mine[e] = sum;
      }
    }
  free(w);
  return c;
}

/* Monomials from .. to, in runs that share all factors but the last one: `before` at the beginning of a run, `body` for
 * each monomial, `after` at the end; f: factors of the run, number: the last factor of a monomial. */
#define EACH_MONOMIAL(from, to, before, body, after)                                                       \
  for (int degree_ = 1; degree_ <= ORDER; ++degree_) {                                                     \
    const int64_t begin_ = t->first[degree_ - 1] > (from) ? t->first[degree_ - 1] : (from);                \
    const int64_t end_ = t->first[degree_] < (to) ? t->first[degree_] : (to);                              \
    switch (degree_) { /* so that the number of factors is a constant inside */                            \
      case 1: { enum { degree = 1 }; RUNS(begin_, end_, before, body, after) } break;                      \
      case 2: { enum { degree = 2 }; RUNS(begin_, end_, before, body, after) } break;                      \
      case 3: { enum { degree = 3 }; RUNS(begin_, end_, before, body, after) } break;                      \
      case 4: { enum { degree = 4 }; RUNS(begin_, end_, before, body, after) } break;                      \
    }                                                                                                      \
  }
#define RUNS(from, to, before, body, after)                                                                \
  for (int64_t mu = from; mu < to;) {                                                                      \
    const int32_t *f = t->factors + mu * ORDER;                                                            \
    before                                                                                                 \
    do {                                                                                                   \
      const int32_t last = t->factors[mu * ORDER + degree - 1];                                            \
      const tile *number = a + last * (DIRECTIONS + 1);                                                    \
      body                                                                                                 \
      ++mu;                                                                                                \
    } while (mu < to && !memcmp(t->factors + mu * ORDER, f, (degree - 1) * sizeof *f));                    \
    after                                                                                                  \
  }

void derivative_g(const table *t) {
  const int64_t chunks = (t->channels + LANES - 1) / LANES;
  const order o = sort_nodes(t->species, t->n_nodes, t->n_matrices);
  int64_t n_groups;
  group *groups = make_groups(t, o, &n_groups);
  vec *c = coefficients(t, chunks);
#pragma omp parallel num_threads(t->threads) if (t->threads > 1)
  {
    tile *a = tiles(t->n_A * (DIRECTIONS + 1)), *m = tiles(t->n_m);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < chunks * n_groups; ++task) {
      const int64_t q = task / n_groups;
      const group at = groups[task % n_groups];
      const vec *ci = c + (at.z * chunks + q) * t->n_entries;
      load_numbers(t, q, at, a);
      memset(m, 0, t->n_m * sizeof *m);
      EACH_MONOMIAL(0, t->first[ORDER], tile v[SETS]; product_before(v, a, f, degree);, {
        const tile p = full_part(v, number);
        for (int32_t e = t->entries[mu]; e < t->entries[mu + 1]; ++e)
          EACH_NODE m[t->component[e]].of[g] += ci[e] * p.of[g];
      }, )
      store_tiles(m, t->n_m, t, q, at, t->out);
    }
    free(a);
    free(m);
  }
  free(c);
  free(groups);
  free_order(o);
}

/* Derivative with respect to A, or to one more direction. */
void derivative_A(const table *t) {
  const int64_t chunks = (t->channels + LANES - 1) / LANES;
  const order o = sort_nodes(t->species, t->n_nodes, t->n_matrices);
  int64_t n_groups;
  group *groups = make_groups(t, o, &n_groups);
  vec *c = coefficients(t, chunks);
#pragma omp parallel num_threads(t->threads) if (t->threads > 1)
  {
    tile *a = tiles(t->n_A * (DIRECTIONS + 1)), *m = tiles(t->n_m), *d = tiles(t->n_A);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < chunks * n_groups; ++task) {
      const int64_t q = task / n_groups;
      const group at = groups[task % n_groups];
      const vec *ci = c + (at.z * chunks + q) * t->n_entries;
      load_numbers(t, q, at, a);
      load_tiles(t->g, t->n_m, t, q, at, m, 1);
      memset(d, 0, t->n_A * sizeof *d);
      EACH_MONOMIAL(0, t->first[ORDER], tile v[SETS]; tile sum[DIRECTIONS + 1] = {0}; product_before(v, a, f, degree);, {
        tile s = {0};
        for (int32_t e = t->entries[mu]; e < t->entries[mu + 1]; ++e)
          EACH_NODE s.of[g] += ci[e] * m[t->component[e]].of[g];
        EACH_NODE d[last].of[g] += s.of[g] * v[FULL].of[g];
        for (int i = 0; i <= DIRECTIONS; ++i) EACH_NODE sum[i].of[g] += s.of[g] * number[i].of[g];
      }, UNROLL for (int y = 0; y < degree - 1; ++y) {
        product(v, sum, a, f, degree - 1, y);
        EACH_NODE d[f[y]].of[g] += v[FULL].of[g];
      })
      store_tiles(d, t->n_A, t, q, at, t->out);
    }
    free(a);
    free(m);
    free(d);
  }
  free(c);
  free(groups);
  free_order(o);
}

void derivative_W(const table *t) {
  const int64_t chunks = (t->channels + LANES - 1) / LANES;
  const int64_t blocks = (t->first[ORDER] + BLOCK - 1) / BLOCK, n_c = t->n_matrices * chunks * t->n_entries;
  const order o = sort_nodes(t->species, t->n_nodes, t->n_matrices);
  int64_t n_groups;
  group *groups = make_groups(t, o, &n_groups);
  vec *c = vectors(n_c);
  memset(c, 0, n_c * sizeof *c);
#pragma omp parallel num_threads(t->threads) if (t->threads > 1)
  {
    tile *a = tiles(t->n_A * (DIRECTIONS + 1)), *m = tiles(t->n_m);
    vec *w = vectors(t->n_paths);
#pragma omp for collapse(2) schedule(static)
    for (int64_t q = 0; q < chunks; ++q)
      for (int64_t block = 0; block < blocks; ++block)
        for (int64_t i = 0; i < n_groups; ++i) {
          const group at = groups[i];
          vec *ci = c + (at.z * chunks + q) * t->n_entries;
          load_numbers(t, q, at, a);
          load_tiles(t->g, t->n_m, t, q, at, m, 1);
          EACH_MONOMIAL(block * BLOCK, (block + 1) * BLOCK, tile v[SETS]; product_before(v, a, f, degree);, {
            const tile p = full_part(v, number);
            for (int32_t e = t->entries[mu]; e < t->entries[mu + 1]; ++e) {
              vec sum = {0};
              EACH_NODE sum += m[t->component[e]].of[g] * p.of[g];
              ci[e] += sum;
            }
          }, )
        }
#pragma omp for collapse(2) schedule(static)
    for (int64_t z = 0; z < t->n_matrices; ++z)
      for (int64_t q = 0; q < chunks; ++q) {
        const vec *ci = c + (z * chunks + q) * t->n_entries;
        memset(w, 0, t->n_paths * sizeof *w);
        for (int64_t e = 0; e < t->n_entries; ++e)
          for (int64_t n = t->term[e]; n < t->term[e + 1]; ++n) w[t->path[n]] += (real)t->values[n] * ci[e];
        for (int64_t p = 0; p < t->n_paths; ++p) store(w[p], p, t, q, t->out + z * t->n_paths * t->channels);
      }
    free(a);
    free(m);
    free(w);
  }
  free(c);
  free(groups);
  free_order(o);
}
