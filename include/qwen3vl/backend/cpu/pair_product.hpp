/// Products of rows with bf16_dot weights by the processor's own dot products of bf16, where it has those but no tiles:
/// a blocked one over packed rows, and a streaming one for a few rows (decode). Activations are rounded to bf16, sums
/// are f32. Nothing is widened: the instruction reads weights as they are in memory.
#pragma once

#include <algorithm>
#include <cstring>

#include "qwen3vl/backend/cpu/microkernel.hpp"
#include "qwen3vl/backend/cpu/pair_matrix.hpp"

#if QWEN3VL_HAS_BF16_DOT && !QWEN3VL_HAS_TILES

namespace qwen3vl::cpu_kernels {

/// Rows of activations as these products read them: pairs of neighbouring columns as bf16, in tiles of
/// [pairs][tile_rows] or one after another.
template <PairWeight W, index_t K>
struct PairRows {
  using Word = std::int32_t;
  static constexpr index_t words = (K + 1) / 2;
  static constexpr int tile_rows = cpu_kernels::tile_rows;
  static constexpr index_t row_block = tile_rows * tiles_of_block;

  static void put(const float* x, Word* to) { put(x, to, 1); }
  static void put_in_tile(const float* x, Word* tile, index_t row) { put(x, tile + row, tile_rows); }

 private:
  static void put(const float* x, Word* to, index_t stride) {
    constexpr index_t step = simd::width;
    for (index_t k0 = 0; k0 < K; k0 += step) {
      float copy[step] = {};
      const float* from = x + k0;
      const index_t columns = std::min(step, K - k0);
      if (columns < step) {
        std::copy_n(from, columns, copy);
        from = copy;
      }
      std::uint16_t rounded[step];
      simd::round_to_bf16(from, rounded);
      for (index_t k = 0; k < columns; k += 2) std::memcpy(to + (k0 + k) / 2 * stride, rounded + k, sizeof(Word));
    }
  }
};

/// Pairs of columns between two visits of a panel: 128 of them take 16 KiB of a panel, half the first-level cache.
inline constexpr index_t pair_block = 128;

/// tile += A B over `depth` pairs. A: element (r, k) at a[r * row_stride + k * step]; B: [pairs][2 * C * width].
template <int R, int C>
QWEN3VL_INLINE void multiply_add_pairs(Tile<R, C>& tile, index_t depth, const std::int32_t* a, index_t row_stride,
                                       index_t step, const bf16* b) {
  for (index_t k = 0; k < depth; ++k)
    simd::unroll<R>([&](auto r) {
      const std::int32_t pair = a[r * row_stride + k * step];
      simd::unroll<C>([&](auto c) {
        tile.sums[r][c] = simd::dot_bf16_pairs(tile.sums[r][c], pair, b + (k * C + c) * 2 * simd::width);
      });
    });
}

/// sums [R][panel] = (or +=, if not `first`) A B for a tile of R rows: x [depth][tile_rows].
template <int R>
[[gnu::noinline, gnu::flatten]] void multiply_pair_block(index_t depth, const std::int32_t* x, const bf16* columns,
                                                         bool first, float* sums) {
  constexpr index_t panel = 2 * simd::width;
  Tile<R, 2> tile;
  if (first) {
    tile.clear();
  } else {
    tile.load(sums, panel);
  }
  multiply_add_pairs(tile, depth, x, 1, tile_rows, columns);
  tile.store(sums, panel);
}

/// As blocked_panels of float weights (float_product.hpp).
template <PairWeight W, index_t N, index_t K, Packing packing, class F>
void blocked_panels(const CpuMatrix<W, N, K, packing>& weight, const std::int32_t* packed, index_t rows, index_t begin,
                    index_t end, float* sums, const F& finish) {
  using Matrix = CpuMatrix<W, N, K, packing>;
  constexpr index_t panel = Matrix::panel;
  const auto data = [&](PanelPart part) { return weight.panel_data(part.panel) + part.first * 2 * panel; };
  visit_panels(begin, end, Matrix::pairs, pair_block, [&](PanelPart part, PanelPart next) {
    const bf16* const columns = data(part);
    float* const z = sums + (part.panel - begin) % panel_group * rows * panel;
    ReadAhead ahead(data(next), next.steps * 2 * panel * static_cast<index_t>(sizeof(bf16)), rows);
    for (index_t row = 0; row < rows; row += tile_rows) {
      ahead();
      with_rows(std::min<index_t>(tile_rows, rows - row), [&](auto r) {
        multiply_pair_block<r>(part.steps, packed + row * Matrix::pairs + part.first * tile_rows, columns,
                               part.first == 0, z + row * panel);
      });
    }
    if (part.first + part.steps == Matrix::pairs)
      for (index_t row = 0; row < rows; ++row)
        finish(part.panel, simd::load(z + row * panel), simd::load(z + row * panel + simd::width), row);
  });
}

/// C neighbouring panels from `p` on, for R rows x [R, pairs].
template <int R, int C, PairWeight W, index_t N, index_t K, Packing packing, class F>
QWEN3VL_INLINE void stream_pairs(const CpuMatrix<W, N, K, packing>& weight, const std::int32_t* x, index_t p,
                                 const F& finish) {
  using Matrix = CpuMatrix<W, N, K, packing>;
  const bf16* columns[C];
  simd::unroll<C>([&](auto c) { columns[c] = weight.panel_data(p + c); });
  Tile<R, 2> tiles[C];
  simd::unroll<C>([&](auto c) { tiles[c].clear(); });
  for (index_t k = 0; k < Matrix::pairs; ++k)
    simd::unroll<C>(
        [&](auto c) { multiply_add_pairs(tiles[c], 1, x + k, Matrix::pairs, 0, columns[c] + k * 2 * Matrix::panel); });
  simd::unroll<C>([&](auto c) {
    simd::unroll<R>([&](auto r) { finish(p + c, tiles[c].sums[r][0], tiles[c].sums[r][1], index_t{r}); });
  });
}

/// As streamed_panels of float weights; sums have the same order as in blocked_panels.
template <int R, PairWeight W, index_t N, index_t K, Packing packing, class F>
QWEN3VL_KERNEL void streamed_panels(const CpuMatrix<W, N, K, packing>& weight, const std::int32_t* x, index_t begin,
                                    index_t end, const F& finish) {
  constexpr int together = R == 1 ? 4 : R == 2 ? 2 : 1;
  index_t p = begin;
  for (; p + together <= end; p += together) stream_pairs<R, together>(weight, x, p, finish);
  if constexpr (together > 1)
    for (; p < end; ++p) stream_pairs<R, 1>(weight, x, p, finish);
}

}  // namespace qwen3vl::cpu_kernels

#endif
