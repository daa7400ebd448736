/* Powers of densities with a finite slope at zero; the derivatives of
 *
 *   S(x; g) = sum over nodes i, columns p  g_ip F(x_ip; m_p),
 *   F(x; m) = sgn(x) ((a + x_m exp(-a))^m - y_m exp(-a)),  a = |x|,  x_m = m^(-1/(m - 1)),  y_m = x_m^m,
 *
 * along directions of x (nilpotent.h). F(x; 1) = x. */

typedef struct { /* eight bytes each */
  const real *x[DIRECTIONS + 1], *g;
  real *out;
  int64_t n_nodes, n_columns, threads;
  double exponents[];
} powers;

/* F, F' ... F'''' at x */
static void derivatives(double x, double m, double *d) {
  if (m == 1) {
    d[0] = x;
    d[1] = 1;
    d[2] = d[3] = d[4] = 0;
    return;
  }
  const double sign = x < 0 ? -1 : 1, a = sign * x, offset = pow(m, -1 / (m - 1));
  const double decay = offset * exp(-a), y = pow(offset, m) * exp(-a);
  const double u = a + decay, u1 = 1 - decay, u2 = decay, u3 = -decay, u4 = decay; /* u and its derivatives */
  double p[5] = {pow(u, m)};                                                         /* those of u^m by u */
  for (int k = 1; k < 5; ++k) p[k] = p[k - 1] * (m - k + 1) / u;
  d[0] = sign * (p[0] - y);
  d[1] = p[1] * u1 + y;
  d[2] = sign * (p[2] * u1 * u1 + p[1] * u2 - y);
  d[3] = p[3] * u1 * u1 * u1 + 3 * p[2] * u1 * u2 + p[1] * u3 + y;
  d[4] = sign * (p[4] * u1 * u1 * u1 * u1 + 6 * p[3] * u1 * u1 * u2 + p[2] * (3 * u2 * u2 + 4 * u1 * u3) + p[1] * u4 - y);
}

/* F at x and its directions, or F', for the numbers i .. i + n - 1 */
INLINE vec value(const powers *s, int64_t i, int64_t n, int slope) {
  vec z[SETS] = {{0}}, d[ORDERS], y[SETS], F[5] = {{0}};
  for (int64_t lane = 0; lane < n; ++lane) {
    double of_lane[5];
    derivatives(s->x[0][i + lane], s->exponents[(i + lane) % s->n_columns], of_lane);
    for (int k = 0; k < 5; ++k) F[k][lane] = of_lane[k];
    for (int u = 0; u <= DIRECTIONS; ++u)
      if (s->x[u]) z[u ? 1 << (u - 1) : 0][lane] = s->x[u][i + lane];
  }
  keep(d, F);
  compose(y, d + slope, z);
  return y[FULL];
}

#define EACH_VECTOR                                                                         \
  const int64_t size = s->n_nodes * s->n_columns;                                           \
  _Pragma("omp parallel for schedule(static) num_threads(s->threads) if (s->threads > 1)")  \
  for (int64_t i = 0; i < size; i += LANES)

void derivative_g(const powers *s) {
  EACH_VECTOR {
    const int64_t n = size - i < LANES ? size - i : LANES;
    const vec v = value(s, i, n, 0);
    for (int64_t lane = 0; lane < n; ++lane) s->out[i + lane] = v[lane];
  }
}

void derivative_x(const powers *s) {
  EACH_VECTOR {
    const int64_t n = size - i < LANES ? size - i : LANES;
    const vec v = value(s, i, n, 1);
    for (int64_t lane = 0; lane < n; ++lane) s->out[i + lane] = s->g[i + lane] * v[lane];
  }
}
