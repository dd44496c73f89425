/// Products of every expert with its own rows, after the plan of expert_plan.cuh: one block per tile of rows and group
/// of outputs.
///
/// A token's result depends neither on the other tokens nor on how many there are (tiles.cuh). That is why decoding
/// uses the same kernel with tiles of 16 rows rather than one that splits the sums. The tensor cores then multiply
/// mostly zeros at no cost, because memory bandwidth is the limit.
///
///   tiling   rows x outputs   warps   stages   for                       limited by
///   small        16 x  32     1 x 2      6     up to 8 rows per expert   memory: every weight is read once
///   medium       64 x 128     2 x 4      3     up to 64                  memory, then tensor cores
///   large       128 x 128     2 x 4      3     more                      tensor cores (mma.sync: on Hopper about 0.6
///                                                                        of what wgmma reaches)
///
/// With weights in blocks (F8InBlocks) the square tiling takes the place of the medium one.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/experts/expert_plan.cuh"
#include "qwen3vl/backend/cuda/primitives/instructions.cuh"
#include "qwen3vl/backend/cuda/products/linear.cuh"
#include "qwen3vl/backend/cuda/products/tiles.cuh"

namespace qwen3vl::cuda {

/// The row of x that a slot reads: its token's, or with Choices = 0 its own.
template <int Choices>
__device__ __forceinline__ std::int64_t input_row(const ExpertPlan& plan, int slot) {
  if constexpr (Choices > 0) return plan.choice(slot) / Choices;
  return slot;
}

/// silu for results that are rounded to bf16: with the division that takes no branch, which is off by two units in the
/// last place of f32.
__device__ __forceinline__ float silu_for_bf16(float z) { return __fdividef(z, 1.0f + __expf(-z)); }

/// y [slots, outputs] = x w_e^T, or silu(gates) * ups of it, for each slot of each expert e. w [E, N, K], with scales
/// [E, N] if it is of e4m3, or [E, blocks of columns, N]; x [.., K] is indexed by input_row.
template <class Tiling, class W, bool gated, int N, int K, int Choices>
__global__ void __launch_bounds__(Tiling::threads, Tiling::template Weights<W>::resident)
    expert_mma_kernel(const bf16* x, ExpertPlan plan, const W* w, const float* scales, bf16* y) {
  constexpr int outputs = gated ? N / 2 : N, block_outputs = gated ? Tiling::columns / 2 : Tiling::columns;
  constexpr int column_blocks = ceil_div(outputs, block_outputs);
  auto& shared = shared_memory<typename Tiling::template Shared<W>>();
  take_turn();
  const int block = static_cast<int>(blockIdx.x);
  const int first_output = block % column_blocks * block_outputs;
  const ExpertTile tile = plan.tile(block / column_blocks);
  if (tile.rows == 0) return;  // the whole block
  constexpr bool row_scales = std::is_same_v<W, f8_e4m3>, block_scales = std::is_same_v<W, F8InBlocks>;
  if constexpr (row_scales || block_scales)
    scales += static_cast<std::int64_t>(tile.expert) * N * (block_scales ? ceil_div(K, f8_block_columns) : 1);

  TileSums<Tiling> sums = {};
  multiply_tile<Tiling, gated, N, K>(
      shared, tile.rows, [&](int row) { return x + input_row<Choices>(plan, tile.first + row) * K; },
      w + static_cast<std::int64_t>(tile.expert) * N * K, scales, first_output, sums);
  for_each_pair<Tiling, gated, N>(
      tile.rows, first_output, sums, [&](int row, int output, const float* pair, const float* ups) {
        float values[2], scale[2] = {1.0f, 1.0f}, up_scale[2] = {1.0f, 1.0f};
        if constexpr (row_scales) load_floats<2>(scales + output, scale);
        if constexpr (row_scales && gated) load_floats<2>(scales + outputs + output, up_scale);
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          values[n] = pair[n] * scale[n];
          if constexpr (gated) values[n] = silu_for_bf16(values[n]) * (ups[n] * up_scale[n]);
        }
        store_floats<2>(y + static_cast<std::int64_t>(tile.first + row) * outputs + output, values);
      });
}

/// Shared memory of the plain kernel. Rows have one number more, so that a column lies in different banks.
struct ExpertFmaTiling {
  static constexpr int rows = 32, columns = 64, depth = 32, threads = 256;
  struct Shared {
    float x[rows][depth + 1];
    float w[columns][depth + 1];
  };
};

/// The same with ordinary arithmetic in float: for float weights, and for sizes that are no multiple of 8. A thread has
/// two rows and four columns (gated: two outputs).
template <class W, bool gated, int N, int K, int Choices>
__global__ void __launch_bounds__(ExpertFmaTiling::threads)
    expert_fma_kernel(const operand_t<W>* x, ExpertPlan plan, const W* w, operand_t<W>* y) {
  using Tiling = ExpertFmaTiling;
  constexpr int outputs = gated ? N / 2 : N, block_outputs = gated ? Tiling::columns / 2 : Tiling::columns;
  constexpr int column_blocks = ceil_div(outputs, block_outputs), depth = Tiling::depth;
  auto& shared = shared_memory<Tiling::Shared>();
  take_turn();
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const int first_output = block % column_blocks * block_outputs;
  const ExpertTile tile = plan.tile(block / column_blocks);
  if (tile.rows == 0) return;  // the whole block
  w += static_cast<std::int64_t>(tile.expert) * N * K;
  const auto row_of_column = [&](int c) {  // outputs, or the gates and then the ups of half as many
    if constexpr (gated) {
      const int output = first_output + c % block_outputs;
      return output < outputs ? output + c / block_outputs * outputs : -1;
    } else {
      return first_output + c < outputs ? first_output + c : -1;
    }
  };
  const int across = thread % 16, down = thread / 16, copy_k = thread % depth, copy_row = thread / depth;
  constexpr int copied = Tiling::threads / depth;  // rows at once
  float sums[2][4] = {};
  for (int k0 = 0; k0 < K; k0 += depth) {
    const bool inside = k0 + copy_k < K;
#pragma unroll
    for (int r = copy_row; r < Tiling::rows; r += copied)
      shared.x[r][copy_k] = inside && r < tile.rows
                                ? static_cast<float>(x[input_row<Choices>(plan, tile.first + r) * K + k0 + copy_k])
                                : 0.0f;
#pragma unroll
    for (int c = copy_row; c < Tiling::columns; c += copied) {
      const int row = row_of_column(c);
      shared.w[c][copy_k] =
          inside && row >= 0 ? static_cast<float>(w[static_cast<std::int64_t>(row) * K + k0 + copy_k]) : 0.0f;
    }
    __syncthreads();
#pragma unroll 8
    for (int k = 0; k < depth; ++k)
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          sums[i][j] = fmaf(shared.x[down + 16 * i][k], shared.w[across + 16 * j][k], sums[i][j]);
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = down + 16 * i;
    if (row >= tile.rows) continue;
#pragma unroll
    for (int j = 0; j < (gated ? 2 : 4); ++j) {
      const int output = first_output + across + 16 * j;
      if (output >= outputs) continue;
      const float value = gated ? silu(sums[i][j]) * sums[i][(j + 2) % 4] : sums[i][j];
      y[static_cast<std::int64_t>(tile.first + row) * outputs + output] = static_cast<operand_t<W>>(value);
    }
  }
}

}  // namespace qwen3vl::cuda
