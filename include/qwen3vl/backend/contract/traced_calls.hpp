/// The minimum work of the operations of backend/contract/ops.hpp, computed from their shapes, for traces. Activations
/// are f32, as on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/tensor/segments.hpp"

namespace qwen3vl::traced {

/// Name of a type of weights or cached keys.
template <class W>
constexpr std::string_view type_name() {
  if constexpr (std::is_same_v<W, float>) {
    return "f32";
  } else if constexpr (std::is_same_v<W, bf16>) {
    return "bf16";
  } else if constexpr (std::is_same_v<W, f16>) {
    return "f16";
  } else {
    return W::name;
  }
}

namespace detail {
template <class... Factors>
double product(Factors... factors) {
  return (1.0 * ... * static_cast<double>(factors));
}
template <class... Factors>
double activations(Factors... factors) {
  return product(factors..., sizeof(float));
}
}  // namespace detail

/// y = epilogue(x weight^T + bias), with `width` columns in y; `adds` if y is also read.
inline TracedCall linear(std::string_view weights, index_t rows, index_t outputs, index_t inputs, index_t width,
                         bool adds, std::size_t weight_bytes) {
  return {.name = "linear",
          .weights = weights,
          .sizes = {{{"rows", rows}, {"outputs", outputs}, {"inputs", inputs}}},
          .products = detail::product(2, rows, outputs, inputs),
          .bytes = static_cast<double>(weight_bytes) + detail::activations(rows, inputs + width * (adds ? 2 : 1))};
}

inline TracedCall route(index_t tokens, index_t experts) {
  return {.name = "route",
          .sizes = {{{"tokens", tokens}, {"experts", experts}}},
          .others = detail::product(4, tokens, experts),
          .bytes = detail::activations(tokens, experts)};
}

/// `chosen`: the experts of all tokens. An expert's weights are read once, however many tokens it has.
inline TracedCall expert_mlp(std::string_view weights, index_t tokens, index_t experts, index_t hidden, index_t inner,
                             std::span<const std::int32_t> chosen, std::size_t expert_bytes) {
  std::vector<char> used(static_cast<std::size_t>(experts), 0);
  for (const std::int32_t expert : chosen) used[static_cast<std::size_t>(expert)] = 1;
  const index_t count = std::count(used.begin(), used.end(), 1);
  return {.name = "expert_mlp",
          .weights = weights,
          .sizes = {{{"tokens", tokens}, {"experts used", count}, {"hidden", hidden}, {"inner", inner}}},
          .products = detail::product(6, chosen.size(), hidden, inner),
          .bytes = detail::product(count, expert_bytes) + detail::activations(3, tokens, hidden)};
}

/// An operation that reads `in` and writes `out` values per row, with about `operations` per value read.
inline TracedCall by_row(std::string_view name, index_t rows, index_t in, index_t out, double operations = 0.0) {
  return {.name = name,
          .sizes = {{{"rows", rows}, {"columns", std::max(in, out)}}},
          .others = operations * detail::product(rows, in),
          .bytes = detail::activations(rows, in + out)};
}

/// The softmax weights of queries over `keys` keys, and the product of weights and values.
inline TracedCall attention_weights(index_t queries, index_t dim, index_t keys) {
  return by_row("attention_weights", queries, dim, keys, 2.0 * static_cast<double>(keys));
}
inline TracedCall weighted_values(index_t queries, index_t dim, index_t keys) {
  return by_row("weighted_values", queries, keys, dim, 2.0 * static_cast<double>(dim));
}

/// Queries, and `kv` keys and values, of dim numbers each: queries are normalised and rotated, keys and values cached.
inline TracedCall qk_norm_rope(index_t tokens, index_t heads, index_t kv, index_t dim, std::size_t cached_size) {
  return {
      .name = "qk_norm_rope",
      .sizes = {{{"tokens", tokens}, {"heads", heads}, {"key heads", kv}, {"dim", dim}}},
      .others = detail::product(10, tokens, heads + kv, dim),
      .bytes = detail::activations(tokens, 2 * heads + 2 * kv, dim) + detail::product(tokens, 2, kv, dim, cached_size)};
}

inline TracedCall attention(std::string_view name, const Segments& segments, index_t heads, index_t dim) {
  double pairs = 0.0;
  for (index_t s = 0; s < segments.count(); ++s) pairs += detail::product(segments.length(s), segments.length(s));
  return {.name = name,
          .sizes = {{{"tokens", segments.total()}, {"longest", segments.longest()}, {"heads", heads}, {"dim", dim}}},
          .others = 4.0 * pairs * detail::product(heads, dim),
          .bytes = detail::activations(segments.total(), 4, heads, dim)};
}

/// The keys and values of each sequence are read once.
template <class CacheLayer>
TracedCall causal_attention(std::string_view name, const Segments& segments, CacheLayer cache, index_t heads,
                            index_t kv, index_t dim) {
  double pairs = 0.0;
  index_t keys = 0;
  for (index_t s = 0; s < segments.count(); ++s) {
    const index_t fresh = segments.length(s), past = cache.length(s);
    pairs += detail::product(fresh, past) + 0.5 * detail::product(fresh, fresh + 1);
    if (fresh > 0) keys += past + fresh;
  }
  return {.name = name,
          .weights = {},
          .sizes = {{{"tokens", segments.total()}, {"keys", keys}, {"heads", heads}, {"key heads", kv}}},
          .others = 4.0 * pairs * detail::product(heads, dim),
          .bytes = detail::product(keys, 2, kv, dim, sizeof(typename CacheLayer::value_type)) +
                   detail::activations(segments.total(), 2, heads, dim)};
}

}  // namespace qwen3vl::traced
