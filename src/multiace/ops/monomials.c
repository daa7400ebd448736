/* Sums of monomials of all components of a node; the derivatives of
 *
 *   S(A; W, g) = sum over nodes n, monomials t, channels k  g[n,k] W[z_n,t,k] V_l(t) V_r(t)
 *
 * along directions of A (nilpotent.h). The values V are the components of A, then 1, then products of two values before
 * them; a monomial is a product of two values. Monomials of one left value follow one another. All elements have the same
 * monomials, or each a list of its own, with one W for all lists behind one another. LANES nodes of one element go
 * together; what they have in common is read once. */

typedef struct { /* eight bytes each */
  const real *A[DIRECTIONS + 1], *W, *g;
  real *out;
  const int64_t *species;
  int64_t n_nodes, n_matrices, n_channels, n_components, n_ends, threads; /* n_ends: of lists, 0 included */
  const int64_t *products, *first_product, *left, *first_group, *first, *right; /* two values each; of each list; left value
      of each group; first group of each list; first monomial of each group; right value of each monomial */
} sums;

typedef struct { vec s[SETS]; } dual;

INLINE int64_t n_lists(const sums *s) { return s->n_ends - 1; }

INLINE dual product(dual a, dual b) { dual p; times(p.s, a.s, b.s, DIRECTIONS); return p; }
INLINE void add(dual *to, dual a, vec c) { for (int i = 0; i < SETS; ++i) to->s[i] += c * a.s[i]; }
INLINE vec full(const dual *a, const dual *b) { /* of the product */
  vec sum = {0};
  for (int i = 0; i < SETS; ++i) sum += a->s[i] * b->s[FULL ^ i];
  return sum;
}

/* The monomials of an element, and where its coefficients begin, as if those of monomial 0 were there */
typedef struct { const int64_t *products, *left, *first; int64_t n_products, n_groups, W; } list;

static list list_of(const sums *s, int64_t z) {
  const int64_t own = n_lists(s) > 1 ? z : 0, product = s->first_product[own], group = s->first_group[own];
  const int64_t n_terms = s->first[s->first_group[n_lists(s)]];
  return (list){s->products + 2 * product, s->left + group, s->first + group, s->first_product[own + 1] - product,
                s->first_group[own + 1] - group, n_lists(s) > 1 ? 0 : z * n_terms * s->n_channels};
}
static int64_t n_elements(const sums *s) { return n_lists(s) > 1 ? n_lists(s) : s->n_matrices; }

static dual *new_values(const sums *s) {
  int64_t most = 0;
  for (int64_t l = 0; l < n_lists(s); ++l)
    if (s->first_product[l + 1] - s->first_product[l] > most) most = s->first_product[l + 1] - s->first_product[l];
  return aligned_alloc(64, ((s->n_components + 1 + most) * sizeof(dual) + 63) / 64 * 64);
}

/* All values of n nodes */
static void evaluate(const sums *s, const list *l, const int64_t *nodes, int64_t n, dual *V) {
  const int64_t last = s->n_components;
  if (DIRECTIONS) memset(V, 0, last * sizeof *V);
  for (int u = 0; u <= DIRECTIONS; ++u) {
    const int set = u ? 1 << (u - 1) : 0;
    if (!s->A[u]) continue;
    int64_t c = 0;
    for (; c + LANES <= last; c += LANES) {
      vec block[LANES] = {{0}};
      for (int64_t lane = 0; lane < n; ++lane) block[lane] = LOAD(s->A[u] + nodes[lane] * last + c);
      exchange(block);
      for (int i = 0; i < LANES; ++i) V[c + i].s[set] = block[i];
    }
    for (; c < last; ++c) {
      V[c].s[set] = (vec){0};
      for (int64_t lane = 0; lane < n; ++lane) V[c].s[set][lane] = s->A[u][nodes[lane] * last + c];
    }
  }
  memset(V + last, 0, sizeof *V);
  V[last].s[0] = number(1);
  for (int64_t p = 0; p < l->n_products; ++p)
    V[last + 1 + p] = product(V[l->products[2 * p]], V[l->products[2 * p + 1]]);
}

