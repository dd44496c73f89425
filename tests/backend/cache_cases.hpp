/// Copying and exchanging the sequences of a cache.
#pragma once

#include <vector>

#include "backend/check.hpp"

namespace operations {

/// Appends tokens with pseudo-random keys and values to all layers of a cache.
template <class B, index_t L, index_t K, index_t D>
void append_tokens(Context<B>& ctx, typename B::template KvCache<float, L, K, D>& cache,
                   const std::vector<index_t>& tokens, std::uint32_t seed) {
  constexpr index_t stride = (K + 2 * K) * D;
  const Segments segments(tokens);
  const index_t all = segments.total();
  Guarded<B> norm(ctx, std::vector<float>(D, 1.0f)),
      cos(ctx, std::vector<float>(static_cast<std::size_t>(all * D / 2), 1.0f)),
      sin(ctx, std::vector<float>(static_cast<std::size_t>(all * D / 2), 0.0f));
  cache.prepare(tokens);
  Numbers numbers(seed);
  for (index_t layer = 0; layer < L; ++layer) {
    Activations<B> qkv(ctx, numbers.many(all * stride));
    qk_norm_rope<K, K, D>(ctx, qkv.template view<dynamic, stride>(all), norm.template view<D>(),
                          norm.template view<D>(), 1e-6f, cos.template view<dynamic, D / 2>(all),
                          sin.template view<dynamic, D / 2>(all), segments, cache.layer(layer));
  }
  cache.commit();
}

/// All keys, then all values of a sequence.
template <class B, index_t L, index_t K, index_t D>
std::vector<float> contents(const typename B::template KvCache<float, L, K, D>& cache, index_t s) {
  std::vector<float> all;
  Tensor<float, Host, dynamic, dynamic, dynamic> copy(K, cache.length(s), D);
  for (index_t layer = 0; layer < L; ++layer) {
    cache.copy_keys(layer, s, copy.view());
    all.insert(all.end(), copy.span().begin(), copy.span().end());
    cache.copy_values(layer, s, copy.view());
    all.insert(all.end(), copy.span().begin(), copy.span().end());
  }
  return all;
}

template <class B>
void all_cache_cases(Context<B>& ctx) {
  constexpr index_t L = 2, K = 2, D = 6;
  using Cache = typename B::template KvCache<float, L, K, D>;
  const auto of = [](const Cache& cache, index_t s) { return contents<B, L, K, D>(cache, s); };

  Cache cache(4);
  append_tokens<B, L, K, D>(ctx, cache, {5, 70, 3, 0}, 1);  // 70 tokens are more than the others have room for
  const auto a = of(cache, 0), b = of(cache, 1), c = of(cache, 2);
  BOOST_TEST(a != c);

  cache.swap_sequences(0, 1);
  BOOST_TEST((of(cache, 0) == b && of(cache, 1) == a && of(cache, 2) == c));
  cache.swap_sequences(0, 0);
  BOOST_TEST((of(cache, 0) == b));

  // To a shorter, a longer, an empty one, and to itself.
  cache.copy_sequence(2, cache, 0);
  BOOST_TEST((of(cache, 2) == b && of(cache, 0) == b));
  cache.copy_sequence(3, cache, 1);
  BOOST_TEST((of(cache, 3) == a && of(cache, 1) == a));
  cache.copy_sequence(0, cache, 1);
  BOOST_TEST((of(cache, 0) == a));
  cache.copy_sequence(2, cache, 2);
  BOOST_TEST((of(cache, 2) == b));

  // A copy and its source go on independently; then the source's new tokens come over what they share.
  append_tokens<B, L, K, D>(ctx, cache, {2, 90, 0, 1}, 2);
  BOOST_TEST(cache.length(0) == 7);
  const auto longer = of(cache, 1), other = of(cache, 0);
  BOOST_TEST(cache.length(1) == 95);
  cache.copy_sequence(0, cache, 1, 5);
  BOOST_TEST((of(cache, 0) == longer && of(cache, 1) == longer));
  cache.copy_sequence(3, cache, 2, 0);
  BOOST_TEST((of(cache, 3) == b));
  // More `shared` tokens than there are count as all.
  cache.truncate(1, 5);
  cache.copy_sequence(1, cache, 0, 1000);
  BOOST_TEST((of(cache, 1) == longer));
  cache.truncate(1, 5);
  cache.copy_sequence(0, cache, 1, 5);
  BOOST_TEST((of(cache, 0) == a));

  // From another cache, and from an empty sequence.
  Cache single(1);
  append_tokens<B, L, K, D>(ctx, single, {9}, 3);
  cache.copy_sequence(2, single, 0);
  BOOST_TEST((of(cache, 2) == of(single, 0)));
  cache.copy_sequence(2, Cache(1), 0);
  BOOST_TEST(cache.length(2) == 0);
  // What is appended to a copy stands behind it.
  cache.copy_sequence(2, single, 0);
  const auto before = of(single, 0);
  append_tokens<B, L, K, D>(ctx, cache, {0, 0, 4, 0}, 4);
  BOOST_TEST(cache.length(2) == 13);
  cache.truncate(2, 9);
  BOOST_TEST((of(cache, 2) == before));

  // Memory that was reserved is not left while a prompt comes in parts, and what was there before is kept.
  if constexpr (requires { cache.reserve(ctx, 2, 3000); }) {
    cache.reserve(ctx, 2, 30000);  // several huge pages
    BOOST_TEST((of(cache, 2) == before && of(cache, 0) == a));
    const auto* const place = cache.layer(0).keys(2, 0);
    for (int part = 0; part < 3; ++part) append_tokens<B, L, K, D>(ctx, cache, {0, 0, 100, 0}, 5);
    BOOST_TEST(cache.length(2) == 309);
    cache.reserve(ctx, 2, 20);  // never less
    BOOST_TEST(cache.layer(0).keys(2, 0) == place);
    cache.truncate(2, 9);
    BOOST_TEST((of(cache, 2) == before));
  }

  // One for a single pass takes the memory of a layer and forgets, so that it can be used again.
  if constexpr (requires { Cache::one_pass(2); }) {
    Cache whole(2), passing = Cache::one_pass(2);
    append_tokens<B, L, K, D>(ctx, whole, {640, 3}, 6);
    for (int pass = 0; pass < 2; ++pass) {
      append_tokens<B, L, K, D>(ctx, passing, {640, 3}, 6);
      BOOST_TEST((passing.length(0) == 0 && passing.length(1) == 0));
    }
    BOOST_TEST(passing.bytes() * 3 < whole.bytes() * 2);
  }
}

}  // namespace operations
