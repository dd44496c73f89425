// The operations of the backend contract on the reference backend. In double precision, where the other backends are
// compared with it, against formulas in plain loops that share nothing with it; in float, as any other backend. Its
// code is the same for all sizes: a few of them are enough.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE backend_reference
#include <boost/test/unit_test.hpp>
#include <numeric>

#include "backend/attention_cases.hpp"
#include "backend/cache_cases.hpp"
#include "backend/expert_cases.hpp"
#include "backend/formulas.hpp"
#include "backend/linear_cases.hpp"
#include "backend/row_cases.hpp"
#include "backend/score_cases.hpp"
#include "operations/exact_results.hpp"

using namespace qwen3vl;
using namespace operations;

namespace {

using Row = std::vector<double>;

double at(const std::vector<float>& values, index_t i) {
  return static_cast<double>(values[static_cast<std::size_t>(i)]);
}

/// weight [N, K] times x [K].
Row product(const float* weight, index_t n, const Row& x) {
  Row y;
  for (index_t i = 0; i < n; ++i) {
    y.push_back(0.0);
    for (const double value : x) y.back() += value * static_cast<double>(*weight++);
  }
  return y;
}
Row swiglu(const Row& z) {
  const std::size_t half = z.size() / 2;
  Row y;
  for (std::size_t i = 0; i < half; ++i) y.push_back(formulas::silu(z[i]) * z[half + i]);
  return y;
}

template <class W, index_t N, index_t K, class E>
Results formula(Context<Exact>&, const Linear<W, N, K, E>&,
                const typename Linear<W, N, K, E>::template Operands<Exact>& of) {
  Row all;
  for (index_t r = 0; r < of.rows; ++r) {
    const auto x = of.numbers.begin() + r * K;
    Row y = product(of.weights.data(), N, Row(x, x + K));
    for (index_t n = 0; n < N; ++n)
      if (!of.biases.empty()) y[static_cast<std::size_t>(n)] += at(of.biases, n);
    if constexpr (std::is_same_v<E, epilogue::SwiGlu>) {
      y = swiglu(y);
    } else {
      for (double& value : y) value = formulas::activate(value, E{});
    }
    if constexpr (std::is_same_v<E, epilogue::Add>)
      for (index_t n = 0; n < N; ++n) y[static_cast<std::size_t>(n)] += at(of.before, r * N + n);
    all.insert(all.end(), y.begin(), y.end());
  }
  return {all};
}

template <class W, index_t N, index_t K>
Results formula(Context<Exact>&, const Embedding<W, N, K>& operation,
                const typename Embedding<W, N, K>::template Operands<Exact>& of) {
  Row all;
  for (const std::int32_t id : operation.ids())
    all.insert(all.end(), of.weights.begin() + id * K, of.weights.begin() + (id + 1) * K);
  return {all};
}

/// Softmax over all experts, the largest TopK, divided by their sum.
template <index_t E, index_t TopK>
Results formula(Context<Exact>&, const Route<E, TopK>& operation,
                const typename Route<E, TopK>::template Operands<Exact>&) {
  const std::vector<float> logits = operation.logits();
  Results all(2);
  for (index_t t = 0; t < operation.tokens; ++t) {
    const float* const row = logits.data() + t * E;
    std::vector<index_t> order(static_cast<std::size_t>(E));
    std::iota(order.begin(), order.end(), index_t{0});
    std::ranges::stable_sort(order, [&](index_t a, index_t b) { return row[a] > row[b]; });
    const auto share = [&](index_t j) {
      return std::exp(static_cast<double>(row[order[static_cast<std::size_t>(j)]] - row[order[0]]));
    };
    double sum = 0.0;
    for (index_t j = 0; j < TopK; ++j) sum += share(j);
    for (index_t j = 0; j < TopK; ++j) {
      all[0].push_back(static_cast<double>(order[static_cast<std::size_t>(j)]));
      all[1].push_back(share(j) / sum);
    }
  }
  return all;
}

template <class W, index_t E, index_t TopK, index_t D, index_t I>
Results formula(Context<Exact>&, const ExpertMlp<W, E, TopK, D, I>&,
                const typename ExpertMlp<W, E, TopK, D, I>::template Operands<Exact>& of) {
  Row all(of.before.begin(), of.before.end());
  for (index_t t = 0; t < of.tokens; ++t)
    for (index_t j = 0; j < TopK; ++j) {
      const index_t e = of.choices[static_cast<std::size_t>(t * TopK + j)];
      const auto x = of.numbers.begin() + t * D;
      const Row z = product(of.weights->gate_up.data() + e * 2 * I * D, 2 * I, Row(x, x + D));
      const Row y = product(of.weights->down.data() + e * D * I, D, swiglu(z));
      for (index_t d = 0; d < D; ++d)
        all[static_cast<std::size_t>(t * D + d)] += at(of.share_values, t * TopK + j) * y[static_cast<std::size_t>(d)];
    }
  return {all};
}

/// Row r of x, minus its mean if `centred`, divided by its root mean square.
template <index_t D>
Row normalised(const std::vector<float>& x, index_t r, bool centred, float eps) {
  Row row(x.begin() + r * D, x.begin() + (r + 1) * D);
  double mean = 0.0, squares = 0.0;
  for (const double value : row) mean += value / D;
  for (double& value : row) value -= centred ? mean : 0.0;
  for (const double value : row) squares += value * value / D;
  for (double& value : row) value /= std::sqrt(squares + static_cast<double>(eps));
  return row;
}
template <index_t D>
Results formula(Context<Exact>& ctx, const RmsNorm<D>&, typename RmsNorm<D>::template Operands<Exact>& of) {
  const std::vector<float> weight = of.weight.values(ctx);
  Row all;
  for (index_t r = 0; r < of.rows; ++r) {
    const Row row = normalised<D>(of.numbers, r, false, 1e-5f);
    for (index_t i = 0; i < D; ++i) all.push_back(row[static_cast<std::size_t>(i)] * at(weight, i));
  }
  return {all};
}
template <index_t D>
Results formula(Context<Exact>& ctx, const LayerNorm<D>&, typename LayerNorm<D>::template Operands<Exact>& of) {
  const std::vector<float> weight = of.weight.values(ctx);
  Row all;
  for (index_t r = 0; r < of.rows; ++r) {
    const Row row = normalised<D>(of.numbers, r, true, 1e-6f);
    for (index_t i = 0; i < D; ++i) all.push_back(row[static_cast<std::size_t>(i)] * at(weight, i) + at(of.biases, i));
  }
  return {all};
}

/// Sections 3, 4, 2: i % 3, the width only below 3 * 2, the height below 3 * 4.
Results formula(Context<Exact>&, const RopeTables<3, 4, 2>&, const RopeTables<3, 4, 2>::Operands<Exact>& of) {
  const index_t axis_of[9] = {0, 1, 2, 0, 1, 2, 0, 1, 0};
  Results all(2);
  for (index_t t = 0; t < of.tokens; ++t)
    for (index_t i = 0; i < 9; ++i) {
      const auto position = of.position_values[static_cast<std::size_t>(axis_of[i] * of.tokens + t)];
      const float angle = static_cast<float>(position) * of.frequency_values[static_cast<std::size_t>(i)];
      all[0].push_back(1.5 * std::cos(static_cast<double>(angle)));
      all[1].push_back(1.5 * std::sin(static_cast<double>(angle)));
    }
  return all;
}

/// Pairs (i, i + D / 2) of a head turned by the token's angles.
void turn(double* head, index_t d, const float* cos, const float* sin) {
  for (index_t i = 0; i < d / 2; ++i) {
    const double a = head[i], b = head[d / 2 + i], c = static_cast<double>(cos[i]), s = static_cast<double>(sin[i]);
    head[i] = a * c - b * s;
    head[d / 2 + i] = b * c + a * s;
  }
}
template <index_t H, index_t D>
Results formula(Context<Exact>& ctx, const RotateQk<H, D>&, typename RotateQk<H, D>::template Operands<Exact>& of) {
  const std::vector<float> cos = of.angles.cos.values(ctx), sin = of.angles.sin.values(ctx);
  Row all(of.numbers.begin(), of.numbers.end());
  for (index_t t = 0; t < of.tokens; ++t)
    for (index_t h = 0; h < 2 * H; ++h)  // values do not rotate
      turn(all.data() + (t * 3 * H + h) * D, D, cos.data() + t * (D / 2), sin.data() + t * (D / 2));
  return {all};
}

/// Of the keys and values that were there before, only that they are still there.
template <index_t H, index_t K, index_t D>
Results formula(Context<Exact>& ctx, const QkNormRope<H, K, D>& operation,
                typename QkNormRope<H, K, D>::template Operands<Exact>& of) {
  const std::vector<float> cos = of.angles.cos.values(ctx), sin = of.angles.sin.values(ctx);
  const std::vector<float> q_norm = of.q_norm.values(ctx), k_norm = of.k_norm.values(ctx);
  const std::vector<float> qkv = operation.numbers(operation.chunks.size() - 1);
  const auto head = [&](index_t t, index_t h) {
    Row row = normalised<D>(qkv, t * (H + 2 * K) + h, false, 1e-6f);
    for (index_t i = 0; i < D; ++i) row[static_cast<std::size_t>(i)] *= at(h < H ? q_norm : k_norm, i);
    turn(row.data(), D, cos.data() + t * (D / 2), sin.data() + t * (D / 2));
    return row;
  };
  Results all(3);
  for (index_t t = 0; t < of.tokens; ++t)
    for (index_t h = 0; h < H; ++h) {
      const Row query = head(t, h);
      all[0].insert(all[0].end(), query.begin(), query.end());
    }
  for (index_t s = 0; s < of.segments.count(); ++s)
    for (index_t h = 0; h < K; ++h) {
      const double *const keys = of.cache.layer(1).keys(s, h), *const values = of.cache.layer(1).values(s, h);
      all[1].insert(all[1].end(), keys, keys + of.cache.length(s) * D);
      all[2].insert(all[2].end(), values, values + of.cache.length(s) * D);
      for (index_t t = of.segments.offset(s); t < of.segments.offset(s + 1); ++t) {
        const Row key = head(t, H + h);
        const auto value = qkv.begin() + (t * (H + 2 * K) + H + K + h) * D;
        all[1].insert(all[1].end(), key.begin(), key.end());
        all[2].insert(all[2].end(), value, value + D);
      }
    }
  return all;
}

/// softmax(q k^T / sqrt(D)) over `seen` keys, whose rows are `stride` apart.
Row softmax(const double* q, const double* k, index_t stride, index_t seen, index_t d) {
  Row p;
  for (index_t i = 0; i < seen; ++i)
    p.push_back(std::inner_product(q, q + d, k + i * stride, 0.0) / std::sqrt(static_cast<double>(d)));
  const double largest = *std::ranges::max_element(p);
  double total = 0.0;
  for (double& value : p) total += value = std::exp(value - largest);
  for (double& value : p) value /= total;
  return p;
}
void add_weighted(Row& to, const Row& weights, const double* v, index_t stride, index_t d) {
  for (index_t j = 0; j < d; ++j) {
    to.push_back(0.0);
    for (std::size_t i = 0; i < weights.size(); ++i) to.back() += weights[i] * v[static_cast<index_t>(i) * stride + j];
  }
}

/// Outputs, and all weights in the order [segment, head, query, key], for `attention` and what it is made of. Where
/// `given` is not empty, it has the weights.
template <index_t H, index_t D>
Results attend(const Segments& segments, const Row& qkv, const Row& given) {
  constexpr index_t stride = 3 * H * D;
  Row out(static_cast<std::size_t>(segments.total() * H * D)), weights;
  for (index_t s = 0; s < segments.count(); ++s)
    for (index_t h = 0; h < H; ++h)
      for (index_t t = 0; t < segments.length(s); ++t) {
        const double* const base = qkv.data() + segments.offset(s) * stride;
        Row row = softmax(base + t * stride + h * D, base + (H + h) * D, stride, segments.length(s), D);
        if (!given.empty())
          std::copy_n(given.begin() + static_cast<std::ptrdiff_t>(weights.size()), row.size(), row.begin());
        weights.insert(weights.end(), row.begin(), row.end());
        Row result;
        add_weighted(result, row, base + (2 * H + h) * D, stride, D);
        std::ranges::copy(result, out.begin() + ((segments.offset(s) + t) * H + h) * D);
      }
  return {out, weights};
}
template <index_t H, index_t D>
Results formula(Context<Exact>& ctx, const Attention<H, D>&, typename Attention<H, D>::template Operands<Exact>& of) {
  return {attend<H, D>(of.segments, of.qkv.doubles(ctx), {})[0]};
}
template <index_t H, index_t D>
Results formula(Context<Exact>& ctx, const AttentionWeights<H, D>&,
                typename AttentionWeights<H, D>::template Operands<Exact>& of) {
  return {attend<H, D>(of.segments, of.qkv.doubles(ctx), {})[1]};
}
template <index_t H, index_t D>
Results formula(Context<Exact>& ctx, const WeightedValues<H, D>&,
                typename WeightedValues<H, D>::template Operands<Exact>& of) {
  return {attend<H, D>(of.segments, of.qkv.doubles(ctx), of.weights.doubles(ctx))[0]};
}

/// The same over the cache: the q-th new token sees all before it and itself, head h the keys of h / (H / K).
template <index_t H, index_t K, index_t D, class Operands>
Results attend_to_cache(Context<Exact>& ctx, Operands& of, const Row& given) {
  const Row qkv = of.qkv.doubles(ctx);
  Row out(static_cast<std::size_t>(of.tokens * H * D)), weights;
  for (index_t s = 0; s < of.segments.count(); ++s)
    for (index_t h = 0; h < H; ++h)
      for (index_t t = 0; t < of.segments.length(s); ++t) {
        const index_t token = of.segments.offset(s) + t, past = of.cache.length(s), seen = past + t + 1;
        const index_t kv = h / (H / K);
        Row row = softmax(qkv.data() + token * (H + 2 * K) * D + h * D, of.cache.layer(1).keys(s, kv), D, seen, D);
        if (!given.empty())
          std::copy_n(given.begin() + static_cast<std::ptrdiff_t>(weights.size()), row.size(), row.begin());
        weights.insert(weights.end(), row.begin(), row.end());
        weights.insert(weights.end(), static_cast<std::size_t>(past + of.segments.length(s) - seen), 0.0);  // masked
        Row result;
        add_weighted(result, row, of.cache.layer(1).values(s, kv), D, D);
        std::ranges::copy(result, out.begin() + (token * H + h) * D);
      }
  return {out, weights};
}
template <index_t H, index_t K, index_t D>
Results formula(Context<Exact>& ctx, const CausalAttention<H, K, D>&,
                typename CausalAttention<H, K, D>::template Operands<Exact>& of) {
  return {attend_to_cache<H, K, D>(ctx, of, {})[0]};
}
template <index_t H, index_t K, index_t D>
Results formula(Context<Exact>& ctx, const CausalWeights<H, K, D>&,
                typename CausalWeights<H, K, D>::template Operands<Exact>& of) {
  return {attend_to_cache<H, K, D>(ctx, of, {})[1]};
}
template <index_t H, index_t K, index_t D>
Results formula(Context<Exact>& ctx, const CausalValues<H, K, D>&,
                typename CausalValues<H, K, D>::template Operands<Exact>& of) {
  return {attend_to_cache<H, K, D>(ctx, of, of.weights.doubles(ctx))[0]};
}

template <class Operation, class Operands, class F>
Results moved(Context<Exact>& ctx, const Operation& operation, Operands& of, const F& f) {
  Results all{of.few.doubles(ctx), of.many.doubles(ctx)};
  const std::vector<std::int32_t> index = operation.places();
  for (index_t i = 0; i < of.rows; ++i)
    for (index_t c = 0; c < of.columns; ++c)
      f(all[0][static_cast<std::size_t>(i * of.columns + c)],
        all[1][static_cast<std::size_t>(index[static_cast<std::size_t>(i)] * of.columns + c)]);
  return all;
}
Results formula(Context<Exact>& ctx, const ScatterRows& operation, ScatterRows::Operands<Exact>& of) {
  return moved(ctx, operation, of, [](double& few, double& many) { many = few; });
}
Results formula(Context<Exact>& ctx, const AddRows& operation, AddRows::Operands<Exact>& of) {
  return moved(ctx, operation, of, [](double& few, double& many) { many += few; });
}
Results formula(Context<Exact>& ctx, const GatherRows& operation, GatherRows::Operands<Exact>& of) {
  return moved(ctx, operation, of, [](double& few, double& many) { few = many; });
}
Results formula(Context<Exact>& ctx, const CopyRows&, CopyRows::Operands<Exact>& of) {
  const Row many = of.many.doubles(ctx);
  return {Row(many.begin(), many.begin() + of.rows * of.columns), many};
}
Results formula(Context<Exact>& ctx, const InterpolateAdd& operation, InterpolateAdd::Operands<Exact>& of) {
  const Row table = of.table.doubles(ctx), weights = of.weights.doubles(ctx);
  const std::vector<std::int32_t> corners = operation.corners();
  Row y = of.y.doubles(ctx);
  for (std::size_t i = 0; i < corners.size(); ++i)
    for (index_t c = 0; c < of.columns; ++c)
      y[i / 4 * static_cast<std::size_t>(of.columns) + static_cast<std::size_t>(c)] +=
          weights[i] * table[static_cast<std::size_t>(corners[i] * of.columns + c)];
  return {y};
}
Results formula(Context<Exact>& ctx, const Argmax&, Argmax::Operands<Exact>& of) {
  const Row logits = of.logits.doubles(ctx);
  Row best;
  for (index_t r = 0; r < of.rows; ++r) {
    const auto row = logits.begin() + r * of.vocab;
    best.push_back(static_cast<double>(std::max_element(row, row + of.vocab) - row));
  }
  return {best};
}

/// The bounds are those of float, scaled to double precision. Outputs that are float for every backend are rounded
/// once.
template <class Operation>
void check_formula(const Operation& operation, bool float_outputs = false) {
  Exact backend;
  Context<Exact> ctx(backend);
  typename Operation::template Operands<Exact> operands(ctx, operation);
  const Results expected = formula(ctx, operation, operands);
  operands.call(ctx);
  const Results got = operands.results(ctx);
  Results bounds = operation.bounds(operands, expected);
  BOOST_REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    for (std::size_t j = 0; j < bounds[i].size(); ++j)
      bounds[i][j] = 0x1p-28 * bounds[i][j] + (float_outputs ? epsilon * std::abs(expected[i][j]) : 0.0);
    check(got[i], expected[i], bounds[i], concat(Operation::name, operation.sizes(), ", output ", i, ", formula"));
  }
}

