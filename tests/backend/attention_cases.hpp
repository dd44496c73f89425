/// Attention, causal attention with its cache, and rotary positions against double precision.
#pragma once

#include <limits>
#include <utility>
#include <vector>

#include "backend/check.hpp"
#include "operations/cache.hpp"

namespace operations {

template <class B, index_t H, index_t D, class A = activation_t<B, F32>>
void attention_case(Context<B>& ctx, const std::vector<index_t>& lengths, float scale) {
  const Attention<H, D, A> operation{lengths, scale};
  check_operation(ctx, operation);
  check_operation(ctx, AttentionWeights<H, D, A>{operation});
  check_operation(ctx, WeightedValues<H, D, A>{operation});
}

/// Over a cache that is filled chunk by chunk: chunks[c][s] new tokens of sequence s. Each chunk attends.
template <class B, index_t H, index_t K, index_t D, class T = float, class A = activation_t<B, F32>>
void causal_case(Context<B>& ctx, const std::vector<std::vector<index_t>>& chunks) {
  for (std::size_t count = 1; count <= chunks.size(); ++count) {
    const Chunks<H, K, D, T, A> some{{chunks.begin(), chunks.begin() + static_cast<std::ptrdiff_t>(count)}};
    check_operation(ctx, QkNormRope<H, K, D, T, A>{some});
    check_operation(ctx, CausalAttention<H, K, D, T, A>{some});
    check_operation(ctx, CausalWeights<H, K, D, T, A>{some});
    check_operation(ctx, CausalValues<H, K, D, T, A>{some});
  }
  // What is left of a sequence is what it began with.
  const Chunks<H, K, D, T, A> all{chunks};
  typename CausalAttention<H, K, D, T, A>::template Operands<B> operands(ctx, all);
  const auto contents = [&] {
    std::vector<std::vector<float>> rows;  // of heads, keys and values in turn
    operands.for_contents([&](index_t, auto& keys, auto& values) {
      const index_t head = keys.extent(1) * D;
      for (index_t h = 0; h < K; ++h) {
        rows.emplace_back(keys.data() + h * head, keys.data() + (h + 1) * head);
        rows.emplace_back(values.data() + h * head, values.data() + (h + 1) * head);
      }
    });
    return rows;
  };
  std::vector<std::vector<float>> before = contents();
  for (index_t s = 0; s < operands.segments.count(); ++s) operands.cache.truncate(s, operands.cache.length(s) / 2);
  for (std::size_t i = 0; i < before.size(); ++i) {
    const auto s = static_cast<index_t>(i) / (2 * K);
    before[i].resize(static_cast<std::size_t>((all.past(s) + operands.segments.length(s)) / 2 * D));
  }
  BOOST_TEST((contents() == before));
}

/// New tokens of sequences that are already long: fresh[s] after past[s]. With `alone`, sequences are also computed in
/// separate caches: the results must be identical to the last bit.
template <class B, index_t H, index_t K, index_t D, class T = float, class A = activation_t<B, F32>>
void long_cache_case(Context<B>& ctx, const std::vector<index_t>& past, const std::vector<index_t>& fresh, bool alone) {
  using Operation = CausalAttention<H, K, D, T, A>;
  const Operation batch{{{past, fresh}}};
  typename Operation::template Operands<B> operands(ctx, batch);
  check_operation(ctx, batch, operands);
  if (!alone) return;
  const std::vector<double> together = operands.results(ctx)[0];
  for (std::size_t s = 0; s < past.size(); ++s) {
    const Operation single{{{{past[s]}, {fresh[s]}}, static_cast<index_t>(s)}};
    typename Operation::template Operands<B> one(ctx, single);
    one.call(ctx);
    const std::vector<double> result = one.results(ctx)[0];
    check_alone(result, together, operands.segments.offset(static_cast<index_t>(s)), H * D, "sequence of a batch");
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
