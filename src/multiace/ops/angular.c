/* Real spherical harmonics of edge directions; the derivatives of
 *
 *   S(v; g) = sum over edges and lm  g_lm Y_lm(v / |v|)
 *
 * along directions of v (nilpotent.h). Monomials of the direction n = v / |v| follow from one of a degree less times a
 * component of n; Y is linear in them. An edge of length zero has n = 0. LANES edges go together. */

/* parent, axis: of each monomial but the first; Y_lm is a sum of value times monomial over begin[lm] .. begin[lm + 1] */
typedef struct { /* eight bytes each */
  const real *v[DIRECTIONS + 1], *g;
  real *out;
  int64_t n_edges, n_monomials, n_Y, threads;
  const int64_t *parent, *axis, *begin, *monomial;
  const double *values;
} table;

typedef struct { vec s[SETS]; } dual;

INLINE dual product(dual a, dual b) { dual p; times(p.s, a.s, b.s, DIRECTIONS); return p; }
INLINE dual scaled(dual a, real c) { for (int s = 0; s < SETS; ++s) a.s[s] *= c; return a; }
INLINE void add(dual *to, dual a) { for (int s = 0; s < SETS; ++s) to->s[s] += a.s[s]; }

INLINE void load(numbers v, int64_t first, int64_t n, dual *x) {
  memset(x, 0, 3 * sizeof *x);
  for (int u = 0; u <= DIRECTIONS; ++u)
    for (int64_t lane = 0; lane < n; ++lane)
      for (int axis = 0; axis < 3; ++axis) x[axis].s[u ? 1 << (u - 1) : 0][lane] = v[u][(first + lane) * 3 + axis];
}

/* |v|^-1 and, if wanted, -|v|^-3; 0 for v = 0 */
INLINE void inverse_length(const dual *v, dual *inverse, dual *slope) {
  dual q = product(v[0], v[0]);
  add(&q, product(v[1], v[1]));
  add(&q, product(v[2], v[2]));
  vec d[ORDERS], r;
  for (int lane = 0; lane < LANES; ++lane) r[lane] = q.s[0][lane] > 0 ? 1 / sqrt(q.s[0][lane]) : 0;
  d[0] = r;
  for (int j = 1; j < ORDERS; ++j) d[j] = d[j - 1] * r * r * (real)(0.5 - j); /* of q^(-1/2) */
  compose(inverse->s, d, q.s);
  if (!slope) return;
  compose(slope->s, d + 1, q.s);
  *slope = scaled(*slope, 2);
}

INLINE void monomials(const table *t, const dual *n, dual *m) {
  memset(m, 0, sizeof *m);
  m[0].s[0] = number(1);
  for (int64_t i = 1; i < t->n_monomials; ++i) m[i] = product(m[t->parent[i]], n[t->axis[i]]);
}

#define EACH_GROUP                                                        \
  _Pragma("omp for schedule(static)")                                     \
  for (int64_t first = 0; first < t->n_edges; first += LANES) {           \
    const int64_t n_here = t->n_edges - first < LANES ? t->n_edges - first : LANES;

void derivative_g(const table *t) {
  const numbers v = t->v;
  real *Y = t->out;
#pragma omp parallel num_threads(t->threads) if (t->threads > 1)
  {
    dual *m = aligned_alloc(64, (t->n_monomials * sizeof *m + 63) / 64 * 64);
    EACH_GROUP
      dual x[3], inverse, n[3];
      load(v, first, n_here, x);
      inverse_length(x, &inverse, NULL);
      for (int axis = 0; axis < 3; ++axis) n[axis] = product(x[axis], inverse);
      monomials(t, n, m);
      for (int64_t y = 0; y < t->n_Y; ++y) {
        vec sum = {0};
        for (int64_t e = t->begin[y]; e < t->begin[y + 1]; ++e) sum += (real)t->values[e] * m[t->monomial[e]].s[FULL];
        for (int64_t lane = 0; lane < n_here; ++lane) Y[(first + lane) * t->n_Y + y] = sum[lane];
      }
    }
    free(m);
  }
}

void derivative_v(const table *t) {
  const numbers v = t->v;
  const real *g = t->g;
  real *out = t->out;
#pragma omp parallel num_threads(t->threads) if (t->threads > 1)
  {
    dual *m = aligned_alloc(64, (2 * t->n_monomials * sizeof *m + 63) / 64 * 64), *of_m = m + t->n_monomials;
    EACH_GROUP
      dual x[3], inverse, slope, n[3], of_n[3], of_inverse;
      load(v, first, n_here, x);
      inverse_length(x, &inverse, &slope);
      for (int axis = 0; axis < 3; ++axis) n[axis] = product(x[axis], inverse);
      monomials(t, n, m);
      memset(of_n, 0, sizeof of_n);
      memset(of_m, 0, t->n_monomials * sizeof *of_m);
      for (int64_t y = 0; y < t->n_Y; ++y) {
        vec here = {0};
        for (int64_t lane = 0; lane < n_here; ++lane) here[lane] = g[(first + lane) * t->n_Y + y];
        for (int64_t e = t->begin[y]; e < t->begin[y + 1]; ++e) of_m[t->monomial[e]].s[0] += (real)t->values[e] * here;
      }
      for (int64_t i = t->n_monomials - 1; i > 0; --i) {
        add(of_m + t->parent[i], product(of_m[i], n[t->axis[i]]));
        add(of_n + t->axis[i], product(of_m[i], m[t->parent[i]]));
      }
      memset(&of_inverse, 0, sizeof of_inverse);
      for (int axis = 0; axis < 3; ++axis) add(&of_inverse, product(of_n[axis], x[axis]));
      of_inverse = product(of_inverse, slope);
      for (int axis = 0; axis < 3; ++axis) {
        dual of_x = product(of_n[axis], inverse);
        add(&of_x, product(of_inverse, x[axis]));
        for (int64_t lane = 0; lane < n_here; ++lane) out[(first + lane) * 3 + axis] = of_x.s[FULL][lane];
      }
    }
    free(m);
  }
}
