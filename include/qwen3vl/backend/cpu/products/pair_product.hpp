/// Products of rows with bf16_dot weights by the processor's own dot products of bf16, where it has those but no tiles:
/// a blocked one over packed rows, and a streaming one for a few rows (decode). Activations are rounded to bf16, sums
/// are f32. Nothing is widened: the instruction reads weights as they are in memory.
#pragma once

#include <algorithm>
#include <cstring>

#include "qwen3vl/backend/cpu/products/microkernel.hpp"
#include "qwen3vl/backend/cpu/products/row_tiles.hpp"
#include "qwen3vl/backend/cpu/weights/matrix.hpp"

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

  static void put(const float* x, Word* to) { round(x, K, to); }
  template <class Source>
  static void put_tile(const Source& source, index_t count, Word* tile) {
    Word rounded[tile_rows][stretch / 2];
    for (index_t k = 0; k < K; k += stretch) {
      const index_t columns = std::min(stretch, K - k);
      for (index_t r = 0; r < count; ++r) round(source(r) + k, columns, rounded[r]);
      put_in_tile((columns + 1) / 2, count, [&](index_t r) { return rounded[r]; }, tile + k / 2 * tile_rows);
    }
  }

 private:
  /// Columns of a tile that are rounded, then transposed: 7 KiB, which stay in the first-level cache.
  static constexpr index_t stretch = 256;

  /// Pairs of `columns` columns; the last is filled up with zero.
  static QWEN3VL_INLINE void round(const float* x, index_t columns, Word* to) {
    constexpr index_t step = simd::width;
    const index_t whole = columns / step * step;
    std::uint16_t rounded[step];
    for (index_t k = 0; k < whole; k += step) {
      simd::round_to_bf16(x + k, rounded);
      std::memcpy(to + k / 2, rounded, sizeof rounded);
    }
    if (whole < columns) {
      float copy[step] = {};
      std::copy_n(x + whole, columns - whole, copy);
      simd::round_to_bf16(copy, rounded);
      std::memcpy(to + whole / 2, rounded, static_cast<std::size_t>(columns - whole + 1) / 2 * sizeof(Word));
    }
  }
};

/// Pairs of columns between two visits of a panel: 128 of them take 16 KiB of a panel, half the first-level cache.
inline constexpr index_t pair_block = 128;

/// tile += A B for a pair of columns. A: row r's pair at a[r * row_stride]; B: [2 * C * width].
template <int R, int C>
QWEN3VL_INLINE void multiply_add_pairs(Tile<R, C>& tile, const std::int32_t* a, index_t row_stride, const bf16* b) {
  simd::unroll<R>([&](auto r) {
    const std::int32_t pair = a[r * row_stride];
    simd::unroll<C>(
        [&](auto c) { tile.sums[r][c] = simd::dot_bf16_pairs(tile.sums[r][c], pair, b + c * 2 * simd::width); });
  });
}

/// sums [R][panel] = (or +=, if not `first`) A B for a tile of R rows: x [depth][tile_rows]. Asks for as much at
/// `next`, where a tile's next columns are, as it reads of x.
template <int R>
[[gnu::noinline, gnu::flatten]] void multiply_pair_block(index_t depth, const std::int32_t* x, const bf16* columns,
                                                         bool first, float* sums, const std::int32_t* next) {
  constexpr index_t panel = 2 * simd::width;
  Tile<R, 2> tile;
  if (first) {
    tile.clear();
  } else {
    tile.load(sums, panel);
  }
  for (index_t k = 0; k < depth; ++k) {
    ReadAhead::ask(next + k * tile_rows);
    multiply_add_pairs(tile, x + k * tile_rows, 1, columns + k * 2 * panel);
  }
  tile.store(sums, panel);
}

/// As blocked_panels of float weights (float_product.hpp).
template <PairWeight W, index_t N, index_t K, Packing packing, class F>
void blocked_panels(const CpuMatrix<W, N, K, packing>& weight, const std::int32_t* packed, index_t rows, index_t begin,
                    index_t end, float* sums, const F& finish) {
  using Matrix = CpuMatrix<W, N, K, packing>;
  constexpr index_t panel = panel_rows;
  const auto data = [&](PanelPart part) { return weight.panel(part.panel) + part.first * 2 * panel; };
  visit_panels(begin, end, Matrix::Layout::pairs, pair_block, [&](PanelPart part, PanelPart next) {
    const bf16* const columns = data(part);
    float* const z = sums + (part.panel - begin) % panel_group * rows * panel;
    const bool last = part.first + part.steps == Matrix::Layout::pairs;
    ReadAhead ahead(data(next), next.steps * 2 * panel * static_cast<index_t>(sizeof(bf16)), rows);
    ahead.columns_move((next.first - part.first) * tile_rows);
    if (last) ahead.results(places_of(finish, part.panel));
    for (index_t row = 0; row < rows; row += tile_rows) {
      ahead();
      with_rows(std::min<index_t>(tile_rows, rows - row), [&](auto r) {
        const std::int32_t* const from = packed + row * Matrix::Layout::pairs + part.first * tile_rows;
        multiply_pair_block<r>(part.steps, from, columns, part.first == 0, z + row * panel, ahead.behind(from));
      });
    }
    if (last)
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
  simd::unroll<C>([&](auto c) { columns[c] = weight.panel(p + c); });
  Tile<R, 2> tiles[C];
  simd::unroll<C>([&](auto c) { tiles[c].clear(); });
  for (index_t k = 0; k < Matrix::Layout::pairs; ++k)
    simd::unroll<C>(
        [&](auto c) { multiply_add_pairs(tiles[c], x + k, Matrix::Layout::pairs, columns[c] + k * 2 * panel_rows); });
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
