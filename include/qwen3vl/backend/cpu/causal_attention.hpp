/// Causal attention over the cache on the CPU: prompts by tiles, single tokens by streaming the cache.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "qwen3vl/backend/cpu/attention.hpp"
#include "qwen3vl/backend/cpu/attention_weights.hpp"

namespace qwen3vl {
namespace cpu_kernels {

/// One query per head of a group of `G` heads that share keys; the cache is read once.
template <index_t G, index_t D, class T>
QWEN3VL_KERNEL void attend_streaming(const float* q, const T* keys, const T* values, index_t count, float* out) {
  constexpr index_t block = 256;
  const float scale = 1.0f / std::sqrt(static_cast<float>(D));
  float scores[G][block];
  float sums[G][D] = {};
  float maximum[G], total[G] = {};
  std::fill_n(maximum, G, -std::numeric_limits<float>::infinity());
  for (index_t first = 0; first < count; first += block) {
    const index_t n = std::min(block, count - first);
    for (index_t i = 0; i < n; ++i)
      for (index_t g = 0; g < G; ++g) scores[g][i] = dot<D>(q + g * D, keys + (first + i) * D) * scale;
    for (index_t g = 0; g < G; ++g) {
      const float highest = std::max(maximum[g], *std::max_element(scores[g], scores[g] + n));
      const float rescale = std::exp(maximum[g] - highest);
      maximum[g] = highest;
      total[g] *= rescale;
      for (index_t d = 0; d < D; ++d) sums[g][d] *= rescale;
      for (index_t i = n; i % simd::width != 0; ++i) scores[g][i] = -std::numeric_limits<float>::infinity();
      simd::Floats sum = {};
      for (index_t i = 0; i < n; i += simd::width) {
        const simd::Floats weight = simd::exp(simd::load(scores[g] + i) - highest);
        simd::store(scores[g] + i, weight);
        sum += weight;
      }
      total[g] += simd::sum(sum);
    }
    for (index_t i = 0; i < n; ++i) {
      const T* const value = values + (first + i) * D;
      index_t d = 0;
      for (; d + simd::width <= D; d += simd::width) {
        const simd::Floats v = simd::load(value + d);
        for (index_t g = 0; g < G; ++g) simd::store(sums[g] + d, simd::load(sums[g] + d) + v * scores[g][i]);
      }
      for (; d < D; ++d)
        for (index_t g = 0; g < G; ++g) sums[g][d] += static_cast<float>(value[d]) * scores[g][i];
    }
  }
  for (index_t g = 0; g < G; ++g)
    for (index_t d = 0; d < D; ++d) out[g * D + d] = sums[g][d] / total[g];
}

/// Up to so many new tokens of a sequence, packing the cache costs more than the tiles save.
inline constexpr index_t streaming_queries = 4;

}  // namespace cpu_kernels

template <index_t H, index_t K, index_t D, class CacheLayer>
void causal_attention(Context<Cpu>& ctx, View<const float, Cpu, dynamic, (H + 2 * K) * D> qkv, const Segments& segments,
                      CacheLayer cache, View<float, Cpu, dynamic, H * D> out) {
  using namespace cpu_kernels;
  constexpr index_t stride = (H + 2 * K) * D, group = H / K;
  index_t longest = 0, work = 0;
  for (index_t s = 0; s < segments.count(); ++s) {
    const index_t all = cache.length(s) + segments.length(s);
    work += all * segments.length(s);
    if (segments.length(s) > streaming_queries) longest = std::max(longest, all);
  }
  const index_t items = segments.count() * K;
  const bool worth = work * H * D > 32768;
  const int threads = worth ? static_cast<int>(std::min<index_t>(ctx.backend().threads(), items)) : 1;
  const index_t size = PackedHead<D>::size(longest);
  auto memory = ctx.template scratch<float, dynamic, dynamic>(threads, size);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float* const own = memory.data() + omp_get_thread_num() * size;
    FlashTile<D> tile;
#pragma omp for schedule(dynamic)
    for (index_t item = 0; item < items; ++item) {
      const index_t s = item / K, kv = item % K, first = segments.offset(s), fresh = segments.length(s);
      const index_t past = cache.length(s), all = past + fresh;
      const auto* const keys = cache.keys(s, kv);
      const auto* const values = cache.values(s, kv);
      const auto query = [&](index_t token) { return qkv.data() + (first + token) * stride + kv * group * D; };
      const auto result = [&](index_t token) { return out.data() + ((first + token) * H + kv * group) * D; };
      if (fresh <= streaming_queries) {
        for (index_t token = 0; token < fresh; ++token)
          attend_streaming<group, D>(query(token), keys, values, past + token + 1, result(token));
        continue;
      }
      PackedHead<D> head(own, all);
      head.pack(keys, values, D, 0, all);
      head.pad(all);
      // A tile's rows run over the heads of the group and then over tokens, so that few scores fall to the mask.
      for (index_t row = 0; row < fresh * group; row += tile_rows) {
        tile.clear();
        const index_t rows = std::min<index_t>(tile_rows, fresh * group - row);
        for (index_t r = 0; r < rows; ++r) {
          const index_t token = (row + r) / group, g = (row + r) % group;
          tile.add(query(token) + g * D, past + token + 1);
        }
        tile.run(head);
        for (index_t r = 0; r < rows; ++r) tile.result(r, result((row + r) / group) + (row + r) % group * D);
      }
    }
  }
}

}  // namespace qwen3vl
