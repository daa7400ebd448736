/* Columns of one matrix as columns of another, the derivatives of
 *
 *   S(x, y) = scale sum over rows and c = 0 .. width - 1  x[x_start + c] y[y_start + c],
 *
 * and sums of matrices. */
typedef struct { /* eight bytes each */
  const real *from;
  real *to;
  int64_t n_rows, width, from_dim, to_dim, from_start, to_start, threads;
  double scale;
} window;

void move(const window *w) {
  const real scale = w->scale;
#pragma omp parallel for schedule(static) num_threads(w->threads) if (w->threads > 1 && w->n_rows * w->width > SHARED)
  for (int64_t row = 0; row < w->n_rows; ++row) {
    const real *source = w->from + row * w->from_dim + w->from_start;
    real *target = w->to + row * w->to_dim;
    if (w->width < w->to_dim) memset(target, 0, w->to_dim * sizeof *target);
    for (int64_t c = 0; c < w->width; ++c) target[w->to_start + c] = scale * source[c];
  }
}

typedef struct { /* eight bytes each */
  real *out;
  int64_t n_rows, width, n_parts, threads;
  const real *parts[];
} sum;

void add(const sum *s) {
  const int64_t n = s->n_rows * s->width, block = 4096;
#pragma omp parallel for schedule(static) num_threads(s->threads) if (s->threads > 1 && n > SHARED)
  for (int64_t first = 0; first < n; first += block) {
    const int64_t here = n - first < block ? n - first : block;
    real *to = s->out + first;
    for (int64_t i = 0; i < here; ++i) to[i] = s->parts[0][first + i] + s->parts[1][first + i];
    for (int64_t part = 2; part < s->n_parts; ++part)
      for (int64_t i = 0; i < here; ++i) to[i] += s->parts[part][first + i];
  }
}
