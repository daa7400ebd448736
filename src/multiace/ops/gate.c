/* The gate: scalars through activations, every other irrep times an activated scalar; the derivatives of
 *
 *   S(x; g) = sum over nodes  c g_e . f(s_e) + c' g_o . f'(s_o) + sum over l, m, k  c g_lmk f(s_lk) x_lmk
 *
 * with invariants s_e, pseudoscalars s_o and gates s_lk among the x, each with its own directions (nilpotent.h).
 * ACTIVATION names f, ODD_ACTIVATION f'. */

/* A block of the result: 2l+1 components, channels, where it begins in a row of x and of y, and its gates (l > 0). */
typedef struct { int64_t components, channels, x, y, gates, odd; } block;
typedef struct { /* eight bytes each */
  const real *x[DIRECTIONS + 1], *g;
  real *out;
  const real *scale, *odd_scale; /* c, c' */
  const block *blocks;
  int64_t n_nodes, n_blocks, x_dim, y_dim, threads;
} gates;

INLINE vec load(const real *from, int64_t n) {
  if (n >= LANES) return LOAD(from);
  vec v = {0};
  for (int64_t lane = 0; lane < n; ++lane) v[lane] = from[lane];
  return v;
}

INLINE void store(real *to, vec v, int64_t n) {
  if (n >= LANES) STORE(to) = v;
  else
    for (int64_t lane = 0; lane < n; ++lane) to[lane] = v[lane];
}

/* c f (or its slope) at numbers that begin `at` */
INLINE void activate(numbers x, int64_t at, int64_t n, int odd, int slope, real c, vec *y) {
  vec z[SETS] = {{0}}, d[ORDERS];
  for (int u = 0; u <= DIRECTIONS; ++u) z[u ? 1 << (u - 1) : 0] = load(x[u] + at, n);
  if (odd) ODD_ACTIVATION(z[0], d);
  else ACTIVATION(z[0], d);
  compose(y, d + slope, z);
  for (int s = 0; s < SETS; ++s) y[s] *= c;
}

#define EACH_VECTOR                                                                                    \
  _Pragma("omp parallel for schedule(static) num_threads(s->threads) if (s->threads > 1)")             \
  for (int64_t i = 0; i < s->n_nodes; ++i)                                                             \
    for (const block *b = blocks; b < blocks + s->n_blocks; ++b)                                       \
      for (int64_t k = 0, n; n = b->channels - k, k < b->channels; k += LANES) {                       \
        const int64_t row = i * s->x_dim, first = row + b->x + k, gate = row + b->gates + k;           \
        vec v[SETS];

void derivative_g(const gates *s) {
  const numbers x = s->x;
  const block *blocks = s->blocks;
  real *g = s->out;
  EACH_VECTOR
    real *y = g + i * s->y_dim + b->y + k;
    if (b->components == 1) {
      activate(x, first, n, b->odd, 0, b->odd ? *s->odd_scale : *s->scale, v);
      store(y, v[FULL], n);
      continue;
    }
    activate(x, gate, n, 0, 0, *s->scale, v);
    for (int64_t m = 0; m < b->components; ++m) {
      vec sum = load(x[0] + first + m * b->channels, n) * v[FULL];
      for (int u = 1; u <= DIRECTIONS; ++u) sum += load(x[u] + first + m * b->channels, n) * v[FULL ^ 1 << (u - 1)];
      store(y + m * b->channels, sum, n);
    }
  }
}

void derivative_x(const gates *s) {
  const numbers x = s->x;
  const block *blocks = s->blocks;
  const real *g = s->g;
  real *out = s->out;
  EACH_VECTOR
    const real *y = g + i * s->y_dim + b->y + k;
    if (b->components == 1) {
      activate(x, first, n, b->odd, 1, b->odd ? *s->odd_scale : *s->scale, v);
      store(out + first, load(y, n) * v[FULL], n);
      continue;
    }
    vec sums[DIRECTIONS + 1] = {{0}};
    activate(x, gate, n, 0, 0, *s->scale, v);
    for (int64_t m = 0; m < b->components; ++m) {
      const vec gm = load(y + m * b->channels, n);
      store(out + first + m * b->channels, gm * v[FULL], n);
      for (int u = 0; u <= DIRECTIONS; ++u) sums[u] += gm * load(x[u] + first + m * b->channels, n);
    }
    activate(x, gate, n, 0, 1, *s->scale, v);
    vec sum = sums[0] * v[FULL];
    for (int u = 1; u <= DIRECTIONS; ++u) sum += sums[u] * v[FULL ^ 1 << (u - 1)];
    store(out + gate, sum, n);
  }
}
