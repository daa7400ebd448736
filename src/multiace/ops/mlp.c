/* The hidden layers of perceptrons without biases: the derivatives of
 *
 *   S(x, W; g) = sum over rows  g . h_L,   h_(l+1) = c f(h_l W_l),  h_0 = x,
 *
 * W_l standing for a matrix divided by the root of its fan-in. S is linear in g and smooth in x and W. Its derivative
 * along directions u_1 ... u_n of (x, W) is the coefficient FULL of numbers as nilpotent.h has them. ACTIVATION names f.
 * A row of W has more after the L matrices: the last layer is a linear map.
 *
 * TILE rows at a time go through all layers, so that what is between them stays in the cache. */

#define TILE 48
#define CHUNK 3840 /* rows whose h and gradients are kept for the gradient of W: a multiple of TILE */
typedef struct { /* eight bytes each */
  const real *x[DIRECTIONS + 1], *W[DIRECTIONS + 1], *g;
  real *out;
  const real *scale; /* c */
  int64_t n_rows, n_layers, w_dim, fan_in, threads, sizes[]; /* n_layers: L; sizes: of h_0 ... h_L */
} network;

/* out = scale in W, or added to it; in: rows x n, W: n x m */
static void product(const real *in, const real *W, real *out, int64_t rows, int64_t n, int64_t m, real scale, int add) {
  for (int64_t first = 0; first < rows; first += ROWS) {
    const int here = rows - first < ROWS ? rows - first : ROWS;
    const real *a[ROWS];
    real *o[ROWS];
    for (int r = 0; r < ROWS; ++r) {
      a[r] = in + (first + (r < here ? r : 0)) * n;
      o[r] = out + (first + r) * m;
    }
    multiply(a, o, here, W, m, n, m, scale, add);
  }
}

/* ------------------------------------------------------------------ layers; `tile` numbers of each set, set by set */

/* h = c f(z); slope = c f'(z), or NULL */
static void activate(const real *z, real *h, real *slope, int64_t n, real c) {
  for (int64_t i = 0; i < n; i += LANES) {
    vec at[SETS], d[ORDERS], value[SETS];
    for (int s = 0; s < SETS; ++s) at[s] = LOAD(z + s * n + i);
    ACTIVATION(at[0], d);
    compose(value, d, at);
    for (int s = 0; s < SETS; ++s) STORE(h + s * n + i) = c * value[s];
    if (!slope) continue;
    compose(value, d + 1, at);
    for (int s = 0; s < SETS; ++s) STORE(slope + s * n + i) = c * value[s];
  }
}

/* h *= slope */
static void multiply_all(real *h, const real *slope, int64_t n) {
  for (int64_t i = 0; i < n; i += LANES) {
    vec a[SETS], b[SETS], p[SETS];
    for (int s = 0; s < SETS; ++s) { a[s] = LOAD(h + s * n + i); b[s] = LOAD(slope + s * n + i); }
    times(p, a, b, DIRECTIONS);
    for (int s = 0; s < SETS; ++s) STORE(h + s * n + i) = p[s];
  }
}

static const real *matrix(numbers W, int b, int64_t offset) {
  if (!b) return W[0] + offset;
  if (b & (b - 1)) return NULL; /* W has no products of eps */
  const real *direction = W[1 + __builtin_ctz(b)];
  return direction ? direction + offset : NULL;
}

/* out = sum of in[a] W[b] over sets a, b that make s; in[a] is NULL where it is zero */
static void map_to(const real *const *in, numbers W, int64_t offset, real *out, int s, int64_t rows, int64_t n,
                   int64_t m, real scale) {
  int add = 0;
  for (int a = 0; a < SETS; ++a) {
    const real *w = (a & s) == a && in[a] ? matrix(W, s ^ a, offset) : NULL;
    if (!w) continue;
    product(in[a], w, out, rows, n, m, scale, add);
    add = 1;
  }
  if (!add) memset(out, 0, rows * m * sizeof(real));
}

/* The same for all sets */
static void map(const real *const *in, numbers W, int64_t offset, real *const *out, int64_t rows, int64_t n, int64_t m,
                real scale) {
  for (int s = 0; s < SETS; ++s) map_to(in, W, offset, out[s], s, rows, n, m, scale);
}

static int64_t width_of(const network *net) { /* of all layers */
  int64_t width = 0;
  for (int64_t l = 1; l <= net->n_layers; ++l) width += net->sizes[l];
  return width;
}

static int64_t widest(const network *net) {
  int64_t width = 1;
  for (int64_t l = 1; l <= net->n_layers; ++l)
    if (net->sizes[l] > width) width = net->sizes[l];
  return width;
}

