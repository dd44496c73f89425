/// Attention with all weights in memory, and their product with the values: for inspection, not speed. A warp has one
/// query of one head; its lanes take keys, and then numbers of the values.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/attention/attention_keys.cuh"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"

namespace qwen3vl {
namespace cuda {

/// What a warp of these kernels works on: queries of one segment, [heads, queries].
template <class Keys>
struct EagerRow {
  int head, query, kv, seen, keys;
  bool valid;
  __device__ __forceinline__ EagerRow(const Keys& source, int segment, int queries) {
    const std::int64_t i =
        (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / static_cast<unsigned>(warp_size);
    valid = i < static_cast<std::int64_t>(Keys::heads) * queries;
    head = static_cast<int>(i / queries);
    query = static_cast<int>(i % queries);
    kv = head / Keys::group;
    keys = source.past(segment) + queries;
    seen = Keys::causal ? keys - queries + query + 1 : keys;
  }
};

inline constexpr int eager_threads = 128;

/// weights [heads, queries, keys]. Three passes over a row of them: scores, exponentials, division.
template <class A, class Keys, int D>
__global__ void __launch_bounds__(eager_threads)
    attention_weights_kernel(const A* qkv, Keys source, int segment, int first_row, int queries, float* weights) {
  const EagerRow<Keys> row(source, segment, queries);
  if (!row.valid) return;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const A* const q = qkv + (static_cast<std::int64_t>(first_row) + row.query) * Keys::row_size + row.head * D;
  float* const to = weights + (static_cast<std::int64_t>(row.head) * queries + row.query) * row.keys;
  const float root = sqrtf(static_cast<float>(D));
  float highest = -INFINITY;
  for (int i = lane; i < row.seen; i += warp_size) {
    const auto* const k = source.keys(segment, first_row, i / page_tokens, row.kv) +
                          static_cast<std::int64_t>(i % page_tokens) * Keys::stride;
    float sum = 0.0f;
    for (int d = 0; d < D; ++d) sum = fmaf(static_cast<float>(q[d]), static_cast<float>(k[d]), sum);
    to[i] = sum / root;
    if constexpr (has_score<Keys>)
      to[i] = source.score(to[i], {segment, row.head, Keys::heads, row.keys - queries + row.query, i});
    highest = fmaxf(highest, to[i]);
  }
  highest = warp_max(highest);
  double total = 0.0;
  for (int i = lane; i < row.seen; i += warp_size) total += to[i] = expf(to[i] - highest);
  total = warp_sum(total);
  for (int i = lane; i < row.keys; i += warp_size) to[i] = i < row.seen ? static_cast<float>(to[i] / total) : 0.0f;
}

/// The rows of a segment in out [tokens, heads * D] = weights [heads, queries, keys] times the values.
template <class A, class Keys, int D>
__global__ void __launch_bounds__(eager_threads)
    weighted_values_kernel(const float* weights, Keys source, int segment, int first_row, int queries, A* out) {
  const EagerRow<Keys> row(source, segment, queries);
  if (!row.valid) return;
  const float* const from = weights + (static_cast<std::int64_t>(row.head) * queries + row.query) * row.keys;
  A* const to = out + (static_cast<std::int64_t>(first_row) + row.query) * (Keys::heads * D) + row.head * D;
  for (int d = static_cast<int>(threadIdx.x) % warp_size; d < D; d += warp_size) {
    float sum = 0.0f;
    for (int i = 0; i < row.seen; ++i)
      sum =
          fmaf(from[i],
               static_cast<float>(source.values(segment, first_row, i / page_tokens,
                                                row.kv)[static_cast<std::int64_t>(i % page_tokens) * Keys::stride + d]),
               sum);
    to[d] = static_cast<A>(sum);
  }
}

template <int D, class A, class Keys>
void attention_weights(Context<Cuda>& ctx, const A* qkv, Keys keys, const Segments& segments, index_t s,
                       float* weights) {
  const index_t queries = segments.length(s);
  launch(ctx, attention_weights_kernel<A, Keys, D>, blocks_for(queries * Keys::heads * warp_size, eager_threads),
         eager_threads, qkv, keys, s, segments.offset(s), queries, weights);
}
template <int D, class A, class Keys>
void weighted_values(Context<Cuda>& ctx, const float* weights, Keys keys, const Segments& segments, index_t s, A* out) {
  const index_t queries = segments.length(s);
  launch(ctx, weighted_values_kernel<A, Keys, D>, blocks_for(queries * Keys::heads * warp_size, eager_threads),
         eager_threads, weights, keys, s, segments.offset(s), queries, out);
}

}  // namespace cuda

/// See backend/contract/ops.hpp.
template <index_t H, index_t D, class Q, ScoreFunction Score = PlainScores>
void attention_weights(Context<Cuda>& ctx, View<Q, Cuda, dynamic, 3 * H * D> qkv, const Segments& segments, index_t s,
                       std::type_identity_t<View<float, Cuda, H, dynamic, dynamic>> weights, Score score = {}) {
  using A = std::remove_const_t<Q>;
  constexpr int heads = static_cast<int>(H), dim = static_cast<int>(D);
  cuda::attention_weights<dim, A>(ctx, qkv.data(),
                                  cuda::with_score(cuda::SegmentKeys<A, heads, dim>{qkv.data()}, score), segments, s,
                                  weights.data());
}

/// See backend/contract/ops.hpp.
template <index_t H, index_t K, index_t D, class Q, class CacheLayer, ScoreFunction Score = PlainScores>
void attention_weights(Context<Cuda>& ctx, View<Q, Cuda, dynamic, (H + 2 * K) * D> qkv, const Segments& segments,
                       CacheLayer cache, index_t s,
                       std::type_identity_t<View<float, Cuda, H, dynamic, dynamic>> weights, Score score = {}) {
  using A = std::remove_const_t<Q>;
  using T = typename CacheLayer::value_type;
  constexpr int heads = static_cast<int>(H), kv_heads = static_cast<int>(K), dim = static_cast<int>(D);
  cuda::attention_weights<dim, A>(
      ctx, qkv.data(), cuda::with_score(cuda::CachedKeys<T, heads, kv_heads, dim>{cache.on_device(ctx)}, score),
      segments, s, weights.data());
}

/// See backend/contract/ops.hpp.
template <index_t H, index_t D, class A>
void weighted_values(Context<Cuda>& ctx, std::type_identity_t<View<const float, Cuda, H, dynamic, dynamic>> weights,
                     std::type_identity_t<View<const A, Cuda, dynamic, 3 * H * D>> qkv, const Segments& segments,
                     index_t s, View<A, Cuda, dynamic, H * D> out) {
  constexpr int heads = static_cast<int>(H), dim = static_cast<int>(D);
  cuda::weighted_values<dim>(ctx, weights.data(), cuda::SegmentKeys<A, heads, dim>{qkv.data()}, segments, s,
                             out.data());
}

/// See backend/contract/ops.hpp.
template <index_t H, index_t K, index_t D, class A, class CacheLayer>
void weighted_values(Context<Cuda>& ctx, std::type_identity_t<View<const float, Cuda, H, dynamic, dynamic>> weights,
                     const Segments& segments, CacheLayer cache, index_t s, View<A, Cuda, dynamic, H * D> out) {
  using T = typename CacheLayer::value_type;
  constexpr int heads = static_cast<int>(H), kv_heads = static_cast<int>(K), dim = static_cast<int>(D);
  cuda::weighted_values<dim>(ctx, weights.data(), cuda::CachedKeys<T, heads, kv_heads, dim>{cache.on_device(ctx)},
                             segments, s, out.data());
}

}  // namespace qwen3vl
