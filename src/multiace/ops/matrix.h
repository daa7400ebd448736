/* Vectors of reals, and products of matrices whose rows lie anywhere. `real` (float or double) and
 * REAL_BYTES come before this text. */
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __AVX512F__
#define VECTOR_BYTES 64
#define VECTORS 4 /* of a row that a product keeps in registers */
#else
#define VECTOR_BYTES 32
#define VECTORS 2
#endif
#define LANES (VECTOR_BYTES / (int)sizeof(real))
#define COLUMNS (VECTORS * LANES)
#define ROWS 6     /* of a product that are kept in registers */
#define DEPTH 64   /* rows that an outer product takes at a time */
#define HEIGHT 48  /* most rows of an outer product's result that are one task: a multiple of ROWS */
#define INLINE static inline __attribute__((always_inline, unused))
#define UNUSED static __attribute__((unused))
#define UNROLL _Pragma("GCC unroll 8")
#define UNROLL16 _Pragma("GCC unroll 16")
#define LOAD(p) (*(const vec *)(p))
#define STORE(p) (*(vec *)(p))
typedef real vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real))));
#if REAL_BYTES == 4
typedef int32_t mask __attribute__((vector_size(VECTOR_BYTES)));
#else
typedef int64_t mask __attribute__((vector_size(VECTOR_BYTES)));
#endif

/* `vectors` vectors of columns, from c on, of a product as below */
INLINE void multiply_part(const real *const *in, real *const *out, int rows, const real *W, int64_t stride, int64_t n,
                          int64_t c, real scale, int add, int vectors) {
  vec sums[ROWS][VECTORS] = {{{0}}};
  for (int64_t k = 0; k < n; ++k) {
    vec w[VECTORS];
    UNROLL for (int v = 0; v < vectors; ++v) w[v] = LOAD(W + k * stride + c + v * LANES);
    UNROLL for (int r = 0; r < ROWS; ++r)
      UNROLL for (int v = 0; v < vectors; ++v) sums[r][v] += in[r][k] * w[v];
  }
  UNROLL for (int r = 0; r < ROWS; ++r) {
    if (r == rows) break;
    UNROLL for (int v = 0; v < vectors; ++v) {
      real *to = out[r] + c + v * LANES;
      STORE(to) = scale * sums[r][v] + (add ? LOAD(to) : (vec){0});
    }
  }
}

/* out[r] = scale in[r] W, or added to it, for up to ROWS rows; W: n x m, its rows `stride` apart */
UNUSED void multiply(const real *const *in, real *const *out, int rows, const real *W, int64_t stride, int64_t n,
                     int64_t m, real scale, int add) {
  int64_t c = 0;
  for (; c + COLUMNS <= m; c += COLUMNS) multiply_part(in, out, rows, W, stride, n, c, scale, add, VECTORS);
#if VECTORS > 2
  for (; c + 2 * LANES <= m; c += 2 * LANES) multiply_part(in, out, rows, W, stride, n, c, scale, add, 2);
#endif
  for (; c + LANES <= m; c += LANES) multiply_part(in, out, rows, W, stride, n, c, scale, add, 1);
  for (; c < m; ++c) {
    real s[ROWS] = {0};
    for (int64_t k = 0; k < n; ++k)
      for (int r = 0; r < ROWS; ++r) s[r] += in[r][k] * W[k * stride + c];
    for (int r = 0; r < rows; ++r) out[r][c] = scale * s[r] + (add ? out[r][c] : 0);
  }
}

/* ROWS rows from k on and `vectors` vectors of columns from c on of an outer product as below */
INLINE void outer_part(const real *const *a, const real *const *b, int rows, real *W, int64_t n, int64_t m, int64_t k,
                       int64_t c, real scale, int vectors) {
  vec sums[ROWS][VECTORS] = {{{0}}};
  if (k + ROWS <= n)
    for (int i = 0; i < rows; ++i) {
      const real *from = a[i] + k;
      vec w[VECTORS];
      UNROLL for (int v = 0; v < vectors; ++v) w[v] = LOAD(b[i] + v * LANES);
      UNROLL for (int r = 0; r < ROWS; ++r)
        UNROLL for (int v = 0; v < vectors; ++v) sums[r][v] += from[r] * w[v];
    }
  else
    for (int i = 0; i < rows; ++i)
      UNROLL for (int r = 0; r < ROWS; ++r)
        UNROLL for (int v = 0; v < vectors; ++v) sums[r][v] += a[i][k + r < n ? k + r : k] * LOAD(b[i] + v * LANES);
  UNROLL for (int r = 0; r < ROWS; ++r) {
    if (k + r >= n) break;
    real *w = W + (k + r) * m + c;
    UNROLL for (int v = 0; v < vectors; ++v) {
      const vec sum = scale * sums[r][v];
      if (c + (v + 1) * LANES <= m) STORE(w + v * LANES) += sum;
      else
        for (int64_t lane = 0; v * LANES + lane < m - c; ++lane) w[v * LANES + lane] += sum[lane];
    }
  }
}

