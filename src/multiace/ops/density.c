/* Sums over neighbours of products R Y, one for each attribute of the sender; the derivatives of
 *
 *   S(h, Y, R, g) = sum over edges j -> i, p, d   g[i, p, d] h[j, d] R[row, q_p] Y[edge, lm_p]
 *
 * Products p lie in blocks: of each of some lm that follow one another, with the same q, which follow one another too.
 * Inside, a node's g, or sums, lie apart for each d, and for each lm in whole vectors; what is behind the last q has no
 * meaning in sums, and is zero in g. */

typedef struct { const real *h, *Y, *R, *g; } arguments;
typedef struct { int64_t lm, count, q, n; } block; /* count lm from lm on, n q from q on */

typedef struct { /* eight bytes each */
  const int64_t *senders, *pairs, *pair, *first, *reverse;
  const block *blocks;
  int64_t n_nodes, n_edges, n_rows, n_h, n_Y, n_R, n_blocks, n_products, threads, n_terms;
  real *out;
  arguments terms[]; /* one of each is the result */
} sums;

#define EACH_BLOCK(b) for (const block *b = s->blocks; b < s->blocks + s->n_blocks; ++b)

INLINE int64_t vectors_of(const block *b) { return (b->n + LANES - 1) / LANES; }

static int64_t size_of(const sums *s) { /* of what lies apart for one d */
  int64_t size = 0;
  EACH_BLOCK(b) size += b->count * vectors_of(b) * LANES;
  return size;
}

typedef struct { real *apart, *whole, *row, *slope; int64_t size; } space; /* a thread's; row, slope: of R */

static space new_space(const sums *s) {
  const int64_t size = size_of(s), n = s->n_R + LANES;
  space w = {reals(s->n_h * size), reals(size), reals(n), reals(n), size};
  memset(w.row, 0, n * sizeof(real));
  return w;
}
static void free_space(space w) { free(w.apart); free(w.whole); free(w.row); free(w.slope); }

INLINE void read_row(const sums *s, const real *R, int64_t edge, real *row) {
  memcpy(row, R + (s->pair ? s->pair[edge] : edge) * s->n_R, s->n_R * sizeof(real));
}

/* What lies apart as it lies outside, or the other way round */
INLINE void arrange(const sums *s, real *apart, real *outside, int64_t size, int inwards) {
  for (int64_t d = 0; d < s->n_h; ++d) {
    real *near = apart + d * size, *far = outside + d;
    EACH_BLOCK(b)
      for (int64_t c = 0; c < b->count; ++c, near += vectors_of(b) * LANES, far += b->n * s->n_h)
        for (int64_t k = 0; k < b->n; ++k)
          if (inwards) near[k] = far[k * s->n_h];
          else far[k * s->n_h] = near[k];
  }
}

/* to += h R Y */
INLINE void add_products(const sums *s, real h, const real *Y, const real *row, real *to) {
  EACH_BLOCK(b) {
    const int64_t step = vectors_of(b) * LANES;
    for (int64_t k = 0; k < step; k += LANES) {
      const vec R = h * LOAD(row + b->q + k);
      real *at = to + k;
      for (int64_t c = 0; c < b->count; ++c, at += step) STORE(at) += Y[b->lm + c] * R;
    }
    to += b->count * step;
  }
}

void derivative_g(const sums *s) {
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    const space w = new_space(s);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < s->n_nodes; ++i) {
      memset(w.apart, 0, s->n_h * w.size * sizeof(real));
      for (int64_t n = 0; n < s->n_terms; ++n)
        for (int64_t e = s->first[i]; e < s->first[i + 1]; ++e) {
          const real *h = s->terms[n].h + s->senders[e] * s->n_h;
          read_row(s, s->terms[n].R, e, w.row);
          for (int64_t d = 0; d < s->n_h; ++d)
            if (h[d] != 0) add_products(s, h[d], s->terms[n].Y + e * s->n_Y, w.row, w.apart + d * w.size);
        }
      arrange(s, w.apart, s->out + i * s->n_products * s->n_h, w.size, 0);
    }
    free_space(w);
  }
}

INLINE real total(vec v) {
  real sum = 0;
  for (int lane = 0; lane < LANES; ++lane) sum += v[lane];
  return sum;
}

/* sum over d of h g; where that is one g as it is, as for elements, where it lies */
INLINE const real *weighted(const sums *s, const real *h, space w) {
  int64_t n = 0, last = 0;
  for (int64_t d = 0; d < s->n_h; ++d)
    if (h[d] != 0) ++n, last = d;
  if (n == 1 && h[last] == 1) return w.apart + last * w.size;
  memset(w.whole, 0, w.size * sizeof(real));
  for (int64_t d = 0; d < s->n_h; ++d)
    for (int64_t k = 0; h[d] != 0 && k < w.size; k += LANES)
      STORE(w.whole + k) += h[d] * LOAD(w.apart + d * w.size + k);
  return w.whole;
}

