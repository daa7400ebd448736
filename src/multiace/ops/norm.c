/* Layer normalisation of irreps; the derivatives of
 *
 *   S(x, W; g) = sum over nodes, groups  f(q) g . (a y) + g . b,   f(q) = (q + epsilon)^(-1/2),   q = w . y^2,
 *
 * along directions of x (nilpotent.h). The groups are the invariants less their mean, and all other irreps; the weights
 * w make q the mean over channels and components, and over irreps. W has the gains a of each channel of each irrep, then
 * the biases b of invariants.
 *
 * A vector has one value of LANES nodes. */

/* 2l+1 components of channels; where they begin in a row of x, and their gains in W; the biases are the last of W */
typedef struct { int64_t start, size, channels, gains, invariant; } block;
typedef struct { /* eight bytes each */
  const real *x[DIRECTIONS + 1], *W, *g;
  real *out;
  const block *blocks;
  int64_t n_nodes, n_blocks, n_others, dim, w_dim, threads;
  double epsilon;
} norms;

#define SET(u) ((u) ? 1 << ((u)-1) : 0) /* of x itself, or of one direction */
#define EACH_BLOCK(group)                                              \
  for (const block *b = s->blocks; b < s->blocks + s->n_blocks; ++b)   \
    if (b->invariant == (group))
#define EACH_VALUE /* number c of a row, k of its channels */          \
  for (int64_t first = b->start; first < b->start + b->size; first += b->channels) \
    for (int64_t k = 0, c = first; k < b->channels; ++k, ++c)

/* Rows from i on of a matrix; zero after the last */
static void load(const norms *s, const real *from, int64_t i, vec *to) {
  const int64_t rows = s->n_nodes - i < LANES ? s->n_nodes - i : LANES;
  if (rows < LANES) memset(to, 0, s->dim * sizeof(vec));
  transpose(from + i * s->dim, (real *)to, LANES, rows, s->dim);
}

static void store(const norms *s, const vec *from, int64_t i, real *to) {
  if (i + LANES <= s->n_nodes) transpose((const real *)from, to + i * s->dim, s->dim, s->dim, LANES);
  else
    for (int64_t lane = 0; i + lane < s->n_nodes; ++lane)
      for (int64_t c = 0; c < s->dim; ++c) to[(i + lane) * s->dim + c] = from[c][lane];
}

INLINE vec dot(const vec *a, const vec *b, int64_t n) {
  vec sum = {0};
  for (int64_t c = 0; c < n; ++c) sum += a[c] * b[c];
  return sum;
}

INLINE vec mean(const vec *a, int64_t n) {
  vec sum = {0};
  for (int64_t c = 0; c < n; ++c) sum += a[c];
  return sum / (real)n;
}

INLINE real weight(const norms *s, const block *b) {
  return (real)1 / (b->invariant ? b->size : s->n_others * b->size);
}

/* y of nodes from i on, and its directions one after another */
static void load_centred(const norms *s, int64_t i, vec *y) {
  for (int u = 0; u <= DIRECTIONS; ++u, y += s->dim) {
    load(s, s->x[u], i, y);
    EACH_BLOCK(1) {
      const vec m = mean(y + b->start, b->size);
      for (int64_t c = b->start; c < b->start + b->size; ++c) y[c] -= m;
    }
  }
}

/* f(q) of a group, and f'(q) */
static void factors(const norms *s, const vec *y, int group, vec *f, vec *slope) {
  vec q[SETS] = {{0}}, d[ORDERS];
  for (int u = 0; u <= DIRECTIONS; ++u)
    for (int v = 0; v <= u; ++v) {
      if (v && v == u) break; /* eps squares to zero */
      vec *sum = q + (SET(u) | SET(v));
      EACH_BLOCK(group) *sum += weight(s, b) * dot(y + u * s->dim + b->start, y + v * s->dim + b->start, b->size);
      if (u) *sum *= 2;
    }
  const vec inverse = 1 / (q[0] + (real)s->epsilon);
  for (int lane = 0; lane < LANES; ++lane) d[0][lane] = sqrt(inverse[lane]);
  for (int k = 1; k < ORDERS; ++k) d[k] = d[k - 1] * inverse * (real)(0.5 - k);
  compose(f, d, q);
  compose(slope, d + 1, q);
}

