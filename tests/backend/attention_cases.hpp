/// Attention, causal attention with its cache, and rotary positions against double precision.
#pragma once

#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "guarded.hpp"
#include "qwen3vl/layers/attention.hpp"

namespace operations {

/// softmax(q k^T / sqrt(D)) v over `count` keys. Rows of k and v are `stride` apart.
inline std::vector<double> attend(const float* q, const float* k, const float* v, index_t stride, index_t count,
                                  index_t d, std::vector<double>* weights = nullptr) {
  std::vector<double> p;
  double largest = -1e300, total = 0.0;
  for (index_t i = 0; i < count; ++i) {
    double score = 0.0;
    for (index_t j = 0; j < d; ++j) score += static_cast<double>(q[j]) * static_cast<double>(k[i * stride + j]);
    p.push_back(score / std::sqrt(static_cast<double>(d)));
    largest = std::max(largest, p.back());
  }
  for (double& value : p) total += value = std::exp(value - largest);
  std::vector<double> out(static_cast<std::size_t>(d), 0.0);
  for (index_t i = 0; i < count; ++i)
    for (index_t j = 0; j < d; ++j)
      out[static_cast<std::size_t>(j)] +=
          p[static_cast<std::size_t>(i)] / total * static_cast<double>(v[i * stride + j]);
  if (weights != nullptr) {
    weights->clear();
    for (const double value : p) weights->push_back(value / total);
  }
  return out;
}

/// Queries, keys and values are in [-scale, scale]: a score has an error of (D + 4) eps scale^2 sqrt(D) at most, which
/// is a relative error of each weight; outputs are at most scale.
inline double attention_bound(index_t d, double scale, index_t count) {
  const double score_error = static_cast<double>(d + 4) * epsilon * scale * scale * std::sqrt(static_cast<double>(d));
  return scale * (2.0 * score_error + 16.0 * epsilon + static_cast<double>(count) * epsilon);
}

/// Additional error where activations are narrower than float (numbers are rounded to A before): weights are rounded
/// once before they are multiplied by the values, and results once; values are at most `largest`.
template <class A>
double activation_bound(double largest) {
  return std::is_floating_point_v<A> ? 0.0 : 2.0 * 0x1p-8 * largest;
}
template <class A>
std::vector<float> rounded_to(std::vector<float> values) {
  for (float& value : values) value = static_cast<float>(static_cast<A>(value));
  return values;
}

/// Two computations of the same numbers may differ by the errors of both.
template <class B, class A>
void check_same(Context<B>& ctx, Guarded<B, A>& a, Guarded<B, A>& b, std::vector<double> bound,
                const std::string& what) {
  const std::vector<float> other = b.values(ctx);
  for (double& value : bound) value *= 2.0;
  check(ctx, a, std::vector<double>(other.begin(), other.end()), bound, what + ", one policy against the other");
}

/// Vision attention: every segment separately. Activations are of type A.
template <class B, index_t H, index_t D, class A = activation_t<B, F32>>
void attention_case(Context<B>& ctx, const std::vector<index_t>& lengths, float scale) {
  const Segments segments(lengths);
  const index_t tokens = segments.total(), stride = 3 * H * D;
  Numbers numbers(static_cast<std::uint32_t>(tokens + D));
  std::vector<float> qkv = numbers.many(tokens * stride);
  for (float& value : qkv) value *= scale;
  qkv = rounded_to<A>(qkv);
  Guarded<B, A> input(ctx, qkv), output(tokens * H * D), eager(tokens * H * D);
  const auto input_view = input.template view<dynamic, 3 * H * D>(tokens);
  attention_policy::Flash::segments<H, D>(ctx, input_view, segments, output.template view<dynamic, H * D>(tokens));
  attention_policy::Eager::segments<H, D>(ctx, input_view, segments, eager.template view<dynamic, H * D>(tokens));
  std::vector<double> expected, bound;
  for (index_t s = 0; s < segments.count(); ++s) {
    const index_t length = segments.length(s);
    Guarded<B> weights(H * length * length);
    attention_weights<H, D>(ctx, input_view, segments, s, weights.template view<H, dynamic, dynamic>(length, length));
    std::vector<double> expected_weights(static_cast<std::size_t>(H * length * length));
    for (index_t t = 0; t < length; ++t)
      for (index_t h = 0; h < H; ++h) {
        const float* const base = qkv.data() + segments.offset(s) * stride;
        std::vector<double> row_weights;
        const auto row = attend(base + t * stride + h * D, base + (H + h) * D, base + (2 * H + h) * D, stride, length,
                                D, &row_weights);
        expected.insert(expected.end(), row.begin(), row.end());
        bound.insert(
            bound.end(), static_cast<std::size_t>(D),
            attention_bound(D, static_cast<double>(scale), length) + activation_bound<A>(static_cast<double>(scale)));
        std::copy(row_weights.begin(), row_weights.end(), expected_weights.begin() + (h * length + t) * length);
      }
    // A weight is at most 1, whatever the values are.
    const double weight_bound = attention_bound(D, static_cast<double>(scale), length) / static_cast<double>(scale);
    check(ctx, weights, expected_weights, std::vector<double>(expected_weights.size(), weight_bound),
          concat("attention_weights of ", length, " tokens"));
  }
  const std::string what = concat("attention of ", tokens, " tokens, ", H, " heads of ", D);
  check(ctx, output, expected, bound, what);
  check(ctx, eager, expected, bound, what + ", eager");
  check_same(ctx, output, eager, bound, what);
}

/// Causal attention over a cache of type T that is filled chunk by chunk: chunks[c][s] new tokens of sequence s. The
/// reference uses keys and values as the cache holds them, each rounded once, so the bounds do not depend on T.
/// Activations are of type A; keys are rounded to it before they are cached.
template <class B, index_t H, index_t K, index_t D, class T = float, class A = activation_t<B, F32>>
void causal_case(Context<B>& ctx, const std::vector<std::vector<index_t>>& chunks) {
  constexpr index_t stride = (H + 2 * K) * D;
  const std::size_t sequences = chunks.front().size();
  typename B::template KvCache<T, 2, K, D> cache(static_cast<index_t>(sequences));
  std::vector<std::vector<float>> keys(sequences), values(sequences);  // [tokens][K * D]
  Numbers numbers(static_cast<std::uint32_t>(D + H));
  const std::vector<float> ones(D, 1.0f), cos_row(D / 2, 1.0f), sin_row(D / 2, 0.0f);
  Guarded<B> norm(ctx, ones);
  for (const auto& chunk : chunks) {
    const Segments segments(chunk);
    const index_t tokens = segments.total();
    const std::vector<float> qkv = rounded_to<A>(numbers.many(tokens * stride));
    Guarded<B, A> input(ctx, qkv), output(tokens * H * D), eager(tokens * H * D);
    Guarded<B> cos(ctx, std::vector<float>(static_cast<std::size_t>(tokens * D / 2), 1.0f)),
        sin(ctx, std::vector<float>(static_cast<std::size_t>(tokens * D / 2), 0.0f));
    cache.prepare(chunk);
    // The cache's memory is not cleared: no result may depend on what follows a sequence's keys.
    if constexpr (requires { *cache.layer(1).keys(0, 0) = T(0.0f); })
      if (&chunk == &chunks.front())
        for (std::size_t s = 0; s < sequences; ++s)
          for (index_t h = 0; chunk[s] > 0 && h < K; ++h) {
            const auto sequence = static_cast<index_t>(s);
            const index_t capacity = cache.grown(chunk[s], 0) * D;
            std::fill_n(cache.layer(1).keys(sequence, h), capacity, T(std::numeric_limits<float>::quiet_NaN()));
            std::fill_n(cache.layer(1).values(sequence, h), capacity, T(std::numeric_limits<float>::quiet_NaN()));
          }
    // No rotation: what is normalised by weights of 1 is checked in rope cases; here it gives the keys.
    qk_norm_rope<H, K, D>(ctx, input.template view<dynamic, stride>(tokens), norm.template view<D>(),
                          norm.template view<D>(), 1e-6f, cos.template view<dynamic, D / 2>(tokens),
                          sin.template view<dynamic, D / 2>(tokens), segments, cache.layer(1));
    BOOST_TEST(input.intact());
    const std::vector<float> normed = input.values(ctx);
    for (std::size_t s = 0; s < sequences; ++s)
      for (index_t t = segments.offset(static_cast<index_t>(s)); t < segments.offset(static_cast<index_t>(s) + 1);
           ++t) {
        const float* const row = normed.data() + t * stride;
        for (index_t i = 0; i < K * D; ++i) {
          keys[s].push_back(static_cast<float>(static_cast<T>(row[H * D + i])));
          values[s].push_back(static_cast<float>(static_cast<T>(row[(H + K) * D + i])));
        }
      }
    attention_policy::Flash::causal<H, K, D>(ctx, input.template view<dynamic, stride>(tokens), segments,
                                             cache.layer(1), output.template view<dynamic, H * D>(tokens));
    attention_policy::Eager::causal<H, K, D>(ctx, input.template view<dynamic, stride>(tokens), segments,
                                             cache.layer(1), eager.template view<dynamic, H * D>(tokens));
    std::vector<double> expected, bound;
    for (std::size_t s = 0; s < sequences; ++s) {
      const auto sequence = static_cast<index_t>(s);
      const index_t past = cache.length(sequence), fresh = segments.length(sequence), all = past + fresh;
      Guarded<B> weights(H * fresh * all);
      attention_weights<H, K, D>(ctx, input.template view<dynamic, stride>(tokens), segments, cache.layer(1), sequence,
                                 weights.template view<H, dynamic, dynamic>(fresh, all));
      std::vector<double> expected_weights(static_cast<std::size_t>(H * fresh * all), 0.0);
      for (index_t t = 0; t < fresh; ++t)
        for (index_t h = 0; h < H; ++h) {
          std::vector<double> row_weights;
          const index_t kv = h / (H / K);
          const auto row =
              attend(normed.data() + (segments.offset(sequence) + t) * stride + h * D, keys[s].data() + kv * D,
                     values[s].data() + kv * D, K * D, past + t + 1, D, &row_weights);
          expected.insert(expected.end(), row.begin(), row.end());
          // Normalised heads have elements up to sqrt(D), with a square sum of D.
          bound.insert(bound.end(), static_cast<std::size_t>(D),
                       attention_bound(D, 2.0, all) + activation_bound<A>(1.0));
          std::copy(row_weights.begin(), row_weights.end(), expected_weights.begin() + (h * fresh + t) * all);
        }
      check(ctx, weights, expected_weights, std::vector<double>(expected_weights.size(), attention_bound(D, 2.0, all)),
            "attention_weights");
    }
    const std::string what = concat("causal attention, ", H, " over ", K, " heads of ", D);
    check(ctx, output, expected, bound, what);
    check(ctx, eager, expected, bound, what + ", eager");
    check_same(ctx, output, eager, bound, what);
    cache.commit();
  }
  // The cache returns what was stored, and can be truncated.
  for (std::size_t s = 0; s < sequences; ++s) {
    const auto sequence = static_cast<index_t>(s);
    Tensor<float, Cpu, dynamic, dynamic, dynamic> copy(K, cache.length(sequence), D);
    const auto check_copy = [&](const std::vector<float>& wanted) {
      for (index_t t = 0; t < cache.length(sequence); ++t)
        for (index_t h = 0; h < K; ++h)
          for (index_t i = 0; i < D; ++i)
            BOOST_REQUIRE(copy(h, t, i) == wanted[static_cast<std::size_t>((t * K + h) * D + i)]);
    };
    cache.copy_keys(1, sequence, copy.view());
    check_copy(keys[s]);
    cache.copy_values(1, sequence, copy.view());
    check_copy(values[s]);
    cache.truncate(sequence, cache.length(sequence) / 2);
    BOOST_TEST(cache.length(sequence) == static_cast<index_t>(keys[s].size()) / (K * D) / 2);
  }
}

/// New tokens of sequences that are already long: fresh[s] after past[s]. Keys and values are appended by qk_norm_rope
/// alone, so that any length is quick. With `alone`, sequences are also computed in separate caches: the results must
/// be identical to the last bit.
template <class B, index_t H, index_t K, index_t D, class T = float, class A = activation_t<B, F32>>
void long_cache_case(Context<B>& ctx, const std::vector<index_t>& past, const std::vector<index_t>& fresh, bool alone) {
  constexpr index_t stride = (H + 2 * K) * D;
  using Cache = typename B::template KvCache<T, 1, K, D>;
  Guarded<B> norm(ctx, std::vector<float>(D, 1.0f));
  Cache cache(static_cast<index_t>(past.size()));
  const auto append = [&](Cache& to, const std::vector<float>& qkv, const std::vector<index_t>& tokens,
                          bool attend_too) {
    const Segments segments(tokens);
    const index_t all = segments.total();
    Guarded<B, A> input(ctx, qkv), output(all * H * D);
    Guarded<B> cos(ctx, std::vector<float>(static_cast<std::size_t>(all * D / 2), 1.0f)),
        sin(ctx, std::vector<float>(static_cast<std::size_t>(all * D / 2), 0.0f));
    to.prepare(tokens);
    qk_norm_rope<H, K, D>(ctx, input.template view<dynamic, stride>(all), norm.template view<D>(),
                          norm.template view<D>(), 1e-6f, cos.template view<dynamic, D / 2>(all),
                          sin.template view<dynamic, D / 2>(all), segments, to.layer(0));
    if (attend_too)
      causal_attention<H, K, D>(ctx, input.template view<dynamic, stride>(all), segments, to.layer(0),
                                output.template view<dynamic, H * D>(all));
    to.commit();
    return std::pair(input.values(ctx), std::move(output));
  };
  Numbers numbers(static_cast<std::uint32_t>(D + H));
  const std::vector<float> before = rounded_to<A>(numbers.many(Segments(past).total() * stride));
  const std::vector<float> now = rounded_to<A>(numbers.many(Segments(fresh).total() * stride));
  append(cache, before, past, false);
  auto [queries, output] = append(cache, now, fresh, true);
  const Segments segments(fresh);
  std::vector<double> expected, bound;
  for (index_t s = 0; s < segments.count(); ++s) {
    const index_t length = cache.length(s);
    Tensor<float, Cpu, dynamic, dynamic, dynamic> keys(K, length, D), values(K, length, D);
    cache.copy_keys(0, s, keys.view());
    cache.copy_values(0, s, values.view());
    for (index_t t = 0; t < segments.length(s); ++t)
      for (index_t h = 0; h < H; ++h) {
        const index_t seen = length - segments.length(s) + t + 1, kv = h / (H / K);
        const auto row = attend(queries.data() + (segments.offset(s) + t) * stride + h * D, &keys(kv, 0, 0),
                                &values(kv, 0, 0), D, seen, D);
        expected.insert(expected.end(), row.begin(), row.end());
        bound.insert(bound.end(), static_cast<std::size_t>(D),
                     attention_bound(D, 2.0, length) + activation_bound<A>(1.0));
      }
  }
  check(ctx, output, expected, bound, concat("attention over long caches, ", H, " over ", K, " heads of ", D));
  if (!alone) return;
  const std::vector<float> together = output.values(ctx);
  const Segments old(past);
  for (index_t s = 0; s < segments.count(); ++s) {
    Cache single(1);
    const auto rows = [&](const std::vector<float>& all, const Segments& of) {
      return std::vector<float>(all.begin() + of.offset(s) * stride, all.begin() + of.offset(s + 1) * stride);
    };
    append(single, rows(before, old), {old.length(s)}, false);
    const auto result = append(single, rows(now, segments), {segments.length(s)}, true).second.values(ctx);
    BOOST_TEST(std::equal(result.begin(), result.end(), together.begin() + segments.offset(s) * H * D),
               "sequence " << s << " has another result alone");
  }
}

/// An infinite value (70000 in a cache of f16 becomes one), or another that is `bad`, reaches its own token and later
/// ones, never earlier ones.
template <class B, class T, class A = activation_t<B, F32>>
void later_infinity_case(Context<B>& ctx, index_t tokens, float bad = std::numeric_limits<float>::infinity()) {
  constexpr index_t H = 4, K = 2, D = 32, stride = (H + 2 * K) * D;
  const std::vector<index_t> chunk{tokens};
  const Segments segments(chunk);
  std::vector<float> qkv = rounded_to<A>(Numbers(static_cast<std::uint32_t>(tokens)).many(tokens * stride));
  Guarded<B> norm(ctx, std::vector<float>(D, 1.0f));
  std::vector<float> results[2];
  for (int which = 0; which < 2; ++which) {
    if (which == 1) std::fill_n(qkv.end() - K * D, K * D, bad);
    Guarded<B, A> input(ctx, qkv), output(tokens * H * D);
    Guarded<B> cos(ctx, std::vector<float>(static_cast<std::size_t>(tokens * D / 2), 1.0f)),
        sin(ctx, std::vector<float>(static_cast<std::size_t>(tokens * D / 2), 0.0f));
    typename B::template KvCache<T, 1, K, D> cache(1);
    cache.prepare(chunk);
    qk_norm_rope<H, K, D>(ctx, input.template view<dynamic, stride>(tokens), norm.template view<D>(),
                          norm.template view<D>(), 1e-6f, cos.template view<dynamic, D / 2>(tokens),
                          sin.template view<dynamic, D / 2>(tokens), segments, cache.layer(0));
    causal_attention<H, K, D>(ctx, input.template view<dynamic, stride>(tokens), segments, cache.layer(0),
                              output.template view<dynamic, H * D>(tokens));
    results[which] = output.values(ctx);
  }
  const auto earlier = static_cast<std::ptrdiff_t>((tokens - 1) * H * D);
  BOOST_TEST(std::equal(results[0].begin(), results[0].begin() + earlier, results[1].begin()), tokens);
  BOOST_TEST(!std::isfinite(results[1].back()));
}

/// What a thread computes must not depend on how many there are: to the last bit.
template <class B, index_t H, index_t K, index_t D>
void same_for_all_threads_case(Context<B>& ctx) {
  if constexpr (requires { ctx.backend().set_threads(1); }) {
    constexpr index_t stride = (H + 2 * K) * D;
    const int threads = ctx.backend().threads();
    for (const index_t fresh : {1, 2, 150}) {
      typename B::template KvCache<float, 1, K, D> cache(1);
      const std::vector<index_t> past{1100}, now{fresh};
      cache.prepare(past);
      cache.commit();
      cache.prepare(now);
      Numbers numbers(7);
      for (index_t h = 0; h < K; ++h)
        for (index_t i = 0; i < (1100 + fresh) * D; ++i) {
          cache.layer(0).keys(0, h)[i] = 2.0f * numbers();
          cache.layer(0).values(0, h)[i] = numbers();
        }
      Guarded<B> input(ctx, numbers.many(fresh * stride)), one(fresh * H * D), many(fresh * H * D);
      const auto input_view = input.template view<dynamic, stride>(fresh);
      const Segments segments(now);
      ctx.backend().set_threads(1);
      causal_attention<H, K, D>(ctx, input_view, segments, cache.layer(0), one.template view<dynamic, H * D>(fresh));
      ctx.backend().set_threads(threads);
      causal_attention<H, K, D>(ctx, input_view, segments, cache.layer(0), many.template view<dynamic, H * D>(fresh));
      BOOST_TEST(one.values(ctx) == many.values(ctx), boost::test_tools::per_element());
    }
  }
}

template <class B>
void all_attention_cases(Context<B>& ctx) {
  attention_case<B, 2, 72>(ctx, {1, 5, 40, 0, 17}, 1.0f);
  attention_case<B, 1, 12>(ctx, {300}, 1.0f);
  attention_case<B, 3, 32>(ctx, {64, 6, 14}, 4.0f);  // large scores: the running maximum moves
  attention_case<B, 1, 64>(ctx, {259}, 3.0f);
  attention_case<B, 2, 72>(ctx, {400, 3, 129}, 2.0f);  // several blocks of queries and of keys
  causal_case<B, 4, 2, 32>(ctx, {{7, 5}, {1, 1}, {0, 9}, {3, 0}});
  causal_case<B, 3, 1, 128>(ctx, {{130}, {1}, {200}, {2}});
  causal_case<B, 2, 2, 6>(ctx, {{1, 1, 4}, {40, 1, 0}});
  // Several pieces of a split cache, of several tokens, and blocks of queries and keys; all sizes of groups.
  causal_case<B, 8, 1, 64>(ctx, {{1021, 3}, {1, 1}, {3, 0}, {1, 520}, {4, 4}});
  causal_case<B, 6, 2, 32>(ctx, {{511}, {1}, {1}});
  // Narrower caches.
  causal_case<B, 4, 2, 128, f16>(ctx, {{130, 5}, {1, 1}, {3, 9}, {700, 0}, {1, 2}});
  causal_case<B, 4, 2, 32, bf16>(ctx, {{130, 5}, {1, 1}, {3, 9}, {700, 0}, {1, 2}});
  causal_case<B, 3, 1, 6, f16>(ctx, {{1, 1}, {40, 1}});
  long_cache_case<B, 4, 2, 32>(ctx, {255, 0, 513, 64}, {1, 1, 2, 40}, true);
  same_for_all_threads_case<B, 4, 2, 32>(ctx);
  for (const index_t tokens : {2, 4, 5, 8, 40, 300}) {
    later_infinity_case<B, float>(ctx, tokens);
    later_infinity_case<B, f16>(ctx, tokens);
  }
}

}  // namespace operations
