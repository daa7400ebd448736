/* Linear maps of channels, one matrix per irrep and element: the three derivatives of
 *
 *   S(x, W, y) = sum over nodes n, irreps b, components m of  y[n,b,m,:] . (x[n,b,m,:] W[z_n,b]) / sqrt(K_b),
 *
 * K_b being the channels of x, or how many of them are not zero.
 *
 * A row is one component of one node: contiguous channels. Rows of one element that share a matrix go through
 * a register-blocked product, ROWS rows (a tile) and COLUMNS columns at a time. `real` is float or double. */
#define CHUNK (32 * ROWS) /* rows that stay in the cache for all columns */

/* An irrep of both sides: 2l+1 components, channels in and out, where it starts in a row of x, y and W, and K. */
typedef struct { int64_t components, in, out, x, y, w, fan_in; } block;

static inline real scale_of(const block *b) { return (real)(1.0 / __builtin_sqrt((double)b->fan_in)); }

/* Arguments of one term; what is computed is not read. */
typedef struct { const real *x, *W, *y; } term;
typedef struct { /* eight bytes each */
  const int64_t *species;
  const block *blocks;
  int64_t n_nodes, n_matrices, n_blocks, x_dim, y_dim, w_dim, n_terms, threads;
  real *out;
  term terms[];
} maps;

#define EACH_MATRIX                                \
  for (int64_t z = 0; z < s->n_matrices; ++z)      \
    for (const block *b = s->blocks; b < s->blocks + s->n_blocks; ++b)

/* Where the block of row number `row` among those of matrix z begins in x, or in y */
INLINE int64_t place(const maps *s, order o, int64_t z, const block *b, int64_t row, int of_x) {
  const int64_t n = o.nodes[o.first[z] + row / b->components], m = row % b->components;
  return of_x ? n * s->x_dim + b->x + m * b->in : n * s->y_dim + b->y + m * b->out;
}

/* Rows of x times a matrix, or of y times its transpose, summed over terms: this thread's part of the tiles, the work
 * being cut into chunks of rows, those into blocks of columns, and those into tiles; T: for a block of the transpose */
static void products(const maps *s, order o, int64_t z, const block *b, int to_x, real *T) {
  const int64_t n_rows = (o.first[z + 1] - o.first[z]) * b->components;
  const int64_t inner = to_x ? b->out : b->in, columns = to_x ? b->in : b->out;
  const int64_t n_blocks = (columns + COLUMNS - 1) / COLUMNS, tiles = (n_rows + ROWS - 1) / ROWS;
  const int64_t last = tiles * n_blocks * (omp_get_thread_num() + 1) / omp_get_num_threads();
  int64_t at = tiles * n_blocks * omp_get_thread_num() / omp_get_num_threads(), chunk = -1, from[CHUNK], to[CHUNK];
  while (at < last) {
    const int64_t first = at / (CHUNK / ROWS * n_blocks) * CHUNK; /* row */
    const int64_t here = n_rows - first < CHUNK ? n_rows - first : CHUNK, high = (here + ROWS - 1) / ROWS;
    const int64_t in_chunk = at - first / ROWS * n_blocks, column = in_chunk / high * COLUMNS;
    const int64_t width = columns - column < COLUMNS ? columns - column : COLUMNS;
    const int64_t tile = in_chunk % high, end = high - tile < last - at ? high : tile + last - at;
    if (chunk != first)
      for (int64_t r = 0; r < high * ROWS; ++r) {
        const int64_t row = first + (r < here ? r : here - 1); /* the last one fills up the last tile */
        from[r] = place(s, o, z, b, row, !to_x);
        to[r] = place(s, o, z, b, row, to_x);
      }
    chunk = first;
    for (int64_t t = 0; t < s->n_terms; ++t) {
      const real *W = s->terms[t].W + z * s->w_dim + b->w + column * (to_x ? inner : 1);
      if (to_x) transpose(W, T, width, width, inner);
      for (int64_t i = tile * ROWS; i < end * ROWS; i += ROWS) {
        const real *in[ROWS];
        real *out[ROWS];
        for (int r = 0; r < ROWS; ++r) {
          in[r] = (to_x ? s->terms[t].y : s->terms[t].x) + from[i + r];
          out[r] = s->out + to[i + r] + column;
        }
        multiply(in, out, here - i < ROWS ? here - i : ROWS, to_x ? T : W, to_x ? width : columns, inner, width,
                 scale_of(b), t > 0);
      }
    }
    at += end - tile;
  }
}

/* Zeros where the blocks do not reach */
static void clear(const maps *s, int of_x) {
  int64_t n = 0;
  for (const block *b = s->blocks; b < s->blocks + s->n_blocks; ++b) n += b->components * (of_x ? b->in : b->out);
  const int64_t dim = of_x ? s->x_dim : s->y_dim;
  if (n < dim) memset(s->out, 0, s->n_nodes * dim * sizeof *s->out);
}

void derivative_y(const maps *s) {
  order o = sort_nodes(s->species, s->n_nodes, s->n_matrices);
  clear(s, 0);
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  EACH_MATRIX products(s, o, z, b, 0, NULL);
  free_order(o);
}

void derivative_x(const maps *s) {
  order o = sort_nodes(s->species, s->n_nodes, s->n_matrices);
  int64_t most = 0;
  for (const block *b = s->blocks; b < s->blocks + s->n_blocks; ++b) most = b->out > most ? b->out : most;
  clear(s, 1);
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    real *T = reals(most * COLUMNS);
    EACH_MATRIX products(s, o, z, b, 1, T);
    free(T);
  }
  free_order(o);
}

void derivative_W(const maps *s) {
  order o = sort_nodes(s->species, s->n_nodes, s->n_matrices);
  memset(s->out, 0, s->n_matrices * s->w_dim * sizeof *s->out);
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  EACH_MATRIX {
    const int64_t last = (o.first[z + 1] - o.first[z]) * b->components, tasks = outer_tasks(b->in, b->out);
    const int64_t from = tasks * omp_get_thread_num() / omp_get_num_threads();
    const int64_t to = tasks * (omp_get_thread_num() + 1) / omp_get_num_threads();
    for (int64_t t = 0; from < to && t < s->n_terms; ++t)
      for (int64_t row = 0; row < last; row += DEPTH) {
        const int rows = last - row < DEPTH ? last - row : DEPTH;
        const real *x_rows[DEPTH], *y_rows[DEPTH];
        for (int i = 0; i < rows; ++i) {
          x_rows[i] = s->terms[t].x + place(s, o, z, b, row + i, 1);
          y_rows[i] = s->terms[t].y + place(s, o, z, b, row + i, 0);
        }
        for (int64_t task = from; task < to; ++task)
          outer(x_rows, y_rows, rows, s->out + z * s->w_dim + b->w, b->in, b->out, task, scale_of(b));
      }
  }
  free_order(o);
}