static real scale_of(const network *net, int64_t l) { return 1 / sqrt((double)(l ? net->sizes[l] : net->fan_in)); }

static int64_t offset_of(const network *net, int64_t l) { /* of matrix l */
  int64_t offset = 0;
  for (int64_t k = 0; k < l; ++k) offset += net->sizes[k] * net->sizes[k + 1];
  return offset;
}

/* Numbers of the layers for a tile: where[l][s] is TILE x sizes[l]. */
static void place(const network *net, real *base, real **where) {
  for (int64_t l = 1; l <= net->n_layers; ++l) {
    for (int s = 0; s < SETS; ++s) where[l * SETS + s] = base + s * TILE * net->sizes[l];
    base += SETS * TILE * net->sizes[l];
  }
}

/* Rows first .. of x and its directions; sets of two or more are zero. */
static void place_input(const network *net, numbers x, int64_t first, const real **h) {
  for (int s = 0; s < SETS; ++s) h[s] = matrix(x, s, first * net->sizes[0]);
}

/* h and slopes (if wanted) of all layers for `rows` rows; z is scratch of one layer */
static void forward(const network *net, numbers W, const real **h, real *const *slope, int64_t rows, real *z, real c) {
  for (int64_t l = 0; l < net->n_layers; ++l) {
    const int64_t n = net->sizes[l], m = net->sizes[l + 1];
    real *out[SETS];
    for (int s = 0; s < SETS; ++s) out[s] = z + s * TILE * m;
    map(h + l * SETS, W, offset_of(net, l), out, rows, n, m, scale_of(net, l));
    for (int s = 0; s < SETS; ++s) memset(out[s] + rows * m, 0, (TILE - rows) * m * sizeof(real));
    activate(z, (real *)h[(l + 1) * SETS], slope ? slope[(l + 1) * SETS] : NULL, TILE * m, c);
  }
}

/* The matrices of W and its directions, each transposed. Called by all threads of a team. */
static void transpose_all(const network *net, numbers W, real *const *T) {
  for (int b = 0; b <= DIRECTIONS; ++b)
    for (int64_t l = 0; T[b] && l < net->n_layers; ++l) {
      const int64_t n = net->sizes[l], m = net->sizes[l + 1], at = offset_of(net, l);
#pragma omp for schedule(static) nowait
      for (int64_t row = 0; row < n; row += LANES)
        transpose(W[b] + at + row * m, T[b] + at + row, n, n - row < LANES ? n - row : LANES, m);
    }
}

static void allocate_transposed(const network *net, numbers W, real **T) {
  for (int b = 0; b <= DIRECTIONS; ++b) T[b] = W[b] ? reals(offset_of(net, net->n_layers)) : NULL;
}

static void free_transposed(real **T) {
  for (int b = 0; b <= DIRECTIONS; ++b) free(T[b]);
}

/* Gradients with respect to the arguments of the activations, from those of the result; in place of the slopes */
static void backward(const network *net, numbers T, const real *g, real *const *slope, int64_t rows, real *z) {
  const int64_t last = net->n_layers, width = net->sizes[last];
  for (int s = 0; s < SETS; ++s) {
    real *to = slope[last * SETS + s];
    for (int64_t i = 0; i < rows * width; ++i) to[i] *= g[i];
    memset(to + rows * width, 0, (TILE - rows) * width * sizeof(real));
  }
  for (int64_t l = last - 1; l > 0; --l) {
    const int64_t n = net->sizes[l], m = net->sizes[l + 1];
    real *out[SETS];
    for (int s = 0; s < SETS; ++s) out[s] = z + s * TILE * n;
    map((const real *const *)slope + (l + 1) * SETS, T, offset_of(net, l), out, rows, m, n, scale_of(net, l));
    for (int s = 0; s < SETS; ++s) memset(out[s] + rows * n, 0, (TILE - rows) * n * sizeof(real));
    multiply_all(slope[l * SETS], z, TILE * n);
  }
}

/* What a thread needs for one tile. */
typedef struct { real *z, *of_h, *of_slope; const real **h; real **slope; } scratch;

static scratch prepare(const network *net) {
  const int64_t width = width_of(net), pointers = (net->n_layers + 1) * SETS;
  scratch t = {reals(SETS * TILE * widest(net)), reals(SETS * TILE * width), reals(SETS * TILE * width),
               malloc(pointers * sizeof(real *)), malloc(pointers * sizeof(real *))};
  place(net, t.of_h, (real **)t.h);
  place(net, t.of_slope, t.slope);
  return t;
}

static void release(scratch t) {
  free(t.z);
  free(t.of_h);
  free(t.of_slope);
  free(t.h);
  free(t.slope);
}