template <class B>
struct Fixture {
  B backend;
  Context<B> ctx{backend};
};
using Single = Fixture<Reference<float>>;

}  // namespace

BOOST_AUTO_TEST_CASE(products_in_double_equal_their_formulas) {
  for (const index_t rows : {0, 1, 2, 29}) {
    check_formula(Linear<float, 33, 17, epilogue::Store>{rows, false});
    check_formula(Linear<float, 33, 17, epilogue::Add>{rows, true});
    check_formula(Linear<float, 33, 17, epilogue::Gelu>{rows, true});
    check_formula(Linear<float, 33, 17, epilogue::GeluTanh>{rows, false});
    check_formula(Linear<float, 66, 17, epilogue::SwiGlu>{rows, rows % 2 == 0});
  }
  check_formula(Linear<float, 1, 1, epilogue::Add>{9, true});
  check_formula(Linear<float, 65, 1100, epilogue::Add>{20, true});
  for (const index_t tokens : {0, 1, 5, 40}) {
    for (const float scale : {0.1f, 1.0f, 30.0f}) check_formula(Route<8, 2>{tokens, scale}, true);
    check_formula(Route<1, 1>{tokens, 1.0f}, true);
  }
  for (const index_t tokens : {0, 1, 17}) check_formula(ExpertMlp<float, 7, 3, 33, 12>{tokens});
  check_formula(ExpertMlp<float, 4, 2, 20, 33>{5, true});
  check_formula(Embedding<float, 37, 13>{4});
}

