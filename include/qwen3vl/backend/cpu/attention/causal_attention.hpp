/// Causal attention over the cache on the CPU: prompts in blocks, single tokens by streaming the cache.
#pragma once

#include <algorithm>

#include "qwen3vl/backend/contract/traced_calls.hpp"
#include "qwen3vl/backend/cpu/attention/attention.hpp"
#include "qwen3vl/backend/cpu/attention/attention_weights.hpp"
#include "qwen3vl/backend/cpu/attention/decode_attention.hpp"

namespace qwen3vl {
namespace cpu_kernels {

/// Up to this many new tokens of a sequence, packing the cache costs more than it saves.
inline constexpr index_t streaming_queries = 4;

}  // namespace cpu_kernels

template <index_t H, index_t K, index_t D, class CacheLayer, ScoreFunction Score = PlainScores>
void causal_attention(Context<Cpu>& ctx, View<const float, Cpu, dynamic, (H + 2 * K) * D> qkv, const Segments& segments,
                      CacheLayer cache, View<float, Cpu, dynamic, H * D> out, Score score = {}) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::causal_attention("causal_attention", segments, cache, H, K, D); });
  using namespace cpu_kernels;
  using T = typename CacheLayer::value_type;
  constexpr index_t stride = (H + 2 * K) * D, group = H / K;
  decode_attention<H, K, D>(ctx, qkv.data(), segments, cache, streaming_queries, score, out.data());
  index_t rows = 0, keys = 0;
  for (index_t s = 0; s < segments.count(); ++s) {
    if (segments.length(s) <= streaming_queries) continue;
    rows = std::max(rows, segments.length(s) * group);
    keys = std::max(keys, cache.length(s) + segments.length(s));
  }
  // Rows run over the heads of the group, then over tokens, so that few scores of a register tile are masked.
  flash_attention<D, group, true>(ctx, segments.count() * K, rows, keys, score, [&](index_t unit) {
    const index_t s = unit / K, kv = unit % K, fresh = segments.length(s), past = cache.length(s);
    return FlashUnit<T>{.rows = fresh > streaming_queries ? fresh * group : 0,
                        .keys = past + fresh,
                        .k = cache.keys(s, kv),
                        .v = cache.values(s, kv),
                        .stride = D,
                        .q = qkv.data() + segments.offset(s) * stride + kv * group * D,
                        .out = out.data() + (segments.offset(s) * H + kv * group) * D,
                        .q_stride = stride,
                        .out_stride = H * D,
                        .limit = past + 1,
                        .place = score_place(s, kv * group, H, past)};
  });
}

}  // namespace qwen3vl