/* Number c of the sum over y and its directions, each times what f has of the other directions */
INLINE vec combined(const norms *s, const vec *y, const vec *f, int64_t c) {
  vec sum = {0};
  for (int u = 0; u <= DIRECTIONS; ++u) sum += f[FULL ^ SET(u)] * y[u * s->dim + c];
  return sum;
}

static vec *vectors(int64_t n) { return (vec *)reals(n * LANES); }

#define PARTS 16 /* of the nodes, whose gradients of W are summed apart, whatever the number of threads */
#define EACH_PART                                                                          \
  _Pragma("omp parallel for schedule(static) num_threads(s->threads) if (s->threads > 1)") \
  for (int64_t part = 0; part < PARTS; ++part)
#define EACH_NODE for (int64_t i = part * LANES; i < s->n_nodes; i += PARTS * LANES)
#define EACH_GROUP for (int group = !s->n_others; group < 2; ++group)

void derivative_g(const norms *s) {
  EACH_PART {
    vec *y = vectors((DIRECTIONS + 2) * s->dim), *out = y + (DIRECTIONS + 1) * s->dim, f[SETS], slope[SETS];
    EACH_NODE {
      load_centred(s, i, y);
      EACH_GROUP {
        factors(s, y, group, f, slope);
        EACH_BLOCK(group) {
          const real *gain = s->W + b->gains, *bias = s->W + s->w_dim - b->channels;
          EACH_VALUE out[c] = gain[k] * combined(s, y, f, c) + (group && !DIRECTIONS ? bias[k] : 0);
        }
      }
      store(s, out, i, s->out);
    }
    free(y);
  }
}

/* The gradient of f(q) h . y, h = a g, is f h + 2 f' (h . y) w y, less the mean of invariants, which is that of f h. */
void derivative_x(const norms *s) {
  EACH_PART {
    vec *y = vectors((DIRECTIONS + 2) * s->dim), *h = y + (DIRECTIONS + 1) * s->dim, f[SETS], slope[SETS], t[SETS];
    EACH_NODE {
      load_centred(s, i, y);
      load(s, s->g, i, h);
      EACH_GROUP {
        vec along[SETS] = {{0}};
        factors(s, y, group, f, slope);
        EACH_BLOCK(group) {
          const real *gain = s->W + b->gains;
          EACH_VALUE h[c] *= gain[k];
          for (int u = 0; u <= DIRECTIONS; ++u)
            along[SET(u)] += dot(h + b->start, y + u * s->dim + b->start, b->size);
        }
        times(t, along, slope, DIRECTIONS);
        EACH_BLOCK(group) {
          const vec m = group ? mean(h + b->start, b->size) : number(0);
          for (int64_t c = b->start; c < b->start + b->size; ++c)
            h[c] = f[FULL] * (h[c] - m) + 2 * weight(s, b) * combined(s, y, t, c);
        }
      }
      store(s, h, i, s->out);
    }
    free(y);
  }
}

void derivative_W(const norms *s) {
  vec *sums = vectors(PARTS * s->w_dim);
  memset(sums, 0, PARTS * s->w_dim * sizeof(vec));
  EACH_PART {
    vec *y = vectors((DIRECTIONS + 2) * s->dim), *g = y + (DIRECTIONS + 1) * s->dim, f[SETS], slope[SETS];
    EACH_NODE {
      load_centred(s, i, y);
      load(s, s->g, i, g);
      EACH_GROUP {
        factors(s, y, group, f, slope);
        EACH_BLOCK(group) {
          vec *gain = sums + part * s->w_dim + b->gains, *bias = sums + (part + 1) * s->w_dim - b->channels;
          EACH_VALUE {
            gain[k] += g[c] * combined(s, y, f, c);
            if (group && !DIRECTIONS) bias[k] += g[c];
          }
        }
      }
    }
    free(y);
  }
  memset(s->out, 0, s->w_dim * sizeof(real));
  for (int64_t part = 0; part < PARTS; ++part)
    for (int64_t k = 0; k < s->w_dim; ++k)
      for (int lane = 0; lane < LANES; ++lane) s->out[k] += sums[part * s->w_dim + k][lane];
  free(sums);
}
