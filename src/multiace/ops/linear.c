/* Linear maps of channels, one matrix per irrep and element: the three derivatives of
 *
 *   S(x, W, y) = sum over nodes n, irreps b, components m of  y[n,b,m,:] . (x[n,b,m,:] W[z_n,b]) / sqrt(K_b),
 *
 * K_b being the channels of x, or how many of them are not zero.
 *
 * A row is one component of one node: contiguous channels. Rows of one element that share a matrix go through
 * a register-blocked product. `real` is float or double. */
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

/* Rows of x (or of y) times a matrix, summed over terms: rows of y (or of x); W: the matrices of each term. */
static void products(const maps *s, order o, int64_t z, const block *b, const real *const *W, int to_x) {
  const int64_t n_rows = (o.first[z + 1] - o.first[z]) * b->components;
  const int64_t inner = to_x ? b->out : b->in, columns = to_x ? b->in : b->out;
#pragma omp for schedule(static) nowait
  for (int64_t tile = 0; tile < (n_rows + ROWS - 1) / ROWS; ++tile) {
    const int rows = n_rows - tile * ROWS < ROWS ? n_rows - tile * ROWS : ROWS;
    int64_t from[ROWS];
    real *out[ROWS];
    for (int r = 0; r < ROWS; ++r) {
      const int64_t row = tile * ROWS + (r < rows ? r : 0);
      from[r] = place(s, o, z, b, row, !to_x);
      out[r] = s->out + place(s, o, z, b, row, to_x);
    }
    for (int64_t t = 0; t < s->n_terms; ++t) {
      const real *in[ROWS];
      for (int r = 0; r < ROWS; ++r) in[r] = (to_x ? s->terms[t].y : s->terms[t].x) + from[r];
      multiply(in, out, rows, W[t] + z * s->w_dim + b->w, inner, columns, scale_of(b), t > 0);
    }
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
  const real *W[s->n_terms];
  for (int64_t t = 0; t < s->n_terms; ++t) W[t] = s->terms[t].W;
  clear(s, 0);
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  EACH_MATRIX products(s, o, z, b, W, 0);
  free_order(o);
}

void derivative_x(const maps *s) {
  order o = sort_nodes(s->species, s->n_nodes, s->n_matrices);
  const int64_t n = s->n_matrices * s->w_dim;
  const real *W[s->n_terms];
  real *T = reals(s->n_terms * n);
  for (int64_t t = 0; t < s->n_terms; ++t) W[t] = T + t * n;
  clear(s, 1);
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    for (int64_t t = 0; t < s->n_terms; ++t)
      EACH_MATRIX if (o.first[z] < o.first[z + 1]) {
        const int64_t at = z * s->w_dim + b->w;
        transpose(s->terms[t].W + at, T + t * n + at, b->in, b->out);
      }
#pragma omp barrier
    EACH_MATRIX products(s, o, z, b, W, 1);
  }
  free(T);
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
