/// Attention in f32 throughout, for f32 activations and for head sizes that the tensor cores have no tiles for.
/// Limited by shared memory: four rows and four keys of a thread are eight loads for sixteen multiply-adds.
///
///                64 keys (a page)
///            +---------------------+     128 threads as 8 x 16: thread (y, x) has rows 4 y.. of 32 and, for scores,
///   32 rows  | 4 x 4 per thread    |     keys x + 16 i; for results, numbers x + 16 i of a head. The rows of a tile
///            +---------------------+     are query heads that share the keys, times tokens. Keys and then values of
///                                        a tile go through one buffer.
#pragma once

#include <cmath>
#include <cstdint>

#include "qwen3vl/backend/cuda/attention/attention_keys.cuh"
#include "qwen3vl/backend/cuda/attention/pieces.cuh"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"

namespace qwen3vl::cuda {

struct FmaTile {
  static constexpr int threads = 128, across = 16;  // threads side by side
  static constexpr int rows = 32, keys = page_tokens;
  static constexpr int rows_each = rows / (threads / across), keys_each = keys / across;
};

/// Rows are of odd length, so that a column of them lies in different banks.
template <int D>
struct FmaShared {
  static constexpr int stride = D | 1;
  float q[FmaTile::rows][stride];
  float kv[FmaTile::keys][stride];
  float weights[FmaTile::rows][FmaTile::keys + 1];
};

/// `count` rows of D numbers, `stride` apart, as floats; zeros up to Rows.
template <int Rows, int D, class T>
__device__ __forceinline__ void load_rows(float (&to)[Rows][D | 1], const T* from, std::int64_t stride, int count) {
  constexpr int width = vector_width<T, D>, vectors = D / width;
  for (int i = static_cast<int>(threadIdx.x); i < Rows * vectors; i += FmaTile::threads) {
    const int row = i / vectors, d = i % vectors * width;
    float values[width] = {};
    if (row < count) load_floats<width>(from + row * stride + d, values);
#pragma unroll
    for (int j = 0; j < width; ++j) to[row][d + j] = values[j];
  }
}

/// Grid: tiles of all pieces, and key heads.
template <class A, class Keys, int D>
__global__ void __launch_bounds__(FmaTile::threads)
    attention_fma_kernel(const A* qkv, const __grid_constant__ Pieces pieces, Keys keys, A* out) {
  constexpr int columns = ceil_div(D, FmaTile::across);  // of a thread's results
  constexpr int rows_each = FmaTile::rows_each, keys_each = FmaTile::keys_each;
  static_assert(D <= 256, "results are in registers");
  auto& shared = shared_memory<FmaShared<D>>();
  take_turn();
  const RowBlock<Keys> block(pieces, static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), FmaTile::rows, keys);
  const int x = static_cast<int>(threadIdx.x) % FmaTile::across;
  const int y = static_cast<int>(threadIdx.x) / FmaTile::across * rows_each;

  {
    constexpr int width = vector_width<A, D>, vectors = D / width;
    for (int i = static_cast<int>(threadIdx.x); i < FmaTile::rows * vectors; i += FmaTile::threads) {
      const int row = i / vectors, d = i % vectors * width;
      float values[width] = {};
      if (block.first + row < block.rows) load_floats<width>(qkv + block.query(block.first + row, D) + d, values);
#pragma unroll
      for (int j = 0; j < width; ++j) shared.q[row][d + j] = values[j];
    }
  }
  float maxima[rows_each], totals[rows_each], sums[rows_each][columns];
  int limits[rows_each];
#pragma unroll
  for (int r = 0; r < rows_each; ++r) {
    maxima[r] = -INFINITY;
    totals[r] = 0.0f;
    limits[r] = block.limit(block.first + y + r);
#pragma unroll
    for (int i = 0; i < columns; ++i) sums[r][i] = 0.0f;
  }
  const float scale = 1.0f / sqrtf(static_cast<float>(D));
  const int tiles = block.key_tiles(FmaTile::rows);
  for (int tile = 0; tile < tiles; ++tile) {
    const int first_key = tile * FmaTile::keys, count = min(block.total - first_key, FmaTile::keys);
    load_rows<FmaTile::keys, D>(shared.kv, keys.keys(block.segment, block.first_token, tile, block.kv), Keys::stride,
                                count);
    __syncthreads();
    float scores[rows_each][keys_each] = {};
#pragma unroll 4
    for (int d = 0; d < D; ++d) {
      float q[rows_each], k[keys_each];
#pragma unroll
      for (int r = 0; r < rows_each; ++r) q[r] = shared.q[y + r][d];
#pragma unroll
      for (int i = 0; i < keys_each; ++i) k[i] = shared.kv[x + i * FmaTile::across][d];
#pragma unroll
      for (int r = 0; r < rows_each; ++r)
#pragma unroll
        for (int i = 0; i < keys_each; ++i) scores[r][i] = fmaf(q[r], k[i], scores[r][i]);
    }
#pragma unroll
    for (int r = 0; r < rows_each; ++r) {
      float highest = maxima[r];
#pragma unroll
      for (int i = 0; i < keys_each; ++i) {
        const int key = first_key + x + i * FmaTile::across;
        const bool seen = key < limits[r];
        scores[r][i] = seen ? scores[r][i] * scale : -INFINITY;
        if constexpr (has_score<Keys>)
          if (seen) scores[r][i] = keys.score(scores[r][i], block.place(block.first + y + r, key));
        highest = fmaxf(highest, scores[r][i]);
      }
      highest = warp_max<FmaTile::across>(highest);
      const float base = highest == -INFINITY ? 0.0f : highest;  // a fully masked row
      const float shrink = expf(maxima[r] - base);
      float total = 0.0f;
#pragma unroll
      for (int i = 0; i < keys_each; ++i) {
        const float weight = expf(scores[r][i] - base);
        shared.weights[y + r][x + i * FmaTile::across] = weight;
        total += weight;
      }
      maxima[r] = highest;
      totals[r] = totals[r] * shrink + total;
#pragma unroll
      for (int i = 0; i < columns; ++i) sums[r][i] *= shrink;
    }
    __syncthreads();  // keys are no longer needed
    load_rows<FmaTile::keys, D>(shared.kv, keys.values(block.segment, block.first_token, tile, block.kv), Keys::stride,
                                count);
    __syncthreads();
    for (int key = 0; key < count; ++key) {
      float v[columns];
#pragma unroll
      for (int i = 0; i < columns; ++i) {
        const int d = x + i * FmaTile::across;
        v[i] = D % FmaTile::across == 0 || d < D ? shared.kv[key][d] : 0.0f;
      }
#pragma unroll
      for (int r = 0; r < rows_each; ++r) {
        const float weight = shared.weights[y + r][key];
        if (weight == 0.0f) continue;  // masked: an infinite value must not become NaN
#pragma unroll
        for (int i = 0; i < columns; ++i) sums[r][i] = fmaf(weight, v[i], sums[r][i]);
      }
    }
    __syncthreads();  // values and weights are no longer needed
  }
#pragma unroll
  for (int r = 0; r < rows_each; ++r) {
    const float total = warp_sum<FmaTile::across>(totals[r]);
    const int row = block.first + y + r;
    if (row >= block.rows) continue;
#pragma unroll
    for (int i = 0; i < columns; ++i) {
      const int d = x + i * FmaTile::across;
      if (D % FmaTile::across == 0 || d < D) out[block.result(row, D) + d] = static_cast<A>(sums[r][i] / total);
    }
  }
}

}  // namespace qwen3vl::cuda
