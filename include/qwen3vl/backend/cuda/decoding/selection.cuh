/// Finding a threshold among many scores by a whole CUDA block: the highest one such that the scores at or above it
/// have at least a given total weight. Weights are integers, so sums do not depend on their order.
#pragma once

#include <cstdint>

#include "qwen3vl/backend/cuda/primitives/order.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"

namespace qwen3vl::cuda {

using Weight = unsigned long long;
inline constexpr std::uint32_t all_ids = 0xffffffffu;

/// Sums of three numbers over the block, in every thread. Only the first `warps` warps have numbers other than 0: of a
/// short list that is one, and the others only wait.
template <int Threads>
struct BlockSums {
  static constexpr int warps = Threads / warp_size;
  struct Shared {
    Weight values[2][warps][3];  // in turn, so that one barrier per sum is enough
  };
  static_assert(Threads % warp_size == 0 && warps <= warp_size);

  Shared& shared;
  int turn = 0;

  __device__ __forceinline__ void operator()(Weight (&sums)[3], int active_warps) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size, warp = static_cast<int>(threadIdx.x) / warp_size;
    auto& values = shared.values[turn];
    turn ^= 1;
    if (warp < active_warps) {
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        sums[i] = warp_sum(sums[i]);
        if (lane == 0) values[warp][i] = sums[i];
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      if (active_warps <= 4) {  // fewer reads than shuffles
        sums[i] = 0;
        for (int w = 0; w < active_warps; ++w) sums[i] += values[w][i];
      } else {
        sums[i] = warp_sum(lane < active_warps ? values[lane][i] : Weight{0});
      }
    }
  }
  __device__ __forceinline__ Weight operator()(Weight value, int active_warps) {
    Weight sums[3] = {value, 0, 0};
    (*this)(sums, active_warps);
    return sums[0];
  }
};

/// The order of the k-th largest of one score per thread, where `present`. At least k are. The threshold itself is
/// included.
__device__ __forceinline__ std::uint32_t kth_largest(float score, bool present, int k) {
  const std::uint32_t order = order_of(score);
  std::uint32_t kth = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const std::uint32_t candidate = kth | 1u << bit;
    if (__syncthreads_count(present && order >= candidate ? 1 : 0) >= k) kth = candidate;
  }
  return kth;
}

/// All scores of a row. for_each(first, last, f) calls f(score, id) for ids in [first, last), shared among the threads.
template <int Threads>
struct ScoreRow {
  const float* scores;
  std::uint32_t count;
  int warps = Threads / warp_size;  ///< warps that have scores

  template <class F>
  __device__ __forceinline__ void for_each(std::uint32_t first, std::uint32_t last, F&& f) const {
    const std::uint32_t end = last < count ? last : count;
    // Loads in flight at once; with four, a pass over 152 thousand scores took 22 us on an H100.
#pragma unroll 16
    for (std::uint32_t i = first + threadIdx.x; i < end; i += Threads) f(scores[i], i);
  }
};

/// Some of them, in shared memory, in any order.
template <int Threads>
struct ScoreList {
  const float* scores;
  const std::uint32_t* ids;
  std::uint32_t count;
  int warps = static_cast<int>(ceil_div(count < Threads ? count : Threads, warp_size));

  template <class F>
  __device__ __forceinline__ void for_each(std::uint32_t, std::uint32_t, F&& f) const {
    for (std::uint32_t i = threadIdx.x; i < count; i += Threads) f(scores[i], ids[i]);
  }
};

/// The highest key such that the weights at or above it sum up to the wanted weight, with that sum and the sum above.
struct Border {
  Weight key, at_least, above;
};

/// Finds it among the keys of `bits` bits: ids, or orders of scores. 1 <= need <= total, the sum of all weights.
template <bool by_id, int Threads, class Source, class F>
__device__ __forceinline__ Border find_border(BlockSums<Threads>& block_sums, const Source& source, int bits,
                                              Weight total, Weight need, F weight) {
  Border border{0, total, 0};
  for (int shift = (bits - 1) / 2 * 2; shift >= 0; shift -= 2) {
    const Weight first = border.key, step = Weight{1} << shift, end = first + 4 * step;
    Weight sums[3] = {};  // at or above first + step, + 2 step, + 3 step, but below `end`
    source.for_each(by_id ? static_cast<std::uint32_t>(first + step) : 0,
                    by_id ? static_cast<std::uint32_t>(end) : all_ids, [&](float score, std::uint32_t id) {
                      const Weight key = by_id ? id : order_of(score);
                      if (key < first + step || key >= end) return;
                      const Weight w = weight(score, id);
                      sums[0] += w;
                      if (key >= first + 2 * step) sums[1] += w;
                      if (key >= first + 3 * step) sums[2] += w;
                    });
    block_sums(sums, source.warps);
    const Weight beyond = border.above;
    border.above = beyond + sums[0];
#pragma unroll
    for (int digit = 1; digit <= 3; ++digit) {
      if (beyond + sums[digit - 1] < need) continue;  // then it holds for none of the higher ones
      border.key = first + static_cast<Weight>(digit) * step;
      border.at_least = beyond + sums[digit - 1];
      border.above = digit < 3 ? beyond + sums[digit < 3 ? digit : 0] : beyond;
    }
  }
  return border;
}

}  // namespace qwen3vl::cuda
