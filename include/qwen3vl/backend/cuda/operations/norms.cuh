/// RMS norm and layer norm: one block per row, which is read once and stays in registers.
/// Limited by memory: a row is read and written once.
#pragma once

#include <algorithm>
#include <type_traits>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"

namespace qwen3vl {
namespace cuda {

/// How a block shares a row of D numbers of type T: thread t has vectors t, t + threads, ...
template <class T, int D>
struct RowTiling {
  static constexpr int width = vector_width<T, D>;
  static constexpr int vectors = D / width;
  static constexpr int threads = vectors >= 256 ? 256 : ceil_div(vectors, warp_size) * warp_size;
  static constexpr int per_thread = ceil_div(vectors, threads);
  static_assert(per_thread * width <= 128, "a row this long does not fit the registers of a block");
  using Reduce = BlockReduce<float, threads>;
};

/// f(i, v) for each vector v of this thread, its i-th.
template <class Tiling, class F>
__device__ __forceinline__ void for_vectors(F&& f) {
#pragma unroll
  for (int i = 0; i < Tiling::per_thread; ++i) {
    const int v = static_cast<int>(threadIdx.x) + i * Tiling::threads;
    if (Tiling::vectors % Tiling::threads == 0 || v < Tiling::vectors) f(i, v);
  }
}

template <class T, int D>
__global__ void __launch_bounds__(RowTiling<T, D>::threads)
    rms_norm_kernel(const T* x, const float* weight, float eps, T* y) {
  using Tiling = RowTiling<T, D>;
  constexpr int width = Tiling::width;
  auto& reduce = shared_memory<typename Tiling::Reduce>();
  take_turn();
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * D;
  float values[Tiling::per_thread][width];
  float squares = 0.0f;
  for_vectors<Tiling>([&](int i, int v) {
    load_floats<width>(x + row + v * width, values[i]);
    for (const float value : values[i]) squares += value * value;
  });
  const float scale = 1.0f / sqrtf(reduce.sum(squares) / D + eps);
  for_vectors<Tiling>([&](int i, int v) {
    float w[width];
    load_floats<width>(weight + v * width, w);
    for (int j = 0; j < width; ++j) values[i][j] *= scale * w[j];
    store_floats<width>(y + row + v * width, values[i]);
  });
}

/// Shared memory of a layer norm: its two sums.
template <class T, int D>
struct LayerNormShared {
  typename RowTiling<T, D>::Reduce mean, variance;
};

template <class T, int D>
__global__ void __launch_bounds__(RowTiling<T, D>::threads)
    layer_norm_kernel(const T* x, const float* weight, const float* bias, float eps, T* y) {
  using Tiling = RowTiling<T, D>;
  constexpr int width = Tiling::width;
  auto& shared = shared_memory<LayerNormShared<T, D>>();
  take_turn();
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * D;
  float values[Tiling::per_thread][width];
  float sum = 0.0f, squares = 0.0f;
  for_vectors<Tiling>([&](int i, int v) {
    load_floats<width>(x + row + v * width, values[i]);
    for (const float value : values[i]) sum += value;
  });
  const float mean = shared.mean.sum(sum) / D;
  // Subtracting the mean first keeps rows with a large mean exact.
  for_vectors<Tiling>([&](int i, int) {
    for (float& value : values[i]) {
      value -= mean;
      squares += value * value;
    }
  });
  const float scale = 1.0f / sqrtf(shared.variance.sum(squares) / D + eps);
  for_vectors<Tiling>([&](int i, int v) {
    float w[width], b[width];
    load_floats<width>(weight + v * width, w);
    load_floats<width>(bias + v * width, b);
    for (int j = 0; j < width; ++j) values[i][j] = values[i][j] * scale * w[j] + b[j];
    store_floats<width>(y + row + v * width, values[i]);
  });
}

}  // namespace cuda

/// See backend/contract/ops.hpp.
template <class T, index_t D>
void rms_norm(Context<Cuda>& ctx, std::type_identity_t<View<const T, Cuda, dynamic, D>> x,
              View<const float, Cuda, D> weight, float eps, View<T, Cuda, dynamic, D> y) {
  using Tiling = cuda::RowTiling<T, D>;
  cuda::launch_early<typename Tiling::Reduce>(ctx, cuda::rms_norm_kernel<T, D>, cuda::blocks_for(x.rows(), 1),
                                              Tiling::threads, x.data(), weight.data(), eps, y.data());
}

/// See backend/contract/ops.hpp.
template <class T, index_t D>
void layer_norm(Context<Cuda>& ctx, std::type_identity_t<View<const T, Cuda, dynamic, D>> x,
                View<const float, Cuda, D> weight, View<const float, Cuda, D> bias, float eps,
                View<T, Cuda, dynamic, D> y) {
  cuda::launch_early<cuda::LayerNormShared<T, D>>(ctx, cuda::layer_norm_kernel<T, D>, cuda::blocks_for(x.rows(), 1),
                                                  cuda::RowTiling<T, D>::threads, x.data(), weight.data(), bias.data(),
                                                  eps, y.data());
}

}  // namespace qwen3vl
