/* Linear maps of channels, one matrix per irrep and element: the three derivatives of
 *
 *   S(x, W, y) = sum over nodes n, irreps b, components m of  y[n,b,m,:] . (x[n,b,m,:] W[z_n,b]) / sqrt(K_b),
 *
 * K_b being the channels of x.
 *
 * A row is one component of one node: contiguous channels. Rows of one element that share a matrix go through
 * a register-blocked product, ROWS rows by two vectors of columns. `real` is float or double. */
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES (32 / (int)sizeof(real))
#define ROWS 6
#define CACHE 24000
typedef real vec __attribute__((vector_size(32), aligned(sizeof(real))));

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

/* out[r][0..columns) = scale sum_k in[r][k] W[k][0..columns) for up to ROWS rows */
static inline void multiply(const real *const *in, real *const *out, int rows, const real *W, int64_t inner,
                            int64_t columns, real scale) {
  int64_t c = 0;
  for (; c + 2 * LANES <= columns; c += 2 * LANES) {
    vec a0[ROWS] = {{0}}, a1[ROWS] = {{0}};
    for (int64_t k = 0; k < inner; ++k) {
      const vec w0 = *(const vec *)(W + k * columns + c), w1 = *(const vec *)(W + k * columns + c + LANES);
      for (int r = 0; r < ROWS; ++r) { a0[r] += in[r][k] * w0; a1[r] += in[r][k] * w1; }
    }
    for (int r = 0; r < rows; ++r) {
      *(vec *)(out[r] + c) = scale * a0[r];
      *(vec *)(out[r] + c + LANES) = scale * a1[r];
    }
  }
  for (; c + LANES <= columns; c += LANES) {
    vec a[ROWS] = {{0}};
    for (int64_t k = 0; k < inner; ++k) {
      const vec w = *(const vec *)(W + k * columns + c);
      for (int r = 0; r < ROWS; ++r) a[r] += in[r][k] * w;
    }
    for (int r = 0; r < rows; ++r) *(vec *)(out[r] + c) = scale * a[r];
  }
  for (; c < columns; ++c) {
    real a[ROWS] = {0};
    for (int64_t k = 0; k < inner; ++k)
      for (int r = 0; r < ROWS; ++r) a[r] += in[r][k] * W[k * columns + c];
    for (int r = 0; r < rows; ++r) out[r][c] = scale * a[r];
  }
}

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
    multiply(in_row, out_row, rows, W, inner, columns, scale);
  }
}

/* W[k][c] += scale sum over rows of nodes a..b of x[k] y[c], for the block's whole matrix */
static void outer(const real *x, const real *y, real *W, int64_t x_stride, int64_t y_stride, const int64_t *nodes,
                  int64_t n_nodes, block b) {
  const real scale = scale_of(&b);
#pragma omp for schedule(static) nowait
  for (int64_t tile = 0; tile < (b.in + ROWS - 1) / ROWS; ++tile) {
    const int rows = b.in - tile * ROWS < ROWS ? b.in - tile * ROWS : ROWS;
    int64_t k[ROWS], c = 0;
    for (int r = 0; r < ROWS; ++r) k[r] = tile * ROWS + (r < rows ? r : 0);
    for (; c + 2 * LANES <= b.out; c += 2 * LANES) {
      vec a0[ROWS] = {{0}}, a1[ROWS] = {{0}};
      for (int64_t i = 0; i < n_nodes; ++i) {
        const real *xr = x + nodes[i] * x_stride + b.x, *yr = y + nodes[i] * y_stride + b.y + c;
        for (int64_t m = 0; m < b.components; ++m, xr += b.in, yr += b.out) {
          const vec y0 = *(const vec *)yr, y1 = *(const vec *)(yr + LANES);
          for (int r = 0; r < ROWS; ++r) { a0[r] += xr[k[r]] * y0; a1[r] += xr[k[r]] * y1; }
        }
      }
      for (int r = 0; r < rows; ++r) {
        *(vec *)(W + k[r] * b.out + c) += scale * a0[r];
        *(vec *)(W + k[r] * b.out + c + LANES) += scale * a1[r];
      }
    }
    for (; c < b.out; ++c) {
      real a[ROWS] = {0};
      for (int64_t i = 0; i < n_nodes; ++i) {
        const real *xr = x + nodes[i] * x_stride + b.x, *yr = y + nodes[i] * y_stride + b.y + c;
        for (int64_t m = 0; m < b.components; ++m, xr += b.in, yr += b.out)
          for (int r = 0; r < ROWS; ++r) a[r] += xr[k[r]] * *yr;
      }
      for (int r = 0; r < rows; ++r) W[k[r] * b.out + c] += scale * a[r];
    }
  }
}

typedef struct { int64_t n_nodes, n_matrices, n_blocks, x_dim, y_dim, w_dim, threads; } sizes;

void derivative_y(const real *x, const real *W, real *y, const int64_t *species, const block *blocks,
                  const sizes *s) {
  order o = sort_nodes(species, s->n_nodes, s->n_matrices);
  memset(y, 0, s->n_nodes * s->y_dim * sizeof *y);
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  for (int64_t z = 0; z < s->n_matrices; ++z)
    for (const block *b = blocks; b < blocks + s->n_blocks; ++b)
      products(x, y, s->x_dim, s->y_dim, W + z * s->w_dim + b->w, o, z, b->components, b->in, b->out, b->x, b->y,
               scale_of(b));
  release(o);
}

void derivative_x(real *x, const real *W, const real *y, const int64_t *species, const block *blocks,
                  const sizes *s) {
  order o = sort_nodes(species, s->n_nodes, s->n_matrices);
  memset(x, 0, s->n_nodes * s->x_dim * sizeof *x);
  real *T = malloc((s->n_matrices * s->w_dim + 1) * sizeof *T);
  for (int64_t z = 0; z < s->n_matrices; ++z)
    for (const block *b = blocks; b < blocks + s->n_blocks; ++b)
      for (int64_t k = 0; k < b->in; ++k)
        for (int64_t c = 0; c < b->out; ++c)
          T[z * s->w_dim + b->w + c * b->in + k] = W[z * s->w_dim + b->w + k * b->out + c];
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  for (int64_t z = 0; z < s->n_matrices; ++z)
    for (const block *b = blocks; b < blocks + s->n_blocks; ++b)
      products(y, x, s->y_dim, s->x_dim, T + z * s->w_dim + b->w, o, z, b->components, b->out, b->in, b->y, b->x,
               scale_of(b));
  free(T);
  release(o);
}

void derivative_W(const real *x, real *W, const real *y, const int64_t *species, const block *blocks,
                  const sizes *s) {
  order o = sort_nodes(species, s->n_nodes, s->n_matrices);
  memset(W, 0, s->n_matrices * s->w_dim * sizeof *W);
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  for (int64_t z = 0; z < s->n_matrices; ++z)
    for (const block *b = blocks; b < blocks + s->n_blocks; ++b) {
      /* So many nodes at a time that their rows stay in the first-level cache. */
      const int64_t chunk = 1 + CACHE / ((b->in + b->out) * b->components * (int64_t)sizeof(real));
      for (int64_t a = o.first[z]; a < o.first[z + 1]; a += chunk)
        outer(x, y, W + z * s->w_dim + b->w, s->x_dim, s->y_dim, o.nodes + a,
              o.first[z + 1] - a < chunk ? o.first[z + 1] - a : chunk, *b);
    }
  release(o);
}
