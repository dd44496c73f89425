/// The tilings of expert_product.cuh, their shared memory, and what a warp multiplies of a stage.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "qwen3vl/backend/cuda/primitives/instructions.cuh"
#include "qwen3vl/backend/cuda/primitives/launch.cuh"
#include "qwen3vl/backend/cuda/primitives/packed_f8.cuh"

namespace qwen3vl::cuda {

template <int Rows, int Columns, int WarpsDown, int WarpsAcross, int Stages>
struct ExpertTiling {
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
    /// What chunks of a row are kept at, besides their number.
    static __device__ __forceinline__ constexpr int turn(int row) { return chunks == 8 ? row % 8 : row / 2 % 4; }
  };
  template <class W>
  struct Shared {
    uint4 x[Stages][Rows * chunks];
    uint4 w[Stages][Columns * Weights<W>::chunks];
  };
};
using SmallExpertTiling = ExpertTiling<16, 32, 1, 2, 6>;
using MediumExpertTiling = ExpertTiling<64, 128, 2, 4, 3>;
using LargeExpertTiling = ExpertTiling<128, 128, 2, 4, 3>;

/// Sums of a warp's rows and columns, [row step][column step].
template <class Tiling>
using ExpertSums = float[Tiling::row_steps][Tiling::column_steps][4];

/// Adds a stage's products. a_place and b_place are the lane's places for the first 16 k.
template <class Tiling>
__device__ __forceinline__ void multiply_stage(const uint4* xs, const uint4* ws, int a_place, int b_place,
                                               ExpertSums<Tiling>& sums, bf16) {
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
                                               ExpertSums<Tiling>& sums, f8_e4m3) {
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

}  // namespace qwen3vl::cuda
