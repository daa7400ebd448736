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
 * A tile is LANES channels of one node; its rows are padded with zeros and contiguous. */
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES (64 / (int)sizeof(real))
#define SETS (1 << DIRECTIONS)
#define FULL (SETS - 1)
#define BLOCK 64 /* monomials that one task sums over all nodes */
typedef real vec __attribute__((vector_size(64), aligned(64)));

typedef struct { /* eight bytes each */
  const real *A[DIRECTIONS + 1], *W, *g; /* A, u_1 ... u_n: (n_nodes, n_A, channels) */
  real *out;
  const int64_t *species;
  int64_t n_nodes, n_matrices, channels, n_A, n_m, n_entries, n_paths, threads;
  int64_t first[ORDER + 1]; /* monomials of degree d are first[d - 1] .. first[d] */
  const int32_t *factors, *entries, *component, *term, *path; /* entries: first one of each monomial; term: of e */
  const double *values;
} table;

static vec *vectors(int64_t n) { return aligned_alloc(64, (n > 0 ? n : 1) * sizeof(vec)); }

static inline void load(const real *from, int64_t rows, const table *t, int64_t chunk, vec *to, int64_t stride) {
  const int64_t k = chunk * LANES, width = t->channels - k < LANES ? t->channels - k : LANES;
  for (int64_t r = 0; r < rows; ++r) {
    if (width < LANES) to[r * stride] = (vec){0};
    memcpy(to + r * stride, from + r * t->channels + k, width * sizeof(real));
  }
}

static inline void store(const vec *from, int64_t rows, const table *t, int64_t chunk, real *to) {
  const int64_t k = chunk * LANES, width = t->channels - k < LANES ? t->channels - k : LANES;
  for (int64_t r = 0; r < rows; ++r) memcpy(to + r * t->channels + k, from + r, width * sizeof(real));
}

/* p times the number of component f, whose parts lie one after another. */
static inline __attribute__((always_inline)) void multiply(vec *p, const vec *f) {
  for (int s = FULL; s >= 0; --s) {
    vec r = p[s] * f[0];
    for (int i = 0; i < DIRECTIONS; ++i)
      if (s >> i & 1) r += p[s ^ (1 << i)] * f[1 + i];
    p[s] = r;
  }
}

/* Coefficient of all eps in the product of the factors other than `without`. */
static inline __attribute__((always_inline)) vec product(const vec *a, const int32_t *f, int degree, int without) {
  vec p[SETS] = {{0}};
  p[0] += (real)1;
  for (int x = 0; x < degree; ++x)
    if (x != without) multiply(p, a + f[x] * (DIRECTIONS + 1));
  return p[FULL];
}

/* c[z][chunk][e] */
static vec *coefficients(const table *t, int64_t chunks) {
  vec *c = vectors(t->n_matrices * chunks * t->n_entries);
  vec *w = vectors(t->n_matrices * chunks * t->n_paths);
#pragma omp parallel for collapse(2) num_threads(t->threads) if (t->threads > 1)
  for (int64_t z = 0; z < t->n_matrices; ++z)
    for (int64_t q = 0; q < chunks; ++q) {
      vec *mine = c + (z * chunks + q) * t->n_entries, *wq = w + (z * chunks + q) * t->n_paths;
      load(t->W + z * t->n_paths * t->channels, t->n_paths, t, q, wq, 1);
      for (int64_t e = 0; e < t->n_entries; ++e) {
        vec sum = {0};
        for (int64_t n = t->term[e]; n < t->term[e + 1]; ++n) sum += (real)t->values[n] * wq[t->path[n]];
        mine[e] = sum;
      }
    }
  free(w);
  return c;
}

static inline void load_numbers(int64_t i, const table *t, int64_t chunk, vec *a) {
  for (int n = 0; n <= DIRECTIONS; ++n)
    load(t->A[n] + i * t->n_A * t->channels, t->n_A, t, chunk, a + n, DIRECTIONS + 1);
}

#define EACH_MONOMIAL(from, to, body)                                                                      \
  for (int degree_ = 1; degree_ <= ORDER; ++degree_) {                                                     \
    const int64_t begin_ = t->first[degree_ - 1] > (from) ? t->first[degree_ - 1] : (from);                \
    const int64_t end_ = t->first[degree_] < (to) ? t->first[degree_] : (to);                              \
    switch (degree_) { /* so that the number of factors is a constant inside */                            \
      case 1: { enum { degree = 1 }; for (int64_t mu = begin_; mu < end_; ++mu) { body } } break;          \
      case 2: { enum { degree = 2 }; for (int64_t mu = begin_; mu < end_; ++mu) { body } } break;          \
      case 3: { enum { degree = 3 }; for (int64_t mu = begin_; mu < end_; ++mu) { body } } break;          \
      case 4: { enum { degree = 4 }; for (int64_t mu = begin_; mu < end_; ++mu) { body } } break;          \
    }                                                                                                      \
  }

