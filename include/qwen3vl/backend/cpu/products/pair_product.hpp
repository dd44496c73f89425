/// CPU kernels for products with bf16_dot weights on processors with bf16 dot products but no AMX tiles (see
/// product.hpp). Activations are rounded to bf16, sums are f32. Nothing is widened: the instruction reads the weights
/// as stored.
#pragma once

#include <algorithm>
#include <cstring>

#include "qwen3vl/backend/cpu/products/microkernel.hpp"
#include "qwen3vl/backend/cpu/products/row_tiles.hpp"
#include "qwen3vl/backend/cpu/weights/pair_panels.hpp"

#if QWEN3VL_HAS_BF16_DOT && !QWEN3VL_HAS_TILES

namespace qwen3vl::cpu_kernels {

/// Activation rows as these products read them: pairs of neighbouring columns as bf16, in tiles of [pairs][tile_rows]
/// or one row after another.
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
  /// Columns of a tile that are rounded before they are transposed: 7 KiB, which stay in the L1 cache.
  static constexpr index_t stretch = 256;

  /// Pairs of `columns` columns; an odd last column is paired with zero.
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

/// Pairs of columns of a panel per visit: 128 of them take 16 KiB of a panel, half the L1 cache.
inline constexpr index_t pair_block = 128;

/// tile += A B for one pair of columns. A: row r's pair at a[r * row_stride]; B: [2 * C * width].
template <int R, int C>
QWEN3VL_INLINE void multiply_add_pairs(Tile<R, C>& tile, const std::int32_t* a, index_t row_stride, const bf16* b) {
  simd::unroll<R>([&](auto r) {
    const std::int32_t pair = a[r * row_stride];
    simd::unroll<C>(
        [&](auto c) { tile.sums[r][c] = simd::dot_bf16_pairs(tile.sums[r][c], pair, b + c * 2 * simd::width); });
  });
}

/// sums [R][panel] = (or +=, if not `first`) A B for a tile of R rows: x [depth][tile_rows]. Prefetches as much from
/// `next`, the tile's next columns, as it reads of x.
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

/// Blocked product with bf16_dot weights.
template <PairWeight W, index_t K>
struct BlockedPairs {
  static constexpr index_t steps = PairPanels<K>::pairs, most_steps = pair_block, step_words = 1;

  void operator()(const bf16* columns, PanelPart part, const std::int32_t* x, index_t rows, float* sums,
                  ReadAhead ahead) const {
    for (index_t row = 0; row < rows; row += tile_rows) {
      ahead();
      with_rows(std::min<index_t>(tile_rows, rows - row), [&](auto r) {
        const std::int32_t* const from = x + row * steps;
        multiply_pair_block<r>(part.steps, from, columns, part.first == 0, sums + row * panel_rows, ahead.behind(from));
      });
    }
  }
};

/// Streamed product of R rows; several panels at a time, as in StreamedFloats.
template <int R, PairWeight W, index_t K>
struct StreamedPairs {
  static constexpr int together = R == 1 ? 4 : R == 2 ? 2 : 1;

  template <int C>
  QWEN3VL_INLINE void operator()(const bf16* const (&panels)[C], const std::int32_t* x, Tile<R, 2> (&tiles)[C]) const {
    constexpr index_t pairs = PairPanels<K>::pairs;
    simd::unroll<C>([&](auto c) { tiles[c].clear(); });
    for (index_t k = 0; k < pairs; ++k)
      simd::unroll<C>([&](auto c) { multiply_add_pairs(tiles[c], x + k, pairs, panels[c] + k * 2 * panel_rows); });
  }
};

}  // namespace qwen3vl::cpu_kernels

#endif