/* An outer product n x m is cut into tasks of COLUMNS columns and of rows, a multiple of ROWS and at most HEIGHT. */
UNUSED int64_t height(int64_t n) {
  const int64_t parts = (n + HEIGHT - 1) / HEIGHT;
  return (n + parts * ROWS - 1) / (parts * ROWS) * ROWS;
}
UNUSED int64_t outer_tasks(int64_t n, int64_t m) {
  return n ? ((n + height(n) - 1) / height(n)) * ((m + COLUMNS - 1) / COLUMNS) : 0;
}

/* W += scale sum_i a[i]^T b[i] in the part of a task, i up to DEPTH; W: n x m */
UNUSED void outer(const real *const *a, const real *const *b, int rows, real *W, int64_t n, int64_t m, int64_t task,
                  real scale) {
  const int64_t down = (n + height(n) - 1) / height(n), c = task / down * COLUMNS;
  int64_t k = task % down * height(n);
  const int64_t width = m - c < COLUMNS ? m - c : COLUMNS, last = n - k < height(n) ? n : k + height(n);
  const int vectors = (width + LANES - 1) / LANES;
  vec copies[DEPTH][VECTORS]; /* of what is narrower than the vectors */
  const real *right[DEPTH];
  for (int i = 0; i < rows; ++i) {
    right[i] = b[i] + c;
    if (width == LANES || width == 2 * LANES || width == COLUMNS) continue;
    for (int v = 0; v < VECTORS; ++v) copies[i][v] = (vec){0};
    memcpy(copies[i], b[i] + c, width * sizeof(real));
    right[i] = (const real *)copies[i];
  }
  for (; k < last; k += ROWS)
    if (vectors == 1) outer_part(a, right, rows, W, n, m, k, c, scale, 1);
    else if (vectors == 2) outer_part(a, right, rows, W, n, m, k, c, scale, 2);
    else outer_part(a, right, rows, W, n, m, k, c, scale, VECTORS);
}

/* Exchange rows and columns of LANES vectors: every step swaps the parts of two rows off the diagonal. */
INLINE void exchange(vec *v) {
  UNROLL for (int step = 1; step < LANES; step *= 2) {
    mask first, second; /* lanes of (v[i], v[i + step]) */
    UNROLL16 for (int lane = 0; lane < LANES; ++lane) {
      first[lane] = lane & step ? LANES + lane - step : lane;
      second[lane] = lane & step ? LANES + lane : lane + step;
    }
    UNROLL16 for (int i = 0; i < LANES; ++i)
      if (!(i & step)) {
        const vec a = v[i], b = v[i + step];
        v[i] = __builtin_shuffle(a, b, first);
        v[i + step] = __builtin_shuffle(a, b, second);
      }
  }
}

/* T = W^T, W: n x m, the rows of T `stride` apart */
UNUSED void transpose(const real *W, real *T, int64_t stride, int64_t n, int64_t m) {
  for (int64_t row = 0; row < n; row += LANES) {
    int64_t c = 0;
    for (; n - row >= LANES && c + LANES <= m; c += LANES) {
      vec v[LANES];
      for (int i = 0; i < LANES; ++i) v[i] = LOAD(W + (row + i) * m + c);
      exchange(v);
      for (int i = 0; i < LANES; ++i) STORE(T + (c + i) * stride + row) = v[i];
    }
    for (int64_t r = row; r < n && r < row + LANES; ++r)
      for (int64_t d = c; d < m; ++d) T[d * stride + r] = W[r * m + d];
  }
}

UNUSED real *reals(int64_t n) { return aligned_alloc(64, (n * sizeof(real) / 64 + 1) * 64); }

/* Nodes sorted by matrix: nodes[first[z] .. first[z + 1]) use matrix z. */
typedef struct { int64_t *nodes, *first; } order;

UNUSED order sort_nodes(const int64_t *species, int64_t n_nodes, int64_t n_matrices) {
  order o = {malloc((n_nodes + 1) * sizeof(int64_t)), calloc(n_matrices + 2, sizeof(int64_t))};
  for (int64_t n = 0; n < n_nodes; ++n) o.first[(species ? species[n] : 0) + 2]++;
  for (int64_t z = 0; z < n_matrices; ++z) o.first[z + 2] += o.first[z + 1];
  for (int64_t n = 0; n < n_nodes; ++n) o.nodes[o.first[(species ? species[n] : 0) + 1]++] = n;
  return o;
}

UNUSED void free_order(order o) { free(o.nodes); free(o.first); }
