/// Products of every expert with its own rows, after the plan of expert_plan.cuh: one block per tile of rows and group
/// of outputs.
///
/// Every sum goes through its K terms in ascending order, 16 at a time, whatever the tiling: a token's result depends
/// neither on the other tokens nor on how many there are. That is why decoding uses the same kernel with tiles of 16
/// rows rather than one that splits the sums. The tensor cores then multiply mostly zeros at no cost, because memory
/// bandwidth is the limit.
///
///   tiling   rows x outputs   warps   stages   for                       limited by
///   small        16 x  32     1 x 2      6     up to 8 rows per expert   memory: every weight is read once
///   medium       64 x 128     2 x 4      3     up to 64                  memory, then tensor cores
///   large       128 x 128     2 x 4      3     more                      tensor cores (mma.sync: on Hopper about 0.6
///                                                                        of what wgmma reaches)
///
/// A stage is 64 columns: 128 bytes of each row, in chunks of 16 bytes. Chunk c of row r is kept at c ^ (r % 8), so
/// that the eight rows read by one ldmatrix lie in different banks.
///
/// Weights of e4m3 are half as many bytes, and become bf16 in registers. They are stored such (f8_place) that the word
/// which ldmatrix gives a lane of 16 columns is what it multiplies of them, as two pairs. A row has four chunks of a
/// stage, kept at c ^ (r / 2 % 4). Sums get their row's scale at the end.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/experts/expert_plan.cuh"
#include "qwen3vl/backend/cuda/experts/expert_tiling.cuh"
#include "qwen3vl/backend/cuda/primitives/instructions.cuh"
#include "qwen3vl/backend/cuda/products/linear.cuh"

