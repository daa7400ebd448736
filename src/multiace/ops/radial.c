/* Bessel functions times the polynomial envelope; the derivatives of
 *
 *   S(r; g) = sum over pairs and n = 1 .. N  g_n e_n(r),   e_n(r) = sqrt(2 / r_c) sin(w_n r) / r f(r / r_c),
 *
 * w_n = n pi / r_c, along directions of r (nilpotent.h). Below `shortest` sin(w r) / r is held constant. LANES pairs
 * go together. */

typedef struct { /* eight bytes each */
  const real *r[DIRECTIONS + 1], *g;
  real *out;
  int64_t n_pairs, n_radial, power, threads;
  double cutoff, shortest;
} basis;

/* Derivatives of a product from those of its factors */
INLINE void leibniz(vec *p, const vec *a, const vec *b) {
  for (int j = 0; j < ORDERS; ++j) {
    real binomial = 1;
    p[j] = (vec){0};
    for (int i = 0; i <= j; binomial = binomial * (j - i) / (i + 1), ++i) p[j] += binomial * a[i] * b[j - i];
  }
}

/* f(x) = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2), and its derivatives with respect to r; 0 from x = 1 on */
INLINE void envelope(vec r, const basis *b, vec *f) {
  const int64_t p = b->power;
  const vec x = r / (real)b->cutoff, inside = choose(x < 1, number(1), number(0));
  const double factors[3] = {-0.5 * (p + 1) * (p + 2), (double)p * (p + 2), -0.5 * p * (p + 1)};
  for (int j = 0; j < ORDERS; ++j) {
    vec sum = number(j == 0);
    for (int term = 0; term < 3; ++term) {
      double factor = factors[term];
      int64_t power = p + term;
      for (int i = 0; i < j; ++i) factor *= (double)(power - i) / b->cutoff;
      if (factor == 0) continue; /* also where the power would be negative */
      vec monomial = number(factor);
      for (power -= j; power > 0; --power) monomial *= x;
      sum += monomial;
    }
    f[j] = sum * inside;
  }
}

typedef struct { vec z[SETS], of_pair[ORDERS]; } pairs;

/* What all functions of n share: the numbers r, and the derivatives of sqrt(2 / r_c) f(r) / r */
INLINE void prepare(numbers r, int64_t first, int64_t n_here, const basis *b, pairs *p, vec *at, vec *moves) {
  vec f[ORDERS], inverse[ORDERS];
  for (int s = 0; s < SETS; ++s) p->z[s] = (vec){0};
  for (int u = 0; u <= DIRECTIONS; ++u)
    for (int64_t lane = 0; lane < n_here; ++lane) p->z[u ? 1 << (u - 1) : 0][lane] = r[u][first + lane];
  for (int64_t lane = n_here; lane < LANES; ++lane) p->z[0][lane] = b->cutoff;
  *moves = choose(p->z[0] > (real)b->shortest, number(1), number(0));
  *at = choose(p->z[0] > (real)b->shortest, p->z[0], number(b->shortest));
  envelope(p->z[0], b, f);
  inverse[0] = (real)sqrt(2 / b->cutoff) / *at;
  for (int j = 1; j < ORDERS; ++j) inverse[j] = inverse[j - 1] * -(real)j / *at * *moves;
  leibniz(p->of_pair, inverse, f);
}

/* The derivatives of e_n */
INLINE void function(int64_t n, const basis *b, const pairs *p, vec at, vec moves, vec *e) {
  const double w = n * 3.14159265358979323846 / b->cutoff;
  vec a[ORDERS], sine, cosine;
  for (int lane = 0; lane < LANES; ++lane) {
    sine[lane] = sin(w * at[lane]);
    cosine[lane] = cos(w * at[lane]);
  }
  real power = 1;
  for (int j = 0; j < ORDERS; ++j, power *= w) {
    a[j] = (j % 2 ? cosine : sine) * (j % 4 < 2 ? power : -power);
    if (j) a[j] *= moves;
  }
  leibniz(e, a, p->of_pair);
}

#define EACH_GROUP                                                                             \
  _Pragma("omp parallel for schedule(static) num_threads(b->threads) if (b->threads > 1)")     \
  for (int64_t first = 0; first < b->n_pairs; first += LANES) {                                \
    const int64_t n_here = b->n_pairs - first < LANES ? b->n_pairs - first : LANES;            \
    pairs p;                                                                                   \
    vec at, moves, e[ORDERS], y[SETS];                                                         \
    prepare(r, first, n_here, b, &p, &at, &moves);

void derivative_g(const basis *b) {
  const numbers r = b->r;
  real *g = b->out;
  EACH_GROUP
    for (int64_t n = 0; n < b->n_radial; ++n) {
      function(n + 1, b, &p, at, moves, e);
      compose(y, e, p.z);
      for (int64_t lane = 0; lane < n_here; ++lane) g[(first + lane) * b->n_radial + n] = y[FULL][lane];
    }
  }
}

void derivative_r(const basis *b) {
  const numbers r = b->r;
  const real *g = b->g;
  real *out = b->out;
  EACH_GROUP
    vec sum = {0};
    for (int64_t n = 0; n < b->n_radial; ++n) {
      vec here = {0};
      for (int64_t lane = 0; lane < n_here; ++lane) here[lane] = g[(first + lane) * b->n_radial + n];
      function(n + 1, b, &p, at, moves, e);
      compose(y, e + 1, p.z);
      sum += here * y[FULL];
    }
    for (int64_t lane = 0; lane < n_here; ++lane) out[first + lane] = sum[lane];
  }
}
