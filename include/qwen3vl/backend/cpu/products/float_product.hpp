/// CPU kernels for products with float and bf16 weights (see product.hpp).
#pragma once

#include <algorithm>
#include <type_traits>

#include "qwen3vl/backend/cpu/products/microkernel.hpp"
#include "qwen3vl/backend/cpu/products/row_tiles.hpp"
#include "qwen3vl/backend/cpu/weights/float_panels.hpp"

namespace qwen3vl::cpu_kernels {

/// Columns of a panel per visit. Widened to float they take 16 KiB (AVX2), which leaves room in the L1 cache for a tile
/// of rows; these columns of a block of rows stay in the L2 cache.
inline constexpr index_t depth_block = 256;

/// Activation rows as products with float and bf16 weights read them: unchanged, or in tiles of [K][tile_rows], so that
/// a tile reads one stream.
template <index_t K>
struct FloatRows {
  using Word = float;
  static constexpr index_t words = K;
  static constexpr int tile_rows = cpu_kernels::tile_rows;
  static constexpr index_t row_block = tile_rows * tiles_of_block;

  static void put(const float* x, float* to) { std::copy_n(x, K, to); }
  template <class Source>
  static void put_tile(const Source& source, index_t count, float* tile) {
    put_in_tile(K, count, source, tile);
  }
};

/// sums [R][panel] = (or +=, if not `first`) A B for a tile of R rows: x [depth][tile_rows], columns [depth][panel].
/// Prefetches as much from `next`, the tile's next columns, as it reads of x. bf16 columns are also written to `wide`
/// as floats, for the tiles that follow: next to the multiply-adds that costs nothing.
template <int R, class W>
[[gnu::noinline, gnu::flatten]] void multiply_block(index_t depth, const float* x, const W* columns, float* wide,
                                                    bool first, float* sums, const float* next) {
  constexpr index_t panel = 2 * simd::width;
  Tile<R, 2> tile;
  if (first) {
    tile.clear();
  } else {
    tile.load(sums, panel);
  }
  for (index_t k = 0; k < depth; ++k) {
    ReadAhead::ask(next + k * tile_rows);
    if constexpr (std::is_same_v<W, float>) {
      multiply_add(tile, 1, x + k * tile_rows, 1, 0, columns + k * panel, 0);
    } else {
      simd::store(wide + k * panel, simd::load(columns + k * panel));
      simd::store(wide + k * panel + simd::width, simd::load(columns + k * panel + simd::width));
      multiply_add(tile, 1, x + k * tile_rows, 1, 0, wide + k * panel, 0);
    }
  }
  tile.store(sums, panel);
}

/// The same for up to row_block rows in tiles, each with all `columns_of_x` columns.
template <class W>
void multiply_rows(index_t depth, const float* x, index_t columns_of_x, index_t rows, const W* columns, float* wide,
                   bool first, float* sums, ReadAhead ahead) {
  constexpr bool widen = !std::is_same_v<W, float>;
  constexpr index_t panel = 2 * simd::width;
  const float* floats = wide;
  index_t row = 0;
  if constexpr (!widen) {
    floats = columns;
  } else if (rows >= tile_rows) {
    ahead();
    multiply_block<tile_rows>(depth, x, columns, wide, first, sums, ahead.behind(x));
    row = tile_rows;
  } else {
    for (index_t i = 0; i < depth * panel; i += simd::width) simd::store(wide + i, simd::load(columns + i));
  }
  for (; row < rows; row += tile_rows) {
    ahead();
    with_rows(std::min<index_t>(tile_rows, rows - row), [&](auto r) {
      const float* const from = x + row * columns_of_x;
      multiply_block<r>(depth, from, floats, nullptr, first, sums + row * panel, ahead.behind(from));
    });
  }
}

/// Blocked product with weights of type W.
template <class W, index_t K>
class BlockedFloats {
 public:
  static constexpr index_t steps = K, most_steps = depth_block, step_words = 1;

  void operator()(const W* columns, PanelPart part, const float* x, index_t rows, float* sums, ReadAhead ahead) {
    multiply_rows(part.steps, x, K, rows, columns, wide_, part.first == 0, sums, ahead);
  }

 private:
  alignas(64) float wide_[std::is_same_v<W, float> ? 1 : depth_block * panel_rows];
};

/// Streamed product of R rows. Several panels at a time hide the latency of the multiply-adds, so that one core can use
/// the full memory bandwidth.
template <int R, class W, index_t K>
struct StreamedFloats {
  static constexpr int together = R == 1 ? 4 : R == 2 ? 2 : 1;

  template <int C>
  QWEN3VL_INLINE void operator()(const W* const (&panels)[C], const float* x, Tile<R, 2> (&tiles)[C]) const {
    simd::unroll<C>([&](auto c) { tiles[c].clear(); });
    for (index_t k = 0; k < K; ++k)
      simd::unroll<C>([&](auto c) { multiply_add(tiles[c], 1, x + k, K, 0, panels[c] + k * panel_rows, index_t{0}); });
  }
};

}  // namespace qwen3vl::cpu_kernels
