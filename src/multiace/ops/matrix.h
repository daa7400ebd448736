/* Vectors of reals, and products of matrices whose rows lie anywhere. `real` (float or double) and
 * REAL_BYTES come before this text. */
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES (32 / (int)sizeof(real))
#define ROWS 6   /* of a product that are kept in registers, two vectors each */
#define DEPTH 64 /* rows that an outer product takes at a time */
#define INLINE static inline __attribute__((always_inline, unused))
#define UNUSED static __attribute__((unused))
#define LOAD(p) (*(const vec *)(p))
#define STORE(p) (*(vec *)(p))
typedef real vec __attribute__((vector_size(32), aligned(sizeof(real))));
#if REAL_BYTES == 4
typedef int32_t mask __attribute__((vector_size(32)));
#else
typedef int64_t mask __attribute__((vector_size(32)));
#endif

/* out[r] = scale in[r] W, or added to it, for up to ROWS rows; W: n x m */
UNUSED void multiply(const real *const *in, real *const *out, int rows, const real *W, int64_t n, int64_t m, real scale,
                     int add) {
  int64_t c = 0;
  for (; c + 2 * LANES <= m; c += 2 * LANES) {
    vec s0[ROWS] = {{0}}, s1[ROWS] = {{0}};
    for (int64_t k = 0; k < n; ++k) {
      const vec w0 = LOAD(W + k * m + c), w1 = LOAD(W + k * m + c + LANES);
      for (int r = 0; r < ROWS; ++r) { s0[r] += in[r][k] * w0; s1[r] += in[r][k] * w1; }
    }
    for (int r = 0; r < rows; ++r) {
      STORE(out[r] + c) = scale * s0[r] + (add ? LOAD(out[r] + c) : (vec){0});
      STORE(out[r] + c + LANES) = scale * s1[r] + (add ? LOAD(out[r] + c + LANES) : (vec){0});
    }
  }
  for (; c + LANES <= m; c += LANES) {
    vec s[ROWS] = {{0}};
    for (int64_t k = 0; k < n; ++k) {
      const vec w = LOAD(W + k * m + c);
      for (int r = 0; r < ROWS; ++r) s[r] += in[r][k] * w;
    }
    for (int r = 0; r < rows; ++r) STORE(out[r] + c) = scale * s[r] + (add ? LOAD(out[r] + c) : (vec){0});
  }
  for (; c < m; ++c) {
    real s[ROWS] = {0};
    for (int64_t k = 0; k < n; ++k)
      for (int r = 0; r < ROWS; ++r) s[r] += in[r][k] * W[k * m + c];
    for (int r = 0; r < rows; ++r) out[r][c] = scale * s[r] + (add ? out[r][c] : 0);
  }
}

/* W += scale sum_i a[i]^T b[i] for the 2 LANES columns from c on, for up to DEPTH rows; W: n x m */
UNUSED void outer(const real *const *a, const real *const *b, int rows, real *W, int64_t n, int64_t m, int64_t c,
                  real scale) {
  const int64_t width = m - c < 2 * LANES ? m - c : 2 * LANES;
  vec panel[DEPTH][2]; /* the columns of b one row after another */
  if (width < 2 * LANES) memset(panel, 0, sizeof panel);
  for (int i = 0; i < rows; ++i) memcpy(panel[i], b[i] + c, width * sizeof(real));
  for (int64_t k = 0; k < n; k += ROWS) {
    int64_t at[ROWS];
    for (int r = 0; r < ROWS; ++r) at[r] = k + r < n ? k + r : k;
    vec s0[ROWS] = {{0}}, s1[ROWS] = {{0}};
    for (int i = 0; i < rows; ++i)
      for (int r = 0; r < ROWS; ++r) {
        s0[r] += a[i][at[r]] * panel[i][0];
        s1[r] += a[i][at[r]] * panel[i][1];
      }
    for (int r = 0; r < ROWS && k + r < n; ++r) {
      real *w = W + (k + r) * m + c;
      const vec sums[2] = {scale * s0[r], scale * s1[r]};
      if (width == 2 * LANES) {
        STORE(w) += sums[0];
        STORE(w + LANES) += sums[1];
      } else {
        for (int64_t lane = 0; lane < width; ++lane) w[lane] += sums[lane / LANES][lane % LANES];
      }
    }
  }
}

/* Exchange rows and columns of LANES vectors: every step swaps the parts of two rows off the diagonal. */
INLINE void exchange(vec *v) {
  for (int step = 1; step < LANES; step *= 2) {
    mask first, second; /* lanes of (v[i], v[i + step]) */
    for (int lane = 0; lane < LANES; ++lane) {
      first[lane] = lane & step ? LANES + lane - step : lane;
      second[lane] = lane & step ? LANES + lane : lane + step;
    }
    for (int i = 0; i < LANES; ++i)
      if (!(i & step)) {
        const vec a = v[i], b = v[i + step];
        v[i] = __builtin_shuffle(a, b, first);
        v[i + step] = __builtin_shuffle(a, b, second);
      }
  }
}

/* T = W^T, W: n x m; the threads of a team share the work */
UNUSED void transpose(const real *W, real *T, int64_t n, int64_t m) {
#pragma omp for schedule(static) nowait
  for (int64_t row = 0; row < n; row += LANES) {
    int64_t c = 0;
    for (; n - row >= LANES && c + LANES <= m; c += LANES) {
      vec v[LANES];
      for (int i = 0; i < LANES; ++i) v[i] = LOAD(W + (row + i) * m + c);
      exchange(v);
      for (int i = 0; i < LANES; ++i) STORE(T + (c + i) * n + row) = v[i];
    }
    for (int64_t r = row; r < n && r < row + LANES; ++r)
      for (int64_t d = c; d < m; ++d) T[d * n + r] = W[r * m + d];
  }
}

UNUSED real *reals(int64_t n) { return aligned_alloc(64, (n * sizeof(real) / 64 + 1) * 64); }
