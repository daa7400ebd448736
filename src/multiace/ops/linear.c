/* Linear maps of channels, one matrix per irrep and element: the three derivatives of
 *
 *   S(x, W, y) = sum over nodes n, irreps b, components m of  y[n,b,m,:] . (x[n,b,m,:] W[z_n,b]) / sqrt(K_b),
 *
 * K_b being the channels of x.
 *
 * A row is one component of one node: contiguous channels. Rows of one element that share a matrix go through
 * a register-blocked product, ROWS rows by two vectors of columns. `real` is float or double. */
/* An irrep of both sides: 2l+1 components, channels in and out, where it starts in a row of x, y and W. */
typedef struct { int64_t components, in, out, x, y, w; } block;

static inline real scale_of(const block *b) { return (real)(1.0 / __builtin_sqrt((double)b->in)); }

/* Nodes sorted by matrix: nodes[first[z] .. first[z + 1]) use matrix z. */
typedef struct { int64_t *nodes, *first; } order;

static order sort_nodes(const int64_t *species, int64_t n_nodes, int64_t n_matrices) {
  order o = {malloc((n_nodes + 1) * sizeof(int64_t)), calloc(n_matrices + 2, sizeof(int64_t))};
  for (int64_t n = 0; n < n_nodes; ++n) o.first[(species ? species[n] : 0) + 2]++;
  for (int64_t z = 0; z < n_matrices; ++z) o.first[z + 2] += o.first[z + 1];
  for (int64_t n = 0; n < n_nodes; ++n) o.nodes[o.first[(species ? species[n] : 0) + 1]++] = n;
  return o;
}

static void release(order o) { free(o.nodes); free(o.first); }

/* out rows = in rows times W; `from` and `to` are the offsets of the block in a row of each. */
static void products(const real *in, real *out, int64_t in_stride, int64_t out_stride, const real *W, order o,
                     int64_t z, int64_t components, int64_t inner, int64_t columns, int64_t from, int64_t to,
                     real scale) {
  const int64_t n_rows = (o.first[z + 1] - o.first[z]) * components;
#pragma omp for schedule(static) nowait
  for (int64_t tile = 0; tile < (n_rows + ROWS - 1) / ROWS; ++tile) {
    const real *in_row[ROWS];
    real *out_row[ROWS];
    const int rows = n_rows - tile * ROWS < ROWS ? n_rows - tile * ROWS : ROWS;
    for (int r = 0; r < ROWS; ++r) {
      const int64_t row = tile * ROWS + (r < rows ? r : 0);
      const int64_t n = o.nodes[o.first[z] + row / components], m = row % components;
      in_row[r] = in + n * in_stride + from + m * inner;
      out_row[r] = out + n * out_stride + to + m * columns;
    }
    multiply(in_row, out_row, rows, W, inner, columns, scale, 0);
  }
}

typedef struct { /* eight bytes each; what is computed is written */
  real *x, *W, *y;
  const int64_t *species;
  const block *blocks;
  int64_t n_nodes, n_matrices, n_blocks, x_dim, y_dim, w_dim, threads;
} maps;

/* How many values of a row the blocks have: the others are zero. */
static int64_t values(const block *blocks, const maps *s, int of_x) {
  int64_t n = 0;
  for (const block *b = blocks; b < blocks + s->n_blocks; ++b) n += b->components * (of_x ? b->in : b->out);
  return n;
}

void derivative_y(const maps *s) {
  const block *blocks = s->blocks;
  order o = sort_nodes(s->species, s->n_nodes, s->n_matrices);
  if (values(blocks, s, 0) < s->y_dim) memset(s->y, 0, s->n_nodes * s->y_dim * sizeof *s->y);
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  for (int64_t z = 0; z < s->n_matrices; ++z)
    for (const block *b = blocks; b < blocks + s->n_blocks; ++b)
      products(s->x, s->y, s->x_dim, s->y_dim, s->W + z * s->w_dim + b->w, o, z, b->components, b->in, b->out, b->x, b->y,
               scale_of(b));
  release(o);
}

void derivative_x(const maps *s) {
  const block *blocks = s->blocks;
  order o = sort_nodes(s->species, s->n_nodes, s->n_matrices);
  if (values(blocks, s, 1) < s->x_dim) memset(s->x, 0, s->n_nodes * s->x_dim * sizeof *s->x);
  real *T = reals(s->n_matrices * s->w_dim);
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    for (int64_t z = 0; z < s->n_matrices; ++z)
      for (const block *b = blocks; b < blocks + s->n_blocks; ++b)
        transpose(s->W + z * s->w_dim + b->w, T + z * s->w_dim + b->w, b->in, b->out);
#pragma omp barrier
    for (int64_t z = 0; z < s->n_matrices; ++z)
      for (const block *b = blocks; b < blocks + s->n_blocks; ++b)
        products(s->y, s->x, s->y_dim, s->x_dim, T + z * s->w_dim + b->w, o, z, b->components, b->out, b->in, b->y, b->x,
                 scale_of(b));
  }
  free(T);
  release(o);
}

void derivative_W(const maps *s) {
  const block *blocks = s->blocks;
  order o = sort_nodes(s->species, s->n_nodes, s->n_matrices);
  memset(s->W, 0, s->n_matrices * s->w_dim * sizeof *s->W);
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  for (int64_t z = 0; z < s->n_matrices; ++z)
    for (const block *b = blocks; b < blocks + s->n_blocks; ++b) {
      const int64_t first = o.first[z] * b->components, last = o.first[z + 1] * b->components;
#pragma omp for schedule(static) nowait
      for (int64_t task = 0; task < outer_tasks(b->in, b->out); ++task)
        for (int64_t row = first; row < last; row += DEPTH) {
          const int rows = last - row < DEPTH ? last - row : DEPTH;
          const real *x_rows[DEPTH], *y_rows[DEPTH];
          for (int i = 0; i < rows; ++i) {
            const int64_t n = o.nodes[(row + i) / b->components], m = (row + i) % b->components;
            x_rows[i] = s->x + n * s->x_dim + b->x + m * b->in;
            y_rows[i] = s->y + n * s->y_dim + b->y + m * b->out;
          }
          outer(x_rows, y_rows, rows, s->W + z * s->w_dim + b->w, b->in, b->out, task, scale_of(b));
        }
    }
  release(o);
}