#define EACH_TILE(from, to)                                                                                        \
  _Pragma("omp for schedule(static)") for (int64_t first = (from); first < (to); first += TILE) {                  \
    const int64_t rows = (to) - first < TILE ? (to) - first : TILE;

void derivative_g(const network *net) {
  const numbers x = net->x, W = net->W;
  const real c = *net->scale;
  real *g = net->out;
  const int64_t last = net->n_layers, width = net->sizes[last];
#pragma omp parallel num_threads(net->threads) if (net->threads > 1)
  {
    scratch t = prepare(net);
    EACH_TILE(0, net->n_rows)
      place_input(net, x, first, t.h);
      forward(net, W, t.h, NULL, rows, t.z, c);
      memcpy(g + first * width, t.h[last * SETS + FULL], rows * width * sizeof(real));
    }
    release(t);
  }
}

void derivative_x(const network *net) {
  const numbers x = net->x, W = net->W;
  const real *g = net->g, c = *net->scale;
  real *u = net->out;
  const int64_t n = net->sizes[0], m = net->sizes[1], width = net->sizes[net->n_layers];
  real *T[DIRECTIONS + 1];
  allocate_transposed(net, W, T);
#pragma omp parallel num_threads(net->threads) if (net->threads > 1)
  {
    scratch t = prepare(net);
    transpose_all(net, W, T);
#pragma omp barrier
    EACH_TILE(0, net->n_rows)
      place_input(net, x, first, t.h);
      forward(net, W, t.h, t.slope, rows, t.z, c);
      backward(net, (numbers)T, g + first * width, t.slope, rows, t.z);
      map_to((const real *const *)t.slope + SETS, (numbers)T, 0, u + first * n, FULL, rows, m, n, scale_of(net, 0));
    }
    release(t);
  }
  free_transposed(T);
}

void derivative_W(const network *net) {
  const numbers x = net->x, W = net->W;
  const real *g = net->g, c = *net->scale;
  real *u = net->out;
  const int64_t layers = net->n_layers, width = width_of(net), of_result = net->sizes[layers];
  const int64_t kept = net->n_rows < CHUNK ? net->n_rows : CHUNK, stride = SETS * width;
  real *h = reals(kept * stride), *z = reals(kept * stride); /* h and gradients: [layer][set][row] */
  real *T[DIRECTIONS + 1];
  allocate_transposed(net, W, T);
  memset(u, 0, net->w_dim * sizeof *u);
  for (int64_t begin = 0; begin < net->n_rows; begin += CHUNK) {
    const int64_t end = net->n_rows - begin < CHUNK ? net->n_rows : begin + CHUNK, here = end - begin;
#pragma omp parallel num_threads(net->threads) if (net->threads > 1)
    {
      scratch t = prepare(net);
      if (!begin) transpose_all(net, W, T);
#pragma omp barrier
      EACH_TILE(begin, end)
        place_input(net, x, first, t.h);
        forward(net, W, t.h, t.slope, rows, t.z, c);
        backward(net, (numbers)T, g + first * of_result, t.slope, rows, t.z);
        int64_t before = 0;
        for (int64_t l = 1; l <= layers; before += net->sizes[l], ++l)
          for (int s = 0; s < SETS; ++s) {
            const int64_t n = net->sizes[l], at = SETS * before * here + (s * here + first - begin) * n;
            memcpy(h + at, t.h[l * SETS + s], rows * n * sizeof(real));
            memcpy(z + at, t.slope[l * SETS + s], rows * n * sizeof(real));
          }
      }
      release(t);
      int64_t before = 0; /* h_(l+1) and its gradients begin there */
      for (int64_t l = 0; l < layers; before += net->sizes[l + 1], ++l) {
        const int64_t n = net->sizes[l], m = net->sizes[l + 1];
#pragma omp for schedule(static)
        for (int64_t task = 0; task < outer_tasks(n, m); ++task)
          for (int a = 0; a < SETS; ++a) {
            const real *left = l ? h + SETS * (before - n) * here + a * here * n : matrix(x, a, begin * n);
            const real *right = z + SETS * before * here + (FULL ^ a) * here * m;
            if (!left) continue;
            for (int64_t row = 0; row < here; row += DEPTH) {
              const int rows = here - row < DEPTH ? here - row : DEPTH;
              const real *a_rows[DEPTH], *b_rows[DEPTH];
              for (int i = 0; i < rows; ++i) {
                a_rows[i] = left + (row + i) * n;
                b_rows[i] = right + (row + i) * m;
              }
              outer(a_rows, b_rows, rows, u + offset_of(net, l), n, m, task, scale_of(net, l));
            }
          }
      }
    }
  }
  free_transposed(T);
  free(h);
  free(z);
}
