/// The inner loop of every product on the CPU: a tile of C += A B held in registers.
#pragma once

#include "qwen3vl/backend/cpu/simd.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl::cpu_kernels {

using simd::Floats;

/// Rows of a tile: as many as leave registers for two vectors of B and one broadcast of A.
inline constexpr int tile_rows = simd::registers == 32 ? 14 : 6;

/// Tiles of rows that share one widening of a panel: it costs about 3 / rows of the product. 256 columns of them stay
/// in the second-level cache.
inline constexpr index_t tiles_of_block = tile_rows >= 14 ? 16 : 32;
/// Panels that are visited for one block of columns, one after another, before the next block of columns: their sums
/// wait in the second-level cache, beside the rows' columns.
inline constexpr index_t panel_group = 16;
/// Up to so many rows the weights are read straight through instead; the product then waits for memory only.
inline constexpr index_t streaming_rows = 4;

/// Accumulators of a tile of R rows and C vectors.
template <int R, int C>
struct Tile {
  Floats sums[R][C];

  QWEN3VL_INLINE void clear() {
    simd::unroll<R>([&](auto r) { simd::unroll<C>([&](auto c) { sums[r][c] = Floats{}; }); });
  }
  /// c [R, stride]
  QWEN3VL_INLINE void load(const float* p, index_t stride) {
    simd::unroll<R>(
        [&](auto r) { simd::unroll<C>([&](auto c) { sums[r][c] = simd::load(p + r * stride + c * simd::width); }); });
  }
  QWEN3VL_INLINE void store(float* p, index_t stride) const {
    simd::unroll<R>(
        [&](auto r) { simd::unroll<C>([&](auto c) { simd::store(p + r * stride + c * simd::width, sums[r][c]); }); });
  }
};

/// tile += A B over `depth` steps. A: element (r, k) at a[r * row_stride + k * step]; B: step k is C vectors at
/// b + k * b_stride. `step` and `b_stride` are constants of the caller, so that addresses fold.
template <int R, int C, class W>
QWEN3VL_INLINE void multiply_add(Tile<R, C>& tile, index_t depth, const float* a, index_t row_stride, index_t step,
                                 const W* b, index_t b_stride) {
  for (index_t k = 0; k < depth; ++k) {
    Floats columns[C];
    simd::unroll<C>([&](auto c) { columns[c] = simd::load(b + k * b_stride + c * simd::width); });
    simd::unroll<R>([&](auto r) {
      const Floats x = simd::splat(a[r * row_stride + k * step]);
      simd::unroll<C>([&](auto c) { tile.sums[r][c] += x * columns[c]; });
    });
  }
}

/// Calls f(constant R) with R = rows, 1 <= rows <= tile_rows: a tile of fewer rows is its own kernel.
template <int R = tile_rows, class F>
QWEN3VL_INLINE void with_rows(index_t rows, F&& f) {
  if constexpr (R > 1) {
    if (rows < R) return with_rows<R - 1>(rows, f);
  }
  f(std::integral_constant<int, R>{});
}

}  // namespace qwen3vl::cpu_kernels