BOOST_AUTO_TEST_CASE(attention_in_double_equals_its_formula) {
  const Attention<2, 72> short_ones{{1, 5, 40, 0, 17}, 1.0f};
  check_formula(short_ones);
  check_formula(AttentionWeights<2, 72>{short_ones}, true);
  check_formula(WeightedValues<2, 72>{short_ones});
  check_formula(Attention<3, 32>{{64, 6, 14}, 4.0f});
  const std::vector<std::vector<index_t>> chunks{{7, 5}, {1, 1}, {0, 9}, {3, 0}};
  for (std::size_t count = 1; count <= chunks.size(); ++count) {
    const Chunks<4, 2, 32> some{{chunks.begin(), chunks.begin() + static_cast<std::ptrdiff_t>(count)}};
    check_formula(QkNormRope<4, 2, 32>{some}, true);
    check_formula(CausalAttention<4, 2, 32>{some});
    check_formula(CausalWeights<4, 2, 32>{some}, true);
    check_formula(CausalValues<4, 2, 32>{some});
  }
  check_formula(CausalAttention<3, 1, 6>{{{{1, 1}, {40, 1}}}});
}

BOOST_AUTO_TEST_CASE(row_operations_in_double_equal_their_formulas) {
  check_formula(RmsNorm<1>{3});
  check_formula(RmsNorm<18>{5});
  check_formula(RmsNorm<1152>{70, 100.0f});
  check_formula(LayerNorm<1>{3});
  check_formula(LayerNorm<18>{5});
  check_formula(LayerNorm<1152>{70, 100.0f});
  check_formula(RopeTables<3, 4, 2>{3}, true);
  check_formula(RotateQk<3, 20>{3});
  check_formula(ScatterRows{{6, 9, 13}});
  check_formula(AddRows{{6, 9, 13}});
  check_formula(GatherRows{{6, 9, 13}});
  check_formula(CopyRows{{6, 9, 13}});
  check_formula(InterpolateAdd{2, 9, 13});
  check_formula(Argmax{3, 301});
}

