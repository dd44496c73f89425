/// Rounds rows of numbers to e4m3 with a scale per row, or per 128 columns of one: x = scale * q, where the largest
/// magnitude becomes 448. Used for weights when they are loaded or generated, and for activations before a product of
/// many rows.
///
/// Limited by memory bandwidth. The threads of a warp (weights) or block (activations) share a row: together they find
/// its largest magnitude, then each rounds the numbers it has read. Activations stay in registers in between; weights
/// are read (or generated) a second time.
#pragma once

#include <cstdint>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/packed_bf16.cuh"
#include "qwen3vl/backend/cuda/primitives/packed_f8.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"
#include "qwen3vl/base/random_stream.hpp"

namespace qwen3vl::cuda {

inline constexpr int rounding_threads = 256;

/// The scale of a row, and what its numbers are multiplied by before they are rounded.
struct F8Scale {
  float scale, inverse;
  /// Rows below 2^-100 become zeros. A row with an infinity or NaN gets a scale of NaN, so that products say so.
  __device__ __forceinline__ explicit F8Scale(float largest)
      : scale(largest / f8_e4m3::largest), inverse(f8_e4m3::largest / largest) {
    if (largest < 0x1p-100f) scale = inverse = 0.0f;
    if (largest == INFINITY) {
      scale = NAN;
      inverse = 0.0f;
    }
  }
  __device__ __forceinline__ f8_e4m3 round(float value) const {
    return inverse == 0.0f ? f8_e4m3{} : static_cast<f8_e4m3>(value * inverse);
  }
};

/// |value|, infinite for NaN.
__device__ __forceinline__ float magnitude_of(float value) {
  const float magnitude = fabsf(value);
  return magnitude <= INFINITY ? magnitude : INFINITY;
}

/// Numbers as a file has them: row r, column c at r * row_stride + c * column_stride.
template <class T>
struct StoredRows {
  const T* data;
  std::int64_t row_stride, column_stride;
  __device__ __forceinline__ float operator()(std::int64_t row, std::int64_t column) const {
    return static_cast<float>(data[row * row_stride + column * column_stride]);
  }
};
/// Numbers of a stream, by the order of matrices of `rows` rows that are stored one after another.
struct RandomRows {
  RandomStream random;
  std::int64_t rows, columns, row_stride, column_stride;
  __device__ __forceinline__ float operator()(std::int64_t row, std::int64_t column) const {
    return random(
        static_cast<std::uint64_t>(row / rows * (rows * columns) + row % rows * row_stride + column * column_stride));
  }
};

/// to [rows, columns], scales [rows]. Grid: rows by the warps of a block.
template <bool paired, class Source>
__global__ void __launch_bounds__(rounding_threads)
    round_weights_kernel(Source source, std::int64_t rows, int columns, f8_e4m3* to, float* scales) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const std::int64_t row = (static_cast<std::int64_t>(blockIdx.x) * rounding_threads + threadIdx.x) / warp_size;
  if (row >= rows) return;
  float largest = 0.0f;
  for (int c = lane; c < columns; c += warp_size) largest = fmaxf(largest, magnitude_of(source(row, c)));
  const F8Scale by(warp_max(largest));
  for (int c = lane; c < columns; c += warp_size) to[row * columns + f8_place<paired>(c)] = by.round(source(row, c));
  if (lane == 0) scales[row] = by.scale;
}

template <bool paired, class Source>
void round_weights(Context<Cuda>& ctx, const Source& source, std::int64_t rows, int columns, f8_e4m3* to,
                   float* scales) {
  launch(ctx, round_weights_kernel<paired, Source>, blocks_for(rows, rounding_threads / warp_size), rounding_threads,
         source, rows, columns, to, scales);
}

/// The same with a scale for each row and each 128 columns: rows [first, first + rows) of matrices [height, columns]
/// that are stored one after another; each has scales [blocks of columns, height]. Grid: rows and blocks by the warps
/// of a CUDA block.
template <class Source>
__global__ void __launch_bounds__(rounding_threads)
    round_blocks_kernel(Source source, std::int64_t rows, std::int64_t first, std::int64_t height, int columns,
                        F8InBlocks* to, float* scales) {
  constexpr int each = f8_block_columns / warp_size;
  const int lane = static_cast<int>(threadIdx.x) % warp_size, blocks = ceil_div(columns, f8_block_columns);
  const std::int64_t part = (static_cast<std::int64_t>(blockIdx.x) * rounding_threads + threadIdx.x) / warp_size;
  if (part >= rows * blocks) return;
  const std::int64_t row = part / blocks, block = part % blocks, to_row = first + row;
  const int begin = static_cast<int>(block) * f8_block_columns + lane;
  float values[each] = {}, largest = 0.0f;
#pragma unroll
  for (int i = 0; i < each; ++i) {
    if (begin + i * warp_size < columns) values[i] = source(row, begin + i * warp_size);
    largest = fmaxf(largest, magnitude_of(values[i]));
  }
  const F8Scale by(warp_max(largest));
#pragma unroll
  for (int i = 0; i < each; ++i)
    if (begin + i * warp_size < columns)
      to[to_row * columns + f8_place<true>(begin + i * warp_size)].q = by.round(values[i]);
  if (lane == 0) scales[(to_row / height * blocks + block) * height + to_row % height] = by.scale;
}

template <class Source>
void round_blocks(Context<Cuda>& ctx, const Source& source, std::int64_t rows, std::int64_t first, std::int64_t height,
                  int columns, F8InBlocks* to, float* scales) {
  launch(ctx, round_blocks_kernel<Source>,
         blocks_for(rows * ceil_div(columns, f8_block_columns), rounding_threads / warp_size), rounding_threads, source,
         rows, first, height, columns, to, scales);
}

/// x [rows, K] to q [grid, K] and scales [grid]: zeros after the last row. Grid: rows, including padding.
template <int K>
__global__ void __launch_bounds__(rounding_threads)
    round_activations_kernel(const bf16* x, std::int64_t rows, f8_e4m3* q, float* scales) {
  static_assert(K % 16 == 0, "rows are read 16 bytes at a time and written in as many");
  constexpr int vectors = K / 8, each = ceil_div(vectors, rounding_threads);
  take_turn();
  const std::int64_t row = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  PackedBf16 packed[each];
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < each; ++i) {
    const int v = thread + i * rounding_threads;
    packed[i] = load_packed_if(row < rows && v < vectors, x + row * K + v * 8);
#pragma unroll
    for (const std::uint32_t word : packed[i].values)
      largest = fmaxf(largest, fmaxf(magnitude_of(lower_float(word)), magnitude_of(upper_float(word))));
  }
  const F8Scale by(shared_memory<BlockReduce<float, rounding_threads>>()(largest, 0.0f, Larger{}));
#pragma unroll
  for (int i = 0; i < each; ++i) {
    const int v = thread + i * rounding_threads;
    if (v >= vectors) continue;
    Vector<f8_e4m3, 8> rounded;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      rounded.values[2 * j] = by.round(lower_float(packed[i].values[j]));
      rounded.values[2 * j + 1] = by.round(upper_float(packed[i].values[j]));
    }
    store_vector(q + row * K + v * 8, rounded);
  }
  if (thread == 0) scales[row] = by.scale;
}

}  // namespace qwen3vl::cuda
