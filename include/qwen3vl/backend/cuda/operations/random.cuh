/// Random weights made on the device, the same as RandomWeights makes on the host (loading/random_weights.hpp): copying
/// those of a large model takes minutes. Limited by arithmetic, about 60 instructions per number.
#pragma once

#include <cstdint>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/experts/experts.cuh"
#include "qwen3vl/backend/cuda/experts/f8_blocks_experts.cuh"
#include "qwen3vl/backend/cuda/experts/f8_experts.cuh"
#include "qwen3vl/backend/cuda/experts/stored_experts.cuh"
#include "qwen3vl/backend/cuda/products/f8_blocks_matrix.cuh"
#include "qwen3vl/backend/cuda/products/f8_matrix.cuh"
#include "qwen3vl/backend/cuda/products/matrix.cuh"
#include "qwen3vl/backend/cuda/products/stored_matrix.cuh"
#include "qwen3vl/base/random_stream.hpp"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {
namespace cuda {

inline constexpr int random_threads = 256;

/// to[i] = number i of a stream. With rows > 0, `to` is matrices [rows, columns] of a tensor that is stored as
/// [columns, rows], by whose order the numbers count.
template <class T>
__global__ void __launch_bounds__(random_threads)
    random_kernel(T* to, std::int64_t count, std::int64_t rows, std::int64_t columns, RandomStream random) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * random_threads + threadIdx.x;
  if (i >= count) return;
  std::int64_t stored = i;
  if (rows > 0) {
    const std::int64_t in_matrix = i % (rows * columns);
    stored = i - in_matrix + in_matrix % columns * rows + in_matrix / columns;
  }
  to[i] = static_cast<T>(random(static_cast<std::uint64_t>(stored)));
}

template <class T>
void fill_random(Context<Cuda>& ctx, T* to, std::int64_t count, std::int64_t rows, std::int64_t columns,
                 const RandomStream& random) {
  launch(ctx, random_kernel<T>, blocks_for(count, random_threads), random_threads, to, count, rows, columns, random);
}

}  // namespace cuda

/// Fills rows [first_row, first_row + rows) of a matrix or table with the numbers of a stored tensor of as many rows.
template <class W, index_t N, index_t K, Packing packing>
void fill_random(Context<Cuda>& ctx, CudaMatrix<W, N, K, packing>& matrix, index_t first_row, index_t rows,
                 const RandomStream& random) {
  cuda::fill_random(ctx, matrix.data() + first_row * K, rows * K, 0, 0, random);
}
template <index_t N, index_t K, Packing packing>
void fill_random(Context<Cuda>& ctx, CudaMatrix<fp8, N, K, packing>& matrix, index_t first_row, index_t rows,
                 const RandomStream& random) {
  cuda::require_fp8(ctx.backend());
  cuda::round_weights<false>(ctx, cuda::RandomRows{random, rows, K, K, 1}, rows, static_cast<int>(K),
                             matrix.data() + first_row * K, matrix.scales() + first_row);
}
template <index_t N, index_t K, Packing packing>
void fill_random(Context<Cuda>& ctx, CudaMatrix<fp8_blocks, N, K, packing>& matrix, index_t first_row, index_t rows,
                 const RandomStream& random) {
  cuda::round_blocks(ctx, cuda::RandomRows{random, rows, K, K, 1}, rows, first_row, N, static_cast<int>(K),
                     matrix.data(), matrix.scales());
}
/// In the form that the matrix has: bf16, unless tensors were announced.
template <index_t N, index_t K, Packing packing>
void fill_random(Context<Cuda>& ctx, CudaMatrix<stored, N, K, packing>& matrix, index_t first_row, index_t rows,
                 const RandomStream& random) {
  matrix.visit([&](auto& weights) { fill_random(ctx, weights, first_row, rows, random); });
}
template <index_t N, index_t... E>
void fill_random(Context<Cuda>& ctx, Tensor<float, Cuda, N, E...>& table, index_t first_row, index_t rows,
                 const RandomStream& random) {
  cuda::fill_random(ctx, table.data() + first_row * table.row_size(), rows * table.row_size(), 0, 0, random);
}
/// Experts are stored transposed, as the Hub has them.
template <class W, index_t E, index_t N, index_t K, Packing packing>
void fill_random(Context<Cuda>& ctx, CudaExperts<W, E, N, K, packing>& experts, index_t /*first_row*/, index_t /*rows*/,
                 const RandomStream& random) {
  cuda::fill_random(ctx, experts.data(), E * N * K, N, K, random);
}

template <index_t E, index_t N, index_t K, Packing packing>
void fill_random(Context<Cuda>& ctx, CudaExperts<fp8, E, N, K, packing>& experts, index_t /*first_row*/,
                 index_t /*rows*/, const RandomStream& random) {
  cuda::require_fp8(ctx.backend());
  cuda::round_weights<true>(ctx, cuda::RandomRows{random, N, K, 1, N}, E * N, static_cast<int>(K), experts.data(),
                            experts.scales());
}
template <index_t E, index_t N, index_t K, Packing packing>
void fill_random(Context<Cuda>& ctx, CudaExperts<fp8_blocks, E, N, K, packing>& experts, index_t /*first_row*/,
                 index_t /*rows*/, const RandomStream& random) {
  cuda::round_blocks(ctx, cuda::RandomRows{random, N, K, 1, N}, E * N, 0, N, static_cast<int>(K), experts.data(),
                     experts.scales());
}
template <index_t E, index_t N, index_t K, Packing packing>
void fill_random(Context<Cuda>& ctx, CudaExperts<stored, E, N, K, packing>& experts, index_t first_row, index_t rows,
                 const RandomStream& random) {
  experts.visit([&](auto& weights) { fill_random(ctx, weights, first_row, rows, random); });
}

}  // namespace qwen3vl
