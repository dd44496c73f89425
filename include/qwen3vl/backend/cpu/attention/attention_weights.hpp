/// Attention on the CPU with all weights in memory, and their product with the values: what can be looked at. The tiled
/// kernels (attention.hpp, causal_attention.hpp) are the fast ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/contract/traced_calls.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/backend/cpu/simd/simd.hpp"
#include "qwen3vl/backend/host/kv_cache.hpp"
#include "qwen3vl/tensor/score.hpp"
#include "qwen3vl/tensor/segments.hpp"

namespace qwen3vl {
namespace cpu_kernels {

/// Sum of q[i] * k[i] over D numbers; k may be stored narrower: there, 12 times as fast as Eigen's product with
/// converted keys (bf16, f16).
template <index_t D, class T>
QWEN3VL_INLINE float dot(const float* q, const T* k) {
  simd::Floats sums[2] = {};
  index_t i = 0;
  for (; i + 2 * simd::width <= D; i += 2 * simd::width)
    simd::unroll<2>(
        [&](auto c) { sums[c] += simd::load(q + i + c * simd::width) * simd::load(k + i + c * simd::width); });
  for (; i + simd::width <= D; i += simd::width) sums[0] += simd::load(q + i) * simd::load(k + i);
  float total = simd::sum(sums[0] + sums[1]);
  if constexpr (D % simd::width != 0)
    for (; i < D; ++i) total += q[i] * static_cast<float>(k[i]);
  return total;
}

/// softmax(q k^T / sqrt(D)) over the first `seen` of `count` keys, zero behind them. Rows of k are `stride` apart;
/// `place` is that of the score with key 0.
template <index_t D, class T, class Score>
QWEN3VL_KERNEL void softmax_row(const float* q, const T* k, index_t stride, index_t seen, index_t count,
                                const Score& score, ScorePlace place, float* weights) {
  const float root = std::sqrt(static_cast<float>(D));
  float highest = -std::numeric_limits<float>::infinity();
  for (index_t i = 0; i < seen; ++i) {
    weights[i] = dot<D>(q, k + i * stride) / root;
    if constexpr (changes_scores<Score>) {
      weights[i] = score(weights[i], place);
      ++place.key;
    }
    highest = std::max(highest, weights[i]);
  }
  double total = 0.0;  // std::exp: Eigen's exp() of -infinity, a masked score, is not quite zero
  for (index_t i = 0; i < seen; ++i) total += weights[i] = std::exp(weights[i] - highest);
  for (index_t i = 0; i < seen; ++i) weights[i] = static_cast<float>(weights[i] / total);
  std::fill(weights + seen, weights + count, 0.0f);
}

/// out [D] = sum_i weights[i] v[i] over `count` rows of v, `stride` apart.
template <index_t D, class T>
QWEN3VL_KERNEL void weighted_sum(const float* weights, const T* v, index_t stride, index_t count, float* out) {
  float sums[D] = {};
  for (index_t i = 0; i < count; ++i)
    for (index_t d = 0; d < D; ++d) sums[d] += weights[i] * static_cast<float>(v[i * stride + d]);
  std::copy_n(sums, D, out);
}

/// f(h, q) for all heads and queries, on the threads of the backend.
template <class F>
void for_each_query(Context<Cpu>& ctx, index_t heads, index_t queries, F&& f) {
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (heads * queries > 64)
  for (index_t i = 0; i < heads * queries; ++i) f(i / queries, i % queries);
}

}  // namespace cpu_kernels

template <index_t H, index_t D, ScoreFunction Score = PlainScores>
void attention_weights(Context<Cpu>& ctx, View<const float, Cpu, dynamic, 3 * H * D> qkv, const Segments& segments,
                       index_t s, View<float, Cpu, H, dynamic, dynamic> weights, Score score = {}) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::attention_weights(H * segments.length(s), D, weights.extent(2)); });
  constexpr index_t stride = 3 * H * D;
  const index_t length = segments.length(s);
  const float* const first = qkv.data() + segments.offset(s) * stride;
  cpu_kernels::for_each_query(ctx, H, length, [&](index_t h, index_t q) {
    cpu_kernels::softmax_row<D>(first + q * stride + h * D, first + (H + h) * D, stride, length, length, score,
                                score_place(s, h, H, q), &weights(h, q, 0));
  });
}

template <index_t H, index_t K, index_t D, class CacheLayer, ScoreFunction Score = PlainScores>
void attention_weights(Context<Cpu>& ctx, View<const float, Cpu, dynamic, (H + 2 * K) * D> qkv,
                       const Segments& segments, CacheLayer cache, index_t s,
                       View<float, Cpu, H, dynamic, dynamic> weights, Score score = {}) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::attention_weights(H * segments.length(s), D, weights.extent(2)); });
  const index_t past = cache.length(s);
  cpu_kernels::for_each_query(ctx, H, segments.length(s), [&](index_t h, index_t q) {
    cpu_kernels::softmax_row<D>(qkv.data() + ((segments.offset(s) + q) * (H + 2 * K) + h) * D,
                                cache.keys(s, h / (H / K)), D, past + q + 1, weights.extent(2), score,
                                score_place(s, h, H, past + q), &weights(h, q, 0));
  });
}

template <index_t H, index_t D>
void weighted_values(Context<Cpu>& ctx, View<const float, Cpu, H, dynamic, dynamic> weights,
                     View<const float, Cpu, dynamic, 3 * H * D> qkv, const Segments& segments, index_t s,
                     View<float, Cpu, dynamic, H * D> out) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::weighted_values(H * segments.length(s), D, weights.extent(2)); });
  constexpr index_t stride = 3 * H * D;
  const index_t first = segments.offset(s), length = segments.length(s);
  cpu_kernels::for_each_query(ctx, H, length, [&](index_t h, index_t q) {
    cpu_kernels::weighted_sum<D>(&weights(h, q, 0), qkv.data() + first * stride + (2 * H + h) * D, stride, length,
                                 out.data() + ((first + q) * H + h) * D);
  });
}

template <index_t H, index_t K, index_t D, class CacheLayer>
void weighted_values(Context<Cpu>& ctx, View<const float, Cpu, H, dynamic, dynamic> weights, const Segments& segments,
                     CacheLayer cache, index_t s, View<float, Cpu, dynamic, H * D> out) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::weighted_values(H * segments.length(s), D, weights.extent(2)); });
  const index_t first = segments.offset(s), past = cache.length(s);
  cpu_kernels::for_each_query(ctx, H, segments.length(s), [&](index_t h, index_t q) {
    cpu_kernels::weighted_sum<D>(&weights(h, q, 0), cache.values(s, h / (H / K)), D, past + q + 1,
                                 out.data() + ((first + q) * H + h) * D);
  });
}

}  // namespace qwen3vl
