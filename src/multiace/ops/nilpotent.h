/* Numbers x + eps_1 u_1 + eps_2 u_2 + ... whose eps square to zero: a derivative of f along directions u_1 ... u_n is
 * the coefficient of the product of all eps in f. A number has one coefficient for each set s of eps, a mask of bits; FULL
 * is the set of all. Before this text come matrix.h and DIRECTIONS, which is n. */
#define SETS (1 << DIRECTIONS)
#define FULL (SETS - 1)
#define ORDERS (DIRECTIONS + 2) /* f and as many derivatives as are needed */

typedef const real *const *numbers; /* x, then its directions; NULL where it does not change */

/* p = q r */
INLINE void times(vec *p, const vec *q, const vec *r, int directions) {
  for (int s = 0; s < 1 << directions; ++s) {
    p[s] = (vec){0};
    for (int a = s;; a = (a - 1) & s) {
      p[s] += q[a] * r[s ^ a];
      if (!a) break;
    }
  }
}

/* y = f(z) where d is f, f' ... at the part of z without eps:
 * f(a + eps b) = f(a) + eps f'(a) b, for a and b numbers of one direction less. */
INLINE void compose_0(vec *y, const vec *d, const vec *z) { (void)z; y[0] = d[0]; }
#define COMPOSE(n, m)                                           \
  INLINE void compose_##n(vec *y, const vec *d, const vec *z) { \
    vec slope[1 << m];                                          \
    compose_##m(y, d, z);                                       \
    compose_##m(slope, d + 1, z);                               \
    times(y + (1 << m), slope, z + (1 << m), m);                \
  }
COMPOSE(1, 0)
COMPOSE(2, 1)
COMPOSE(3, 2)
#define JOINED(name, n) name##n
#define NAMED(name, n) JOINED(name, n)
#define compose NAMED(compose_, DIRECTIONS)

/* ------------------------------------------------------------------ activations: f, f', f'' ... at z */

INLINE vec number(real x) { return (vec){0} + x; }
INLINE vec choose(mask is, vec yes, vec no) { return (vec)((is & (mask)yes) | (~is & (mask)no)); }

/* exp(x) = 2^n exp(r): n whole, |r| <= ln 2 / 2, a Taylor polynomial for exp(r) */
INLINE vec exponential(vec x) {
#if REAL_BYTES == 4
  const int terms = 7, bias = 127, mantissa = 23;
  const real limit = 87, high = (real)0.693359375, low = (real)-2.12194440e-4;
#else
  const int terms = 13, bias = 1023, mantissa = 52;
  const real limit = 708, high = (real)6.93147180369123816490e-1, low = (real)1.90821492927058770002e-10;
#endif
  x = choose(x > limit, number(limit), x);
  x = choose(x < -limit, number(-limit), x);
  const vec half = choose(x < 0, number(-0.5), number(0.5));
  const mask n = __builtin_convertvector(x * (real)1.44269504088896340736 + half, mask);
  const vec m = __builtin_convertvector(n, vec), r = (x - m * high) - m * low;
  vec sum = number(1);
  for (int t = terms; t > 0; --t) sum = 1 + r * sum * (1 / (real)t);
  return sum * (vec)((n + bias) << mantissa);
}

INLINE void keep(vec *d, const vec *all) {
  for (int j = 0; j < ORDERS; ++j) d[j] = all[j];
}

/* 1 / (1 + exp(-z)) and its derivatives */
INLINE void logistic(vec z, vec *s) {
  s[0] = 1 / (1 + exponential(-z));
  const vec q = 1 - 2 * s[0];
  s[1] = s[0] * (1 - s[0]);
  s[2] = s[1] * q;
  s[3] = s[2] * q - 2 * s[1] * s[1];
  s[4] = s[3] * q - 6 * s[1] * s[2];
}

INLINE void silu(vec z, vec *d) {
  vec s[5], all[5];
  logistic(z, s);
  all[0] = z * s[0];
  for (int j = 1; j < 5; ++j) all[j] = (real)j * s[j - 1] + z * s[j];
  keep(d, all);
}

INLINE void tanh_(vec z, vec *d) {
  vec all[5], t;
  for (int lane = 0; lane < LANES; ++lane) t[lane] = tanh(z[lane]);
  all[0] = t;
  all[1] = 1 - t * t;
  all[2] = -2 * t * all[1];
  all[3] = -2 * (all[1] * all[1] + t * all[2]);
  all[4] = -6 * all[1] * all[2] - 2 * t * all[3];
  keep(d, all);
}

INLINE void shifted_softplus(vec z, vec *d) {
  vec s[5], all[5];
  logistic(z, s);
  for (int lane = 0; lane < LANES; ++lane)
    all[0][lane] = (z[lane] > 0 ? z[lane] : 0) + log1p(exp(-fabs(z[lane]))) - 0.69314718055994530942;
  for (int j = 1; j < 5; ++j) all[j] = s[j - 1];
  keep(d, all);
}

INLINE void gelu(vec z, vec *d) {
  vec all[5], Phi;
  for (int lane = 0; lane < LANES; ++lane) Phi[lane] = 0.5 * erfc(-z[lane] * 0.70710678118654752440);
  const vec q = z * z, phi = exponential(-q / 2) * (real)0.39894228040143267794;
  all[0] = z * Phi;
  all[1] = Phi + z * phi;
  all[2] = phi * (2 - q);
  all[3] = phi * z * (q - 4);
  all[4] = phi * (q * (7 - q) - 4);
  keep(d, all);
}

INLINE void relu(vec z, vec *d) {
  const vec on = choose(z > 0, number(1), number(0));
  vec all[5] = {on * z, on};
  keep(d, all);
}

INLINE void abs_(vec z, vec *d) {
  const vec sign = choose(z > 0, number(1), choose(z < 0, number(-1), number(0)));
  vec all[5] = {sign * z, sign};
  keep(d, all);
}

INLINE void softsign(vec z, vec *d) {
  const vec sign = choose(z > 0, number(1), choose(z < 0, number(-1), number(0))), q = 1 / (1 + sign * z);
  vec all[5] = {z * q, q * q, -2 * sign * q * q * q};
  all[3] = -3 * sign * q * all[2];
  all[4] = -4 * sign * q * all[3];
  keep(d, all);
}