void derivative_g(const table *t) {
  const int64_t chunks = (t->channels + LANES - 1) / LANES, last = t->first[ORDER];
  vec *c = coefficients(t, chunks);
#pragma omp parallel num_threads(t->threads) if (t->threads > 1)
  {
    vec *a = vectors(t->n_A * (DIRECTIONS + 1)), *m = vectors(t->n_m);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < chunks * t->n_nodes; ++task) {
      const int64_t q = task / t->n_nodes, i = task % t->n_nodes;
      const vec *ci = c + ((t->species ? t->species[i] : 0) * chunks + q) * t->n_entries;
      load_numbers(i, t, q, a);
      memset(m, 0, t->n_m * sizeof *m);
      EACH_MONOMIAL(0, last, {
        const vec p = product(a, t->factors + mu * ORDER, degree, -1);
        for (int32_t e = t->entries[mu]; e < t->entries[mu + 1]; ++e) m[t->component[e]] += ci[e] * p;
      })
      store(m, t->n_m, t, q, t->out + i * t->n_m * t->channels);
    }
    free(a);
    free(m);
  }
  free(c);
}

/* Derivative with respect to A, or to one more direction. */
void derivative_A(const table *t) {
  const int64_t chunks = (t->channels + LANES - 1) / LANES, last = t->first[ORDER];
  vec *c = coefficients(t, chunks);
#pragma omp parallel num_threads(t->threads) if (t->threads > 1)
  {
    vec *a = vectors(t->n_A * (DIRECTIONS + 1)), *m = vectors(t->n_m), *d = vectors(t->n_A);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < chunks * t->n_nodes; ++task) {
      const int64_t q = task / t->n_nodes, i = task % t->n_nodes;
      const vec *ci = c + ((t->species ? t->species[i] : 0) * chunks + q) * t->n_entries;
      load_numbers(i, t, q, a);
      load(t->g + i * t->n_m * t->channels, t->n_m, t, q, m, 1);
      memset(d, 0, t->n_A * sizeof *d);
      EACH_MONOMIAL(0, last, {
        vec s = {0};
        for (int32_t e = t->entries[mu]; e < t->entries[mu + 1]; ++e) s += ci[e] * m[t->component[e]];
        const int32_t *f = t->factors + mu * ORDER;
        for (int y = 0; y < degree; ++y) d[f[y]] += s * product(a, f, degree, y);
      })
      store(d, t->n_A, t, q, t->out + i * t->n_A * t->channels);
    }
    free(a);
    free(m);
    free(d);
  }
  free(c);
}

void derivative_W(const table *t) {
  const int64_t chunks = (t->channels + LANES - 1) / LANES, last = t->first[ORDER];
  const int64_t blocks = (last + BLOCK - 1) / BLOCK, n_c = t->n_matrices * chunks * t->n_entries;
  vec *c = vectors(n_c);
  memset(c, 0, n_c * sizeof *c);
#pragma omp parallel num_threads(t->threads) if (t->threads > 1)
  {
    vec *a = vectors(t->n_A * (DIRECTIONS + 1)), *m = vectors(t->n_m), *w = vectors(t->n_paths);
#pragma omp for collapse(2) schedule(static)
    for (int64_t q = 0; q < chunks; ++q)
      for (int64_t block = 0; block < blocks; ++block)
        for (int64_t i = 0; i < t->n_nodes; ++i) {
          vec *ci = c + ((t->species ? t->species[i] : 0) * chunks + q) * t->n_entries;
          load_numbers(i, t, q, a);
          load(t->g + i * t->n_m * t->channels, t->n_m, t, q, m, 1);
          EACH_MONOMIAL(block * BLOCK, (block + 1) * BLOCK, {
            const vec p = product(a, t->factors + mu * ORDER, degree, -1);
            for (int32_t e = t->entries[mu]; e < t->entries[mu + 1]; ++e) ci[e] += m[t->component[e]] * p;
          })
        }
#pragma omp for collapse(2) schedule(static)
    for (int64_t z = 0; z < t->n_matrices; ++z)
      for (int64_t q = 0; q < chunks; ++q) {
        const vec *ci = c + (z * chunks + q) * t->n_entries;
        memset(w, 0, t->n_paths * sizeof *w);
        for (int64_t e = 0; e < t->n_entries; ++e)
          for (int64_t n = t->term[e]; n < t->term[e + 1]; ++n) w[t->path[n]] += (real)t->values[n] * ci[e];
        store(w, t->n_paths, t, q, t->out + z * t->n_paths * t->channels);
      }
    free(a);
    free(m);
    free(w);
  }
  free(c);
}