/* LANES nodes of an element at a time, the tiles shared by the threads of a team */
#define EACH_TILE(o)                                                              \
  for (int64_t z = 0; z < n_elements(s); ++z) {                                   \
    const list l = list_of(s, z);                                                 \
    _Pragma("omp for schedule(dynamic) nowait")                                   \
    for (int64_t at = (o).first[z]; at < (o).first[z + 1]; at += LANES) {         \
      const int64_t *nodes = (o).nodes + at, n = (o).first[z + 1] - at < LANES ? (o).first[z + 1] - at : LANES;

void derivative_g(const sums *s) {
  order o = sort_nodes(s->species, s->n_nodes, n_elements(s));
  const int64_t K = s->n_channels;
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    dual *V = new_values(s);
    EACH_TILE(o)
        evaluate(s, &l, nodes, n, V);
        for (int64_t k = 0; k < K; ++k) {
          const real *w = s->W + l.W + k;
          vec total = {0};
          for (int64_t i = 0; i < l.n_groups; ++i) {
            dual sum = {{{0}}};
            for (int64_t t = l.first[i]; t < l.first[i + 1]; ++t) add(&sum, V[s->right[t]], number(w[t * K]));
            total += full(V + l.left[i], &sum);
          }
          for (int64_t lane = 0; lane < n; ++lane) s->out[nodes[lane] * K + k] = total[lane];
        }
      }
    }
    free(V);
  }
  free_order(o);
}

/* What the components of n nodes get, of channel k */
static void write(const sums *s, const int64_t *nodes, int64_t n, int64_t k, const dual *of_V) {
  const int64_t K = s->n_channels, last = s->n_components;
  int64_t c = 0;
  for (; c + LANES <= last; c += LANES) {
    vec block[LANES];
    for (int i = 0; i < LANES; ++i) block[i] = of_V[c + i].s[FULL];
    exchange(block);
    for (int64_t lane = 0; lane < n; ++lane) {
      real *to = s->out + nodes[lane] * last + c;
      STORE(to) = (k ? LOAD(to) : (vec){0}) + s->g[nodes[lane] * K + k] * block[lane];
    }
  }
  for (; c < last; ++c)
    for (int64_t lane = 0; lane < n; ++lane) {
      real *to = s->out + nodes[lane] * last + c;
      *to = (k ? *to : 0) + s->g[nodes[lane] * K + k] * of_V[c].s[FULL][lane];
    }
}

void derivative_A(const sums *s) {
  order o = sort_nodes(s->species, s->n_nodes, n_elements(s));
  const int64_t K = s->n_channels, last = s->n_components;
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    dual *V = new_values(s), *of_V = new_values(s);
    EACH_TILE(o)
        evaluate(s, &l, nodes, n, V);
        for (int64_t k = 0; k < K; ++k) {
          const real *w = s->W + l.W + k;
          memset(of_V, 0, (last + 1 + l.n_products) * sizeof *of_V);
          for (int64_t i = 0; i < l.n_groups; ++i) {
            const dual left = V[l.left[i]];
            dual sum = {{{0}}};
            for (int64_t t = l.first[i]; t < l.first[i + 1]; ++t) {
              const vec c = number(w[t * K]);
              add(&sum, V[s->right[t]], c);
              add(of_V + s->right[t], left, c);
            }
            add(of_V + l.left[i], sum, number(1));
          }
          for (int64_t p = l.n_products - 1; p >= 0; --p) {
            const int64_t a = l.products[2 * p], b = l.products[2 * p + 1];
            const dual slope = of_V[last + 1 + p];
            add(of_V + a, product(slope, V[b]), number(1));
            add(of_V + b, product(slope, V[a]), number(1));
          }
          write(s, nodes, n, k, of_V);
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
  order o = sort_nodes(s->species, s->n_nodes, n_elements(s));
  const int64_t K = s->n_channels, n_terms = s->first[s->first_group[n_lists(s)]];
  memset(s->out, 0, s->n_matrices * n_terms * K * sizeof(real));
#pragma omp parallel num_threads(s->threads) if (s->threads > 1)
  {
    const int64_t from = n_terms * omp_get_thread_num() / omp_get_num_threads();
    const int64_t to = n_terms * (omp_get_thread_num() + 1) / omp_get_num_threads();
    dual *V = new_values(s);
    for (int64_t z = 0; z < n_elements(s); ++z) {
      const list l = list_of(s, z);
      for (int64_t at = o.first[z]; at < o.first[z + 1]; at += LANES) {
        const int64_t *nodes = o.nodes + at, n = o.first[z + 1] - at < LANES ? o.first[z + 1] - at : LANES;
        evaluate(s, &l, nodes, n, V);
        for (int64_t i = 0; i < l.n_groups; ++i)
          for (int64_t t = l.first[i] > from ? l.first[i] : from; t < l.first[i + 1] && t < to; ++t) {
            const vec value = full(V + l.left[i], V + s->right[t]);
            for (int64_t k = 0; k < K; ++k) {
              real sum = 0;
              for (int64_t lane = 0; lane < n; ++lane) sum += s->g[nodes[lane] * K + k] * value[lane];
              s->out[l.W + t * K + k] += sum;
            }
          }
      }
    }
    free(V);
  }
  free_order(o);
}
