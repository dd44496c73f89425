/// Products of a block of threads: a tile of rows by a tile of weight rows, on the tensor cores. For every expert
/// (expert_product.cuh), and for matrices of e4m3 with scales by blocks (f8_blocks_linear.cuh).
///
/// Every sum goes through its K terms in ascending order, 16 at a time, whatever the tiling: a row's result depends
/// neither on the other rows nor on how many there are.
///
/// A stage is 64 columns: 128 bytes of each row, in chunks of 16 bytes. Chunk c of row r is kept at c ^ (r % 8), so
/// that the eight rows read by one ldmatrix lie in different banks.
///
/// Weights of e4m3 are half as many bytes, and become bf16 in registers. They are stored such (f8_place) that the word
/// which ldmatrix gives a lane of 16 columns is what it multiplies of them, as two pairs. A row has four chunks of a
/// stage, kept at c ^ (r / 2 % 4). Sums get their row's scale at the end (where there is one: F8InBlocks has one for
/// each row and 128 columns, so that the sum of two stages is multiplied by it and then added to the tile's).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/primitives/instructions.cuh"
#include "qwen3vl/backend/cuda/primitives/launch.cuh"
#include "qwen3vl/backend/cuda/primitives/packed_f8.cuh"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"

namespace qwen3vl::cuda {

template <int Rows, int Columns, int WarpsDown, int WarpsAcross, int Stages>
struct MmaTiling {
  static constexpr int rows = Rows, columns = Columns, stages = Stages, depth = 64, chunks = depth / 8;
  static constexpr int warps_across = WarpsAcross, threads = WarpsDown * WarpsAcross * warp_size;
  static constexpr int warp_rows = Rows / WarpsDown, warp_columns = Columns / WarpsAcross;
  static constexpr int row_steps = warp_rows / 16, column_steps = warp_columns / 8;  // of one mma
  static constexpr int row_copies = Rows * chunks / threads;
  static_assert(warp_rows % 16 == 0 && warp_columns % 16 == 0, "a warp loads 16 rows of either side at once");
  static_assert(row_copies * threads == Rows * chunks);
  static_assert(threads % (8 * chunks) == 0, "a thread's chunks are all in one place of their rows");
  static_assert(Stages >= 2);

