/// Routing on the device. One warp per token; the logits of a token are a few registers of its lanes. Limited by
/// latency: a decoded token is one warp, TopK rounds of finding the largest.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/order.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"

namespace qwen3vl {
namespace cuda {

inline constexpr int router_threads = 128;

/// experts, weights [tokens, TopK] from logits [tokens, E]. Experts are ranked by logit, of which the softmax is an
/// increasing function; the rest cancels in the normalised weights, so only TopK exponentials are needed.
template <class T, int E, int TopK>
__global__ void __launch_bounds__(router_threads)
    route_kernel(const T* logits, std::int32_t* experts, float* weights, std::int64_t tokens) {
  static_assert(TopK >= 1 && TopK <= E, "more experts are chosen than there are");
  static_assert(TopK <= warp_size, "a lane holds each of the chosen experts");
  static_assert(E <= 32 * warp_size, "the logits of a token do not fit a warp's registers");
  constexpr int per_lane = ceil_div(E, warp_size);
  take_turn();
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const std::int64_t token =
      static_cast<std::int64_t>(blockIdx.x) * (router_threads / warp_size) + static_cast<int>(threadIdx.x) / warp_size;
  if (token >= tokens) return;         // the whole warp
  unsigned long long ranks[per_lane];  // 0: none, or already chosen
#pragma unroll
  for (int i = 0; i < per_lane; ++i) {
    const int e = i * warp_size + lane;
    ranks[i] = e < E ? ranked(static_cast<float>(logits[token * E + e]), static_cast<std::uint32_t>(e)) : 0ull;
  }
  unsigned long long mine = 0;  // lane j: the j-th best
  float largest = 0.0f;
#pragma unroll
  for (int j = 0; j < TopK; ++j) {
    unsigned long long best = 0;
#pragma unroll
    for (int i = 0; i < per_lane; ++i) best = Larger{}(best, ranks[i]);
    best = warp_max(best);
#pragma unroll
    for (int i = 0; i < per_lane; ++i)
      if (ranks[i] == best) ranks[i] = 0;
    if (j == lane) mine = best;
    if (j == 0) largest = from_order(static_cast<std::uint32_t>(best >> 32));
  }
  const float logit = from_order(static_cast<std::uint32_t>(mine >> 32));
  const float exponential = lane < TopK ? expf(logit - largest) : 0.0f;
  const float sum = warp_sum(exponential);
  if (lane < TopK) {
    experts[token * TopK + lane] = static_cast<std::int32_t>(index_of(mine));
    weights[token * TopK + lane] = exponential / sum;
  }
}

}  // namespace cuda

/// See backend/contract/ops.hpp.
template <index_t E, index_t TopK, class T>
void route(Context<Cuda>& ctx, View<T, Cuda, dynamic, E> logits, View<std::int32_t, Cuda, dynamic, TopK> experts,
           View<float, Cuda, dynamic, TopK> weights) {
  cuda::launch_early(ctx, cuda::route_kernel<std::remove_const_t<T>, E, TopK>,
                     cuda::blocks_for(logits.rows(), cuda::router_threads / cuda::warp_size), cuda::router_threads,
                     logits.data(), experts.data(), weights.data(), logits.rows());
}

}  // namespace qwen3vl
