/// Attention on the device: the choice of kernel.
///   few new tokens over the cache, bf16     decode_attention.cuh: streams the cache over all multiprocessors
///   many tokens, bf16                       attention_mma.cuh: tiles on the tensor cores
///   f32, and head sizes without tiles       attention_fma.cuh
/// A segment's kernel depends only on its own length, so results never depend on the rest of the batch.
#pragma once

#include <type_traits>

#include "qwen3vl/backend/cuda/attention/attention_fma.cuh"
#include "qwen3vl/backend/cuda/attention/attention_keys.cuh"
#include "qwen3vl/backend/cuda/attention/attention_mma.cuh"
#include "qwen3vl/backend/cuda/attention/attention_weights.cuh"
#include "qwen3vl/backend/cuda/attention/decode_attention.cuh"
#include "qwen3vl/tensor/score.hpp"

namespace qwen3vl {
namespace cuda {

template <class A, int D>
inline constexpr bool tensor_core_attention = std::is_same_v<A, bf16>&& D % 8 == 0 && D <= 128;

/// Tiled attention of the segments of which `takes(tokens)` holds.
template <int D, class A, class Keys, class Takes>
void tiled_attention(Context<Cuda>& ctx, const A* qkv, const Segments& segments, Keys keys, Takes&& takes, A* out) {
  constexpr bool mma = tensor_core_attention<A, D>;
  constexpr int tile_rows = mma ? MmaTile::rows : FmaTile::rows;
  for_each_pieces(
      segments,
      [&](index_t tokens) -> index_t { return takes(tokens) ? ceil_div(tokens * Keys::group, tile_rows) : 0; },
      [&](const Pieces& pieces) {
        const dim3 grid(static_cast<unsigned>(pieces.tiles()), Keys::kv_heads);
        if constexpr (mma) {
          launch_early<MmaShared<D>>(ctx, attention_mma_kernel<Keys, D>, grid, MmaTile::threads, qkv, pieces, keys,
                                     out);
        } else {
          launch_early<FmaShared<D>>(ctx, attention_fma_kernel<A, Keys, D>, grid, FmaTile::threads, qkv, pieces, keys,
                                     out);
        }
      });
}

}  // namespace cuda

/// See backend/contract/ops.hpp.
template <index_t H, index_t D, class A, ScoreFunction Score = PlainScores>
void attention(Context<Cuda>& ctx, std::type_identity_t<View<const A, Cuda, dynamic, 3 * H * D>> qkv,
               const Segments& segments, View<A, Cuda, dynamic, H * D> out, Score score = {}) {
  constexpr int heads = static_cast<int>(H), dim = static_cast<int>(D);
  cuda::tiled_attention<dim>(
      ctx, qkv.data(), segments, cuda::with_score(cuda::SegmentKeys<A, heads, dim>{qkv.data()}, score),
      [](index_t) { return true; }, out.data());
}

/// See backend/contract/ops.hpp.
template <index_t H, index_t K, index_t D, class A, class CacheLayer, ScoreFunction Score = PlainScores>
void causal_attention(Context<Cuda>& ctx, std::type_identity_t<View<const A, Cuda, dynamic, (H + 2 * K) * D>> qkv,
                      const Segments& segments, CacheLayer cache, View<A, Cuda, dynamic, H * D> out, Score score = {}) {
  using T = typename CacheLayer::value_type;
  constexpr int heads = static_cast<int>(H), kv_heads = static_cast<int>(K), dim = static_cast<int>(D);
  constexpr bool split = cuda::tensor_core_attention<A, dim>;
  const auto few = [](index_t tokens) { return split && tokens > 0 && tokens * (H / K) <= cuda::decode_rows; };
  const auto view = cache.on_device(ctx);
  if constexpr (split && H / K <= cuda::decode_rows)
    cuda::decode_attention<heads, kv_heads, dim>(ctx, qkv.data(), segments, view, cache.capacity(), score, few,
                                                 out.data());
  cuda::tiled_attention<dim>(
      ctx, qkv.data(), segments, cuda::with_score(cuda::CachedKeys<T, heads, kv_heads, dim>{view}, score),
      [&](index_t tokens) { return !few(tokens); }, out.data());
}

}  // namespace qwen3vl