/* What a slot gets from an edge of a node whose g lies apart */
typedef void at_edge(const sums *s, const arguments *t, int64_t e, space w, real *out);

static void add_Y(const sums *s, const arguments *t, int64_t e, space w, real *out) {
  const real *g = weighted(s, t->h + s->senders[e] * s->n_h, w);
  EACH_BLOCK(b) {
    const int64_t step = vectors_of(b) * LANES;
    for (int64_t c = 0; c < b->count; c += LANES) { /* sums over the lanes of LANES vectors at once */
      const int64_t n = b->count - c < LANES ? b->count - c : LANES;
      vec of_each[LANES] = {{0}}, sum = {0};
      for (int64_t m = 0; m < n; ++m, g += step)
        for (int64_t k = 0; k < step; k += LANES) of_each[m] += LOAD(g + k) * LOAD(w.row + b->q + k);
      exchange(of_each);
      UNROLL16 for (int lane = 0; lane < LANES; ++lane) sum += of_each[lane];
      for (int64_t m = 0; m < n; ++m) out[b->lm + c + m] += sum[m];
    }
  }
}

static void add_R(const sums *s, const arguments *t, int64_t e, space w, real *out) {
  const real *g = weighted(s, t->h + s->senders[e] * s->n_h, w), *Y = t->Y + e * s->n_Y;
  memset(w.slope, 0, s->n_R * sizeof(real));
  EACH_BLOCK(b) {
    const int64_t step = vectors_of(b) * LANES;
    for (int64_t k = 0; k < step; k += LANES) {
      vec sum = {0};
      for (int64_t c = 0; c < b->count; ++c) sum += Y[b->lm + c] * LOAD(g + c * step + k);
      STORE(w.slope + b->q + k) += sum; /* zeros behind the last q */
    }
    g += b->count * step;
  }
  for (int64_t q = 0; q < s->n_R; ++q) out[q] += w.slope[q];
}

static void add_h(const sums *s, const arguments *t, int64_t e, space w, real *out) {
  memset(w.whole, 0, w.size * sizeof(real));
  add_products(s, 1, t->Y + e * s->n_Y, w.row, w.whole);
  for (int64_t d = 0; d < s->n_h; ++d) {
    vec sum = {0};
    for (int64_t k = 0; k < w.size; k += LANES) sum += LOAD(w.whole + k) * LOAD(w.apart + d * w.size + k);
    out[d] += total(sum);
  }
}

static void each_edge(const sums *s, at_edge *add, real *out, int64_t width) {
  memset(out, 0, s->n_edges * width * sizeof(real));
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    const space w = new_space(s);
    memset(w.apart, 0, s->n_h * w.size * sizeof(real));
#pragma omp for schedule(static)
    for (int64_t i = 0; i < s->n_nodes; ++i)
      for (int64_t n = 0; n < s->n_terms; ++n) {
        arrange(s, w.apart, (real *)s->terms[n].g + i * s->n_products * s->n_h, w.size, 1);
        for (int64_t e = s->first[i]; e < s->first[i + 1]; ++e) {
          if (s->terms[n].R) read_row(s, s->terms[n].R, e, w.row);
          add(s, s->terms + n, e, w, out + e * width);
        }
      }
    free_space(w);
  }
}

void derivative_Y(const sums *s) { each_edge(s, add_Y, s->out, s->n_Y); }

void derivative_R(const sums *s) {
  const int64_t n = s->n_R;
  if (!s->pair) {
    each_edge(s, add_R, s->out, n);
    return;
  }
  real *of_edges = reals(s->n_edges * n);
  each_edge(s, add_R, of_edges, n);
  for (int64_t p = 0; p < s->n_rows; ++p)
    for (int64_t q = 0; q < n; ++q)
      s->out[p * n + q] = of_edges[s->pairs[2 * p] * n + q] + of_edges[s->pairs[2 * p + 1] * n + q];
  free(of_edges);
}

void derivative_h(const sums *s) {
  const int64_t n = s->n_h;
  real *of_edges = reals(s->n_edges * n);
  each_edge(s, add_h, of_edges, n);
  memset(s->out, 0, s->n_nodes * n * sizeof(real));
  for (int64_t j = 0; j < s->n_nodes; ++j)
    for (int64_t e = s->first[j]; e < s->first[j + 1]; ++e)
      for (int64_t d = 0; d < n; ++d) s->out[j * n + d] += of_edges[s->reverse[e] * n + d];
  free(of_edges);
}
