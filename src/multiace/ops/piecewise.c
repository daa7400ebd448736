/* Radial functions as polynomials between knots; the derivatives of
 *
 *   S(v; g) = sum over pairs  g . R(|v|),   R(r) = sum_p C_kp u^p,   u = 2 (r / spacing - k) - 1 in interval k,
 *
 * along directions of v (nilpotent.h), the vector of the first edge of each pair. Each pair of elements has a table of its
 * own. Beyond the last knot R is zero. LANES powers go together. */

#define GROUPS ((POWERS + LANES - 1) / LANES)

typedef struct { /* eight bytes each */
  const real *v[DIRECTIONS + 1], *g, *tables;
  real *out;
  const int64_t *pairs, *senders, *receivers, *species; /* species: NULL for one table */
  int64_t n_edges, n_pairs, n_species, n_intervals, n_functions, threads;
  double spacing;
} pieces;

typedef struct { vec s[SETS]; } dual; /* the same in each lane, or of one power in each */

INLINE dual product(dual a, dual b) { dual p; times(p.s, a.s, b.s, DIRECTIONS); return p; }
INLINE void add(dual *to, dual a) { for (int s = 0; s < SETS; ++s) to->s[s] += a.s[s]; }

typedef struct { dual v[3], r, inverse; const real *C; real u; } pair; /* C: NULL beyond the last knot */

INLINE pair load(const pieces *t, int64_t i) {
  const int64_t edge = t->pairs[2 * i];
  pair p;
  memset(&p, 0, sizeof p);
  for (int u = 0; u <= DIRECTIONS; ++u)
    for (int axis = 0; axis < 3; ++axis) p.v[axis].s[u ? 1 << (u - 1) : 0] = number(t->v[u][3 * edge + axis]);
  dual q = product(p.v[0], p.v[0]);
  for (int axis = 1; axis < 3; ++axis) add(&q, product(p.v[axis], p.v[axis]));
  const real squared = q.s[0][0], r = sqrt(squared);
  vec d[ORDERS] = {number(r)};
  for (int j = 1; j < ORDERS; ++j) d[j] = squared > 0 ? d[j - 1] * (real)(1.5 - j) / squared : number(0);
  compose(p.r.s, d, q.s);
  compose(p.inverse.s, d + 1, q.s);
  for (int s = 0; s < SETS; ++s) p.inverse.s[s] *= 2;
  const real at = r / (real)t->spacing;
  int64_t k = (int64_t)at;
  if (!(at < t->n_intervals)) return p;
  if (t->species) k += (t->species[t->senders[edge]] * t->n_species + t->species[t->receivers[edge]]) * t->n_intervals;
  p.u = 2 * (at - (int64_t)at) - 1;
  p.C = t->tables + k * POWERS * t->n_functions;
  return p;
}

/* u^p for all powers, or its slope in r */
INLINE void powers(const pieces *t, const pair *p, int slope, dual *f) {
  const real scale = 2 / (real)t->spacing;
  real d[ORDERS][GROUPS * LANES] = {{0}};
  real exponents[POWERS] = {1};
  for (int n = 1; n < POWERS; ++n) exponents[n] = exponents[n - 1] * p->u;
  dual z = p->r;
  for (int s = 1; s < SETS; ++s) z.s[s] *= scale;
  for (int n = 0; n < POWERS; ++n) {
    real factor = 1; /* n (n - 1) ... of the derivative of order j */
    for (int j = 0; j < ORDERS && j <= n; factor *= n - j++) d[j][n] = factor * exponents[n - j];
  }
  for (int group = 0; group < GROUPS; ++group) {
    vec of_group[ORDERS];
    for (int j = 0; j < ORDERS; ++j) of_group[j] = LOAD(d[j] + group * LANES);
    compose(f[group].s, of_group + slope, z.s);
    if (slope)
      for (int s = 0; s < SETS; ++s) f[group].s[s] *= scale;
  }
}

void derivative_g(const pieces *t) {
  const int64_t n = t->n_functions;
#pragma omp parallel for schedule(static) num_threads(t->threads) if (t->threads > 1)
  for (int64_t i = 0; i < t->n_pairs; ++i) {
    const pair p = load(t, i);
    real *R = t->out + i * n;
    memset(R, 0, n * sizeof(real));
    if (!p.C) continue;
    dual f[GROUPS];
    powers(t, &p, 0, f);
    for (int m = 0; m < POWERS; ++m) {
      const real factor = f[m / LANES].s[FULL][m % LANES], *C = p.C + m * n;
      for (int64_t w = 0; w < n; ++w) R[w] += factor * C[w];
    }
  }
}

void derivative_v(const pieces *t) {
  const int64_t n = t->n_functions;
  memset(t->out, 0, 3 * t->n_edges * sizeof(real));
#pragma omp parallel for schedule(static) num_threads(t->threads) if (t->threads > 1)
  for (int64_t i = 0; i < t->n_pairs; ++i) {
    const pair p = load(t, i);
    if (!p.C) continue;
    dual f[GROUPS], slope = {{{0}}};
    powers(t, &p, 1, f);
    for (int m = 0; m < POWERS; ++m) {
      const real *g = t->g + i * n, *C = p.C + m * n;
      real along = 0;
      for (int64_t w = 0; w < n; ++w) along += g[w] * C[w];
      for (int s = 0; s < SETS; ++s) slope.s[s] += along * f[m / LANES].s[s][m % LANES];
    }
    slope = product(slope, p.inverse);
    for (int axis = 0; axis < 3; ++axis) t->out[3 * t->pairs[2 * i] + axis] = product(slope, p.v[axis]).s[FULL][0];
  }
}