namespace qwen3vl::cuda {

/// The row of weights that is column c of a block's tile. Gates and ups alternate by eights, so that a lane has both
/// of an output.
template <bool gated, int N, int block_outputs>
__device__ __forceinline__ int weight_row(int first_output, int c) {
  constexpr int outputs = gated ? N / 2 : N;
  const int output = first_output + (gated ? c / 16 * 8 + c % 8 : c);
  const int row = outputs % block_outputs == 0 ? output : min(output, outputs - 1);
  return gated ? row + c / 8 % 2 * outputs : row;
}

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
/// [E, N] if it is of e4m3; x [.., K] is indexed by input_row.
template <class Tiling, class W, bool gated, int N, int K, int Choices>
__global__ void __launch_bounds__(Tiling::threads, Tiling::threads == 256 ? 2 : 4)
    expert_mma_kernel(const bf16* x, ExpertPlan plan, const W* w, const float* scales, bf16* y) {
  using Weights = typename Tiling::template Weights<W>;
  static_assert(N % 2 == 0 && K % 8 == 0 && K % Weights::width == 0,
                "rows are copied in pieces of 16 bytes, outputs are stored in pairs");
  constexpr int outputs = gated ? N / 2 : N, block_outputs = gated ? Tiling::columns / 2 : Tiling::columns;
  constexpr int column_blocks = ceil_div(outputs, block_outputs), steps = ceil_div(K, Tiling::depth);
  constexpr int chunks = Tiling::chunks, threads = Tiling::threads;
  auto& shared = shared_memory<typename Tiling::template Shared<W>>();
  take_turn();
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const int first_output = block % column_blocks * block_outputs;
  const ExpertTile tile = plan.tile(block / column_blocks);
  if (tile.rows == 0) return;  // the whole block

  // This thread copies chunk `chunk` of rows copy_row, + threads / 8, ...; rows beyond the tile are zeros, and columns
  // beyond the matrix are its last one again: neither is stored in the end.
  constexpr int copied_rows = threads / chunks;
  const int chunk = thread % chunks, copy_row = thread / chunks, place = copy_row * chunks + (chunk ^ copy_row % 8);
  const int w_chunk = thread % Weights::chunks, w_row = thread / Weights::chunks;
  const int w_place = w_row * Weights::chunks + (w_chunk ^ Weights::turn(w_row));
  const bf16* x_from[Tiling::row_copies];
  const W* w_from[Weights::copies];
#pragma unroll
  for (int i = 0; i < Tiling::row_copies; ++i) {
    const int row = min(copy_row + i * copied_rows, tile.rows - 1);
    x_from[i] = x + input_row<Choices>(plan, tile.first + row) * K + chunk * 8;
  }
  w += static_cast<std::int64_t>(tile.expert) * N * K + w_chunk * Weights::width;
#pragma unroll
  for (int i = 0; i < Weights::copies; ++i)
    w_from[i] = w + static_cast<std::int64_t>(
                        weight_row<gated, N, block_outputs>(first_output, w_row + i * Weights::copied_rows)) *
                        K;
  const auto copy_stage = [&](int step) {
    const int stage = step % Tiling::stages, k = step * Tiling::depth;
    const bool inside = K % Tiling::depth == 0 || k + chunk * 8 < K;
    const int from = inside ? k : 0;
#pragma unroll
    for (int i = 0; i < Tiling::row_copies; ++i)
      cp_async_16(&shared.x[stage][place + i * threads], x_from[i] + from,
                  inside && copy_row + i * copied_rows < tile.rows);
#pragma unroll
    for (int i = 0; i < Weights::copies; ++i) {
      const bool w_inside = K % Tiling::depth == 0 || k + w_chunk * Weights::width < K;
      cp_async_16(&shared.w[stage][w_place + i * threads], w_from[i] + (w_inside ? k : 0), w_inside);
    }
  };

  const int lane = thread % warp_size, warp = thread / warp_size;
  const int warp_row = warp / Tiling::warps_across * Tiling::warp_rows;
  const int warp_column = warp % Tiling::warps_across * Tiling::warp_columns;
  // Of the 16 x 16 numbers that ldmatrix_x4 loads for A, the four tiles are (rows 0-7, 8-15) x (k 0-7), then k 8-15;
  // for two B they are (k 0-7, 8-15) x (columns 0-7), then columns 8-15; of e4m3 k 0-15 and 16-31. These are the lane's
  // places for k = 0; for 16 k further on, chunks 2 k / 16 further on, bits of the chunk change.
  const int a_place = (warp_row + lane % 16) * chunks + (lane / 16 ^ lane % 8);
  const int b_place =
      (warp_column + lane / 16 * 8 + lane % 8) * Weights::chunks + (lane / 8 % 2 ^ Weights::turn(lane % 8));
  ExpertSums<Tiling> sums = {};

#pragma unroll
  for (int step = 0; step < Tiling::stages - 1; ++step) {
    if (step < steps) copy_stage(step);
    cp_async_commit();
  }
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<Tiling::stages - 2>();
    __syncthreads();  // the stage is there for all, and the one that is copied to next is no longer read
    if (step + Tiling::stages - 1 < steps) copy_stage(step + Tiling::stages - 1);
    cp_async_commit();
    multiply_stage<Tiling>(shared.x[step % Tiling::stages], shared.w[step % Tiling::stages], a_place, b_place, sums,
                           W{});
  }

  constexpr bool scaled = std::is_same_v<W, f8_e4m3>;
  if constexpr (scaled) scales += static_cast<std::int64_t>(tile.expert) * N;
#pragma unroll
  for (int i = 0; i < Tiling::row_steps; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = warp_row + i * 16 + half * 8 + lane / 4;
      if (row >= tile.rows) continue;
      bf16* const to = y + static_cast<std::int64_t>(tile.first + row) * outputs;
#pragma unroll
      for (int j = 0; j < Tiling::column_steps; j += gated ? 2 : 1) {
        const int output = first_output + (gated ? (warp_column / 2 + j * 4) : (warp_column + j * 8)) + lane % 4 * 2;
        if (output >= outputs) continue;
        float values[2], scale[2] = {1.0f, 1.0f}, up_scale[2] = {1.0f, 1.0f};
        if constexpr (scaled) load_floats<2>(scales + output, scale);
        if constexpr (scaled && gated) load_floats<2>(scales + outputs + output, up_scale);
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          values[n] = sums[i][j][half * 2 + n] * scale[n];
          if constexpr (gated) values[n] = silu_for_bf16(values[n]) * (sums[i][j + 1][half * 2 + n] * up_scale[n]);
        }
        store_floats<2>(to + output, values);
      }
    }
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
