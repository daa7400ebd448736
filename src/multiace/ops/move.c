/* Columns of one matrix as columns of another, the derivatives of
 *
 *   S(x, y) = scale sum over rows and c = 0 .. width - 1  x[x_start + c] y[y_start + c],
 *
 * and sums of arrays. */
typedef struct { int64_t n_rows, width, from_dim, to_dim, from_start, to_start, threads; double scale; } window;

void move(const real *from, real *to, const window *w) {
  const real scale = w->scale;
#pragma omp parallel for schedule(static) num_threads(w->threads) if (w->threads > 1)
  for (int64_t row = 0; row < w->n_rows; ++row) {
    const real *source = from + row * w->from_dim + w->from_start;
    real *target = to + row * w->to_dim;
    if (w->width < w->to_dim) memset(target, 0, w->to_dim * sizeof *target);
    for (int64_t c = 0; c < w->width; ++c) target[w->to_start + c] = scale * source[c];
  }
}

void add(const real *const *parts, real *sum, const int64_t *sizes) { /* sizes: parts, values, threads */
  const int64_t n_parts = sizes[0], n = sizes[1], threads = sizes[2], block = 4096;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t first = 0; first < n; first += block) {
    const int64_t here = n - first < block ? n - first : block;
    real *to = sum + first;
    for (int64_t i = 0; i < here; ++i) to[i] = parts[0][first + i] + parts[1][first + i];
    for (int64_t part = 2; part < n_parts; ++part)
      for (int64_t i = 0; i < here; ++i) to[i] += parts[part][first + i];
  }
}
