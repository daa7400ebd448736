/* Radial weights from a table; the derivatives of
 *
 *   S(r; table, g) = sum over pairs  g . R(r),   R(r) = H00(t) R_k + H10(t) R'_k + H01(t) R_(k+1) + H11(t) R'_(k+1),
 *
 * along directions of r (nilpotent.h): cubic Hermite interpolation between knots k and k + 1, t = r / spacing - k. A
 * knot's rows are R and its slope per interval, R'; `code` says which table a pair reads. */

typedef struct { /* eight bytes each */
  const real *r[DIRECTIONS + 1], *table, *g;
  real *out;
  int64_t n_pairs, n_tables, n_knots, n_weights, threads;
  const int64_t *code;
  double spacing;
} grid;
static const real HERMITE[4][4] = {{1, 0, -3, 2}, {0, 1, -2, 1}, {0, 0, 3, -2}, {0, 0, -1, 1}}; /* powers of t */

/* Number of the knot before pair i, among those of all tables, and the factors in the coefficient FULL of R, or of its
 * slope, of the four rows that begin there */
INLINE int64_t knot(numbers r, int64_t i, const grid *s, int slope, real *factors) {
  const real last = s->n_knots - 1, at = r[0][i] / (real)s->spacing, moves = at <= last, x = moves > 0 ? at : last;
  int64_t k = x > 0 ? (int64_t)x : 0;
  if (k > s->n_knots - 2) k = s->n_knots - 2;
  const real t = x - k;
  vec z[SETS] = {{0}}, y[SETS], d[ORDERS];
  for (int u = 1; u <= DIRECTIONS; ++u) z[1 << (u - 1)] = number(moves * r[u][i] / (real)s->spacing);
  for (int h = 0; h < 4; ++h) {
    real c[4];
    memcpy(c, HERMITE[h], sizeof c);
    for (int j = 0; j < ORDERS; ++j) {
      d[j] = number(((c[3] * t + c[2]) * t + c[1]) * t + c[0]);
      for (int p = 0; p < 4; ++p) c[p] = p < 3 ? (p + 1) * c[p + 1] : 0;
    }
    compose(y, d + slope, z);
    factors[h] = slope ? moves * y[FULL][0] / (real)s->spacing : y[FULL][0];
  }
  return (s->code ? s->code[i] : 0) * s->n_knots + k;
}

void derivative_g(const grid *s) {
  const numbers r = s->r;
  const real *table = s->table;
  real *R = s->out;
  const int64_t n = s->n_weights;
#pragma omp parallel for schedule(static) num_threads(s->threads) if (s->threads > 1)
  for (int64_t i = 0; i < s->n_pairs; ++i) {
    real f[4];
    const real *a = table + knot(r, i, s, 0, f) * 2 * n;
    real *out = R + i * n;
    for (int64_t w = 0; w < n; ++w) out[w] = f[0] * a[w] + f[1] * a[n + w] + f[2] * a[2 * n + w] + f[3] * a[3 * n + w];
  }
}

void derivative_r(const grid *s) {
  const numbers r = s->r;
  const real *g = s->g, *table = s->table;
  real *out = s->out;
  const int64_t n = s->n_weights;
#pragma omp parallel for schedule(static) num_threads(s->threads) if (s->threads > 1)
  for (int64_t i = 0; i < s->n_pairs; ++i) {
    real f[4], sum = 0;
    const real *a = table + knot(r, i, s, 1, f) * 2 * n, *gi = g + i * n;
    vec sums[2] = {{0}};
    int64_t w = 0;
    for (; w + 2 * LANES <= n; w += 2 * LANES)
      for (int h = 0; h < 2; ++h) {
        const real *b = a + w + h * LANES;
        sums[h] += LOAD(gi + w + h * LANES)
                   * (f[0] * LOAD(b) + f[1] * LOAD(b + n) + f[2] * LOAD(b + 2 * n) + f[3] * LOAD(b + 3 * n));
      }
    sums[0] += sums[1];
    for (int lane = 0; lane < LANES; ++lane) sum += sums[0][lane];
    for (; w < n; ++w)
      sum += gi[w] * (f[0] * a[w] + f[1] * a[n + w] + f[2] * a[2 * n + w] + f[3] * a[3 * n + w]);
    out[i] = sum;
  }
}

/* `vectors` vectors of the two rows of knot k, from w on: a sum over the pairs in the intervals before and after it; pairs
 * are sorted by the knot before them, each has four factors */
INLINE void sum_at_knot(order o, const real *factors, const real *g, real *out, int64_t k, int64_t n, int64_t w,
                        int vectors) {
  vec sums[2][VECTORS] = {{{0}}};
  for (int64_t p = o.first[k ? k - 1 : 0]; p < o.first[k + 1]; ++p) {
    const int64_t i = o.nodes[p];
    const real *f = factors + 4 * i + (p < o.first[k] ? 2 : 0);
    UNROLL for (int v = 0; v < vectors; ++v) {
      const vec gv = LOAD(g + i * n + w + v * LANES);
      sums[0][v] += f[0] * gv;
      sums[1][v] += f[1] * gv;
    }
  }
  for (int row = 0; row < 2; ++row)
    UNROLL for (int v = 0; v < vectors; ++v) STORE(out + (2 * k + row) * n + w + v * LANES) = sums[row][v];
}

/* Each knot is one thread's, and its pairs are summed in one order: the bits are those of any number of threads */
void derivative_t(const grid *s) {
  const numbers r = s->r;
  const real *g = s->g;
  real *out = s->out;
  const int64_t n = s->n_weights, n_knots = s->n_tables * s->n_knots;
  int64_t *before = malloc((s->n_pairs + 1) * sizeof *before);
  real *factors = reals(4 * s->n_pairs);
#pragma omp parallel for schedule(static) num_threads(s->threads) if (s->threads > 1)
  for (int64_t i = 0; i < s->n_pairs; ++i) before[i] = knot(r, i, s, 0, factors + 4 * i);
  order o = sort_nodes(before, s->n_pairs, n_knots);
#pragma omp parallel for schedule(dynamic) num_threads(s->threads) if (s->threads > 1)
  for (int64_t k = 0; k < n_knots; ++k) {
    int64_t w = 0;
    for (; w + COLUMNS <= n; w += COLUMNS) sum_at_knot(o, factors, g, out, k, n, w, VECTORS);
    for (; w + LANES <= n; w += LANES) sum_at_knot(o, factors, g, out, k, n, w, 1);
    for (; w < n; ++w) {
      real sums[2] = {0};
      for (int64_t p = o.first[k ? k - 1 : 0]; p < o.first[k + 1]; ++p) {
        const int64_t i = o.nodes[p];
        const real *f = factors + 4 * i + (p < o.first[k] ? 2 : 0);
        for (int row = 0; row < 2; ++row) sums[row] += f[row] * g[i * n + w];
      }
      for (int row = 0; row < 2; ++row) out[(2 * k + row) * n + w] = sums[row];
    }
  }
  free(before);
  free(factors);
  free_order(o);
}
