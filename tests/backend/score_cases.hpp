/// Attention with a score function against double precision: the function's value, its place and its masks.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "attention_cases.hpp"
#include "qwen3vl/layers/score_functions.hpp"

namespace operations {

/// A soft cap, a bias that depends on all of the place, and a window. One type, so that each shape is compiled once.
struct TestScore {
  float cap = std::numeric_limits<float>::infinity();
  float slope = 0.0f;
  std::int32_t window = std::numeric_limits<std::int32_t>::max();

  QWEN3VL_HOST_DEVICE float operator()(float score, ScorePlace place) const {
    const std::int32_t distance = place.query < place.key ? place.key - place.query : place.query - place.key;
    const auto slopes = static_cast<float>(place.sequence + place.head + 2 * place.heads);
    const float biased = SoftCap{cap}(score, place) - slope * slopes * static_cast<float>(distance);
    return distance < window ? biased : -INFINITY;
  }
  /// The same in double, from the formula.
  double exact(double score, index_t sequence, index_t head, index_t heads, index_t query, index_t key) const {
    const auto distance = static_cast<double>(std::abs(query - key));
    if (distance >= static_cast<double>(window)) return -std::numeric_limits<double>::infinity();
    const double capped =
        std::isinf(cap) ? score : static_cast<double>(cap) * std::tanh(score / static_cast<double>(cap));
    return capped - static_cast<double>(slope) * static_cast<double>(sequence + head + 2 * heads) * distance;
  }
};

/// softmax(score(q k^T / sqrt(D))) v for one query of `place` over `count` keys: [D]. Also the softmax weights, and the
/// largest score by magnitude.
struct Attended {
  std::vector<double> out, weights;
  double largest = 0.0;
};
inline Attended attend_scored(const TestScore& score, ScorePlace place, const float* q, const float* k, const float* v,
                              index_t stride, index_t count, index_t d) {
  Attended result{std::vector<double>(static_cast<std::size_t>(d), 0.0), {}};
  double highest = -std::numeric_limits<double>::infinity(), total = 0.0;
  for (index_t i = 0; i < count; ++i) {
    double product = 0.0;
    for (index_t j = 0; j < d; ++j) product += static_cast<double>(q[j]) * static_cast<double>(k[i * stride + j]);
    const double value = score.exact(product / std::sqrt(static_cast<double>(d)), place.sequence, place.head,
                                     place.heads, place.query, i);
    result.weights.push_back(value);
    highest = std::max(highest, value);
    if (!std::isinf(value)) result.largest = std::max(result.largest, std::abs(value));
  }
  for (double& weight : result.weights) total += weight = std::exp(weight - highest);
  for (index_t i = 0; i < count; ++i) {
    double& weight = result.weights[static_cast<std::size_t>(i)];
    weight /= total;
    for (index_t j = 0; j < d; ++j)
      result.out[static_cast<std::size_t>(j)] += weight * static_cast<double>(v[i * stride + j]);
  }
  return result;
}

/// attention_bound, and what rounding the changed scores adds: a few units of the largest one.
inline double score_bound(index_t d, double scale, index_t count, double largest) {
  return attention_bound(d, scale, count) + scale * 32.0 * epsilon * largest;
}

template <class B, index_t H, index_t D, class A = activation_t<B, F32>>
void scored_segments(Context<B>& ctx, const std::vector<index_t>& lengths, const TestScore& score, float scale = 2.0f) {
  const Segments segments(lengths);
  const index_t tokens = segments.total(), stride = 3 * H * D;
  std::vector<float> qkv = Numbers(static_cast<std::uint32_t>(tokens + D)).many(tokens * stride);
  for (float& value : qkv) value *= scale;
  qkv = rounded_to<A>(qkv);
  Guarded<B, A> input(ctx, qkv), output(tokens * H * D);
  const auto input_view = input.template view<dynamic, 3 * H * D>(tokens);
  attention<H, D>(ctx, input_view, segments, output.template view<dynamic, H * D>(tokens), score);
  std::vector<double> expected, bound;
  for (index_t s = 0; s < segments.count(); ++s) {
    const index_t length = segments.length(s);
    const float* const base = qkv.data() + segments.offset(s) * stride;
    Guarded<B> weights(H * length * length);
    attention_weights<H, D>(ctx, input_view, segments, s, weights.template view<H, dynamic, dynamic>(length, length),
                            score);
    std::vector<double> expected_weights(static_cast<std::size_t>(H * length * length)),
        weight_bound(expected_weights.size());
    for (index_t t = 0; t < length; ++t)
      for (index_t h = 0; h < H; ++h) {
        const auto row = attend_scored(score, score_place(s, h, H, t), base + t * stride + h * D, base + (H + h) * D,
                                       base + (2 * H + h) * D, stride, length, D);
        const double error = score_bound(D, static_cast<double>(scale), length, row.largest);
        expected.insert(expected.end(), row.out.begin(), row.out.end());
        bound.insert(bound.end(), static_cast<std::size_t>(D), error + activation_bound<A>(static_cast<double>(scale)));
        std::copy(row.weights.begin(), row.weights.end(), expected_weights.begin() + (h * length + t) * length);
        std::fill_n(weight_bound.begin() + (h * length + t) * length, length, error);
      }
    check(ctx, weights, expected_weights, weight_bound, "scored attention_weights");
  }
  check(ctx, output, expected, bound, concat("scored attention of ", tokens, " tokens, ", H, " heads of ", D));
}

/// Chunk after chunk over a cache of type T: chunks[c][s] new tokens of sequence s.
template <class B, index_t H, index_t K, index_t D, class T = float, class A = activation_t<B, F32>>
void scored_sequences(Context<B>& ctx, const std::vector<std::vector<index_t>>& chunks, const TestScore& score) {
  constexpr index_t stride = (H + 2 * K) * D;
  typename B::template KvCache<T, 1, K, D> cache(static_cast<index_t>(chunks.front().size()));
  Guarded<B> norm(ctx, std::vector<float>(D, 1.0f));
  Numbers numbers(static_cast<std::uint32_t>(D + H));
  for (const auto& chunk : chunks) {
    const Segments segments(chunk);
    const index_t tokens = segments.total();
    Guarded<B, A> input(ctx, rounded_to<A>(numbers.many(tokens * stride))), output(tokens * H * D);
    Guarded<B> cos(ctx, std::vector<float>(static_cast<std::size_t>(tokens * D / 2), 1.0f)),
        sin(ctx, std::vector<float>(static_cast<std::size_t>(tokens * D / 2), 0.0f));
    const auto input_view = input.template view<dynamic, stride>(tokens);
    cache.prepare(chunk);
    qk_norm_rope<H, K, D>(ctx, input_view, norm.template view<D>(), norm.template view<D>(), 1e-6f,
                          cos.template view<dynamic, D / 2>(tokens), sin.template view<dynamic, D / 2>(tokens),
                          segments, cache.layer(0));
    causal_attention<H, K, D>(ctx, input_view, segments, cache.layer(0), output.template view<dynamic, H * D>(tokens),
                              score);
    const std::vector<float> queries = input.values(ctx);
    std::vector<std::vector<float>> weights;
    for (index_t s = 0; s < segments.count(); ++s) {
      const index_t fresh = segments.length(s), all = cache.length(s) + fresh;
      Guarded<B> of_sequence(H * fresh * all);
      attention_weights<H, K, D>(ctx, input_view, segments, cache.layer(0), s,
                                 of_sequence.template view<H, dynamic, dynamic>(fresh, all), score);
      weights.push_back(of_sequence.values(ctx));
    }
    cache.commit();
    std::vector<double> expected, bound;
    for (index_t s = 0; s < segments.count(); ++s) {
      const index_t all = cache.length(s), fresh = segments.length(s);
      Tensor<float, Host, dynamic, dynamic, dynamic> keys(K, all, D), values(K, all, D);
      cache.copy_keys(0, s, keys.view());
      cache.copy_values(0, s, values.view());
      for (index_t t = 0; t < fresh; ++t)
        for (index_t h = 0; h < H; ++h) {
          const index_t kv = h / (H / K), query = all - fresh + t;
          const auto row = attend_scored(score, score_place(s, h, H, query),
                                         queries.data() + (segments.offset(s) + t) * stride + h * D, &keys(kv, 0, 0),
                                         &values(kv, 0, 0), D, query + 1, D);
          const double error = score_bound(D, 2.0, all, row.largest);
          expected.insert(expected.end(), row.out.begin(), row.out.end());
          bound.insert(bound.end(), static_cast<std::size_t>(D), error + activation_bound<A>(1.0));
          const float* const got = weights[static_cast<std::size_t>(s)].data() + (h * fresh + t) * all;
          for (index_t i = 0; i < all; ++i) {
            const double wanted = i <= query ? row.weights[static_cast<std::size_t>(i)] : 0.0;
            if (std::abs(static_cast<double>(got[i]) - wanted) <= error) continue;
            BOOST_TEST(false, "scored attention_weights: " << got[i] << ", wanted " << wanted);
            return;
          }
        }
    }
    check(ctx, output, expected, bound, concat("scored causal attention, ", H, " over ", K, " heads of ", D));
  }
}

/// A function without effect gives the plain results but for rounding, and one that masks all of a query's keys NaN.
template <class B, index_t H, index_t D, class A = activation_t<B, F32>>
void score_extremes(Context<B>& ctx, index_t tokens) {
  const Segments segments(std::vector<index_t>{tokens});
  Guarded<B, A> input(ctx, rounded_to<A>(Numbers(1).many(tokens * 3 * H * D))), plain(tokens * H * D),
      same(tokens * H * D), masked(tokens * H * D);
  const auto view = input.template view<dynamic, 3 * H * D>(tokens);
  attention<H, D>(ctx, view, segments, plain.template view<dynamic, H * D>(tokens));
  attention<H, D>(ctx, view, segments, same.template view<dynamic, H * D>(tokens), TestScore{});
  attention<H, D>(ctx, view, segments, masked.template view<dynamic, H * D>(tokens), TestScore{.window = 0});
  const std::vector<float> values = plain.values(ctx);
  check(ctx, same, std::vector<double>(values.begin(), values.end()),
        std::vector<double>(values.size(), 2.0 * attention_bound(D, 1.0, tokens) + activation_bound<A>(1.0)),
        "a score function without effect");
  for (const float value : masked.values(ctx)) BOOST_REQUIRE(std::isnan(value));
}

template <class B>
void all_score_cases(Context<B>& ctx) {
  const TestScore cap{.cap = 0.7f}, bias{.slope = 0.01f}, window{.window = 7},
      all{.cap = 1.5f, .slope = 0.003f, .window = 300};
  for (const TestScore& score : {cap, bias, window, all}) {
    scored_segments<B, 2, 72>(ctx, {1, 5, 40, 0, 17}, score);
    scored_sequences<B, 4, 2, 32>(ctx, {{7, 5}, {1, 1}, {30, 9}, {3, 0}, {40, 1}}, score);
    scored_sequences<B, 3, 1, 6, f16>(ctx, {{1, 1}, {40, 1}, {1, 2}}, score);
  }
  // Several blocks of queries and of keys, and several runs of a cache.
  for (const TestScore& score : {window, all}) {
    scored_segments<B, 2, 72>(ctx, {450, 6, 300}, score);
    scored_sequences<B, 4, 2, 32, bf16>(ctx, {{130, 5}, {1, 1}, {3, 9}, {500, 0}, {1, 2}}, score);
  }
  for (const index_t tokens : {1, 9, 300}) score_extremes<B, 2, 72>(ctx, tokens);
}

}  // namespace operations
