/// Rotary positions on the CPU: the tables, the vision tower's rotation, and the text model's norm, rotation and cache
/// write.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/contract/traced_calls.hpp"
#include "qwen3vl/backend/cpu/operations/norms.hpp"
#include "qwen3vl/backend/host/kv_cache.hpp"
#include "qwen3vl/tensor/segments.hpp"

namespace qwen3vl {
namespace cpu_kernels {

/// Rotates the pairs (i, i + D / 2) of one head in place; cos, sin [D / 2].
template <index_t D>
QWEN3VL_INLINE void rotate_head(float* head, const float* cos, const float* sin) {
  constexpr index_t half = D / 2;
  index_t i = 0;
  for (; i + simd::width <= half; i += simd::width) {
    const simd::Floats a = simd::load(head + i), b = simd::load(head + half + i);
    const simd::Floats c = simd::load(cos + i), s = simd::load(sin + i);
    simd::store(head + i, a * c - b * s);
    simd::store(head + half + i, b * c + a * s);
  }
  for (; i < half; ++i) {
    const float a = head[i], b = head[half + i];
    head[i] = a * cos[i] - b * sin[i];
    head[half + i] = b * cos[i] + a * sin[i];
  }
}

}  // namespace cpu_kernels

template <index_t S0, index_t S1, index_t S2>
void rope_tables(Context<Cpu>& ctx, View<const std::int32_t, Cpu, 3, dynamic> position_ids,
                 View<const float, Cpu, S0 + S1 + S2> inv_freq, float scaling,
                 std::type_identity_t<View<float, Cpu, dynamic, S0 + S1 + S2>> cos,
                 std::type_identity_t<View<float, Cpu, dynamic, S0 + S1 + S2>> sin) {
  constexpr index_t frequencies = S0 + S1 + S2;
  const index_t tokens = position_ids.extent(1);
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("rope_tables", tokens, 3, 2 * frequencies); });
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (tokens * frequencies > 4096)
  for (index_t token = 0; token < tokens; ++token) {
    for (index_t i = 0; i < frequencies; ++i) {
      const index_t axis = i % 3 == 1 && i < 3 * S1 ? 1 : i % 3 == 2 && i < 3 * S2 ? 2 : 0;
      // The angle is rounded to float32, as in the reference: at large positions that rounding is part of the result.
      const float angle = static_cast<float>(position_ids(axis, token)) * inv_freq(i);
      cos(token, i) = std::cos(angle) * scaling;
      sin(token, i) = std::sin(angle) * scaling;
    }
  }
}

template <index_t H, index_t D>
void rotate_qk(Context<Cpu>& ctx, View<float, Cpu, dynamic, 3 * H * D> qkv, View<const float, Cpu, dynamic, D / 2> cos,
               View<const float, Cpu, dynamic, D / 2> sin) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("rotate_qk", qkv.rows(), 2 * H * D, 2 * H * D, 3); });
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (qkv.size() > 65536)
  for (index_t token = 0; token < qkv.rows(); ++token)
    for (index_t h = 0; h < 2 * H; ++h)
      cpu_kernels::rotate_head<D>(qkv.data() + (token * 3 * H + h) * D, cos.data() + token * (D / 2),
                                  sin.data() + token * (D / 2));
}

template <index_t H, index_t K, index_t D, class CacheLayer>
void qk_norm_rope(Context<Cpu>& ctx, View<float, Cpu, dynamic, (H + 2 * K) * D> qkv, View<const float, Cpu, D> q_norm,
                  View<const float, Cpu, D> k_norm, float eps, View<const float, Cpu, dynamic, D / 2> cos,
                  View<const float, Cpu, dynamic, D / 2> sin, const Segments& segments, CacheLayer cache) {
  const TraceScope scope(
      ctx.trace(), [&] { return traced::qk_norm_rope(qkv.rows(), H, K, D, sizeof(typename CacheLayer::value_type)); });
  for (index_t s = 0; s < segments.count(); ++s) {
    const index_t first = segments.offset(s), past = cache.length(s);
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (segments.length(s) > 16)
    for (index_t token = first; token < segments.offset(s + 1); ++token) {
      float* const row = qkv.data() + token * (H + 2 * K) * D;
      const float* const token_cos = cos.data() + token * (D / 2);
      const float* const token_sin = sin.data() + token * (D / 2);
      const index_t place = past + token - first;
      for (index_t h = 0; h < H; ++h) {
        cpu_kernels::rms_norm_row<D>(row + h * D, q_norm.data(), eps, row + h * D);
        cpu_kernels::rotate_head<D>(row + h * D, token_cos, token_sin);
      }
      for (index_t h = 0; h < K; ++h) {
        float* const key = row + (H + h) * D;
        const float* const value = row + (H + K + h) * D;
        cpu_kernels::rms_norm_row<D>(key, k_norm.data(), eps, key);
        cpu_kernels::rotate_head<D>(key, token_cos, token_sin);
        simd::convert<D>(key, cache.keys(s, h) + place * D);
        simd::convert<D>(value, cache.values(s, h) + place * D);
      }
    }
  }
}

}  // namespace qwen3vl