  /// Of weights of type W.
  template <class W>
  struct Weights {
    static constexpr int width = 16 / static_cast<int>(sizeof(W)), chunks = depth / width;  // of a row
    static constexpr int copies = Columns * chunks / threads, copied_rows = threads / chunks;
    static_assert(copies * threads == Columns * chunks && copied_rows % 8 == 0);
    /// CUDA blocks that a multiprocessor should hold. Sums of blocks of columns take as many registers again.
    static constexpr bool twice = std::is_same_v<W, F8InBlocks>;
    static constexpr int resident = threads == 256 ? (twice ? 1 : 2) : threads == 128 && twice ? 3 : 4;
    /// What chunks of a row are kept at, besides their number.
    static __device__ __forceinline__ constexpr int turn(int row) { return chunks == 8 ? row % 8 : row / 2 % 4; }
  };
  template <class W>
  struct Shared {
    uint4 x[Stages][Rows * chunks];
    uint4 w[Stages][Columns * Weights<W>::chunks];
  };
};
using SmallTiling = MmaTiling<16, 32, 1, 2, 6>;
using SquareTiling = MmaTiling<64, 64, 2, 2, 4>;
using MediumTiling = MmaTiling<64, 128, 2, 4, 3>;
using LargeTiling = MmaTiling<128, 128, 2, 4, 3>;

/// Sums of a warp's rows and columns, [row step][column step].
template <class Tiling>
using TileSums = float[Tiling::row_steps][Tiling::column_steps][4];

/// The row of weights that is column c of a block's tile. Gates and ups alternate by eights, so that a lane has both
/// of an output.
template <bool gated, int N, int block_outputs>
__device__ __forceinline__ int weight_row(int first_output, int c) {
  constexpr int outputs = gated ? N / 2 : N;
  const int output = first_output + (gated ? c / 16 * 8 + c % 8 : c);
  const int row = outputs % block_outputs == 0 ? output : min(output, outputs - 1);
  return gated ? row + c / 8 % 2 * outputs : row;
}

/// Adds a stage's products. a_place and b_place are the lane's places for the first 16 k.
template <class Tiling>
__device__ __forceinline__ void multiply_stage(const uint4* xs, const uint4* ws, int a_place, int b_place,
                                               TileSums<Tiling>& sums, bf16) {
#pragma unroll
  for (int k = 0; k < Tiling::depth / 16; ++k) {
    std::uint32_t a[Tiling::row_steps][4];
#pragma unroll
    for (int i = 0; i < Tiling::row_steps; ++i) ldmatrix_x4(a[i], &xs[(a_place ^ 2 * k) + i * 16 * Tiling::chunks]);
#pragma unroll
    for (int j = 0; j < Tiling::column_steps / 2; ++j) {
      std::uint32_t b[4];
      ldmatrix_x4(b, &ws[(b_place ^ 2 * k) + j * 16 * Tiling::chunks]);
#pragma unroll
      for (int i = 0; i < Tiling::row_steps; ++i) {
        mma_bf16_16x8x16(sums[i][2 * j], a[i], {b[0], b[1]});
        mma_bf16_16x8x16(sums[i][2 * j + 1], a[i], {b[2], b[3]});
      }
    }
  }
}
/// One ldmatrix gives e4m3 for two steps of 16 k: words 0 and 1 of columns 0-7, 2 and 3 of columns 8-15.
template <class Tiling>
__device__ __forceinline__ void multiply_stage(const uint4* xs, const uint4* ws, int a_place, int b_place,
                                               TileSums<Tiling>& sums, f8_e4m3) {
  constexpr int pairs = Tiling::column_steps / 2;
#pragma unroll
  for (int two = 0; two < Tiling::depth / 32; ++two) {
    std::uint32_t w[pairs][4];
#pragma unroll
    for (int j = 0; j < pairs; ++j) ldmatrix_x4(w[j], &ws[(b_place ^ 2 * two) + j * 16 * (Tiling::chunks / 2)]);
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      std::uint32_t a[Tiling::row_steps][4];
#pragma unroll
      for (int i = 0; i < Tiling::row_steps; ++i)
        ldmatrix_x4(a[i], &xs[(a_place ^ (4 * two + 2 * step)) + i * 16 * Tiling::chunks]);
#pragma unroll
      for (int j = 0; j < pairs; ++j) {
        const Bf16Pairs first = unpack_f8<false>(w[j][step]), second = unpack_f8<false>(w[j][2 + step]);
#pragma unroll
        for (int i = 0; i < Tiling::row_steps; ++i) {
          mma_bf16_16x8x16(sums[i][2 * j], a[i], {first.low, first.high});
          mma_bf16_16x8x16(sums[i][2 * j + 1], a[i], {second.low, second.high});
        }
      }
    }
  }
}
template <class Tiling>
__device__ __forceinline__ void multiply_stage(const uint4* xs, const uint4* ws, int a_place, int b_place,
                                               TileSums<Tiling>& sums, F8InBlocks) {
  multiply_stage<Tiling>(xs, ws, a_place, b_place, sums, f8_e4m3{});
}

/// The first row and column of this thread's warp in a tile.
template <class Tiling>
__device__ __forceinline__ int warp_row() {
  return static_cast<int>(threadIdx.x) / warp_size / Tiling::warps_across * Tiling::warp_rows;
}
template <class Tiling>
__device__ __forceinline__ int warp_column() {
  return static_cast<int>(threadIdx.x) / warp_size % Tiling::warps_across * Tiling::warp_columns;
}

