/* Radial weights from a table; the derivatives of
 *
 *   S(r; g) = sum over pairs  g . R(r),   R(r) = H00(t) R_k + H10(t) R'_k + H01(t) R_(k+1) + H11(t) R'_(k+1),
 *
 * along directions of r (nilpotent.h): cubic Hermite interpolation between knots k and k + 1, t = r / spacing - k. A
 * knot's rows are R and its slope per interval, R'; `code` says which table a pair reads. */

typedef struct { /* eight bytes each */
  const real *r[DIRECTIONS + 1], *g, *table;
  real *out;
  int64_t n_pairs, n_knots, n_weights, threads;
  const int64_t *code;
  double spacing;
} grid;
static const real HERMITE[4][4] = {{1, 0, -3, 2}, {0, 1, -2, 1}, {0, 0, 3, -2}, {0, 0, -1, 1}}; /* powers of t */

/* Where the four rows of pair i begin, and their factors in the coefficient FULL of R, or of its slope */
INLINE const real *rows(numbers r, const real *table, int64_t i, const grid *s, int slope, real *factors) {
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
  return table + ((s->code ? s->code[i] : 0) * s->n_knots + k) * 2 * s->n_weights;
}

void derivative_g(const grid *s) {
  const numbers r = s->r;
  const real *table = s->table;
  real *R = s->out;
  const int64_t n = s->n_weights;
#pragma omp parallel for schedule(static) num_threads(s->threads) if (s->threads > 1)
  for (int64_t i = 0; i < s->n_pairs; ++i) {
    real f[4];
    const real *a = rows(r, table, i, s, 0, f);
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
    const real *a = rows(r, table, i, s, 1, f), *gi = g + i * n;
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
