/* Sums of monomials of all components of a node; the derivatives of
 *
 *   S(A; W, g) = sum over nodes n, monomials t, channels k  g[n,k] W[z_n,t,k] V_l(t) V_r(t)
 *
 * along directions of A (nilpotent.h). The values V are the components of A, then 1, then products of two values before
 * them; a monomial is a product of two values. Monomials of one left value follow one another. LANES nodes of one element
 * go together; what they have in common is read once. */

typedef struct { /* eight bytes each */
  const real *A[DIRECTIONS + 1], *W, *g;
  real *out;
  const int64_t *species;
  int64_t n_nodes, n_matrices, n_channels, n_components, n_products, n_groups, threads;
  const int64_t *products, *left, *first, *right; /* two values each; of each group; its first monomial; of each monomial */
} sums;

typedef struct { vec s[SETS]; } dual;

INLINE dual product(dual a, dual b) { dual p; times(p.s, a.s, b.s, DIRECTIONS); return p; }
INLINE void add(dual *to, dual a, vec c) { for (int i = 0; i < SETS; ++i) to->s[i] += c * a.s[i]; }
INLINE vec full(const dual *a, const dual *b) { /* of the product */
  vec sum = {0};
  for (int i = 0; i < SETS; ++i) sum += a->s[i] * b->s[FULL ^ i];
  return sum;
}

INLINE int64_t n_values(const sums *s) { return s->n_components + 1 + s->n_products; }
static dual *duals(int64_t n) { return aligned_alloc(64, (n * sizeof(dual) + 63) / 64 * 64); }

/* All values of n nodes */
static void evaluate(const sums *s, const int64_t *nodes, int64_t n, dual *V) {
  const int64_t last = s->n_components;
  memset(V, 0, (last + 1) * sizeof *V);
  for (int u = 0; u <= DIRECTIONS; ++u)
    for (int64_t lane = 0; s->A[u] && lane < n; ++lane) {
      const real *from = s->A[u] + nodes[lane] * last;
      real *to = (real *)(V->s + (u ? 1 << (u - 1) : 0)) + lane;
      for (int64_t c = 0; c < last; ++c) to[c * SETS * LANES] = from[c];
    }
  V[last].s[0] = number(1);
  for (int64_t p = 0; p < s->n_products; ++p)
    V[last + 1 + p] = product(V[s->products[2 * p]], V[s->products[2 * p + 1]]);
}

/* LANES nodes of an element at a time, the tiles shared by the threads of a team */
#define EACH_TILE(o)                                                              \
  for (int64_t z = 0; z < s->n_matrices; ++z)                                     \
    _Pragma("omp for schedule(dynamic) nowait")                                   \
    for (int64_t at = (o).first[z]; at < (o).first[z + 1]; at += LANES) {         \
      const int64_t *nodes = (o).nodes + at, n = (o).first[z + 1] - at < LANES ? (o).first[z + 1] - at : LANES;

void derivative_g(const sums *s) {
  order o = sort_nodes(s->species, s->n_nodes, s->n_matrices);
  const int64_t K = s->n_channels, n_terms = s->first[s->n_groups];
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    dual *V = duals(n_values(s));
    EACH_TILE(o)
      evaluate(s, nodes, n, V);
      for (int64_t k = 0; k < K; ++k) {
        const real *w = s->W + z * n_terms * K + k;
        vec total = {0};
        for (int64_t i = 0; i < s->n_groups; ++i) {
          dual sum = {{{0}}};
          for (int64_t t = s->first[i]; t < s->first[i + 1]; ++t) add(&sum, V[s->right[t]], number(w[t * K]));
          total += full(V + s->left[i], &sum);
        }
        for (int64_t lane = 0; lane < n; ++lane) s->out[nodes[lane] * K + k] = total[lane];
      }
    }
    free(V);
  }
  free_order(o);
}

void derivative_A(const sums *s) {
  order o = sort_nodes(s->species, s->n_nodes, s->n_matrices);
  const int64_t K = s->n_channels, n_terms = s->first[s->n_groups], last = s->n_components;
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    dual *V = duals(n_values(s)), *of_V = duals(n_values(s));
    EACH_TILE(o)
      evaluate(s, nodes, n, V);
      for (int64_t k = 0; k < K; ++k) {
        const real *w = s->W + z * n_terms * K + k;
        memset(of_V, 0, n_values(s) * sizeof *of_V);
        for (int64_t i = 0; i < s->n_groups; ++i) {
          const dual left = V[s->left[i]];
          dual sum = {{{0}}};
          for (int64_t t = s->first[i]; t < s->first[i + 1]; ++t) {
            const vec c = number(w[t * K]);
            add(&sum, V[s->right[t]], c);
            add(of_V + s->right[t], left, c);
          }
          add(of_V + s->left[i], sum, number(1));
        }
        for (int64_t p = s->n_products - 1; p >= 0; --p) {
          const int64_t a = s->products[2 * p], b = s->products[2 * p + 1];
          const dual slope = of_V[last + 1 + p];
          add(of_V + a, product(slope, V[b]), number(1));
          add(of_V + b, product(slope, V[a]), number(1));
        }
        for (int64_t lane = 0; lane < n; ++lane) {
          const real g = s->g[nodes[lane] * K + k], *from = (const real *)(of_V->s + FULL) + lane;
          real *to = s->out + nodes[lane] * last;
          for (int64_t c = 0; c < last; ++c) to[c] = (k ? to[c] : 0) + g * from[c * SETS * LANES];
        }
      }
    }
    free(V);
    free(of_V);
  }
  free_order(o);
}

/* Every thread makes all values, and sums over the nodes for its own monomials */
void derivative_W(const sums *s) {
  order o = sort_nodes(s->species, s->n_nodes, s->n_matrices);
  const int64_t K = s->n_channels, n_terms = s->first[s->n_groups];
  memset(s->out, 0, s->n_matrices * n_terms * K * sizeof(real));
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    const int64_t from = n_terms * omp_get_thread_num() / omp_get_num_threads();
    const int64_t to = n_terms * (omp_get_thread_num() + 1) / omp_get_num_threads();
    dual *V = duals(n_values(s));
    for (int64_t z = 0; z < s->n_matrices; ++z)
      for (int64_t at = o.first[z]; at < o.first[z + 1]; at += LANES) {
        const int64_t *nodes = o.nodes + at, n = o.first[z + 1] - at < LANES ? o.first[z + 1] - at : LANES;
        evaluate(s, nodes, n, V);
        for (int64_t i = 0; i < s->n_groups; ++i)
          for (int64_t t = s->first[i] > from ? s->first[i] : from; t < s->first[i + 1] && t < to; ++t) {
            const vec value = full(V + s->left[i], V + s->right[t]);
            for (int64_t k = 0; k < K; ++k) {
              real sum = 0;
              for (int64_t lane = 0; lane < n; ++lane) sum += s->g[nodes[lane] * K + k] * value[lane];
              s->out[(z * n_terms + t) * K + k] += sum;
            }
          }
      }
    free(V);
  }
  free_order(o);
}
