/// Sums and maxima over the threads of a warp and of a block. The order of additions is fixed: results do not vary
/// from run to run.
#pragma once

#include <cuda_runtime.h>

#include "qwen3vl/backend/cuda/primitives/launch.cuh"

namespace qwen3vl::cuda {

/// The combination of a value of every lane, in every lane. All 32 lanes take part. `Width` lanes, a power of two, are
/// combined among themselves.
template <int Width = warp_size, class T, class F>
__device__ __forceinline__ T warp_reduce(T value, F combine) {
  static_assert(Width >= 1 && Width <= warp_size && (Width & (Width - 1)) == 0);
#pragma unroll
  for (int step = Width / 2; step > 0; step /= 2) value = combine(value, __shfl_xor_sync(all_lanes, value, step));
  return value;
}

struct Plus {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Larger {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

template <int Width = warp_size, class T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce<Width>(value, Plus{});
}
template <int Width = warp_size, class T>
__device__ __forceinline__ T warp_max(T value) {
  return warp_reduce<Width>(value, Larger{});
}

/// Room in shared memory for one reduction over a block of `Threads`.
template <class T, int Threads>
struct BlockReduce {
  static_assert(Threads % warp_size == 0 && Threads <= 1024);
  static constexpr int warps = Threads / warp_size;
  T values[warps];

  /// The combination over the block, in every thread; `empty` is the value that changes nothing. All threads call it.
  /// One object serves one reduction between two barriers: use a second object, or a barrier, for the next.
  template <class F>
  __device__ __forceinline__ T operator()(T value, T empty, F combine) {
    value = warp_reduce(value, combine);
    if constexpr (warps == 1) return value;
    const int thread = static_cast<int>(threadIdx.x), lane = thread % warp_size;
    if (lane == 0) values[thread / warp_size] = value;
    __syncthreads();
    return warp_reduce(lane < warps ? values[lane] : empty, combine);
  }
  __device__ __forceinline__ T sum(T value) { return (*this)(value, T{}, Plus{}); }
};

}  // namespace qwen3vl::cuda