// What has no formula: caches, files, what is not a number.
BOOST_FIXTURE_TEST_CASE(special_cases_in_double, Fixture<Exact>) {
  rows_do_not_matter<Exact, bf16, 130, 70, epilogue::SwiGlu>(ctx);
  route_nan_case(ctx);
  later_infinity_case<Exact, float>(ctx, 5);
  later_infinity_case<Exact, f16>(ctx, 5);
  all_score_cases(ctx);
  all_cache_cases(ctx);
  all_stored_type_cases(ctx);
  logit_cases(ctx);
  long_logit_cases(ctx);
}

BOOST_FIXTURE_TEST_CASE(products_in_float, Single) {
  using B = Reference<float>;
  for (const index_t rows : {0, 1, 2, 29}) linear_epilogues<B, float, 33, 17>(ctx, rows);
  for (const index_t rows : {1, 9}) linear_shapes<B, float, 1, 1>(ctx, rows);
  linear_case<B, bf16, 65, 1100, epilogue::Add>(ctx, 20, true);
  linear_case<B, bf16_dot, 33, 37, epilogue::Store>(ctx, 5, false);
  rows_do_not_matter<B, bf16, 130, 70, epilogue::SwiGlu>(ctx);
  for (const index_t tokens : {0, 1, 5, 40}) {
    for (const float scale : {1.0f, 30.0f}) route_case<B, 8, 2>(ctx, tokens, scale);
    route_case<B, 1, 1>(ctx, tokens, 1.0f);
  }
  route_nan_case(ctx);
  for (const index_t tokens : {0, 1, 17}) expert_mlp_case<B, bf16, 7, 3, 33, 12>(ctx, tokens, false);
  expert_mlp_case<B, float, 4, 2, 20, 33>(ctx, 5, true);
}

BOOST_FIXTURE_TEST_CASE(attention_in_float, Single) {
  using B = Reference<float>;
  attention_case<B, 2, 72>(ctx, {1, 5, 40, 0, 17}, 1.0f);
  attention_case<B, 3, 32>(ctx, {64, 6, 14}, 4.0f);
  causal_case<B, 4, 2, 32>(ctx, {{7, 5}, {1, 1}, {0, 9}, {3, 0}});
  causal_case<B, 3, 1, 6, f16>(ctx, {{1, 1}, {40, 1}});
  causal_case<B, 4, 2, 32, bf16>(ctx, {{130, 5}, {1, 1}, {3, 9}});
  long_cache_case<B, 4, 2, 32>(ctx, {255, 0, 513, 64}, {1, 1, 2, 40}, true);
  later_infinity_case<B, float>(ctx, 5);
  later_infinity_case<B, f16>(ctx, 5);
  all_score_cases(ctx);
}

BOOST_FIXTURE_TEST_CASE(caches_and_row_operations_in_float, Single) {
  all_cache_cases(ctx);
  all_row_cases(ctx);
}