/// Sums of `rows` rows and of the outputs from first_output on (gated: of gates and ups). x_row(i) is where row i of
/// the tile begins; w [N, K], of F8InBlocks with scales [blocks of columns, N]. By all threads of the block.
template <class Tiling, bool gated, int N, int K, class W, class XRow>
__device__ __forceinline__ void multiply_tile(typename Tiling::template Shared<W>& shared, int rows, XRow&& x_row,
                                              const W* w, const float* scales, int first_output,
                                              TileSums<Tiling>& sums) {
  using Weights = typename Tiling::template Weights<W>;
  static_assert(N % 2 == 0 && K % 8 == 0 && K % Weights::width == 0,
                "rows are copied in pieces of 16 bytes, outputs are stored in pairs");
  constexpr int outputs = gated ? N / 2 : N, block_outputs = gated ? Tiling::columns / 2 : Tiling::columns;
  constexpr int steps = ceil_div(K, Tiling::depth), chunks = Tiling::chunks, threads = Tiling::threads;
  const int thread = static_cast<int>(threadIdx.x);

  // This thread copies chunk `chunk` of rows copy_row, + threads / 8, ...; rows beyond the tile are zeros, and columns
  // beyond the matrix are its last one again: neither is stored in the end.
  constexpr int copied_rows = threads / chunks;
  const int chunk = thread % chunks, copy_row = thread / chunks, place = copy_row * chunks + (chunk ^ copy_row % 8);
  const int w_chunk = thread % Weights::chunks, w_row = thread / Weights::chunks;
  const int w_place = w_row * Weights::chunks + (w_chunk ^ Weights::turn(w_row));
  const bf16* x_from[Tiling::row_copies];
  const W* w_from[Weights::copies];
#pragma unroll
  for (int i = 0; i < Tiling::row_copies; ++i) x_from[i] = x_row(min(copy_row + i * copied_rows, rows - 1)) + chunk * 8;
  w += w_chunk * Weights::width;
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
      cp_async_16(&shared.x[stage][place + i * threads], x_from[i] + from, inside && copy_row + i * copied_rows < rows);
#pragma unroll
    for (int i = 0; i < Weights::copies; ++i) {
      const bool w_inside = K % Tiling::depth == 0 || k + w_chunk * Weights::width < K;
      cp_async_16(&shared.w[stage][w_place + i * threads], w_from[i] + (w_inside ? k : 0), w_inside);
    }
  };

  const int lane = thread % warp_size, first_column = warp_column<Tiling>();
  // Of the 16 x 16 numbers that ldmatrix_x4 loads for A, the four tiles are (rows 0-7, 8-15) x (k 0-7), then k 8-15;
  // for two B they are (k 0-7, 8-15) x (columns 0-7), then columns 8-15; of e4m3 k 0-15 and 16-31. These are the lane's
  // places for k = 0; for 16 k further on, chunks 2 k / 16 further on, bits of the chunk change.
  const int a_place = (warp_row<Tiling>() + lane % 16) * chunks + (lane / 16 ^ lane % 8);
  const int b_place =
      (first_column + lane / 16 * 8 + lane % 8) * Weights::chunks + (lane / 8 % 2 ^ Weights::turn(lane % 8));

  constexpr bool blocks = std::is_same_v<W, F8InBlocks>;
  static_assert(2 * Tiling::depth == f8_block_columns);
  TileSums<Tiling> of_block = {};
  auto& stage_sums = blocks ? of_block : sums;
  float block_scales[Tiling::column_steps][2];
  const auto load_scales = [&](int block) {  // of the lane's pairs of columns; outputs are even
#pragma unroll
    for (int j = 0; j < Tiling::column_steps; ++j) {
      const int c = first_column + j * 8 + lane % 4 * 2;
      const int output = min(first_output + (gated ? c / 16 * 8 + c % 8 : c), outputs - 2);
      load_floats<2>(scales + static_cast<std::int64_t>(block) * N + output + (gated ? c / 8 % 2 * outputs : 0),
                     block_scales[j]);
    }
  };
  if constexpr (blocks) load_scales(0);

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
    multiply_stage<Tiling>(shared.x[step % Tiling::stages], shared.w[step % Tiling::stages], a_place, b_place,
                           stage_sums, W{});
    if constexpr (blocks) {
      if (step % 2 == 0 && step + 1 < steps) continue;
#pragma unroll
      for (int i = 0; i < Tiling::row_steps; ++i)
#pragma unroll
        for (int j = 0; j < Tiling::column_steps; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            sums[i][j][e] = fmaf(of_block[i][j][e], block_scales[j][e % 2], sums[i][j][e]);
            of_block[i][j][e] = 0.0f;
          }
      if (step + 1 < steps) load_scales(step / 2 + 1);
    }
  }
}

/// f(row of the tile, output, two sums, two of ups) for each pair of outputs that this thread has sums of.
template <class Tiling, bool gated, int N, class F>
__device__ __forceinline__ void for_each_pair(int rows, int first_output, const TileSums<Tiling>& sums, F&& f) {
  constexpr int outputs = gated ? N / 2 : N;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll
  for (int i = 0; i < Tiling::row_steps; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = warp_row<Tiling>() + i * 16 + half * 8 + lane / 4;
      if (row >= rows) continue;
#pragma unroll
      for (int j = 0; j < Tiling::column_steps; j += gated ? 2 : 1) {
        const int column = warp_column<Tiling>();
        const int output = first_output + (gated ? column / 2 + j * 4 : column + j * 8) + lane % 4 * 2;
        if (output >= outputs) continue;
        const float* const pair = &sums[i][j][half * 2];
        f(row, output, pair, gated ? &sums[i][j + 1][half * 2] : pair);
      }
    }
}

}  // namespace qwen3vl::cuda
