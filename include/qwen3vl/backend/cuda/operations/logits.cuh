/// Operations on logits on the device: the best token, and the loss. Both are limited by memory: rows of 152 thousand
/// floats, of which the loss reads each twice (the second time from the L2 cache, a row is 608 KB).
#pragma once

#include <cmath>
#include <cstdint>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/order.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"

namespace qwen3vl {
namespace cuda {

/// Scores per CUDA block: many share a row, because one alone would get a thirtieth of the bandwidth, and decoding has
/// few rows.
inline constexpr int argmax_piece = 4096, argmax_threads = 256;

/// best[row, piece] = the best of a piece of a row, as `ranked`.
template <int Threads>
__global__ void __launch_bounds__(Threads)
    argmax_pieces_kernel(const float* logits, std::int64_t vocab, int pieces, unsigned long long* best) {
  using Reduce = BlockReduce<unsigned long long, Threads>;
  auto& reduce = shared_memory<Reduce>();
  take_turn();
  const int block = static_cast<int>(blockIdx.x);
  const std::int64_t row = block / pieces, first = static_cast<std::int64_t>(block % pieces) * argmax_piece;
  const float* const scores = logits + row * vocab;
  unsigned long long mine = 0;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < argmax_piece; i += Threads)
    if (first + i < vocab) mine = Larger{}(mine, ranked(scores[first + i], static_cast<std::uint32_t>(first + i)));
  const unsigned long long all = reduce(mine, 0ull, Larger{});
  if (threadIdx.x == 0) best[block] = all;
}

/// ids[row] = the best of best[row, pieces]; one warp per row.
template <int Threads>
__global__ void __launch_bounds__(Threads)
    argmax_rows_kernel(const unsigned long long* best, int pieces, std::int32_t* ids) {
  static_assert(Threads == warp_size);
  take_turn();
  const std::int64_t row = blockIdx.x;
  unsigned long long mine = 0;
  for (int i = static_cast<int>(threadIdx.x); i < pieces; i += Threads) mine = Larger{}(mine, best[row * pieces + i]);
  mine = warp_max(mine);
  if (threadIdx.x == 0) ids[row] = static_cast<std::int32_t>(index_of(mine));
}

/// Shared memory of a loss: its two reductions.
template <int Threads>
struct CrossEntropyShared {
  BlockReduce<float, Threads> highest;
  BlockReduce<double, Threads> sum;
};

/// losses[row] = logsumexp(logits[row]) - logits[row, label]; 0 for the label -100. One block per row. Exponentials are
/// of floats, their sum is of doubles: 152 thousand terms in float would lose four digits.
template <int Threads>
__global__ void __launch_bounds__(Threads)
    cross_entropy_kernel(const float* logits, std::int64_t vocab, const std::int32_t* labels, float* losses) {
  auto& shared = shared_memory<CrossEntropyShared<Threads>>();
  const std::int64_t row = blockIdx.x;
  const std::int32_t label = labels[row];
  if (label == -100) {  // the whole block leaves
    if (threadIdx.x == 0) losses[row] = 0.0f;
    return;
  }
  const float* const scores = logits + row * vocab;
  float mine = scores[0];
#pragma unroll 4
  for (std::int64_t i = threadIdx.x; i < vocab; i += Threads) mine = Larger{}(mine, scores[i]);
  const float highest = shared.highest(mine, scores[0], Larger{});
  double sum = 0.0;
#pragma unroll 4
  for (std::int64_t i = threadIdx.x; i < vocab; i += Threads) sum += static_cast<double>(expf(scores[i] - highest));
  sum = shared.sum.sum(sum);
  if (threadIdx.x == 0)
    losses[row] = static_cast<float>(log(sum) + static_cast<double>(highest) - static_cast<double>(scores[label]));
}

}  // namespace cuda

/// The lowest index among equals. NaN is never larger, so a row of NaN gives 0: callers that sample check first.
inline void argmax(Context<Cuda>& ctx, View<const float, Cuda, dynamic, dynamic> logits,
                   View<std::int32_t, Cuda, dynamic> ids) {
  const index_t rows = logits.rows(), vocab = logits.extent(1);
  const index_t pieces = cuda::ceil_div(vocab, cuda::argmax_piece);
  auto best = ctx.scratch<unsigned long long, dynamic, dynamic>(rows, pieces);  // [rows, pieces]
  cuda::launch_early<cuda::BlockReduce<unsigned long long, cuda::argmax_threads>>(
      ctx, cuda::argmax_pieces_kernel<cuda::argmax_threads>, cuda::blocks_for(rows * pieces, 1), cuda::argmax_threads,
      logits.data(), vocab, pieces, best.data());
  cuda::launch_early(ctx, cuda::argmax_rows_kernel<cuda::warp_size>, cuda::blocks_for(rows, 1), cuda::warp_size,
                     best.data(), pieces, ids.data());
}

/// See backend/contract/ops.hpp.
inline void cross_entropy(Context<Cuda>& ctx, View<const float, Cuda, dynamic, dynamic> logits,
                          View<const std::int32_t, Cuda, dynamic> labels, View<float, Cuda, dynamic> losses) {
  constexpr int threads = 512;
  cuda::launch<cuda::CrossEntropyShared<threads>>(ctx, cuda::cross_entropy_kernel<threads>,
                                                  cuda::blocks_for(logits.rows(), 1), threads, logits.data(),
                                                  logits.extent(1), labels.data(), losses.data());
}

}  // namespace qwen3vl
